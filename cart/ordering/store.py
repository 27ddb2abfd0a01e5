"""SQL of orders, of the steps of their payments, and of the shop's facts.

The cart of an order is the lock of all that changes it; `cart/store.py` says in which order locks are taken.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, exists, insert, select, update

from cart.ordering.orders import Order, OrderLine, OrderState
from cart.ordering.payments import Step, StepKind, StepState
from cart.ordering.shipping import Method
from cart.ordering.tables import order_line, orders, payment_step, shipping_method, shop_fact
from cart.stock import HoldState
from cart.tables import hold
from live.core.codec import convert, plain
from live.core.limits import ORDERS_LISTED_MAX, SHIPPING_METHODS_MAX

_ORDER_FIELDS = [name for name in Order.__struct_fields__ if name != "lines"]
_LINE_FIELDS = OrderLine.__struct_fields__
_INSERT_ORDER = insert(orders)
_INSERT_LINES = insert(order_line)
_ORDER = select(orders).where(orders.c.id == bindparam("the_order"))
_LINES = (
    select(order_line).where(order_line.c.order_id.in_(bindparam("of_orders", expanding=True)))
    .order_by(order_line.c.order_id, order_line.c.position)
)  # fmt: skip
_SAVED = ("state", "placed_at_ms", "captured_minor", "refunded_minor", "shipping_refunded_minor", "shipped_at_ms")
_SAVE_ORDER = update(orders).where(orders.c.id == bindparam("the_order")).values(
    {name: bindparam(f"to_{name}") for name in _SAVED}
)  # fmt: skip
_SAVE_LINE = update(order_line).where(
    order_line.c.order_id == bindparam("the_order"), order_line.c.sku == bindparam("the_sku")
).values({name: bindparam(f"to_{name}") for name in ("cancelled", "refunded", "returned")})  # fmt: skip
_INSERT_STEP = insert(payment_step)
_STEPS = select(payment_step).where(payment_step.c.order_id == bindparam("of_order")).order_by(payment_step.c.id)
_SAVE_STEP = update(payment_step).where(payment_step.c.id == bindparam("the_step")).values(
    {name: bindparam(f"to_{name}") for name in ("reference", "state", "reason", "attempts", "due_at_ms", "done_at_ms")}
)  # fmt: skip


# --- orders ---------------------------------------------------------------------------------------------------


def insert_order(conn: Connection, order: Order, cart: str) -> None:
    """Store a new order with its lines."""
    values = plain(order)
    lines = values.pop("lines")
    conn.execute(_INSERT_ORDER, values | {"cart": cart})
    rows = [line | {"order_id": order.id, "position": position} for position, line in enumerate(lines)]
    conn.execute(_INSERT_LINES, rows)


def find_order(conn: Connection, order_id: str) -> Order | None:
    """One order with its lines."""
    row = conn.execute(_ORDER, {"the_order": order_id}).first()
    return None if row is None else _orders(conn, [row])[0]


def find_number(conn: Connection, number: str) -> Order | None:
    """The order with a number as `orders.read_number` makes it."""
    row = conn.execute(select(orders).where(orders.c.number == number)).first()
    return None if row is None else _orders(conn, [row])[0]


def list_orders(
    conn: Connection, *, before: str, viewer_id: str | None = None, show: str | None = None, state: str | None = None
) -> list[Order]:
    """A page of orders, the newest first. `before`: the last id of the page before, "" for the first page.

    `viewer_id` None: of all buyers; `show` None: of all shows; `state` None: in all states.
    """
    statement = select(orders).order_by(orders.c.id.desc()).limit(ORDERS_LISTED_MAX)
    if before:
        statement = statement.where(orders.c.id < before)
    for column, value in ((orders.c.viewer_id, viewer_id), (orders.c.show, show), (orders.c.state, state)):
        if value is not None:
            statement = statement.where(column == value)
    return _orders(conn, list(conn.execute(statement)))


def _orders(conn: Connection, rows: Sequence[Row[Any]]) -> list[Order]:
    lines: dict[str, list[dict[str, Any]]] = {row.id: [] for row in rows}
    for line in conn.execute(_LINES, {"of_orders": list(lines)}):
        lines[line.order_id].append({name: line._mapping[name] for name in _LINE_FIELDS})
    return [
        convert({name: row._mapping[name] for name in _ORDER_FIELDS} | {"lines": lines[row.id]}, Order) for row in rows
    ]


def save_order(conn: Connection, order: Order, before: Order | None = None) -> None:
    """Write what changes of an order whose cart is locked; lines that differ from `before` as well (None: no line)."""
    values = {f"to_{name}": getattr(order, name) for name in _SAVED} | {"to_state": order.state.value}
    conn.execute(_SAVE_ORDER, values | {"the_order": order.id})
    changed = [
        {
            "the_order": order.id,
            "the_sku": line.sku,
            "to_cancelled": line.cancelled,
            "to_refunded": line.refunded,
            "to_returned": line.returned,
        }
        for line, old in zip(order.lines, before.lines if before is not None else order.lines, strict=True)
        if line != old
    ]
    if changed:
        conn.execute(_SAVE_LINE, changed)


def bought_elsewhere(conn: Connection, order: Order) -> bool:
    """Whether any hold of an order belongs to another order by now."""
    found = exists().where(
        hold.c.id.in_([line.hold_id for line in order.lines]),
        hold.c.state.in_([HoldState.claiming.value, HoldState.claimed.value]),
        hold.c.order_id != order.id,
    )
    return bool(conn.scalar(select(found)))


# --- steps of payments ----------------------------------------------------------------------------------------


def insert_step(conn: Connection, step: Step) -> None:
    """Write down what a provider is to be asked; its key is new."""
    values = msgspec.structs.asdict(step) | {"kind": step.kind.value, "state": step.state.value}
    conn.execute(_INSERT_STEP, values)


def steps(conn: Connection, order_id: str) -> list[Step]:
    """All steps of an order, the oldest first."""
    return [_step(row) for row in conn.execute(_STEPS, {"of_order": order_id})]


def save_step(conn: Connection, step: Step) -> None:
    """Write what changes of a step, whose order's cart is locked."""
    values = {
        "to_reference": step.reference,
        "to_state": step.state.value,
        "to_reason": step.reason,
        "to_attempts": step.attempts,
        "to_due_at_ms": step.due_at_ms,
        "to_done_at_ms": step.done_at_ms,
    }
    conn.execute(_SAVE_STEP, values | {"the_step": step.id})


