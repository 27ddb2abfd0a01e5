"""SQL of commerce: stock, holds, kept answers. The catalogue's is in `shelf.py`, the orders' in `ordering/store.py`.

Locks are taken in one order everywhere, so that two transactions never wait for each other: the cart, then stock
levels by (sku, location), then rows that those two guard. A SKU's holds change only while its level is locked. On
SQLite there is one writer, and the locks are nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)

from cart.stock import EFFECTS, LIVE, MAIN, Hold, HoldState, Level, Movement
from cart.tables import hold, idempotency, product, stock_level, stock_movement, variant
from live.core.ids import uuid7
from live.core.pairs import pairs_in

# Statements of every click are made once: putting one together costs as much as SQLite takes to do it.
_level = stock_level.c
_LOCK_CARTS = text(
    "SELECT pg_advisory_xact_lock(number) FROM (SELECT DISTINCT hashtextextended(cart, 0) AS number"
    " FROM unnest(CAST(:carts AS text[])) AS cart ORDER BY number) AS numbers"
)
_LEVELS = select(stock_level).where(_level.sku.in_(bindparam("skus", expanding=True)), _level.location == MAIN)
_LOCK_LEVELS = _LEVELS.order_by(_level.sku, _level.location).with_for_update()
_to_hand, _to_allocated, _to_held = (
    bindparam(f"to_{name}", type_=BigInteger) for name in ("hand", "allocated", "held")
)
_CHANGE_LEVEL = (
    update(stock_level)
    .where(
        _level.sku == bindparam("the_sku"),
        _level.location == bindparam("place"),
        _level.held + _to_held >= 0,
        _level.allocated + _to_allocated >= 0,
        _level.on_hand - _level.allocated - _level.held + (_to_hand - _to_allocated - _to_held) >= 0,
    )
    .values(
        on_hand=_level.on_hand + _to_hand,
        allocated=_level.allocated + _to_allocated,
        held=_level.held + _to_held,
    )
    .returning(*_level)
)
_INSERT_MOVEMENTS = insert(stock_movement)
_LIVE_STATES = [state.value for state in HoldState if state in LIVE]
# Written out: an index of such rows alone is of use only to a statement that is seen to ask for no others.
LIVE_HOLD = hold.c.state.in_([literal_column(f"'{state}'") for state in _LIVE_STATES])
_CLAIMING = hold.c.state == literal_column(f"'{HoldState.claiming.value}'")
_OF_GOODS: dict[str, ColumnElement[Any]] = {
    "product_id": variant.c.product_id,
    "variant": variant.c.title.label("variant"),
    "title": product.c.title,
    "picture": product.c.picture,
    "categories": product.c.categories,
}
# In the order of `Hold`'s members: a row becomes one by its places in 0.4 µs; by their names it took 6.6.
_HOLDS: Select[Any] = select(*[(dict(hold.c) | _OF_GOODS)[name] for name in Hold.__struct_fields__]).select_from(
    hold.join(variant, hold.c.sku == variant.c.sku).join(product, variant.c.product_id == product.c.id)
)
_STATE, _CATEGORIES = (Hold.__struct_fields__.index(name) for name in ("state", "categories"))
_STATES = {state.value: state for state in HoldState}


_CART_HOLDS = _HOLDS.where(hold.c.cart.in_(bindparam("carts", expanding=True)), LIVE_HOLD).order_by(hold.c.id)
_CARTS_HOLD = _HOLDS.where(hold.c.cart == bindparam("of_cart"), hold.c.sku == bindparam("of_sku"), LIVE_HOLD)
_NEWEST_STATE = select(hold.c.state).where(hold.c.cart == bindparam("of_cart")).order_by(hold.c.id.desc()).limit(1)
_SET_STATE = (
    update(hold)
    .where(hold.c.id.in_(bindparam("hold_ids", expanding=True)), hold.c.state == bindparam("from_state"))
    .values(state=bindparam("to_state"), order_id=bindparam("to_order"), claim_until_ms=bindparam("to_ms"))
)
_OVERDUE_HOLDS = (
    _HOLDS.where(
        hold.c.sku.in_(bindparam("of_skus", expanding=True)),
        LIVE_HOLD,
        hold.c.state == HoldState.active.value,
        hold.c.expires_at_ms <= bindparam("now_ms"),
    )
    .order_by(hold.c.sku, hold.c.id)
    .limit(bindparam("at_most", type_=Integer))
)
_CLAIMED_HOLDS = _HOLDS.where(
    hold.c.order_id == bindparam("of_order"), hold.c.state == HoldState.claiming.value
).order_by(hold.c.id)
_INSERT_HOLDS = insert(hold)
_RESIZE_HOLD = (
    update(hold)
    .where(hold.c.id == bindparam("hold_id"))
    .values(quantity=bindparam("to_quantity"), expires_at_ms=bindparam("to_ms"))
)
_KEPT_ANSWERS = select(idempotency).where(pairs_in(idempotency.c.scope, idempotency.c.key))
_KEEP_ANSWERS = insert(idempotency)
_FORGET_ANSWER = delete(idempotency).where(
    idempotency.c.scope == bindparam("the_scope"), idempotency.c.key == bindparam("the_key")
)


Key = tuple[str, str]  # scope (a cart), key


class Part(msgspec.Struct, frozen=True):
    """One hold's share in a movement. None: it belongs to no hold, no order, no show; nobody says whose it is."""

    quantity: int
    hold_id: str | None = None
    order_id: str | None = None
    show: str | None = None
    viewer_id: str | None = None


