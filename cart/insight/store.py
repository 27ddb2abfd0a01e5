"""SQL of what a show's pins sold.

Both sums begin at an index of the show (`ix_orders_show`, `ix_stock_movement_show`) and reach lines and holds by
their keys. Pins are named by UUIDv7, so the newest ones are those from the oldest listed id on.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    bindparam,
    case,
    distinct,
    func,
    literal,
    select,
    union_all,
)

from cart.insight.report import EARLIER, ORDERS, SHIPPING, UNPINNED, Pinned, Sum, Taken
from cart.ordering.orders import OPEN
from cart.ordering.tables import order_line, orders
from cart.stock import Movement
from cart.tables import hold, product, stock_movement
from live.store import pin

_NONE = literal(0, BigInteger)
_STANDS = orders.c.state.in_([state.value for state in OPEN])
_PLACED = orders.c.show == bindparam("the_show"), orders.c.placed_at_ms.is_not(None)


def _place(stamp: ColumnElement[str | None]) -> ColumnElement[str]:
    return case(
        (stamp.is_(None), literal(UNPINNED, String)),
        (stamp < bindparam("oldest", type_=String), literal(EARLIER, String)),
        else_=stamp,
    )


def _lines() -> Select[Any]:
    line = order_line.c
    # What its first `refunded` units are worth: as `refunds.worth`, which gives the money back.
    given = line.line_minor * line.refunded // line.quantity
    each = (
        select(
            _place(line.pin_id).label("place"), orders.c.currency, line.order_id, line.hold_id, line.quantity,
            (line.cancelled + line.returned).label("back"), line.line_minor,
            case((_STANDS, given), else_=line.line_minor).label("off_minor"),
        )
        .select_from(orders.join(order_line, line.order_id == orders.c.id))
        .where(*_PLACED)
        .subquery()
    )  # fmt: skip
    return select(
        each.c.place, each.c.currency, func.count(distinct(each.c.order_id)).label("orders"),
        func.count(distinct(each.c.hold_id)).label("holds"), func.sum(each.c.quantity).label("units"),
        func.sum(each.c.back).label("units_back"), func.sum(each.c.line_minor).label("gross_minor"),
        func.sum(each.c.off_minor).label("off_minor"),
    ).group_by(each.c.place, each.c.currency)  # fmt: skip


def _whole(place: str, gross: ColumnElement[int], given: ColumnElement[int]) -> Select[Any]:
    off = func.sum(case((_STANDS, given), else_=gross))
    return (
        select(
            literal(place, String).label("place"), orders.c.currency, func.count().label("orders"),
            _NONE.label("holds"), _NONE.label("units"), _NONE.label("units_back"),
            func.sum(gross).label("gross_minor"), off.label("off_minor"),
        )
        .where(*_PLACED)
        .group_by(orders.c.currency)
    )  # fmt: skip


# One statement, so that lines and orders are of the same moment.
SUMS = union_all(
    _lines(),
    _whole(SHIPPING, orders.c.shipping_minor, orders.c.shipping_refunded_minor),
    _whole(ORDERS, orders.c.total_minor, orders.c.refunded_minor),
)
_MOVED = (
    select(_place(hold.c.pin_id).label("place"), stock_movement.c.quantity, stock_movement.c.hold_id)
    .select_from(stock_movement.join(hold, hold.c.id == stock_movement.c.hold_id))
    .where(stock_movement.c.show == bindparam("the_show"), stock_movement.c.kind == Movement.held.value)
    .subquery()
)
TAKEN = select(
    _MOVED.c.place, func.count().label("adds"), func.sum(_MOVED.c.quantity).label("units"),
    func.count(distinct(_MOVED.c.hold_id)).label("holds"),
).group_by(_MOVED.c.place)  # fmt: skip
PINS = (
    select(pin.c.id, pin.c.product_id, product.c.title, pin.c.pinned_at_ms, pin.c.unpinned_at_ms)
    .select_from(pin.outerjoin(product, product.c.id == pin.c.product_id))
    .where(pin.c.show_id == bindparam("the_show"))
    .order_by(pin.c.id.desc())
    .limit(bindparam("most", type_=Integer))
)


def pins(conn: Connection, show: str, most: int) -> list[Pinned]:
    """The newest pins of a show, the oldest of them first."""
    found = [Pinned(**row._mapping) for row in conn.execute(PINS, {"the_show": show, "most": most})]
    return found[::-1]


def sums(conn: Connection, show: str, listed: Sequence[Pinned]) -> list[Sum]:
    """What was ordered in a show, by pin and currency; of pins before those that are listed, together."""
    rows = conn.execute(SUMS, _values(show, listed))
    return [Sum(row.place, row.currency, *map(int, row[2:])) for row in rows]


def taken(conn: Connection, show: str, listed: Sequence[Pinned]) -> list[Taken]:
    """What was put into carts of a show, by pin."""
    return [Taken(row.place, *map(int, row[1:])) for row in conn.execute(TAKEN, _values(show, listed))]


def _values(show: str, listed: Sequence[Pinned]) -> dict[str, str]:
    return {"the_show": show, "oldest": listed[0].id if listed else ""}