def take_step(conn: Connection, step: Step, now_ms: int, until_ms: int) -> bool:
    """Have a step that is due to oneself until then; False: another worker asks, or it is not due any more."""
    mine = payment_step.c
    statement = (
        update(payment_step)
        .where(mine.id == step.id, mine.state == StepState.wanted.value, mine.due_at_ms <= now_ms)
        .values(due_at_ms=until_ms)
    )
    return conn.execute(statement).rowcount == 1


def due_steps(conn: Connection, now_ms: int, limit: int) -> list[Step]:
    """Steps whose time has come."""
    statement = select(payment_step).where(payment_step.c.due_at_ms <= now_ms)
    return [_step(row) for row in conn.execute(statement.order_by(payment_step.c.due_at_ms).limit(limit))]


def _step(row: Row[Any]) -> Step:
    return Step(**{**row._mapping, "kind": StepKind(row.kind), "state": StepState(row.state)})


# --- facts of the shop ----------------------------------------------------------------------------------------


def methods(conn: Connection) -> list[Method]:
    """All ways of shipping, in the shop's order."""
    rows = conn.execute(select(shipping_method).order_by(shipping_method.c.position, shipping_method.c.id))
    return [convert(row.method, Method) for row in rows.all()[:SHIPPING_METHODS_MAX]]


def save_methods(conn: Connection, found: Sequence[Method], now_ms: int) -> None:
    """Replace all ways of shipping."""
    conn.execute(delete(shipping_method))
    rows = [
        {"id": method.id, "position": position, "method": plain(method), "changed_at_ms": now_ms}
        for position, method in enumerate(found)
    ]
    if rows:
        conn.execute(insert(shipping_method), rows)


def fact(conn: Connection, name: str) -> dict[str, Any] | None:
    """A fact of the shop, such as its seller; None: it was never said."""
    value: dict[str, Any] | None = conn.scalar(select(shop_fact.c.value).where(shop_fact.c.name == name))
    return value


def save_fact(conn: Connection, name: str, value: dict[str, Any], now_ms: int) -> None:
    """Say it anew."""
    conn.execute(delete(shop_fact).where(shop_fact.c.name == name))
    conn.execute(insert(shop_fact).values(name=name, value=value, changed_at_ms=now_ms))


def states() -> list[str]:
    """The names of all states an order can be in."""
    return [state.value for state in OrderState]
