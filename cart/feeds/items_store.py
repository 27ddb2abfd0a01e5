"""SQL of what each feed has named."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, func, insert, select

from cart.feeds.tables import feed_item


def kept(conn: Connection, feed: str, skus: Sequence[str]) -> set[str]:
    """Those of these SKUs that the feed has named before."""
    return set(conn.scalars(select(feed_item.c.sku).where(feed_item.c.feed == feed, feed_item.c.sku.in_(skus))))


def keep(conn: Connection, feed: str, skus: Iterable[str]) -> None:
    """The feed has named these; it had not before."""
    if rows := [{"feed": feed, "sku": sku} for sku in skus]:
        conn.execute(insert(feed_item), rows)


def count(conn: Connection, feed: str) -> int:
    """How many SKUs the feed has ever named."""
    return int(conn.scalar(select(func.count()).where(feed_item.c.feed == feed)) or 0)


def page(conn: Connection, feed: str, after: str, limit: int) -> list[str]:
    """A page of what the feed has ever named, by SKU; `after` "": from the first on."""
    statement = select(feed_item.c.sku).where(feed_item.c.feed == feed, feed_item.c.sku > after)
    return list(conn.scalars(statement.order_by(feed_item.c.sku).limit(limit)))
