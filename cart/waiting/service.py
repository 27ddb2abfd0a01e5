"""What a shopper does who waits, and what happens to queues by itself."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection

from cart import catalogue, shelf, stock
from cart import store as cart_store
from cart.answers import Answer, check_key, once
from cart.moves import Moves
from cart.pricing.service import shopper_of
from cart.stock import Level
from cart.stockroom import Stockroom
from cart.waiting import store, turns
from cart.waiting.allowances import Gate
from cart.waiting.places import Place, Queue, Waiter, waiting_view
from cart.waiting.promises import Promised
from live import store as shows_store
from live.core.auth import Principal
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import SWEEP_BATCH, WAITLIST_BATCH, WAITLIST_MAX, WAITLIST_PLACES_MAX
from live.service import Shows

_log = structlog.get_logger(__name__)


class Waiting:
    """The waitlist. `promised` serves it within the transactions of others; somebody must call `look` and `tell`."""

    def __init__(self, database: Database, shows: Shows, stockroom: Stockroom, promised: Promised) -> None:
        self._database = database
        self._shows = shows
        self._stockroom = stockroom
        self._promised = promised
        self._looked_at = ""  # the last SKU of the last look; "": there were no more

    # --- what a shopper does ------------------------------------------------------------------------------------

    async def join(self, show: str, principal: Principal, sku: str, quantity: int = 1, *, key: str | None) -> Answer:
        """A place at the end of a SKU's queue, for up to so many units: {place}.

        Who waits already keeps the place, with this quantity and for the cart of this show; who has an offer is
        answered with it. Raises `Problem` unknown_show, unknown_sku, invalid_quantity, not_sold_out, waitlist_full,
        too_many_places, drop_not_open, drop_over, drop_customer_limit, key_reused.
        """
        stock.check_quantity(quantity)
        _check_sku(sku)

        def effect(moves: Moves, cart: str) -> dict[str, Any]:
            return {"place": plain(self._join(moves, cart, show, principal, sku, quantity))}

        return await self._once(show, principal, ("waitlist.join", sku, quantity), key, effect)

    async def leave(self, show: str, principal: Principal, sku: str, *, key: str | None) -> Answer:
        """Give a place up, if there is one: {place}, which is null, or an offer: that is taken out of the cart."""
        _check_sku(sku)

        def effect(moves: Moves, _cart: str) -> dict[str, Any]:
            conn, viewer = moves.tx.conn, principal.subject
            cart_store.lock_levels(conn, [sku])
            if store.leave(conn, sku, None, viewer):
                self._promised.note(sku)
                told = {"sku": sku, "place": None, "reason": "left"}
                moves.tx.notice(show, viewer, "waitlist.changed", told)
            return {"place": plain(_own(conn, viewer, sku))}

        return await self._once(show, principal, ("waitlist.leave", sku), key, effect)

    async def places(self, show: str, principal: Principal) -> list[Place]:
        """All of a shopper's places, in every show; raises `Problem` unknown_show."""

        def read(conn: Connection) -> list[Place]:
            self._shows.on_screen(conn, show)
            return store.places(conn, [principal.subject])[principal.subject]

        return await self._database.glance(read)

    async def queues(self, show: str) -> list[Queue]:
        """How many wait for what a show has in its lineup; raises `Problem` unknown_show."""

        def read(conn: Connection) -> list[Queue]:
            self._shows.on_screen(conn, show)
            return store.queues(conn, product_ids=shows_store.lineup(conn, show))

        return await self._database.read_sync(read)

    async def _once(
        self, show: str, principal: Principal, request: tuple[Any, ...], key: str | None, do: Any
    ) -> Answer:
        check_key(key)
        return await self._stockroom.change(lambda moves: once(moves, show, principal, request, key, do))

    def _join(self, moves: Moves, cart: str, show: str, who: Principal, sku: str, quantity: int) -> Place:
        conn, now_ms = moves.tx.conn, moves.tx.now_ms
        found = shelf.lock_offers(conn, [sku], moves.register.standard_bp)
        if sku not in found:
            raise Problem(Kind.unknown_sku, field="sku")
        offer, level = found[sku]
        own = _own(conn, who.subject, sku)
        if own is not None and own.offer is not None:
            return own
        moves.register.meet({cart: shopper_of(who)})
        moves.register.remember()  # the offer will be priced without the shopper
        if own is None:
            self._check_new(moves, show, who, level)
            waiter = Waiter(
                uuid7(now_ms), sku, 0, offer.product_id, who.subject, show, cart, quantity, joined_at_ms=now_ms
            )
            store.join(conn, waiter)
            self._promised.moved_on.setdefault(sku, False)
        else:
            store.change(conn, who.subject, sku, {"show": show, "cart": cart, "quantity": quantity})
        place = _own(conn, who.subject, sku)
        assert place is not None, "it has just been made"
        told = {"sku": sku, "place": plain(place), "reason": "joined"}
        moves.tx.notice(show, who.subject, "waitlist.changed", told)
        return place

    def _check_new(self, moves: Moves, show: str, who: Principal, level: Level) -> None:
        conn, sku = moves.tx.conn, level.sku
        gate = Gate(conn, [level], [(show, sku, who.subject)])
        drop = gate.drop(show, sku)
        if drop is not None:
            drop.check_window(moves.tx.now_ms)
            if drop.left_for(gate.own(drop, who.subject)) == 0:
                drop.check(moves.tx.now_ms, 1, gate.own(drop, who.subject))
        if level.available and level.waiting:
            moves.line_up(level)
            level = cart_store.levels(conn, [sku])[sku]
        free = level.available if drop is None else drop.left(level.available)
        if free and sku not in moves.reserved:
            raise Problem(Kind.not_sold_out, field="sku", extra={"sku": sku, "available": free})
        if level.waiting >= WAITLIST_MAX:
            raise Problem(Kind.waitlist_full, field="sku")
        if store.count_places(conn, who.subject) >= WAITLIST_PLACES_MAX:
            raise Problem(Kind.too_many_places, field="sku")

    # --- what happens by itself ---------------------------------------------------------------------------------

    async def look(self) -> int:
        """Serve queues that have free units, and end the places in drops that are over; how many SKUs had some."""

        def find(conn: Connection) -> tuple[list[str], list[Waiter]]:
            now_ms = self._database.now_ms_sync(conn)
            return store.due(conn, self._looked_at, SWEEP_BATCH), store.shut_out(conn, now_ms, WAITLIST_BATCH)

        skus, out = await self._database.read_sync(find)
        # Some cannot be served, for as long as a drop lasts: the next look is for those behind them.
        self._looked_at = skus[-1] if len(skus) == SWEEP_BATCH else ""
        for sku in skus:
            try:
                await self._serve(sku)
            except Problem:
                raise
            except Exception:  # a bug in one queue must not keep all behind it waiting, look after look
                _log.exception("queue_not_served", sku=sku)
        if out:
            await self._stockroom.change(self._end_shut_out)
        return len(skus)

    async def _serve(self, sku: str) -> None:
        """Serve a queue, a transaction after the other, as long as it gets shorter."""
        before = WAITLIST_MAX + 1
        while 0 < (left := await self._stockroom.change(partial(_serve, sku=sku))) < before:
            before = left

    def _end_shut_out(self, moves: Moves) -> None:
        tx = moves.tx
        skus = {waiter.sku for waiter in store.shut_out(tx.conn, tx.now_ms, WAITLIST_BATCH)}
        cart_store.lock_levels(tx.conn, skus)
        out = [one for one in store.shut_out(tx.conn, tx.now_ms, WAITLIST_BATCH) if one.sku in skus]
        turns.end(moves, out, Kind.drop_over.name)
        for one in out:
            self._promised.note(one.sku)

    async def tell(self) -> None:
        """Tell the staff how many wait, and those who are next where they stand, of queues that changed here."""
        changed = dict(list(self._promised.moved_on.items())[:WAITLIST_BATCH])
        if not changed:
            return
        for sku in changed:
            del self._promised.moved_on[sku]

        def work(moves: Moves) -> None:
            _tell(moves, changed)

        try:
            await self._stockroom.change(work)
        except Problem:
            for sku, moved in changed.items():
                self._promised.moved_on[sku] = moved or self._promised.moved_on.get(sku, False)
            raise

    async def check(self) -> list[tuple[str, int, int]]:
        """Forget offers that are over; the levels that miscount their queues: none, or an alarm is logged for each."""
        # Beside the loop, and the whole catalogue without the lock that clicks wait for.
        await self._database.write_sync(store.prune)
        found = await self._database.read_sync(store.drift)
        for sku, says, places in found:
            _log.error("waitlist_drift", sku=sku, waiting=says, places=places)
        return found