class Moved(NamedTuple):
    """One row of the movements."""

    sku: str
    kind: Movement
    part: Part


class Kept(msgspec.Struct, frozen=True):
    """What is known of an idempotency key. `response` None: the request is still running, or its worker died."""

    request_hash: str
    response: dict[str, Any] | None
    created_at_ms: int


class Drift(msgspec.Struct, frozen=True):
    """A level whose `held` is not the sum of its living holds: a bug of ours, or a hand in the database."""

    sku: str
    location: str
    held: int
    holds: int


# --- locks and stock ------------------------------------------------------------------------------------------


def lock_carts(conn: Connection, carts: Iterable[str]) -> None:
    """Whoever changes one of these carts waits until this transaction ends. Once a transaction, and first of all."""
    if conn.dialect.name == "postgresql":
        conn.execute(_LOCK_CARTS, {"carts": list(carts)})


def lock_levels(conn: Connection, skus: Iterable[str]) -> dict[str, Level]:
    """The levels of these SKUs, which nobody else changes before this transaction ends."""
    rows = conn.execute(_LOCK_LEVELS, {"skus": sorted(set(skus))})
    return {row.sku: Level(**row._mapping) for row in rows}


def levels(conn: Connection, skus: Iterable[str]) -> dict[str, Level]:
    """The levels of these SKUs as they are now; others may change them."""
    return {row.sku: Level(**row._mapping) for row in conn.execute(_LEVELS, {"skus": list(skus)})}


def change_level(conn: Connection, sku: str, kind: Movement, quantity: int, location: str = MAIN) -> Level | None:
    """Move units; the level afterwards, locked. None: not enough units."""
    on_hand, allocated, held = (sign * quantity for sign in EFFECTS[kind])
    change = {"the_sku": sku, "place": location, "to_hand": on_hand, "to_allocated": allocated, "to_held": held}
    row = conn.execute(_CHANGE_LEVEL, change).first()
    return None if row is None else Level(**row._mapping)


def insert_movements(conn: Connection, moved: Sequence[Moved], now_ms: int) -> None:
    """Write down what was moved."""
    rows = [
        {
            "id": uuid7(now_ms),
            "sku": sku,
            "location": MAIN,
            "kind": kind.value,
            "quantity": part.quantity,
            "hold_id": part.hold_id,
            "order_id": part.order_id,
            "show": part.show,
            "created_at_ms": now_ms,
        }
        for sku, kind, part in moved
    ]
    if rows:
        conn.execute(_INSERT_MOVEMENTS, rows)


def drift(conn: Connection) -> list[Drift]:
    """The levels whose `held` is not what their living holds say, in one snapshot."""
    sums = (
        select(hold.c.sku, hold.c.location, func.sum(hold.c.quantity).label("holds"))
        .where(LIVE_HOLD)
        .group_by(hold.c.sku, hold.c.location)
        .subquery()
    )
    holds = func.coalesce(sums.c.holds, 0)
    statement = (
        select(stock_level.c.sku, stock_level.c.location, stock_level.c.held, holds.label("holds"))
        .outerjoin(sums, (sums.c.sku == stock_level.c.sku) & (sums.c.location == stock_level.c.location))
        .where(stock_level.c.held != holds)
        .order_by(stock_level.c.sku)
    )
    return [
        Drift(sku=row.sku, location=row.location, held=row.held, holds=int(row.holds))
        for row in conn.execute(statement)
    ]


# --- holds ----------------------------------------------------------------------------------------------------


def _hold(row: Row[Any]) -> Hold:
    members = list(row)
    members[_STATE] = _STATES[members[_STATE]]
    members[_CATEGORIES] = tuple(members[_CATEGORIES])
    return Hold(*members)


def cart_holds(conn: Connection, carts: Sequence[str]) -> dict[str, list[Hold]]:
    """The living holds of each of `carts`, the oldest first."""
    found: dict[str, list[Hold]] = {cart: [] for cart in carts}
    for row in conn.execute(_CART_HOLDS, {"carts": list(carts)}).all():  # row by row takes half as long again
        found[row.cart].append(_hold(row))
    return found


def live_hold(conn: Connection, cart: str, sku: str) -> Hold | None:
    """The cart's living hold of a SKU."""
    row = conn.execute(_CARTS_HOLD, {"of_cart": cart, "of_sku": sku}).first()
    return None if row is None else _hold(row)


