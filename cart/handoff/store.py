"""SQL of hand-offs; each is an order, whose cart is the lock of all that changes it."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from cart.handoff.tables import handoff
from cart.ordering import store as order_store
from cart.ordering.orders import EXTERNAL, Order, OrderState
from cart.ordering.tables import order_line, orders
from cart.pricing import store as price_store
from cart.store import LIVE_HOLD
from cart.tables import hold
from cart.waiting import store as waiting_store
from cart.waiting.tables import waitlist
from live.core.codec import plain

_SOLD = ("external_number", "subtotal_minor", "discounts", "shipping_minor", "total_minor", "taxes")


class Handoff(msgspec.Struct, frozen=True):
    """What its order does not say: until when its units are kept, and what was reported (None: nothing yet)."""

    order_id: str
    expires_at_ms: int
    report_hash: str | None
    answer: dict[str, Any] | None
    created_at_ms: int


def insert_handoff(conn: Connection, made: Handoff) -> None:
    """Remember what was handed over."""
    conn.execute(insert(handoff).values(msgspec.structs.asdict(made)))


def find(conn: Connection, handoff_id: str) -> tuple[Order, Handoff] | None:
    """A hand-off with its order."""
    row = conn.execute(select(handoff).where(handoff.c.order_id == handoff_id)).first()
    order = None if row is None else order_store.find_order(conn, handoff_id)
    return None if row is None or order is None else (order, Handoff(**row._mapping))


def running(conn: Connection, cart: str) -> tuple[Order, Handoff] | None:
    """The hand-off that a cart waits for."""
    mine = orders.c
    where = mine.cart == cart, mine.state == OrderState.pending.value, mine.source == EXTERNAL
    statement = select(mine.id).join(hold, hold.c.order_id == mine.id).where(hold.c.cart == cart, LIVE_HOLD, *where)
    id_ = conn.scalar(statement.limit(1))
    return None if id_ is None else find(conn, id_)


def order_of(conn: Connection, number: str) -> str | None:
    """The order that is known by a number of the merchant's."""
    found: str | None = conn.scalar(select(orders.c.id).where(orders.c.external_number == number))
    return found


def save_sold(conn: Connection, sold: Order) -> None:
    """Write an order's lines and prices as they were sold, before it is placed."""
    values = plain(sold)
    conn.execute(update(orders).where(orders.c.id == sold.id).values({name: values[name] for name in _SOLD}))
    conn.execute(delete(order_line).where(order_line.c.order_id == sold.id))
    rows = [line | {"order_id": sold.id, "position": place} for place, line in enumerate(values["lines"])]
    conn.execute(insert(order_line), rows)


def save_report(conn: Connection, handoff_id: str, report_hash: str, answer: dict[str, Any]) -> None:
    """Remember what was reported, and what that was answered."""
    conn.execute(update(handoff).where(handoff.c.order_id == handoff_id).values(report_hash=report_hash, answer=answer))


def shows_of(conn: Connection, viewer_id: str) -> list[str]:
    """The shows in which a viewer holds something, or waits for it."""
    held = select(hold.c.show).where(LIVE_HOLD, hold.c.viewer_id == viewer_id)
    return sorted(conn.scalars(held.union(select(waitlist.c.show).where(waitlist.c.viewer_id == viewer_id))))


def waited_for(conn: Connection, viewer_id: str) -> set[str]:
    """The SKUs that a viewer waits for."""
    return set(conn.scalars(select(waitlist.c.sku).where(waitlist.c.viewer_id == viewer_id)))


def pass_places(conn: Connection, show: str, viewer_id: str, to: str, cart: str) -> set[str]:
    """Let `to` wait where a viewer waits in a show, once for each SKU, whose levels are locked: of two places the one
    further ahead is kept, and none beside an offer that stands. The SKUs whose queues are shorter now."""
    place = waitlist.c
    own = {row.sku: row for row in conn.execute(select(waitlist).where(place.viewer_id == to))}
    mine = conn.execute(select(waitlist).where(place.viewer_id == viewer_id, place.show == show)).all()
    offers = [one.hold_id for one in own.values() if one.hold_id is not None]
    standing = set(conn.scalars(select(hold.c.id).where(hold.c.id.in_(offers), LIVE_HOLD)))
    shorter: set[str] = set()
    for row in mine:
        other = own.get(row.sku)
        if other is not None and row.hold_id is None:
            if other.hold_id is None:
                behind = max(row, other, key=lambda one: one.number)
                shorter.add(row.sku)
                waiting_store.leave(conn, row.sku, [behind.id])
                if behind is row:
                    continue
            elif other.hold_id in standing:
                shorter.add(row.sku)
                waiting_store.leave(conn, row.sku, [row.id])
                continue
            else:
                waiting_store.forget(conn, to, row.sku)
        elif other is not None:
            continue
        conn.execute(update(waitlist).where(place.id == row.id).values(viewer_id=to, cart=cart))
    return shorter


def pass_on(conn: Connection, hold_id: str, cart: str, viewer_id: str) -> None:
    """Let another cart of the same show have a hold; both carts and its level are locked."""
    conn.execute(update(hold).where(hold.c.id == hold_id).values(cart=cart, viewer_id=viewer_id))


def coupons_of(conn: Connection, carts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The coupons of each of these carts that has some."""
    return {cart: one.coupons for cart, one in price_store.shoppers(conn, carts).items() if one.coupons}
