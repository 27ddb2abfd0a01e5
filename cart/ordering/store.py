"""SQL of orders. The cart of an order is locked by whoever changes it; `cart/store.py` says in which order."""

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update

from cart.ordering.orders import Order, OrderLine, OrderState
from cart.ordering.tables import order_line, orders

_INSERT_ORDER = insert(orders)
_INSERT_LINES = insert(order_line)
_ORDER = select(orders).where(orders.c.id == bindparam("the_order"))
_LINES = (
    select(*[order_line.c[name] for name in OrderLine.__struct_fields__])
    .where(order_line.c.order_id == bindparam("of_order"))
    .order_by(order_line.c.position)
)
_SAVE_ORDER = (
    update(orders)
    .where(orders.c.id == bindparam("the_order"))
    .values(state=bindparam("to_state"), placed_at_ms=bindparam("to_ms"))
)


def insert_order(conn: Connection, order: Order, cart: str) -> None:
    """Store a new order with its lines."""
    values = msgspec.structs.asdict(order) | {"state": order.state.value, "cart": cart}
    del values["lines"]
    conn.execute(_INSERT_ORDER, values)
    rows = [
        msgspec.structs.asdict(line) | {"order_id": order.id, "position": position}
        for position, line in enumerate(order.lines)
    ]
    conn.execute(_INSERT_LINES, rows)


def find_order(conn: Connection, order_id: str) -> Order | None:
    """One order with its lines."""
    row = conn.execute(_ORDER, {"the_order": order_id}).first()
    if row is None:
        return None
    lines = [OrderLine(**line._mapping) for line in conn.execute(_LINES, {"of_order": order_id})]
    members = {name: row._mapping[name] for name in Order.__struct_fields__ if name != "lines"}
    return Order(**{**members, "state": OrderState(row.state), "lines": lines})


def save_order(conn: Connection, order: Order) -> None:
    """Write the state of an order whose cart is locked."""
    conn.execute(_SAVE_ORDER, {"the_order": order.id, "to_state": order.state.value, "to_ms": order.placed_at_ms})
