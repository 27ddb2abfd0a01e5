"""SQL of locations and of their stock.

The order of locks: the list of locations (only by who changes what they are); locations by id; new levels by (SKU,
location); levels by (SKU, location), as everybody takes them. Who moves stock has its locations locked in share, so
that none of them is closed meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from cart.places.locations import StockLocation, Transfer, TransferLine
from cart.places.tables import location
from cart.stock import Level, Movement
from cart.tables import stock_level, stock_movement
from live.core.codec import convert, plain
from live.core.ids import serial7
from live.core.pairs import pairs_in

Pair = tuple[str, str]  # SKU, location

_LIST_LOCK = 0x53485043

_level = stock_level.c
_LOCATIONS = select(*(location.c[name] for name in StockLocation.__struct_fields__)).order_by(location.c.id)
_PAIRS = pairs_in(_level.sku, _level.location)
_LOCK_PAIRS = select(stock_level).where(_PAIRS).order_by(_level.sku, _level.location).with_for_update()
_KNOWN_PAIRS = select(_level.sku, _level.location).where(_PAIRS)
_NEW_LEVELS = {
    "postgresql": postgresql.insert(stock_level).on_conflict_do_nothing(),
    "sqlite": sqlite.insert(stock_level).on_conflict_do_nothing(),
}
_INSERT_MOVEMENTS = insert(stock_movement)


# --- locations --------------------------------------------------------------------------------------------------


def locations(conn: Connection) -> list[StockLocation]:
    """All of them, by id."""
    return [_location(row) for row in conn.execute(_LOCATIONS)]


def find(conn: Connection, id_: str) -> StockLocation | None:
    """One location."""
    row = conn.execute(_LOCATIONS.where(location.c.id == id_)).first()
    return None if row is None else _location(row)


def lock_all(conn: Connection) -> None:
    """Whoever changes the list of locations, or what others say of them, waits until this transaction ends."""
    if conn.dialect.name == "postgresql":
        conn.execute(text(f"SELECT pg_advisory_xact_lock({_LIST_LOCK})"))


def lock(conn: Connection, id_: str) -> StockLocation | None:
    """One location, whose stock nobody changes before this transaction ends; the list is locked."""
    row = conn.execute(_LOCATIONS.where(location.c.id == id_).with_for_update()).first()
    return None if row is None else _location(row)


def share(conn: Connection, ids: Iterable[str]) -> dict[str, StockLocation]:
    """Those of these locations that exist; they stay as they are until this transaction ends."""
    rows = conn.execute(_LOCATIONS.where(location.c.id.in_(sorted(set(ids)))).with_for_update(read=True))
    return {row.id: _location(row) for row in rows}


def count(conn: Connection) -> int:
    """How many locations there are."""
    return int(conn.scalar(select(func.count()).select_from(location)) or 0)


def add(conn: Connection, new: StockLocation, now_ms: int) -> None:
    """Store a new one; the list is locked."""
    conn.execute(insert(location).values(plain(new) | {"changed_at_ms": now_ms}))


def save(conn: Connection, changed: StockLocation, now_ms: int) -> None:
    """Write a locked one."""
    conn.execute(update(location).where(location.c.id == changed.id).values(plain(changed) | {"changed_at_ms": now_ms}))


def _location(row: Row[Any]) -> StockLocation:
    return convert({name: row._mapping[name] for name in StockLocation.__struct_fields__}, StockLocation)


# --- levels -----------------------------------------------------------------------------------------------------


def levels(conn: Connection, sku: str) -> list[Level]:
    """A SKU's levels at all locations that ever had it, by location."""
    rows = conn.execute(select(stock_level).where(_level.sku == sku).order_by(_level.location))
    return [Level(**row._mapping) for row in rows]


def page(conn: Connection, at: str, after: str, limit: int) -> list[Level]:
    """A page of what a location has, by SKU; `after` "": from the first on."""
    statement = select(stock_level).where(_level.location == at, _level.sku > after)
    return [Level(**row._mapping) for row in conn.execute(statement.order_by(_level.sku).limit(limit))]


def units(conn: Connection, at: str) -> int:
    """How many units a location has, of all SKUs."""
    return int(conn.scalar(select(func.sum(_level.on_hand)).where(_level.location == at)) or 0)


def lock_levels(conn: Connection, pairs: Iterable[Pair]) -> dict[Pair, Level]:
    """The levels of these pairs, which nobody else changes before this transaction ends; missing ones are made.

    The SKUs and locations exist. Before any other level is locked.
    """
    wanted = sorted(set(pairs))
    known = {(row.sku, row.location) for row in conn.execute(_KNOWN_PAIRS, {"pairs": wanted})}
    new = [
        {"sku": sku, "location": at, "on_hand": 0, "allocated": 0, "held": 0}
        for sku, at in wanted if (sku, at) not in known
    ]  # fmt: skip
    for row in new:  # in their order, one by one: two transactions that make the same wait for each other in it
        conn.execute(_NEW_LEVELS[conn.dialect.name], row)
    rows = conn.execute(_LOCK_PAIRS, {"pairs": wanted})
    return {(row.sku, row.location): Level(**row._mapping) for row in rows}


# --- movements --------------------------------------------------------------------------------------------------


def write(
    conn: Connection,
    now_ms: int,
    moved: Sequence[tuple[str, str, Movement, int]],
    reason: str,
    transfer_id: str | None = None,
) -> None:
    """Write down what was moved: (SKU, location, kind, units)."""
    rows = [
        {
            "id": serial7(now_ms),
            "sku": sku,
            "location": at,
            "kind": kind.value,
            "quantity": quantity,
            "created_at_ms": now_ms,
            "transfer_id": transfer_id,
            "reason": reason or None,
        }
        for sku, at, kind, quantity in moved
    ]
    if rows:
        conn.execute(_INSERT_MOVEMENTS, rows)


def transfer(conn: Connection, id_: str) -> Transfer | None:
    """A transfer, as its movements say."""
    movement = stock_movement.c
    rows = conn.execute(select(stock_movement).where(movement.transfer_id == id_).order_by(movement.sku)).all()
    by_kind: Mapping[str, list[Row[Any]]] = {
        kind.value: [row for row in rows if row.kind == kind.value]
        for kind in (Movement.transferred_out, Movement.transferred_in)
    }
    out, in_ = by_kind[Movement.transferred_out.value], by_kind[Movement.transferred_in.value]
    if not out or not in_:
        return None
    return Transfer(
        id=id_,
        source=out[0].location,
        to=in_[0].location,
        at_ms=out[0].created_at_ms,
        reason=out[0].reason or "",
        lines=tuple(TransferLine(row.sku, row.quantity) for row in out),
    )
