"""SQL of drops. A SKU's drops, and what is taken of them, change only while its level is locked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cart.stock import MAIN
from cart.store import LIVE_HOLD
from cart.tables import hold, stock_level
from cart.waiting.drops import Drop
from cart.waiting.tables import CURRENT, sale_drop, sale_drop_share
from live.core.pairs import pairs_in

_DROP = [sale_drop.c[name] for name in Drop.__struct_fields__]
_share = sale_drop_share.c
_OF_SKUS = (
    select(*_DROP).where(sale_drop.c.sku.in_(bindparam("skus", expanding=True)), CURRENT).order_by(sale_drop.c.id)
)
_SHARES = select(_share.drop_id, _share.viewer_id, _share.quantity).where(pairs_in(_share.drop_id, _share.viewer_id))
_ADD_SHARE = {
    name: statement.on_conflict_do_update(
        index_elements=[_share.drop_id, _share.viewer_id],
        set_={"quantity": _share.quantity + statement.excluded.quantity},
    )
    for name, statement in (
        ("postgresql", postgresql.insert(sale_drop_share)),
        ("sqlite", sqlite.insert(sale_drop_share)),
    )
}
_given = bindparam("given", type_=_share.quantity.type)
_TAKE_SHARE = (
    update(sale_drop_share)
    .where(_share.drop_id == bindparam("the_drop"), _share.viewer_id == bindparam("the_viewer"))
    .where(_share.quantity >= _given)
    .values(quantity=_share.quantity - _given)
)

Share = tuple[str, str]  # drop, viewer


def of_skus(conn: Connection, skus: Iterable[str]) -> list[Drop]:
    """The drops of these SKUs that count, over ones too, in all shows."""
    return [Drop(*row) for row in conn.execute(_OF_SKUS, {"skus": sorted(skus)})]


def of_show(conn: Connection, show: str) -> list[tuple[Drop, int]]:
    """The drops of a show that count, each with the units that are available."""
    level = stock_level.c
    statement = (
        select(*_DROP, (level.on_hand - level.allocated - level.held).label("available"))
        .join(stock_level, (level.sku == sale_drop.c.sku) & (level.location == MAIN))
        .where(sale_drop.c.show == show, CURRENT)
        .order_by(sale_drop.c.id)
    )
    return [(Drop(*row[:-1]), row.available) for row in conn.execute(statement)]


def find(conn: Connection, drop_id: str) -> Drop | None:
    """A drop that counts."""
    row = conn.execute(select(*_DROP).where(sale_drop.c.id == drop_id, CURRENT)).first()
    return None if row is None else Drop(*row)


def shares(conn: Connection, wanted: Sequence[Share]) -> dict[Share, int]:
    """What customers have taken of drops; of nothing: left out."""
    if not wanted:
        return {}
    rows = conn.execute(_SHARES, {"pairs": list(wanted)})
    return {(row.drop_id, row.viewer_id): row.quantity for row in rows}


def save(conn: Connection, drop: Drop, by: str) -> Drop:
    """Store a new drop, in which counts what carts of its show hold already; the level is locked."""
    of_it = (hold.c.show == drop.show, hold.c.sku == drop.sku, LIVE_HOLD)
    held = select(hold.c.viewer_id, func.sum(hold.c.quantity).label("units")).where(*of_it).group_by(hold.c.viewer_id)
    taken = {row.viewer_id: int(row.units) for row in conn.execute(held)}
    drop = msgspec.structs.replace(drop, taken=sum(taken.values()))
    conn.execute(insert(sale_drop).values(msgspec.structs.asdict(drop) | {"created_by": by}))
    _count(conn, drop.sku, 1)
    count(conn, drop, taken)
    return drop


def change(conn: Connection, drop: Drop) -> None:
    """Write the plan of a drop that exists."""
    names = ("opens_at_ms", "closes_at_ms", "total_limit", "per_customer_limit")
    values: dict[str, Any] = {name: getattr(drop, name) for name in names}
    conn.execute(update(sale_drop).where(sale_drop.c.id == drop.id).values(**values))


def end(conn: Connection, drop: Drop, now_ms: int) -> None:
    """From now on it does not count any more."""
    conn.execute(update(sale_drop).where(sale_drop.c.id == drop.id).values(ended_at_ms=now_ms))
    _count(conn, drop.sku, -1)


def take(conn: Connection, drop: Drop, more: int) -> bool:
    """Count units as taken (`more` negative: as given back); False: there are not so many left, nothing was done."""
    taken = sale_drop.c.taken + more
    statement = update(sale_drop).where(sale_drop.c.id == drop.id)
    if more > 0:
        statement = statement.where((sale_drop.c.total_limit.is_(None)) | (taken <= sale_drop.c.total_limit))
    else:
        taken = func.max(taken, 0) if conn.dialect.name == "sqlite" else func.greatest(taken, 0)
    return conn.execute(statement.values(taken=taken)).rowcount == 1


def count(conn: Connection, drop: Drop, more: Mapping[str, int]) -> None:
    """Count units as taken by these viewers (negative: as given back)."""
    taken = [{"drop_id": drop.id, "viewer_id": who, "quantity": units} for who, units in more.items() if units > 0]
    given = [{"the_drop": drop.id, "the_viewer": who, "given": -units} for who, units in more.items() if units < 0]
    if taken:
        conn.execute(_ADD_SHARE[conn.dialect.name], taken)
    if given:
        conn.execute(_TAKE_SHARE, given)


def _count(conn: Connection, sku: str, more: int) -> None:
    conn.execute(
        update(stock_level)
        .where(stock_level.c.sku == sku, stock_level.c.location == MAIN)
        .values(drops=stock_level.c.drops + more)
    )
