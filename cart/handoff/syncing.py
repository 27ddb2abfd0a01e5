"""Carts of signed-in shoppers for the shop's other services: what one says is what the screens show, and the other way
round.

A service says what a cart shall hold from now on, of the version that it knows; what cannot be held is refused line by
line, and the answer says what is. The event `cart.changed` names the service whose change it was, so that a shop which
follows both ways need not answer itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from cart import baskets, catalogue, stock
from cart import store as cart_store
from cart.adding import Add, add_all
from cart.answers import Answer, check_key, once, request_hash
from cart.baskets import Cart, cart_id
from cart.moves import Moves
from cart.pricing import store as price_store
from cart.pricing.service import Pricing
from cart.pricing.store import Shopper
from cart.register import Register
from cart.stock import Hold, HoldState, Movement
from cart.stockroom import Stockroom
from cart.store import Part
from live import store as shows_store
from live.core.auth import Principal, Role, is_subject
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import CART_LINES_MAX
from live.shows import is_show_id


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many units of a SKU; 0 takes it out."""

    sku: str
    quantity: int


class Refused(msgspec.Struct, frozen=True):
    """A line that is not as it was wished: `held` units are in the cart. `name` and `code` are the error's.

    `available`: how many more there were (None: that is not the reason).
    """

    sku: str
    quantity: int
    held: int
    code: int
    name: str
    detail: str
    available: int | None = None


class CustomerCart(msgspec.Struct, frozen=True):
    """A customer's cart in a show. `viewer_id` is who that is here; `refused` is empty when it was only read."""

    customer: str
    show: str
    viewer_id: str
    version: str
    cart: Cart
    refused: list[Refused] = []


class Sync:
    """See the module. `subject_of` says who a customer is here; `heard` is told of every show whose cart changed."""

    def __init__(
        self,
        database: Database,
        stockroom: Stockroom,
        pricing: Pricing,
        hold_ttl_ms: int,
        subject_of: Callable[[str], str],
        heard: Callable[[str], None],
    ) -> None:
        self._database = database
        self._stockroom = stockroom
        self._pricing = pricing
        self._hold_ttl_ms = hold_ttl_ms
        self._subject_of = subject_of
        self._heard = heard

    async def read(self, customer: str, show: str) -> CustomerCart:
        """A customer's cart in a show; raises `Problem` unknown_show, invalid_field."""
        subject = self._subject(customer)
        cart = cart_id(show, subject)

        def look(conn: Connection) -> CustomerCart:
            if not is_show_id(show) or not shows_store.on_screen(conn, [show]):
                raise Problem(Kind.unknown_show, field="show")
            register = Register(self._pricing, conn, self._database.now_ms_sync(conn))
            seen = register.cart(cart, show, cart_store.cart_holds(conn, [cart])[cart])
            return CustomerCart(customer, show, subject, version_of(seen), seen)

        return await self._database.read_sync(look)

    async def put(
        self, customer: str, show: str, wishes: Sequence[Wish], service: Principal, *, version: str, key: str | None
    ) -> Answer:
        """Have a customer's cart hold this and nothing else, as far as there is enough: a `CustomerCart`.

        `version`: of the cart as the service knows it, "*" for whatever it is. Raises `Problem` unknown_show,
        invalid_field, precondition_failed with the `version` of now, checkout_running, key_reused.
        """
        check_key(key)
        subject = self._subject(customer)
        wanted = _wanted(wishes)
        owner = Principal(subject=subject, role=Role.viewer, show=show, name="", customer=customer)

        def effect(moves: Moves, cart: str) -> dict[str, Any]:
            holds = _locked(moves, cart, wanted)
            _check_version(holds, version)
            if any(hold.state is HoldState.claiming for hold in holds):
                raise Problem(Kind.checkout_running, retry_after_s=2)
            problems = self._make(moves, owner, show, holds, wanted)
            kept = cart_store.cart_holds(moves.tx.conn, [cart])[cart]
            seen = moves.register.cart(cart, show, kept)
            data = {"cart": plain(seen), "reason": "changed", "origin": service.subject}
            moves.tx.notice(show, subject, "cart.changed", data)
            units = {hold.sku: hold.quantity for hold in kept}
            refused = [_refused(sku, wanted[sku], units.get(sku, 0), one) for sku, one in problems.items()]
            return dict(plain(CustomerCart(customer, show, subject, version_of(seen), seen, refused)))

        request = ("put", service.subject, version, sorted(wanted.items()))
        # The keys of shoppers and of services are kept under the cart: they must not meet.
        own = None if key is None else f"service:{request_hash((service.subject, key))}"
        answer = await self._stockroom.change(lambda moves: once(moves, show, owner, request, own, effect))
        self._heard(show)
        return answer

    def _subject(self, customer: str) -> str:
        if not is_subject(customer):
            raise Problem(Kind.invalid_field, "It cannot be a customer's id.", field="customer")
        return self._subject_of(customer)

    def _make(
        self, moves: Moves, owner: Principal, show: str, holds: Sequence[Hold], wanted: dict[str, int]
    ) -> dict[str, Problem]:
        """Let go what is too much, then hold what is missing, in the order of the wishes; what is refused, by SKU."""
        problems: dict[str, Problem] = {}
        held = {hold.sku: hold.quantity for hold in holds}
        for hold in holds:
            _shrink(moves, hold, wanted.get(hold.sku, 0))
        adds = []
        cart = cart_id(show, owner.subject)
        stored = price_store.shoppers(moves.tx.conn, [cart]).get(cart, Shopper())
        shopper = Shopper(customer=owner.customer, segments=stored.segments)
        for sku, quantity in wanted.items():
            more = quantity - held.get(sku, 0)
            try:
                if quantity:
                    stock.check_quantity(quantity)
            except Problem as problem:
                problems[sku] = problem
                continue
            if more > 0:
                adds.append(Add(show, owner.subject, sku, more, None, None, "", shopper))
        if adds:
            outcomes = add_all(moves, adds, self._hold_ttl_ms)
            problems |= {add.sku: one for add, one in zip(adds, outcomes, strict=True) if isinstance(one, Problem)}
        return problems


