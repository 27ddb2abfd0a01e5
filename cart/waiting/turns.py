"""Whose turn it is: free units become holds of those who wait for them, in the order of the queue.

The level is locked, so nobody takes the units meanwhile. Whoever is served gets a hold in a cart that this transaction
has not locked before; it is only tried, because everybody else locks carts first and levels afterwards. The units of a
waiter whose cart somebody is changing just now stay reserved until the next look.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec.structs import replace

from cart import shelf
from cart import store as cart_store
from cart.moves import Moves, new_hold
from cart.pricing.quotes import Quote
from cart.pricing.service import screen
from cart.pricing.store import Shopper
from cart.shelf import Offer
from cart.stock import Hold, HoldState, Level, Movement
from cart.store import Part
from cart.waiting import store
from cart.waiting.allowances import Gate
from cart.waiting.places import Offer as Turn
from cart.waiting.places import Place, Waiter
from cart.webhooks import outbox
from live import store as shows_store
from live.core.codec import plain
from live.core.errors import Kind
from live.core.limits import CART_LINES_MAX, SWEEP_BATCH, WAITLIST_BATCH
from live.shows import Show
from live.timeline import Pin, selling


class _Granted(NamedTuple):
    """A waiter gets so many units into a hold, which grows by them or (`new`) is made of them."""

    waiter: Waiter
    hold: Hold
    units: int
    new: bool


def serve(moves: Moves, sku: str, hold_ttl_ms: int, moved: Callable[[str], None]) -> bool:
    """Give what is free of a SKU, whose level is locked, to the first WAITLIST_BATCH who wait for it at most.

    `moved` hears of the SKU when its queue has moved on.

    Whether what is left is for anybody: false when some of it is for those who wait, and whom the next look serves.
    """
    overdue = moves.expire([sku], SWEEP_BATCH)
    if overdue:
        moves.tell_owners(overdue, "hold_expired")
    offer, level = shelf.lock_offers(moves.tx.conn, [sku], moves.register.standard_bp)[sku]
    round_ = _Round(moves, offer, hold_ttl_ms)
    after, looks = 0, WAITLIST_BATCH
    while level.available > 0 and level.waiting > 0:
        if looks == 0:
            return False
        shut = Gate(moves.tx.conn, [level], ()).shut(moves.tx.now_ms)
        heads = store.heads(moves.tx.conn, sku, after, min(level.available, looks), shut)
        if not heads:
            return True
        reserved, before = round_.serve(heads, level), level.waiting
        level = cart_store.levels(moves.tx.conn, [sku])[sku]
        if level.waiting != before:
            moved(sku)
        if reserved:
            return False
        after, looks = heads[-1].number, looks - len(heads)
    return True


class _Round:
    """What the turns of one SKU need to know of carts, screens and prices."""

    def __init__(self, moves: Moves, offer: Offer, hold_ttl_ms: int) -> None:
        self._moves = moves
        self._conn = moves.tx.conn
        self._offer = offer
        self._hold_ttl_ms = hold_ttl_ms
        self._quotes: dict[tuple[str, Shopper], tuple[Quote, str]] = {}
        self._screens: dict[str, tuple[Show, Pin | None]] = {}

    def serve(self, heads: list[Waiter], level: Level) -> bool:
        """Serve as many of `heads`, in their order, as there are units; whether some stay reserved for one of them."""
        carts = [waiter.cart for waiter in heads]
        ours = store.try_carts(self._conn, carts)
        held = cart_store.cart_holds(self._conn, carts)
        shows = {waiter.show for waiter in heads} - self._screens.keys()
        self._screens |= shows_store.on_screen(self._conn, sorted(shows)) if shows else {}
        gate = Gate(self._conn, [level], [(waiter.show, waiter.sku, waiter.viewer_id) for waiter in heads])
        self._moves.register.look(carts)
        free, reserved = level.available, False
        granted: list[_Granted] = []
        ended: dict[str, list[Waiter]] = {}
        for waiter in heads:
            if free == 0:
                break
            if waiter.cart not in ours:
                free, reserved = free - min(waiter.quantity, free), True
                continue
            turn = self._turn(waiter, held[waiter.cart], gate, free)
            if isinstance(turn, _Granted):
                granted.append(turn)
                free -= turn.units
                gate.take(waiter.show, waiter.sku, waiter.viewer_id, turn.units)
            elif turn is not None:
                ended.setdefault(turn, []).append(waiter)
        self._write(granted)
        for reason, waiters in ended.items():
            end(self._moves, waiters, reason)
        return reserved

    def _turn(self, waiter: Waiter, holds: list[Hold], gate: Gate, free: int) -> _Granted | str | None:
        """What a waiter gets, or why its place ends; None: nothing now, and it waits on."""
        before = next((hold for hold in holds if hold.sku == waiter.sku), None)
        if before is not None and (before.state is HoldState.claiming or before.overdue(self._moves.tx.now_ms)):
            return None
        drop = gate.drop(waiter.show, waiter.sku)
        left = None if drop is None else drop.left(free)
        own = None if drop is None else drop.left_for(gate.own(drop, waiter.viewer_id))
        if left == 0:
            return None  # those before it took the last of the drop
        if own == 0:
            return Kind.drop_customer_limit.name
        units = waiter.turn(free, 0 if before is None else before.quantity, left, own)
        if units == 0:
            return Kind.cart_full.name
        quote, kept = self._quote(waiter)
        if before is not None:
            if (before.price_minor, before.currency) != (quote.unit_minor, quote.currency):
                return Kind.price_changed.name
            expires_at_ms = before.renewed(self._moves.tx.now_ms, self._hold_ttl_ms)
            grown = replace(before, quantity=before.quantity + units, expires_at_ms=expires_at_ms)
            return _Granted(waiter, grown, units, new=False)
        if any(hold.currency != self._offer.currency for hold in holds):
            return Kind.mixed_currency.name
        if len(holds) >= CART_LINES_MAX:
            return Kind.cart_full.name
        on_screen, price_minor = self._screens[waiter.show], quote.unit_minor
        hold = new_hold(
            self._moves.tx, on_screen, waiter.cart, waiter.viewer_id,
            self._offer, price_minor, kept, units, self._hold_ttl_ms,
        )  # fmt: skip
        return _Granted(waiter, hold, units, new=True)

    def _quote(self, waiter: Waiter) -> tuple[Quote, str]:
        """What a unit costs a waiter now, on the screen that it joined at."""
        shopper = self._moves.register.shopper(waiter.cart)
        known = self._quotes.get((waiter.show, shopper))
        if known is None:
            show, pin = self._screens[waiter.show]
            context = screen(show.id, selling(show, pin), self._moves.tx.now_ms, shopper)
            _, quote, kept = self._moves.register.quote(self._offer, context)
            known = self._quotes[waiter.show, shopper] = quote, kept
        return known

    def _write(self, granted: list[_Granted]) -> None:
        if not granted:
            return
        moves, offer = self._moves, self._offer
        parts = [
            Part(one.units, hold_id=one.hold.id, show=one.hold.show, viewer_id=one.hold.viewer_id) for one in granted
        ]
        level = moves.move(offer.product_id, offer.sku, Movement.held, parts)
        assert level is not None, "the level is locked, and no more than is free is granted"
        new = [one.hold for one in granted if one.new]
        cart_store.insert_holds(self._conn, new)
        outbox.put_holds(self._conn, moves.tx.now_ms, "hold.created", new)
        cart_store.resize_holds(self._conn, [one.hold for one in granted if not one.new])
        store.offer(self._conn, offer.sku, [(one.waiter.id, one.hold.id, one.units) for one in granted])
        holds = cart_store.cart_holds(self._conn, [one.hold.cart for one in granted])
        for one in granted:
            self._tell(one, holds[one.hold.cart])

    def _tell(self, one: _Granted, holds: list[Hold]) -> None:
        hold, tx = one.hold, self._moves.tx
        cart = plain(self._moves.register.cart(hold.cart, hold.show, holds))
        tx.notice(hold.show, hold.viewer_id, "cart.changed", {"cart": cart, "reason": "waitlist"})
        turn = Turn(hold.id, one.units, hold.expires_at_ms)
        waiter = one.waiter
        place = Place(
            waiter.sku, waiter.product_id, waiter.show, waiter.quantity, waiter.joined_at_ms, position=None, offer=turn
        )
        told: dict[str, Any] = {
            "sku": hold.sku,
            "hold": next(line for line in cart["lines"] if line["hold_id"] == hold.id),
            "quantity": one.units,
            "expires_at_ms": hold.expires_at_ms,
            "place": plain(place),
        }
        tx.notice(hold.show, hold.viewer_id, "waitlist.offered", told)


def end(moves: Moves, waiters: list[Waiter], reason: str) -> None:
    """Take places off the list of a SKU, whose level is locked, and say why."""
    by_sku: dict[str, list[str]] = {}
    for waiter in waiters:
        by_sku.setdefault(waiter.sku, []).append(waiter.id)
        told = {"sku": waiter.sku, "place": None, "reason": reason}
        moves.tx.notice(waiter.show, waiter.viewer_id, "waitlist.changed", told)
    for sku, ids in sorted(by_sku.items()):
        store.leave(moves.tx.conn, sku, ids)