def newest_state(conn: Connection, cart: str, sku: str | None = None) -> HoldState | None:
    """The state of the cart's newest hold (`sku` None: of any SKU); None: there never was one."""
    statement = _NEWEST_STATE if sku is None else _NEWEST_STATE.where(hold.c.sku == sku)
    state = conn.scalar(statement, {"of_cart": cart})
    return None if state is None else HoldState(state)


def insert_holds(conn: Connection, holds: Sequence[Hold]) -> None:
    """Store new holds whose units were moved."""
    columns = hold.c.keys()
    if holds:
        conn.execute(
            _INSERT_HOLDS,
            [{name: getattr(one, name) for name in columns} | {"state": one.state.value} for one in holds],
        )


def resize_holds(conn: Connection, holds: Sequence[Hold]) -> None:
    """Write the quantity and the expiry of living holds."""
    if holds:
        conn.execute(
            _RESIZE_HOLD,
            [{"hold_id": one.id, "to_quantity": one.quantity, "to_ms": one.expires_at_ms} for one in holds],
        )


def set_state(
    conn: Connection,
    holds: Sequence[Hold],
    to: HoldState,
    *,
    order_id: str | None = None,
    claim_until_ms: int | None = None,
) -> None:
    """Move holds, all in one state and with their levels locked, to another; their claim becomes what is given."""
    if not holds:
        return
    before = {one.state for one in holds}
    assert len(before) == 1, "one transition at a time"
    for one in holds:
        one.to(to)
    change = {"from_state": before.pop().value, "to_state": to.value, "to_order": order_id, "to_ms": claim_until_ms}
    result = conn.execute(_SET_STATE, {"hold_ids": [one.id for one in holds]} | change)
    assert result.rowcount == len(holds), "their levels are locked"


def overdue_skus(conn: Connection, now_ms: int, limit: int) -> list[str]:
    """Some SKUs that have expired holds which nobody is paying for."""
    statement = (
        select(hold.c.sku.concat(""))  # or SQLite reads all living holds by their SKU, to have each once
        .where(hold.c.state == HoldState.active.value, LIVE_HOLD, hold.c.expires_at_ms <= now_ms)
        .distinct()
        .limit(limit)
    )
    return list(conn.scalars(statement))


def overdue_holds(conn: Connection, skus: Sequence[str], now_ms: int, limit: int) -> list[Hold]:
    """Expired holds of `skus`, whose levels are locked."""
    found = conn.execute(_OVERDUE_HOLDS, {"of_skus": list(skus), "now_ms": now_ms, "at_most": limit})
    return [_hold(row) for row in found.all()]


def claimed_holds(conn: Connection, order_id: str) -> list[Hold]:
    """The holds that a check-out is paying for."""
    return [_hold(row) for row in conn.execute(_CLAIMED_HOLDS, {"of_order": order_id})]


def overdue_claims(conn: Connection, now_ms: int, limit: int) -> list[str]:
    """Ids of orders whose payment did not answer in time."""
    statement = (
        select(hold.c.order_id.concat(""))  # as of the SKUs: not by the index of all order ids
        .where(_CLAIMING, hold.c.claim_until_ms <= now_ms)
        .distinct()
        .limit(limit)
    )
    return [str(order_id) for order_id in conn.scalars(statement)]


# --- kept answers ---------------------------------------------------------------------------------------------


def kept_answers(conn: Connection, keys: Sequence[Key]) -> dict[Key, Kept]:
    """What was answered under (scope, key); the carts that are their scopes are locked."""
    found = conn.execute(_KEPT_ANSWERS, {"pairs": list(keys)}).all()
    return {(row.scope, row.key): Kept(row.request_hash, row.response, row.created_at_ms) for row in found}


def keep_answers(conn: Connection, kept: Mapping[Key, Kept]) -> None:
    """Store (scope, key) with its answer; None: the answer comes later."""
    if kept:
        conn.execute(
            _KEEP_ANSWERS,
            [{"scope": scope, "key": key} | msgspec.structs.asdict(one) for (scope, key), one in kept.items()],
        )


def forget_answer(conn: Connection, scope: str, key: str) -> None:
    """Let a key be used again, because nothing came of it."""
    conn.execute(_FORGET_ANSWER, {"the_scope": scope, "the_key": key})


def oldest_answers(conn: Connection, before_ms: int, most: int) -> int | None:
    """When the last of the oldest answers was given, of which `most` are looked at; None: there are none so old."""
    given = idempotency.c.created_at_ms
    oldest = select(given).where(given < before_ms).order_by(given).limit(most).subquery()
    found: int | None = conn.scalar(select(func.max(oldest.c.created_at_ms)))
    return found


def prune_answers(conn: Connection, until_ms: int) -> None:
    """Forget answers that were given by then."""
    conn.execute(delete(idempotency).where(idempotency.c.created_at_ms <= until_ms))
