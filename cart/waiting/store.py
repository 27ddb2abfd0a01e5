"""SQL of the waitlist. Rows of a SKU change only while its level is locked; `stock_level.waiting` is kept with them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, bindparam, delete, exists, func, insert, or_, select, text, update

from cart.stock import LIVE, MAIN, HoldState
from cart.store import LIVE_HOLD
from cart.tables import hold, stock_level
from cart.waiting.places import Offer, Place, Queue, Waiter
from cart.waiting.tables import CURRENT, WAITING, sale_drop, waitlist

_WAITER = [waitlist.c[name] for name in Waiter.__struct_fields__]
_ahead = waitlist.alias("ahead")
_POSITION = (
    select(func.count())
    .where(_ahead.c.sku == waitlist.c.sku, _ahead.c.hold_id.is_(None), _ahead.c.number <= waitlist.c.number)
    .scalar_subquery()
)
_PLACES = (
    select(waitlist, _POSITION.label("position"), hold.c.expires_at_ms, hold.c.state)
    .outerjoin(hold, hold.c.id == waitlist.c.hold_id)
    .where(waitlist.c.viewer_id.in_(bindparam("viewers", expanding=True)))
    .order_by(waitlist.c.id)
)
_HEADS = (
    select(*_WAITER)
    .where(
        waitlist.c.sku == bindparam("of_sku"),
        WAITING,
        waitlist.c.number > bindparam("after"),
        waitlist.c.show.not_in(bindparam("shut", expanding=True)),
    )
    .order_by(waitlist.c.number)
    .limit(bindparam("most"))
)
_OF_CARTS = (
    select(*_WAITER)
    .where(waitlist.c.sku == bindparam("of_sku"), WAITING, waitlist.c.cart.in_(bindparam("carts", expanding=True)))
    .order_by(waitlist.c.number)
)
# Who is paying for some gets no more meanwhile: were these looked at again and again, those behind them never were.
_paying = exists().where(
    hold.c.cart == waitlist.c.cart, hold.c.sku == waitlist.c.sku, LIVE_HOLD, hold.c.state == HoldState.claiming.value
)
_NEXT = _HEADS.where(~_paying)
_TRY_CARTS = text(
    "SELECT cart, pg_try_advisory_xact_lock(hashtextextended(cart, 0)) AS locked"
    " FROM unnest(CAST(:carts AS text[])) AS cart"
)
_OFFER = (
    update(waitlist).where(waitlist.c.id == bindparam("place")).values(hold_id=bindparam("to"), offered=bindparam("of"))
)
_LIVE_STATES = {state.value for state in LIVE}


def try_carts(conn: Connection, carts: Sequence[str]) -> set[str]:
    """Those of the carts that nobody else is changing, which nobody else changes before this transaction ends.

    Never waits: it is asked for with levels locked, and everybody else locks carts first.
    """
    if conn.dialect.name != "postgresql":
        return set(carts)
    return {row.cart for row in conn.execute(_TRY_CARTS, {"carts": list(dict.fromkeys(carts))}) if row.locked}


def heads(conn: Connection, sku: str, after: int, most: int, shut: Sequence[str]) -> list[Waiter]:
    """The first whose turn it may be behind number `after`: without those of the shows `shut`, and those who pay."""
    rows = conn.execute(_NEXT, {"of_sku": sku, "after": after, "most": most, "shut": list(shut)})
    return [Waiter(*row) for row in rows]


def of_carts(conn: Connection, sku: str, carts: Sequence[str]) -> list[Waiter]:
    """Who waits for a SKU with one of these carts."""
    rows = conn.execute(_OF_CARTS, {"of_sku": sku, "carts": list(carts)})
    return [Waiter(*row) for row in rows]


def front(conn: Connection, sku: str, most: int) -> list[Waiter]:
    """The first who wait for a SKU."""
    rows = conn.execute(_HEADS, {"of_sku": sku, "after": 0, "most": most, "shut": []})
    return [Waiter(*row) for row in rows]


def places(conn: Connection, viewers: Sequence[str]) -> dict[str, list[Place]]:
    """The places of each viewer, in the order of joining; offers that are over are none."""
    found: dict[str, list[Place]] = {viewer: [] for viewer in viewers}
    for row in conn.execute(_PLACES, {"viewers": list(viewers)}):
        offer = None
        if row.hold_id is not None:
            if row.state not in _LIVE_STATES:
                continue
            offer = Offer(row.hold_id, row.offered, row.expires_at_ms)
        position = row.position if offer is None else None
        place = Place(row.sku, row.product_id, row.show, row.quantity, row.joined_at_ms, position, offer)
        found[row.viewer_id].append(place)
    return found


def count_places(conn: Connection, viewer_id: str) -> int:
    """For how many SKUs a viewer waits."""
    return conn.scalar(select(func.count()).where(waitlist.c.viewer_id == viewer_id, WAITING)) or 0


def join(conn: Connection, waiter: Waiter) -> None:
    """A place at the end of the queue, instead of an offer that the viewer had before; its number is given here."""
    forget(conn, waiter.viewer_id, waiter.sku)
    last = conn.scalar(select(func.max(waitlist.c.number)).where(waitlist.c.sku == waiter.sku, WAITING)) or 0
    conn.execute(insert(waitlist).values(msgspec.structs.asdict(waiter) | {"number": last + 1}))
    _count(conn, waiter.sku, 1)


def change(conn: Connection, viewer_id: str, sku: str, values: Mapping[str, Any]) -> None:
    """Change where and how much a viewer waits for."""
    conn.execute(
        update(waitlist).where(waitlist.c.viewer_id == viewer_id, waitlist.c.sku == sku, WAITING).values(**values)
    )


def forget(conn: Connection, viewer_id: str, sku: str) -> None:
    """Take an offer off the list."""
    conn.execute(delete(waitlist).where(waitlist.c.viewer_id == viewer_id, waitlist.c.sku == sku, ~WAITING))


def leave(conn: Connection, sku: str, ids: Sequence[str] | None, viewer_id: str | None = None) -> int:
    """Take places that wait off the list, by their ids or by whose they are; how many there were."""
    mine = waitlist.c.id.in_(ids) if ids is not None else waitlist.c.viewer_id == viewer_id
    gone = conn.execute(delete(waitlist).where(waitlist.c.sku == sku, mine, WAITING)).rowcount
    if gone:
        _count(conn, sku, -gone)
    return gone


def offer(conn: Connection, sku: str, offered: Sequence[tuple[str, str, int]]) -> None:
    """Places get offers: (place, hold, units)."""
    if offered:
        conn.execute(_OFFER, [{"place": place, "to": hold_id, "of": units} for place, hold_id, units in offered])
        _count(conn, sku, -len(offered))


def _count(conn: Connection, sku: str, more: int) -> None:
    conn.execute(
        update(stock_level)
        .where(stock_level.c.sku == sku, stock_level.c.location == MAIN)
        .values(waiting=stock_level.c.waiting + more)
    )


def queues(conn: Connection, skus: Iterable[str] | None = None, product_ids: Sequence[str] = ()) -> list[Queue]:
    """How many wait for each of these SKUs (None: for those of these products), in their order; of nobody: left out."""
    these = waitlist.c.product_id.in_(list(product_ids)) if skus is None else waitlist.c.sku.in_(list(skus))
    statement = (
        select(waitlist.c.sku, func.count(), func.sum(waitlist.c.quantity))
        .where(these, WAITING)
        .group_by(waitlist.c.sku)
        .order_by(waitlist.c.sku)
    )
    return [Queue(sku, waiting, int(units)) for sku, waiting, units in conn.execute(statement)]


def shows_waited_in(conn: Connection, sku: str) -> list[str]:
    """Shows in which somebody joined the queue of a SKU."""
    return list(conn.scalars(select(waitlist.c.show).where(waitlist.c.sku == sku, WAITING).distinct()))


def due(conn: Connection, after: str, limit: int) -> list[str]:
    """SKUs that have free units and a queue, in their order, behind `after` ("": from the first on)."""
    level = stock_level.c
    queued = select(waitlist.c.sku).where(WAITING, waitlist.c.sku > after)
    free = level.on_hand - level.allocated - level.held > 0
    statement = select(level.sku).where(level.sku.in_(queued), level.location == MAIN, free)
    return list(conn.scalars(statement.order_by(level.sku).limit(limit)))


def shut_out(conn: Connection, now_ms: int, limit: int) -> list[Waiter]:
    """Who waits in a show for what a drop sells there that is over."""
    over = CURRENT, sale_drop.c.closes_at_ms <= now_ms
    here = exists().where(sale_drop.c.sku == waitlist.c.sku, sale_drop.c.show == waitlist.c.show, *over)
    # The few SKUs first: all who wait anywhere are looked through once a second otherwise.
    these = waitlist.c.sku.in_(select(sale_drop.c.sku).where(*over)), here
    statement = select(*_WAITER).where(WAITING, *these).order_by(waitlist.c.sku, waitlist.c.number).limit(limit)
    return [Waiter(*row) for row in conn.execute(statement)]


def prune(conn: Connection) -> int:
    """Forget offers whose holds are over; how many there were."""
    alive = exists().where(hold.c.id == waitlist.c.hold_id, LIVE_HOLD)
    return conn.execute(delete(waitlist).where(and_(~WAITING, ~alive))).rowcount


def drift(conn: Connection) -> list[tuple[str, int, int]]:
    """Levels whose `waiting` is not the number of places: (SKU, what it says, places)."""
    count = (
        select(waitlist.c.sku, func.count().label("places")).where(WAITING).group_by(waitlist.c.sku).subquery("counted")
    )
    found = func.coalesce(count.c.places, 0)
    statement = (
        select(stock_level.c.sku, stock_level.c.waiting, found)
        .outerjoin(count, count.c.sku == stock_level.c.sku)
        .where(stock_level.c.location == MAIN, or_(stock_level.c.waiting > 0, found > 0))
        .where(stock_level.c.waiting != found)
    )
    return [(row[0], row[1], row[2]) for row in conn.execute(statement)]
