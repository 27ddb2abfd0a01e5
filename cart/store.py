"""SQL of commerce: stock, holds, orders, kept answers, figures. The catalogue's is in `shelf.py`.

Locks are taken in one order everywhere, so that two transactions never wait for each other: the cart, then stock
levels by (sku, location), then rows that those two guard. A SKU's holds change only while its level is locked. On
SQLite there is one writer, and the locks are nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, Select, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cart.orders import Order, OrderLine, OrderState
from cart.stock import EFFECTS, LIVE, MAIN, Hold, HoldState, Level, Movement
from cart.tables import hold, idempotency, order_line, orders, product, stock_level, stock_movement, variant
from live.core.ids import uuid7

_LIVE_STATES = [state.value for state in HoldState if state in LIVE]
_LIVE = hold.c.state.in_(_LIVE_STATES)
_HOLDS: Select[Any] = select(
    *[column for column in hold.c],
    variant.c.product_id,
    variant.c.title.label("variant"),
    product.c.title,
    product.c.picture,
).select_from(hold.join(variant, hold.c.sku == variant.c.sku).join(product, variant.c.product_id == product.c.id))


class Part(msgspec.Struct, frozen=True):
    """One hold's share in a movement. None: it belongs to no hold, no order, no show."""

    quantity: int
    hold_id: str | None = None
    order_id: str | None = None
    show: str | None = None


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


async def lock_cart(conn: AsyncConnection, cart: str) -> None:
    """Whoever changes this cart waits until this transaction ends. A transaction locks one cart at most."""
    if conn.dialect.name == "postgresql":
        await conn.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:cart, 0))"), {"cart": cart})


async def lock_levels(conn: AsyncConnection, skus: Iterable[str]) -> dict[str, Level]:
    """The levels of these SKUs, which nobody else changes before this transaction ends."""
    statement = (
        select(stock_level)
        .where(stock_level.c.sku.in_(sorted(set(skus))), stock_level.c.location == MAIN)
        .order_by(stock_level.c.sku, stock_level.c.location)
        .with_for_update()
    )
    return {row.sku: Level(**row._mapping) for row in await conn.execute(statement)}


async def move(
    conn: AsyncConnection, sku: str, kind: Movement, parts: Sequence[Part], now_ms: int, location: str = MAIN
) -> Level | None:
    """Move the units of all `parts` and write it down; the level afterwards, locked. None: not enough units."""
    quantity = sum(part.quantity for part in parts)
    on_hand, allocated, held = (sign * quantity for sign in EFFECTS[kind])
    level = stock_level.c
    statement = (
        update(stock_level)
        .where(
            level.sku == sku,
            level.location == location,
            level.held + held >= 0,
            level.allocated + allocated >= 0,
            level.on_hand - level.allocated - level.held + (on_hand - allocated - held) >= 0,
        )
        .values(on_hand=level.on_hand + on_hand, allocated=level.allocated + allocated, held=level.held + held)
        .returning(*level)
    )
    row = (await conn.execute(statement)).first()
    if row is None:
        return None
    common = {"sku": sku, "location": location, "kind": kind.value, "created_at_ms": now_ms}
    rows = [common | {"id": uuid7(now_ms)} | msgspec.structs.asdict(part) for part in parts]
    await conn.execute(insert(stock_movement), rows)
    return Level(**row._mapping)


async def drift(conn: AsyncConnection) -> list[Drift]:
    """The levels whose `held` is not what their living holds say, in one snapshot."""
    sums = (
        select(hold.c.sku, hold.c.location, func.sum(hold.c.quantity).label("holds"))
        .where(_LIVE)
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
        for row in await conn.execute(statement)
    ]


# --- holds ----------------------------------------------------------------------------------------------------


def _hold(row: Row[Any]) -> Hold:
    return Hold(**{**row._mapping, "state": HoldState(row.state)})


