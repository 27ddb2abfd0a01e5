"""SQL of how a show sells."""

from sqlalchemy import Connection, func, select

from cart.ordering.orders import OPEN
from cart.ordering.tables import orders
from cart.stock import Movement
from cart.store import LIVE_HOLD
from cart.tables import hold, stock_movement

_STANDING = [state.value for state in OPEN]


def count_carts(conn: Connection, show: str) -> int:
    """How many carts of a show hold something."""
    return int(conn.scalar(select(func.count(hold.c.cart.distinct())).where(hold.c.show == show, LIVE_HOLD)) or 0)


def count_adds(conn: Connection, show: str, since_ms: int) -> int:
    """How often something was put into a cart of a show since then."""
    moved = stock_movement.c
    statement = select(func.count()).where(
        moved.show == show, moved.kind == Movement.held.value, moved.created_at_ms > since_ms
    )
    return int(conn.scalar(statement) or 0)


def sales(conn: Connection, show: str) -> list[tuple[str, int, int]]:
    """Currency, number of orders that stand and their sum in minor units, less what was given back of them.

    The currency with most orders comes first.
    """
    kept = func.sum(orders.c.total_minor - orders.c.refunded_minor)
    statement = (
        select(orders.c.currency, func.count().label("orders"), kept.label("total"))
        .where(orders.c.show == show, orders.c.state.in_(_STANDING))
        .group_by(orders.c.currency)
        .order_by(func.count().desc(), orders.c.currency)
    )
    return [(row.currency, int(row.orders), int(row.total)) for row in conn.execute(statement)]
