"""Clicks: many adds to carts, decided one after the other in memory, and written down together.

A batch reads what its adds may touch in five statements (shows with their pins, kept answers, SKUs with their levels,
living holds; on PostgreSQL the carts' locks), however many there are. Drops are read, and those who wait are served,
only where a level says that there are any. Locks are taken in the order that everybody keeps: carts, then levels. Each
add is then granted or refused by the pure model (`stock`, `baskets`, drops), first come first served, on what the adds
before it have left; a refusal changes nothing. At last the batch is written: one guarded UPDATE a SKU, and one
statement each for movements, new holds, grown holds and kept answers.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import msgspec

from cart import catalogue, shelf, stock, store
from cart.answers import Answer, replay
from cart.baskets import Cart, cart_id
from cart.moves import Moves, new_hold
from cart.pricing.priced import Unit
from cart.pricing.quotes import Quote
from cart.pricing.service import GUEST, screen
from cart.pricing.store import Shopper
from cart.shelf import Offer
from cart.stock import Hold, HoldState, Level, Movement
from cart.store import Kept, Key, Part
from cart.waiting.allowances import Gate
from cart.webhooks import outbox
from live import store as shows_store
from live.core.codec import encode, plain
from live.core.errors import Kind, Problem
from live.core.limits import SWEEP_BATCH
from live.shows import Show, is_show_id
from live.timeline import Pin, selling


class Add(NamedTuple):
    """One click, with a quantity and a key that are checked. `hash_` tells its request from others under its key."""

    show: str
    viewer_id: str
    sku: str
    quantity: int
    price_minor: int | None
    key: str | None
    hash_: str
    shopper: Shopper = GUEST
    quote: Quote | None = None  # which the viewer saw; it is one of ours

    @property
    def cart(self) -> str:
        return cart_id(self.show, self.viewer_id)


def add_all(moves: Moves, adds: Sequence[Add], hold_ttl_ms: int) -> list[Answer | Problem]:
    """An answer or a refusal for each add, in their order; the refusals are those of `Shop.add`."""
    batch = _Batch(moves, adds, hold_ttl_ms)
    answers: list[Answer | Problem] = []
    for add in adds:
        try:
            answers.append(batch.add(add))
        except Problem as problem:
            # Its traceback knows this frame, and that its answers: a ring with all that the batch has read.
            answers.append(problem.with_traceback(None))
    batch.write()
    return answers


class _Batch:
    """What the adds of one transaction see, and what they leave."""

    def __init__(self, moves: Moves, adds: Sequence[Add], hold_ttl_ms: int) -> None:
        self._moves = moves
        self._tx = moves.tx
        self._hold_ttl_ms = hold_ttl_ms
        conn = moves.tx.conn
        # Ids that cannot be one never reach SQL, where a NUL or half a surrogate would be our error.
        shows = {show for show in {add.show for add in adds} if is_show_id(show)}
        skus = {sku for sku in {add.sku for add in adds} if catalogue.is_id(sku)}
        self._shows: dict[str, tuple[Show, Pin | None]] = shows_store.on_screen(conn, sorted(shows))
        known = [add for add in adds if add.show in self._shows]
        carts = list(dict.fromkeys(add.cart for add in known))
        store.lock_carts(conn, carts)
        keys = {(add.cart, add.key) for add in known if add.key is not None}
        self._kept: dict[Key, Kept] = store.kept_answers(conn, sorted(keys)) if keys else {}
        found = shelf.lock_offers(conn, skus, moves.register.standard_bp)
        self._offers: dict[str, Offer] = {sku: offer for sku, (offer, _) in found.items()}
        self._levels: dict[str, Level] = {sku: level for sku, (_, level) in found.items()}
        self._register = moves.register
        self._register.meet({add.cart: add.shopper for add in known})
        self._units: dict[tuple[str, str, Shopper], tuple[Unit, Quote, str]] = {}
        self._carts = self._free_up(known)
        self._gate = Gate(conn, self._levels.values(), ((add.show, add.sku, add.viewer_id) for add in known))
        self._new: dict[str, Hold] = {}  # by id, as they are at last
        self._grown: dict[str, Hold] = {}
        self._parts: dict[str, list[Part]] = {}  # by SKU
        self._answered: dict[Key, Kept] = {}
        self._seen: dict[str, tuple[Add, dict[str, Any]]] = {}  # cart → whose, and as it is at last

    def add(self, add: Add) -> Answer:
        """Grant one add, or raise why not."""
        if add.show not in self._shows:
            raise Problem(Kind.unknown_show, field="show")
        key = None if add.key is None else (add.cart, add.key)
        if key is not None:
            body = replay(self._answered.get(key) or self._kept.get(key), add.hash_, self._tx.now_ms)
            if body is not None:
                return Answer(body=body, replayed=True)
        offer = self._offers.get(add.sku)
        if offer is None:
            raise Problem(Kind.unknown_sku, field="sku")
        self._gate.check(add.show, add.sku, add.viewer_id, add.quantity, self._tx.now_ms)
        unit, quote, kept = self._price(add, offer)
        if add.quote is not None and add.quote.expires_at_ms <= self._tx.now_ms:
            raise Problem(Kind.quote_expired, field="quote", extra={"quote": plain(quote)})
        asked = (add.price_minor, quote.currency) if add.quote is None else (add.quote.unit_minor, add.quote.currency)
        if asked[0] is not None and asked != (quote.unit_minor, quote.currency):
            raise price_changed(quote, "It costs another amount by now.")
        level = self._level(add)
        cart = self._carts[add.cart]
        before = cart.get(add.sku)
        hold = self._fresh(add, offer, unit, kept) if before is None else self._larger(before, add, quote)
        holds = list((cart | {add.sku: hold}).values())
        seen = self._register.cart(add.cart, add.show, holds)  # may refuse it as well
        self._levels[add.sku] = level
        cart[add.sku] = hold
        (self._new if before is None or before.id in self._new else self._grown)[hold.id] = hold
        self._gate.take(add.show, add.sku, add.viewer_id, add.quantity)
        part = Part(add.quantity, hold_id=hold.id, show=add.show, viewer_id=add.viewer_id)
        self._parts.setdefault(add.sku, []).append(part)
        return self._answer(add, key, seen)

    def write(self) -> None:
        """Write down what was granted; whoever holds a new cart sees it."""
        conn = self._tx.conn
        for sku in sorted(self._parts):
            level = self._moves.move(self._offers[sku].product_id, sku, Movement.held, self._parts[sku])
            assert level == self._levels[sku], "the level is locked, and the model says the same as the UPDATE"
        store.insert_holds(conn, list(self._new.values()))
        outbox.put_holds(conn, self._tx.now_ms, "hold.created", list(self._new.values()))
        store.resize_holds(conn, list(self._grown.values()))
        for scope, key in self._answered.keys() & self._kept.keys():  # of commands whose worker died
            store.forget_answer(conn, scope, key)
        store.keep_answers(conn, self._answered)
        self._register.remember()
        for add, body in self._seen.values():
            self._tx.notice(add.show, add.viewer_id, "cart.changed", {"cart": body, "reason": "changed"})

    # --- what the batch sees

    def _read_carts(self, carts: Sequence[str]) -> dict[str, dict[str, Hold]]:
        found = store.cart_holds(self._tx.conn, carts) if carts else {}
        return {cart: {hold.sku: hold for hold in holds} for cart, holds in found.items()}

    def _free_up(self, adds: Sequence[Add]) -> dict[str, dict[str, Hold]]:
        """End expired holds where they are in the way: others' of SKUs that run short, and those that would grow.

        The carts of those who may be granted something: all others are refused whatever they hold.
        """
        now_ms, moves = self._tx.now_ms, self._moves
        wanted: dict[str, int] = {}
        for add in adds:
            wanted[add.sku] = wanted.get(add.sku, 0) + add.quantity
        over: list[Hold] = []
        for sku in sorted(wanted.keys() & self._levels.keys()):
            while wanted[sku] > self._levels[sku].available and (ended := moves.expire([sku], SWEEP_BATCH)):
                over += ended
                self._levels |= store.levels(self._tx.conn, [sku])
        left = {sku for sku, level in self._levels.items() if level.available}
        touched = {(add.cart, add.sku): None for add in adds if add.sku in left}
        carts = self._read_carts(list(dict.fromkeys(cart for cart, _ in touched)))
        own = [carts[cart].get(sku) for cart, sku in touched]
        overdue = [one for one in own if one is not None and one.state is HoldState.active and one.overdue(now_ms)]
        moves.end_holds(overdue, HoldState.expired, Movement.expired)
        if overdue:
            over += overdue
            self._levels |= store.levels(self._tx.conn, self._levels)
        queues = [level for _, level in sorted(self._levels.items()) if level.waiting and level.available]
        for level in queues:
            moves.line_up(level)
        if queues:
            self._levels |= store.levels(self._tx.conn, self._levels)
        if over:
            moves.tell_owners(over, "hold_expired")
        return self._read_carts(list(carts)) if overdue or queues else carts

    # --- one add

    def _level(self, add: Add) -> Level:
        """The level when the add is granted; raises `Problem` sold_out."""
        before = self._levels[add.sku]
        if add.sku in self._moves.reserved:
            raise stock.sold_out(msgspec.structs.replace(before, on_hand=before.allocated + before.held))
        if before.available < add.quantity:
            raise stock.sold_out(before)
        level = before.after(Movement.held, add.quantity)
        assert level is not None, "there are enough"
        return level

    def _answer(self, add: Add, key: Key | None, seen: Cart) -> Answer:
        cart = plain(seen)
        body = {"cart": cart, "hold": next(line for line in cart["lines"] if line["sku"] == add.sku)}
        self._seen[add.cart] = add, cart
        if key is not None:
            self._answered[key] = Kept(add.hash_, body, self._tx.now_ms)
        return Answer(body=body)

    def _price(self, add: Add, offer: Offer) -> tuple[Unit, Quote, str]:
        """What a unit costs whoever clicks, with the quote that says so, which all who click meanwhile share.

        The hold keeps the one that the viewer saw, if it says the same.
        """
        of = offer.sku, add.show, add.shopper
        found = self._units.get(of)
        if found is None:
            show, pin = self._shows[add.show]
            context = screen(show.id, selling(show, pin), self._tx.now_ms, add.shopper)
            found = self._units[of] = self._register.quote(offer, context)
        if add.quote is None or _says(add.quote) != _says(found[1]):
            return found
        return found[0], found[1], encode(add.quote, "json").decode()

    def _larger(self, hold: Hold, add: Add, quote: Quote) -> Hold:
        """The cart's hold with more units; its time starts again as long as it could be extended."""
        if hold.state is HoldState.claiming:
            raise Problem(Kind.checkout_running, retry_after_s=2)
        stock.check_quantity(hold.quantity + add.quantity)
        check_same_price(hold, quote)
        expires_at_ms = hold.renewed(self._tx.now_ms, self._hold_ttl_ms)
        return msgspec.structs.replace(hold, quantity=hold.quantity + add.quantity, expires_at_ms=expires_at_ms)

    def _fresh(self, add: Add, offer: Offer, unit: Unit, quote: str) -> Hold:
        """A hold with the stamp of what is on screen."""
        on_screen = self._shows[add.show]
        return new_hold(
            self._tx, on_screen, add.cart, add.viewer_id, offer, unit.unit_minor, quote, add.quantity, self._hold_ttl_ms
        )


def _says(quote: Quote) -> tuple[Hashable, ...]:
    """All in a quote that prices, carts and orders go by; one that says something else is not kept for ours."""
    whose = quote.channel, quote.show, quote.customer
    return quote.ruleset, quote.sku, *whose, quote.currency, quote.list_minor, quote.unit_minor, quote.tax_bp


def check_same_price(hold: Hold, quote: Quote) -> None:
    """Raises `Problem` price_changed when a hold cannot grow because what it holds costs another amount by now."""
    if (hold.price_minor, hold.currency) != (quote.unit_minor, quote.currency):
        raise price_changed(quote, "The cart holds it at another price; take it out first to buy at the new one.")


def price_changed(quote: Quote, detail: str) -> Problem:
    """The refusal of a buyer who saw another price, with the quote of now."""
    extra = {"sku": quote.sku, "price_minor": quote.unit_minor, "currency": quote.currency, "quote": plain(quote)}
    return Problem(Kind.price_changed, detail, field="price_minor", extra=extra)
