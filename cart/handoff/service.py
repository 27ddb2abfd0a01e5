"""Carts that the merchant's own check-out sells: handed over with their units, reported back as one order.

A hand-off is a check-out like ours (`cart.ordering.checkout`): its holds are claiming, its order is pending. What
differs is who asks for address and money, and how long that may take. When nothing is reported by the deadline the
order lapses, by the same sweep, and the units go back. What the merchant has sold by then counts all the same: it
takes stock again, or is told what is missing.

Whoever reports holds the cart's lock, so there is one order however often, and by whatever way, it is reported.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from cart import audit, catalogue
from cart import store as cart_store
from cart.answers import Answer, Effect, check_key, once, replay, request_hash
from cart.baskets import cart_id
from cart.handoff import inbound, links, selling, store
from cart.handoff.reports import Facts, Report, Told, as_sold
from cart.handoff.store import Handoff
from cart.moves import Moves
from cart.ordering.office import Office
from cart.ordering.orders import Order, OrderState
from cart.ordering.till import book, locked
from cart.pricing import store as price_store
from cart.stockroom import Stockroom
from cart.store import Kept
from cart.webhooks import outbox
from live.core.auth import ALL_SHOWS, Principal, Role
from live.core.clock import Clock
from live.core.codec import Malformed, convert, decode, plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import EXTERNAL_NUMBER_CHARS_MAX, HANDOFF_TTL_S
from live.core.rest import refusal
from live.core.settings import Settings
from live.shows import clean_line

_TYPES = {"order.placed": "placed", "order.cancelled": "cancelled"}
MERCHANT = Principal(subject="merchant", role=Role.ops, show=ALL_SHOWS, name="Merchant")  # who has the secret
_AGAIN = frozenset({OrderState.refused, OrderState.lapsed, OrderState.cancelled})


class Way(msgspec.Struct, frozen=True):
    """Where carts go. `url` "": nowhere. The first of `secrets` signs links, all of them are believed.

    `subject_of` says who a customer of the merchant's shop is here.
    """

    url: str = ""
    secrets: tuple[str, ...] = ()
    ttl_s: int = HANDOFF_TTL_S
    subject_of: Callable[[str], str] = str

    @classmethod
    def of(cls, settings: Settings, subject_of: Callable[[str], str]) -> "Way":
        """What the settings say."""
        return cls(settings.handoff_url, settings.handoff_secrets, settings.handoff_ttl_s, subject_of)


class Link(msgspec.Struct, frozen=True):
    """Where the shopper goes with a hand-off, and until when."""

    id: str
    url: str
    expires_at_ms: int
    currency: str
    total_minor: int


class _Message(msgspec.Struct, frozen=True):
    """A webhook that comes in."""

    type: str
    data: dict[str, Any]


class _Asked(NamedTuple):
    """Who reports what, under which key."""

    facts: Facts
    principal: Principal
    key: str | None
    hash: str


class Handoffs:
    """See the module. `heard` is told of every show in which something was sold."""

    def __init__(
        self,
        database: Database,
        stockroom: Stockroom,
        office: Office,
        clock: Clock,
        way: Way,
        heard: Callable[[str], None],
    ) -> None:
        self._database = database
        self._stockroom = stockroom
        self._office = office
        self._checkout = office.checkout
        self._clock = clock
        self._way = way
        self._heard = heard

    # --- for the shopper --------------------------------------------------------------------------------------

    async def open(self, show: str, principal: Principal, total_minor: int | None, *, key: str | None) -> Answer:
        """Hand the viewer's cart over: {handoff} with the link. A hand-off that runs is answered with its own link.

        `total_minor`: what the buyer saw, without shipping (None: not said). Raises `Problem` handoff_off,
        unknown_show, cart_empty, hold_expired, price_changed, checkout_running, key_reused.
        """
        if not self._way.url:
            raise Problem(Kind.handoff_off)

        def effect(moves: Moves, cart: str) -> dict[str, Any]:
            conn, now_ms = moves.tx.conn, moves.tx.now_ms
            found = store.running(conn, cart)
            if found is None:
                until_ms = now_ms + self._way.ttl_s * 1000
                order = self._checkout.hand_over(moves, cart, total_minor, until_ms)
                found = order, Handoff(order.id, until_ms, None, None, now_ms)
                store.insert_handoff(conn, found[1])
                outbox.put(conn, now_ms, "handoff.changed", plain(order), show)
                moves.tell_owners(cart_store.claimed_holds(conn, order.id), "handed_over")
            return {"handoff": plain(self._link(*found))}

        return await self._once(show, principal, ("handoff", total_minor), key, effect)

    async def current(self, show: str, principal: Principal) -> Link | None:
        """The link of the hand-off that the viewer's cart waits for; raises `Problem` handoff_off."""
        if not self._way.url:
            raise Problem(Kind.handoff_off)
        cart = cart_id(show, principal.subject)
        found = await self._database.read_sync(lambda conn: store.running(conn, cart))
        return None if found is None else self._link(*found)

    async def take_back(self, show: str, principal: Principal, *, key: str | None) -> Answer:
        """End the hand-off that the cart waits for: {cart}, with what of it has not expired.

        What the merchant sells of it afterwards takes stock again. Raises `Problem` unknown_show, key_reused.
        """

        def effect(moves: Moves, cart: str) -> dict[str, Any]:
            found = store.running(moves.tx.conn, cart)
            if found is not None:
                order = locked(moves, found[0])
                lapsed = self._checkout.give_back(moves, order, OrderState.lapsed)
                book(moves, audit.actor(principal), "order.lapsed", order, lapsed)
            holds = cart_store.cart_holds(moves.tx.conn, [cart])[cart]
            return {"cart": plain(moves.register.cart(cart, show, holds))}

        return await self._once(show, principal, ("take back",), key, effect)

    async def _once(
        self, show: str, principal: Principal, request: tuple[Any, ...], key: str | None, effect: Effect
    ) -> Answer:
        check_key(key)
        answer = await self._stockroom.change(lambda moves: once(moves, show, principal, request, key, effect))
        self._heard(show)
        return answer

    def _link(self, order: Order, handoff: Handoff) -> Link:
        url = links.link(self._way.url, order.id, handoff.expires_at_ms, self._way.secrets[0])
        return Link(order.id, url, handoff.expires_at_ms, order.currency, order.total_minor)

    # --- for the merchant -------------------------------------------------------------------------------------

    async def read(self, handoff_id: str) -> tuple[Order, Handoff, str | None]:
        """A hand-off with its order, and who its shopper is in the merchant's shop (None: a guest).

        Raises `Problem` unknown_handoff.
        """

        def find(conn: Any) -> tuple[Order, Handoff, str | None]:
            order, handoff = _find(conn, handoff_id)
            cart = cart_id(order.show, order.viewer_id)
            shopper = price_store.shoppers(conn, [cart]).get(cart)
            return order, handoff, None if shopper is None else shopper.customer

        return await self._database.read_sync(find)

    async def report(self, handoff_id: str, facts: Facts, principal: Principal, key: str | None) -> Answer:
        """Book what became of a hand-off: {handoff, state, order}; the same report again is answered alike.

        Raises `Problem` unknown_handoff, show_forbidden, invalid_field, invalid_quantity, unknown_sku, handoff_over,
        handoff_reported, sold_out with what is `missing` (then nothing was booked), illegal_order_step, key_reused.
        """
        check_key(key)
        if facts.state == "cancelled":
            facts = Report(state="cancelled", reason=facts.reason)
        else:
            facts = replace(facts, number=clean_line(facts.number, "number", EXTERNAL_NUMBER_CHARS_MAX))
        content = [getattr(facts, name) for name in Facts.__struct_fields__]
        asked = _Asked(facts, principal, key, request_hash(("report", handoff_id, plain(content))))
        answer, order = await self._stockroom.change(lambda moves: self._report(moves, handoff_id, asked))
        self._office.till.soon(handoff_id)
        self._heard(order.show)
        if answer is None:  # sold already: it ends as every order does
            cancelled = await self._office.orders.cancel(handoff_id, principal, facts.reason, key)
            ended = convert(cancelled.body["order"], Order)
            return Answer(_body(ended), cancelled.replayed)
        return answer

    async def inbound(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """A webhook of the merchant's shop: {handled}, and what `report` answers; types that are not for us are not.

        Raises `Problem` handoff_off, signature_invalid, malformed, invalid_field, and as `report`.
        """
        if not self._way.secrets:
            raise Problem(Kind.handoff_off)
        id_ = inbound.verify(headers, body, self._way.secrets, self._clock.now_ms() // 1000)
        try:
            message = decode(body, "json", _Message)
            state = _TYPES.get(message.type)
            if state is None or "handoff" not in message.data:
                return Answer({"handled": False})
            told = convert(message.data | {"state": state}, Told)
        except Malformed as error:
            raise refusal(error) from None
        answer = await self.report(told.handoff, told, MERCHANT, id_)
        return Answer({"handled": True, **answer.body}, answer.replayed)

    # --- within a transaction ---------------------------------------------------------------------------------

    def _report(self, moves: Moves, handoff_id: str, asked: _Asked) -> tuple[Answer | None, Order]:
        """The answer; None: the order was placed, and is to be cancelled."""
        conn, now_ms = moves.tx.conn, moves.tx.now_ms
        order, _ = _find(conn, handoff_id)
        asked.principal.require(Role.ops, order.show)
        # The number is locked like a cart: two hand-offs must not have the same.
        cart_store.lock_carts(conn, [cart_id(order.show, order.viewer_id), f"external:{asked.facts.number}"])
        order = locked(moves, order)
        _, handoff = _find(conn, handoff_id)
        scope, key = f"handoff:{handoff_id}", asked.key
        if key is not None:
            kept = cart_store.kept_answers(conn, [(scope, key)]).get((scope, key))
            if (body := replay(kept, asked.hash, now_ms)) is not None:
                return Answer(body, replayed=True), order
        if handoff.report_hash == asked.hash and handoff.answer is not None:
            return Answer(handoff.answer, replayed=True), order
        if asked.facts.state == "cancelled":
            ended = self._cancel(moves, order, asked)
        else:
            ended = self._sell(moves, order, asked)
        if ended is None:
            return None, order
        body = _body(ended)
        store.save_report(conn, handoff_id, asked.hash, body)
        if key is not None:
            cart_store.keep_answers(conn, {(scope, key): Kept(asked.hash, body, now_ms)})
        return Answer(body), order

    def _cancel(self, moves: Moves, order: Order, asked: _Asked) -> Order | None:
        """The order whose units are free again; None: it was sold, and is to be cancelled as every order is."""
        if order.state in _AGAIN:
            return order
        if order.state is not OrderState.pending:
            return None
        refused = self._checkout.give_back(moves, order, OrderState.refused)
        book(moves, audit.actor(asked.principal), "order.refused", order, refused)
        return refused

    def _sell(self, moves: Moves, order: Order, asked: _Asked) -> Order:
        if order.state is OrderState.refused:
            raise Problem(Kind.handoff_over, field="handoff")
        if order.state not in (OrderState.pending, OrderState.lapsed):
            detail = f"It was reported as {order.external_number}, with something else in it."
            raise Problem(Kind.handoff_reported, detail, extra={"number": order.external_number})
        sold = as_sold(order, asked.facts)
        if store.order_of(moves.tx.conn, asked.facts.number) is not None:
            raise Problem(Kind.handoff_reported, "Another hand-off was reported under this number.", field="number")
        return selling.sell(moves, self._checkout, order, sold, asked.principal, paid=asked.facts.paid)


def _find(conn: Any, handoff_id: str) -> tuple[Order, Handoff]:
    found = store.find(conn, handoff_id) if catalogue.is_id(handoff_id) else None
    if found is None:
        raise Problem(Kind.unknown_handoff, field="handoff")
    return found


def _body(order: Order) -> dict[str, Any]:
    """What a report is answered."""
    names = ("id", "number", "external_number", "currency", "total_minor", "state")
    values = plain(order)
    return {"handoff": order.id, "state": values["state"], "order": {name: values[name] for name in names}}