async def cart_holds(conn: AsyncConnection, carts: Sequence[str]) -> dict[str, list[Hold]]:
    """The living holds of each of `carts`, the oldest first."""
    found: dict[str, list[Hold]] = {cart: [] for cart in carts}
    for row in await conn.execute(_HOLDS.where(hold.c.cart.in_(carts), _LIVE).order_by(hold.c.id)):
        found[row.cart].append(_hold(row))
    return found


async def live_hold(conn: AsyncConnection, cart: str, sku: str) -> Hold | None:
    """The cart's living hold of a SKU."""
    row = (await conn.execute(_HOLDS.where(hold.c.cart == cart, hold.c.sku == sku, _LIVE))).first()
    return None if row is None else _hold(row)


async def newest_state(conn: AsyncConnection, cart: str, sku: str | None = None) -> HoldState | None:
    """The state of the cart's newest hold (`sku` None: of any SKU); None: there never was one."""
    statement = select(hold.c.state).where(hold.c.cart == cart).order_by(hold.c.id.desc()).limit(1)
    if sku is not None:
        statement = statement.where(hold.c.sku == sku)
    state = await conn.scalar(statement)
    return None if state is None else HoldState(state)


async def insert_hold(conn: AsyncConnection, value: Hold) -> None:
    """Store a new hold whose units were moved."""
    values = {name: getattr(value, name) for name in hold.c.keys()}
    await conn.execute(insert(hold).values(values | {"state": value.state.value}))


async def resize_hold(conn: AsyncConnection, hold_id: str, quantity: int, expires_at_ms: int) -> None:
    """Give a living hold another quantity and expiry."""
    await conn.execute(update(hold).where(hold.c.id == hold_id).values(quantity=quantity, expires_at_ms=expires_at_ms))