def personal(conn: Connection, viewers: Sequence[str]) -> dict[str, list[Any]]:
    """The places of viewers, plain; of none: left out."""
    return {viewer: plain(places) for viewer, places in store.places(conn, viewers).items() if places}


def _serve(moves: Moves, sku: str) -> int:
    """Serve a queue as far as one transaction goes; how many wait on whom the next one may serve."""
    moves.line_up(cart_store.lock_levels(moves.tx.conn, [sku])[sku])
    return cart_store.levels(moves.tx.conn, [sku])[sku].waiting if sku in moves.reserved else 0


def _own(conn: Connection, viewer: str, sku: str) -> Place | None:
    return next((place for place in store.places(conn, [viewer])[viewer] if place.sku == sku), None)


def _check_sku(sku: str) -> None:
    if not catalogue.is_id(sku):  # never reaches SQL, where a NUL would be our error
        raise Problem(Kind.unknown_sku, field="sku")


def _tell(moves: Moves, changed: dict[str, bool]) -> None:
    tx = moves.tx
    counted = {queue.sku: queue for queue in store.queues(tx.conn, changed)}
    for sku, moved in sorted(changed.items()):
        product_id = shelf.owners(tx.conn, [sku])[sku]
        queue = counted.get(sku, Queue(sku, 0, 0))
        for show in sorted({*shows_store.shows_with(tx.conn, [product_id]), *store.shows_waited_in(tx.conn, sku)}):
            tx.state(show, "waitlist", plain(queue), key=sku, staff=True)
        if not moved:
            continue
        for position, waiter in enumerate(store.front(tx.conn, sku, WAITLIST_BATCH), 1):
            told = {"sku": sku, "place": plain(waiting_view(waiter, position)), "reason": "moved"}
            tx.notice(waiter.show, waiter.viewer_id, "waitlist.changed", told)