def version_of(cart: Cart) -> str:
    """What a cart's content is known by."""
    return baskets.version(cart.currency, ((line.sku, line.quantity, line.price_minor) for line in cart.lines))


def _wanted(wishes: Sequence[Wish]) -> dict[str, int]:
    """Units by SKU; raises `Problem` invalid_field for too many lines and for a SKU that is named twice."""
    if len(wishes) > CART_LINES_MAX:
        raise Problem(Kind.invalid_field, f"A cart holds {CART_LINES_MAX} different things at most.", field="lines")
    wanted: dict[str, int] = {}
    for place, wish in enumerate(wishes):
        if wish.sku in wanted:
            raise Problem(Kind.invalid_field, "One line for each SKU.", field=f"lines[{place}].sku")
        wanted[wish.sku] = wish.quantity
    return wanted


def _locked(moves: Moves, cart: str, wanted: dict[str, int]) -> list[Hold]:
    """A locked cart's living holds, with their levels and those of what is wanted locked; expired ones are ended."""
    conn = moves.tx.conn
    holds = cart_store.cart_holds(conn, [cart])[cart]
    skus = [*(hold.sku for hold in holds), *(sku for sku in wanted if catalogue.is_id(sku))]
    cart_store.lock_levels(conn, skus)
    holds = cart_store.cart_holds(conn, [cart])[cart]  # as they are now that nobody changes them
    over = [hold for hold in holds if hold.state is HoldState.active and hold.overdue(moves.tx.now_ms)]
    moves.end_holds(over, HoldState.expired, Movement.expired)
    return [hold for hold in holds if hold not in over]


def _check_version(holds: Sequence[Hold], version: str) -> None:
    now = baskets.version(
        holds[0].currency if holds else "", ((hold.sku, hold.quantity, hold.price_minor) for hold in holds)
    )
    if version not in ("*", now):
        raise Problem(Kind.precondition_failed, field="If-Match", extra={"version": now})


def _shrink(moves: Moves, hold: Hold, quantity: int) -> None:
    """Let go the units of a hold beyond `quantity`; a negative one is refused elsewhere, and changes nothing."""
    if quantity == 0:
        moves.let_go(hold)
    elif 0 < quantity < hold.quantity:
        part = Part(hold.quantity - quantity, hold_id=hold.id, show=hold.show)
        assert moves.move(hold.product_id, hold.sku, Movement.released, [part]), "a level holds its holds' units"
        moves.give_up(hold.sku, [hold.cart])
        cart_store.resize_holds(moves.tx.conn, [replace(hold, quantity=quantity)])


def _refused(sku: str, quantity: int, held: int, problem: Problem) -> Refused:
    kind, available = problem.kind, problem.extra.get("available")
    return Refused(sku, quantity, held, kind.number, kind.name, problem.detail, available)
