"""What is forgotten of prices and of whose carts were whose: a page of keys at a time, so that no click waits long.

A million prices forgotten at once held every click up for a second.
"""

from sqlalchemy import Column, Connection, delete, select

from cart.pricing.tables import cart_shopper, price_history
from live.core.limits import FORGOTTEN_PAGE


def history(conn: Connection, after: str, before_ms: int) -> str | None:
    """Forget prices that were over before then, of a page of SKUs that follow `after`; the last one is always kept.

    Answers the page's last SKU; None: no other follows.
    """
    last, more = _page(conn, price_history.c.sku, after)
    other = price_history.alias()
    later = (
        select(other.c.sku)
        .where(
            other.c.sku == price_history.c.sku,
            other.c.show == price_history.c.show,
            other.c.at_ms > price_history.c.at_ms,
            other.c.at_ms < before_ms,
        )
        .exists()
    )
    of_page = (price_history.c.sku > after, price_history.c.sku <= last)
    conn.execute(delete(price_history).where(*of_page, price_history.c.at_ms < before_ms, later))
    return last if more else None


def shoppers(conn: Connection, after: str, before_ms: int) -> str | None:
    """Forget whose carts were, that nobody touched since then, of a page of carts that follow `after`.

    Answers the page's last cart; None: no other follows.
    """
    last, more = _page(conn, cart_shopper.c.cart, after)
    of_page = (cart_shopper.c.cart > after, cart_shopper.c.cart <= last)
    conn.execute(delete(cart_shopper).where(*of_page, cart_shopper.c.changed_at_ms < before_ms))
    return last if more else None


def _page(conn: Connection, key: Column[str], after: str) -> tuple[str, bool]:
    """The last of the keys that follow `after`, as many as a page has, and whether there may be more."""
    keys = conn.scalars(select(key).where(key > after).distinct().order_by(key).limit(FORGOTTEN_PAGE)).all()
    return keys[-1] if keys else after, len(keys) == FORGOTTEN_PAGE