async def set_state(
    conn: AsyncConnection,
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
    result = await conn.execute(
        update(hold)
        .where(hold.c.id.in_([one.id for one in holds]), hold.c.state == before.pop().value)
        .values(state=to.value, order_id=order_id, claim_until_ms=claim_until_ms)
    )
    assert result.rowcount == len(holds), "their levels are locked"


async def overdue_skus(conn: AsyncConnection, now_ms: int, limit: int) -> list[str]:
    """Some SKUs that have expired holds which nobody is paying for."""
    statement = (
        select(hold.c.sku)
        .where(hold.c.state == HoldState.active.value, _LIVE, hold.c.expires_at_ms <= now_ms)
        .distinct()
        .limit(limit)
    )
    return list(await conn.scalars(statement))


async def overdue_holds(conn: AsyncConnection, skus: Sequence[str], now_ms: int, limit: int) -> list[Hold]:
    """Expired holds of `skus`, whose levels are locked."""
    statement = (
        _HOLDS.where(
            hold.c.sku.in_(skus), _LIVE, hold.c.state == HoldState.active.value, hold.c.expires_at_ms <= now_ms
        )
        .order_by(hold.c.sku, hold.c.id)
        .limit(limit)
    )
    return [_hold(row) for row in await conn.execute(statement)]


async def claimed_holds(conn: AsyncConnection, order_id: str) -> list[Hold]:
    """The holds that a check-out is paying for."""
    statement = _HOLDS.where(hold.c.order_id == order_id, hold.c.state == HoldState.claiming.value).order_by(hold.c.id)
    return [_hold(row) for row in await conn.execute(statement)]


async def overdue_claims(conn: AsyncConnection, now_ms: int, limit: int) -> list[str]:
    """Ids of orders whose payment did not answer in time."""
    statement = (
        select(hold.c.order_id)
        .where(hold.c.state == HoldState.claiming.value, _LIVE, hold.c.claim_until_ms <= now_ms)
        .distinct()
        .limit(limit)
    )
    return [str(order_id) for order_id in await conn.scalars(statement)]


# --- orders ---------------------------------------------------------------------------------------------------


async def insert_order(conn: AsyncConnection, order: Order, cart: str) -> None:
    """Store a new order with its lines."""
    values = msgspec.structs.asdict(order) | {"state": order.state.value, "cart": cart}
    del values["lines"]
    await conn.execute(insert(orders).values(values))
    rows = [
        msgspec.structs.asdict(line) | {"order_id": order.id, "position": position}
        for position, line in enumerate(order.lines)
    ]
    await conn.execute(insert(order_line), rows)


async def find_order(conn: AsyncConnection, order_id: str) -> Order | None:
    """One order with its lines."""
    row = (await conn.execute(select(orders).where(orders.c.id == order_id))).first()
    if row is None:
        return None
    columns = [order_line.c[name] for name in OrderLine.__struct_fields__]
    statement = select(*columns).where(order_line.c.order_id == order_id).order_by(order_line.c.position)
    lines = [OrderLine(**line._mapping) for line in await conn.execute(statement)]
    members = {name: row._mapping[name] for name in Order.__struct_fields__ if name != "lines"}
    return Order(**{**members, "state": OrderState(row.state), "lines": lines})


async def save_order(conn: AsyncConnection, order: Order) -> None:
    """Write the state of an order whose cart is locked."""
    await conn.execute(
        update(orders).where(orders.c.id == order.id).values(state=order.state.value, placed_at_ms=order.placed_at_ms)
    )


# --- kept answers ---------------------------------------------------------------------------------------------


async def kept_answer(conn: AsyncConnection, scope: str, key: str) -> Kept | None:
    """What was answered under a key; the cart that is its scope is locked."""
    columns = [idempotency.c[name] for name in Kept.__struct_fields__]
    statement = select(*columns).where(idempotency.c.scope == scope, idempotency.c.key == key)
    row = (await conn.execute(statement)).first()
    return None if row is None else Kept(**row._mapping)


async def keep_answer(
    conn: AsyncConnection, scope: str, key: str, request_hash: str, response: dict[str, Any] | None, now_ms: int
) -> None:
    """Store a key with its answer; None: the answer comes later."""
    values = {"request_hash": request_hash, "response": response, "created_at_ms": now_ms}
    await conn.execute(insert(idempotency).values(values | {"scope": scope, "key": key}))


async def forget_answer(conn: AsyncConnection, scope: str, key: str) -> None:
    """Let a key be used again, because nothing came of it."""
    await conn.execute(delete(idempotency).where(idempotency.c.scope == scope, idempotency.c.key == key))


async def prune_answers(conn: AsyncConnection, before_ms: int) -> None:
    """Forget answers that are older than that."""
    await conn.execute(delete(idempotency).where(idempotency.c.created_at_ms < before_ms))


# --- figures --------------------------------------------------------------------------------------------------


async def count_carts(conn: AsyncConnection, show: str) -> int:
    """How many carts of a show hold something."""
    return int(await conn.scalar(select(func.count(hold.c.cart.distinct())).where(hold.c.show == show, _LIVE)) or 0)


async def count_adds(conn: AsyncConnection, show: str, since_ms: int) -> int:
    """How often something was put into a cart of a show since then."""
    moved = stock_movement.c
    statement = select(func.count()).where(
        moved.show == show, moved.kind == Movement.held.value, moved.created_at_ms > since_ms
    )
    return int(await conn.scalar(statement) or 0)


async def sales(conn: AsyncConnection, show: str) -> list[tuple[str, int, int]]:
    """Currency, number of placed orders and their sum in minor units; the currency with most orders first."""
    statement = (
        select(orders.c.currency, func.count().label("orders"), func.sum(orders.c.total_minor).label("total"))
        .where(orders.c.show == show, orders.c.state == OrderState.placed.value)
        .group_by(orders.c.currency)
        .order_by(func.count().desc(), orders.c.currency)
    )
    return [(row.currency, int(row.orders), int(row.total)) for row in await conn.execute(statement)]
