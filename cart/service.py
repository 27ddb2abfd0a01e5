"""What a shopper can do; every verb is one transaction that the database itself keeps from overselling.

Adds of many shoppers share their transactions, because all of them come within seconds when a product is pinned.
"""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection

from cart import baskets, catalogue, shelf, stock, store
from cart.adding import Add, add_all, check_same_price
from cart.answers import Answer, Effect, check_key, once, request_hash
from cart.baskets import Cart, cart_id
from cart.handoff.parts import Handing
from cart.handoff.service import Way
from cart.insight.service import Insight
from cart.keeper import Keeper
from cart.moves import Moves
from cart.offering.service import Offering
from cart.ordering.addresses import AddressEntry, address
from cart.ordering.checkout import Form
from cart.ordering.office import Office, Trade
from cart.ordering.orders import Order, buyer
from cart.ordering.shipping import Choice
from cart.places.service import Places
from cart.pricing.basket import coupon_code
from cart.pricing.priced import Priced
from cart.pricing.quotes import Quote, verify
from cart.pricing.service import Pricing, screen, shopper_of
from cart.pricing.store import Shopper
from cart.register import Register
from cart.seen import Seen
from cart.shelf import Offer
from cart.stock import Hold, HoldState, Movement
from cart.stockroom import Cost, Stockroom
from cart.store import Part
from cart.waiting import planning
from cart.waiting.planning import Planning
from cart.waiting.promises import Promised
from cart.waiting.service import Waiting
from live import store as shows_store
from live.core.auth import Principal
from live.core.clock import Clock
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.lanes import Committed, Lane
from live.core.limits import COUPONS_MAX, HOLD_TTL_S, LANE_PACE_S, STATE_INTERVAL_S, SWEEP_BATCH
from live.service import Shows
from live.timeline import selling

__all__ = ["Answer", "Shop"]


class Shop:
    """Carts, stock and orders of this installation.

    `hold_ttl_s`: how long a cart keeps its units; `trade`: how money is taken and letters are sent (None: paid
    on pick-up); somebody must open the `office` that sees to it.
    `stock_interval_s`: screens hear no more often what is left of a SKU. `pace_s`: see `Lane`, of the adds. `keeper`
    ends the holds: somebody must run it. `secret` signs the quotes of all workers ("": of this one alone), `tax_bp`
    is the tax, in basis points, of what has none of its own. `way`: where carts are handed to (None: to nobody).
    """

    def __init__(
        self,
        database: Database,
        shows: Shows,
        clock: Clock,
        *,
        hold_ttl_s: int = HOLD_TTL_S,
        trade: Trade | None = None,
        stock_interval_s: float = STATE_INTERVAL_S,
        pace_s: float = LANE_PACE_S,
        secret: str = "",
        tax_bp: int = 0,
        way: Way | None = None,
    ) -> None:
        self._database = database
        self._shows = shows
        self._pricing = Pricing(secret, standard_bp=tax_bp)
        self._hold_ttl_ms = hold_ttl_s * 1000
        promised = Promised(self._hold_ttl_ms)
        self._stockroom = Stockroom(
            shows,
            clock,
            stock_interval_s=stock_interval_s,
            shared=database.dialect == "sqlite",
            pace_s=pace_s / 2,  # a check-out is two changes
            pricing=self._pricing,
            promises=promised,
        )
        self.offering = Offering(database, shows, self._stockroom, self._pricing)
        self.window = self.offering.window
        self.office = Office(
            database,
            self._stockroom,
            clock,
            trade or Trade(),
            secret=secret,
            price=_price,
            consume=_consume,
            release=_release,
            again=_consume_again,
        )
        self.places = Places(database, self._stockroom, self.office.facts)
        self._checkout = self.office.checkout
        self._adding = Cost()
        self.adds: Lane[Add, Answer] = Lane("adds to carts", self._add_all, key=lambda add: add.sku, pace_s=pace_s)
        self.waiting = Waiting(database, shows, self._stockroom, promised)
        self.planning = Planning(database, shows, self._stockroom)
        self.seen = Seen(database, self._pricing, self.offering, self.waiting)
        self.keeper = Keeper(database, shows, clock, self._stockroom, self._checkout, self.waiting)
        self.insight = Insight(database, shows)
        self.handing = Handing.of(
            database, self._stockroom, self.office, self._pricing, clock, way or Way(),
            hold_ttl_ms=self._hold_ttl_ms, heard=self.keeper.selling,
        )  # fmt: skip

    async def close(self) -> None:
        """Take no more adds; wait until those that were taken are committed and the screens know what is left."""
        await self.adds.close()
        await self.office.till.close()
        await self._stockroom.close()

    def attach(self) -> None:
        """Let the shows ask this shop for their products, and tell it what is on their screens."""
        self.offering.attach()
        self._shows.pinning.besides = planning.on_screen

    # --- reading ----------------------------------------------------------------------------------------------

    async def products(self, ids: list[str]) -> list[dict[str, Any]]:
        """Products as they are in the shop, in the order of `ids`; unknown ones are left out."""
        return [plain(product) for product in await self.window.products(ids)]

    async def cart(self, show: str, principal: Principal) -> Cart:
        """The viewer's cart in a show; raises `Problem` unknown_show."""
        cart = cart_id(show, principal.subject)

        def read(conn: Connection) -> Cart:
            self._shows.on_screen(conn, show)
            register = Register(self._pricing, conn, self._database.now_ms_sync(conn))
            register.meet({cart: shopper_of(principal)})
            return register.cart(cart, show, store.cart_holds(conn, [cart])[cart])

        return await self._database.glance(read)

    async def carts(self, show: str, subjects: Sequence[str]) -> dict[str, Cart]:
        """The carts of several viewers of a show that exists, in one query."""
        return await self.seen.carts(show, subjects)

    # --- the cart ---------------------------------------------------------------------------------------------

    async def add(
        self,
        show: str,
        principal: Principal,
        sku: str,
        quantity: int = 1,
        *,
        price_minor: int | None = None,
        quote: Quote | None = None,
        key: str | None = None,
    ) -> Answer:
        """Hold units for the viewer: {cart, hold}. A hold that is there grows, and its time starts again
        as long as it could be extended.

        `price_minor`, or better `quote`: what the viewer saw (None: not said). Raises `Problem` unknown_show,
        unknown_sku, invalid_quantity, sold_out, price_changed with the quote of now, invalid_quote, quote_expired,
        mixed_currency, cart_full, checkout_running, key_reused.
        """
        check_key(key)
        if quote is not None:
            verify(quote, self._pricing.key, 0)  # when it expires is for the database's clock
            if quote.sku != sku:
                raise Problem(Kind.invalid_quote, "The quote is for another SKU.", field="quote")
        stock.check_quantity(quantity)
        if not catalogue.is_id(sku):  # a place in the lane is kept under it
            raise Problem(Kind.unknown_sku, field="sku")
        hash_ = (
            ""
            if key is None
            else request_hash(("add", sku, quantity, price_minor, *([] if quote is None else [quote.mac])))
        )
        shopper = shopper_of(principal)
        answer = await self.adds.do(
            Add(show, principal.subject, sku, quantity, price_minor, key, hash_, shopper, quote)
        )
        self.keeper.selling(show)
        return answer

    async def _add_all(self, adds: Sequence[Add]) -> Committed[Answer]:
        answers, told = await self._stockroom.begin(
            lambda moves: add_all(moves, adds, self._hold_ttl_ms), len(adds), self._adding
        )
        return Committed(answers, told)

    async def change(
        self, show: str, principal: Principal, sku: str, quantity: int, *, key: str | None = None
    ) -> Answer:
        """Make the cart hold exactly `quantity` of a SKU, without giving it more time: {cart}.

        Raises `Problem` as `add`, and hold_expired, not_in_cart.
        """
        stock.check_quantity(quantity)

        def effect(moves: Moves, cart: str) -> dict[str, Any]:
            offer = _offer(moves, sku)
            hold = _held(moves, cart, offer)
            if quantity > hold.quantity:
                _grow(moves, offer, hold, quantity, shopper_of(principal))
            elif quantity < hold.quantity:
                part = Part(quantity=hold.quantity - quantity, hold_id=hold.id, show=show)
                assert moves.move(offer.product_id, sku, Movement.released, [part]), "a level holds its holds' units"
                moves.give_up(sku, [cart])
                store.resize_holds(moves.tx.conn, [replace(hold, quantity=quantity)])
            return {"cart": plain(_tell(moves, hold))}

        return await self._once(show, principal, ("change", sku, quantity), key, effect)

    async def extend(self, show: str, principal: Principal, sku: str, *, key: str | None = None) -> Answer:
        """Give a hold that has not expired its full time again, for buyers who need longer (WCAG 2.2, 2.2.1): {cart}.

        Raises `Problem` unknown_show, unknown_sku, hold_expired, hold_final, not_in_cart, checkout_running, key_reused.
        """

        def effect(moves: Moves, cart: str) -> dict[str, Any]:
            hold = _held(moves, cart, _offer(moves, sku))
            expires_at_ms = hold.extended(moves.tx.now_ms, self._hold_ttl_ms)
            store.resize_holds(moves.tx.conn, [replace(hold, expires_at_ms=expires_at_ms)])
            return {"cart": plain(_tell(moves, hold))}

        return await self._once(show, principal, ("extend", sku), key, effect)

    async def remove(self, show: str, principal: Principal, sku: str, *, key: str | None = None) -> Answer:
        """Take a SKU out of the cart, if it is there: {cart}. Raises `Problem` unknown_sku, checkout_running."""

        def effect(moves: Moves, cart: str) -> dict[str, Any]:
            hold = _alive(moves, cart, _offer(moves, sku))
            if hold is None:
                return {"cart": plain(moves.register.cart(cart, show, store.cart_holds(moves.tx.conn, [cart])[cart]))}
            moves.let_go(hold)
            return {"cart": plain(_tell(moves, hold))}

        return await self._once(show, principal, ("remove", sku), key, effect)

    async def coupons(self, show: str, principal: Principal, codes: Sequence[str], *, key: str | None = None) -> Answer:
        """Let the cart have these coupons and no others: {cart}, which says what each of them does or why nothing.

        Raises `Problem` unknown_show, invalid_field for what is no code and for too many, key_reused, and
        coupon_refused for a new one that no content of the cart could make work, with `why` (None: no rule knows it).
        """
        given = tuple(dict.fromkeys(coupon_code(code) for code in codes))
        if len(given) > COUPONS_MAX:
            raise Problem(Kind.invalid_field, f"A cart takes {COUPONS_MAX} coupons at most.", field="codes")

        def effect(moves: Moves, cart: str) -> dict[str, Any]:
            register = moves.register
            register.meet({cart: shopper_of(principal)})
            register.remember()
            before = register.shopper(cart).coupons
            register.give_coupons(cart, given)
            seen = register.cart(cart, show, store.cart_holds(moves.tx.conn, [cart])[cart])
            baskets.check_coupons([code for code in given if code not in before], seen.coupons)
            moves.tx.notice(show, principal.subject, "cart.changed", {"cart": plain(seen), "reason": "changed"})
            return {"cart": plain(seen)}

        return await self._once(show, principal, ("coupons", *given), key, effect)

    async def checkout(
        self,
        show: str,
        principal: Principal,
        *,
        name: str,
        email: str,
        note: str | None = None,
        total_minor: int | None = None,
        language: str = "en",
        shipping: Choice | None = None,
        to: AddressEntry | None = None,
        key: str | None = None,
    ) -> Answer:
        """Order what is in the cart: {order}. `total_minor`: what the buyer saw (None: not said).

        `shipping`: how it goes (None: the shop offers no choice), `to`: where (None: it is picked up). Raises `Problem`
        invalid_field, cart_empty, hold_expired (nothing was changed), price_changed, checkout_running,
        payment_refused, key_reused, key_in_flight, shipping_required, shipping_unavailable, unknown_shipping_method.
        """
        where = None if to is None else address(to)
        form = Form(buyer(name, email, note, language), total_minor, shipping, where)
        request = ("checkout", name, email, note, total_minor, language, plain(shipping), plain(to))
        begun: list[Order] = []

        def effect(moves: Moves, cart: str) -> None:
            begun[:] = [self._checkout.begin(moves, cart, form)]  # it may be done again

        answer = await self._once(show, principal, request, key, effect)
        if not begun or answer.replayed:
            return answer
        order = await self._checkout.finish(begun[0], key, request_hash(request))
        self.keeper.selling(show)
        return Answer(body={"order": plain(order)})

    async def _once(
        self, show: str, principal: Principal, request: tuple[Any, ...], key: str | None, effect: Effect
    ) -> Answer:
        check_key(key)
        answer = await self._stockroom.change(lambda moves: once(moves, show, principal, request, key, effect))
        self.keeper.selling(show)
        return answer


def _price(moves: Moves, cart: str, holds: Sequence[Hold]) -> Priced:
    """What an order for a cart comes to, by the rules of its transaction."""
    return moves.register.price(cart, cart.partition(":")[0], holds)


def _consume(moves: Moves, order: Order, priced: Priced) -> None:
    """Use up the coupons and budgets that an order uses, by the rules that priced it."""
    offs = {} if order.shipping is None else {one.rule: one.amount_minor for one in order.shipping.discounts}
    moves.register.consume(cart_id(order.show, order.viewer_id), priced, order.id, offs)


def _release(moves: Moves, order_id: str) -> None:
    """Give back what an order that came to nothing has used."""
    moves.register.release(order_id)


def _consume_again(moves: Moves, order: Order) -> bool:
    """Use up anew what an order has used and given back, if it is still there."""
    taken: dict[str, int] = {}
    for one in (*order.discounts, *(() if order.shipping is None else order.shipping.discounts)):
        taken[one.rule] = taken.get(one.rule, 0) + one.amount_minor
    return moves.register.consume_again(cart_id(order.show, order.viewer_id), order.id, taken)


def _offer(moves: Moves, sku: str) -> Offer:
    """What a SKU is, with its level locked, and free units given to those who wait; raises `Problem` unknown_sku."""
    standard_bp = moves.register.standard_bp
    found = shelf.lock_offers(moves.tx.conn, [sku], standard_bp) if catalogue.is_id(sku) else {}
    if sku not in found:
        raise Problem(Kind.unknown_sku, field="sku")
    moves.line_up(found[sku][1])
    return found[sku][0]


def _alive(moves: Moves, cart: str, offer: Offer) -> Hold | None:
    """The cart's active hold; one whose time is over is ended. Raises `Problem` checkout_running."""
    hold = store.live_hold(moves.tx.conn, cart, offer.sku)
    if hold is None:
        return None
    if hold.state is HoldState.claiming:
        raise Problem(Kind.checkout_running, retry_after_s=2)
    if hold.overdue(moves.tx.now_ms):
        moves.end_holds([hold], HoldState.expired, Movement.expired)
        return None
    return hold


def _held(moves: Moves, cart: str, offer: Offer) -> Hold:
    """The cart's active hold; raises `Problem` hold_expired, not_in_cart, checkout_running."""
    hold = _alive(moves, cart, offer)
    if hold is None:
        expired = store.newest_state(moves.tx.conn, cart, offer.sku) is HoldState.expired
        raise Problem(Kind.hold_expired if expired else Kind.not_in_cart, field="sku")
    return hold


def _take(moves: Moves, offer: Offer, part: Part) -> None:
    """Hold units of a locked level, expired ones of other carts if need be; raises `Problem` sold_out."""
    while offer.sku not in moves.reserved:
        if moves.move(offer.product_id, offer.sku, Movement.held, [part]) is not None:
            return
        expired = moves.expire([offer.sku], SWEEP_BATCH)
        if not expired or store.levels(moves.tx.conn, [offer.sku])[offer.sku].waiting:
            break  # what has expired is for those who wait
        moves.tell_owners(expired, "hold_expired")
    raise stock.sold_out((store.lock_levels(moves.tx.conn, [offer.sku]))[offer.sku])


def _grow(moves: Moves, offer: Offer, hold: Hold, quantity: int, shopper: Shopper) -> None:
    """Take more units into a hold; raises `Problem` invalid_quantity, price_changed, sold_out."""
    stock.check_quantity(quantity)
    show, pin = shows_store.on_screen(moves.tx.conn, [hold.show])[hold.show]
    context = screen(show.id, selling(show, pin), moves.tx.now_ms, shopper)
    check_same_price(hold, moves.register.quote(offer, context)[1])
    _take(moves, offer, Part(quantity=quantity - hold.quantity, hold_id=hold.id, show=hold.show))
    store.resize_holds(moves.tx.conn, [replace(hold, quantity=quantity)])


def _tell(moves: Moves, hold: Hold) -> Cart:
    """The cart of a hold as it is now; all screens of its owner see it."""
    cart = moves.register.cart(hold.cart, hold.show, store.cart_holds(moves.tx.conn, [hold.cart])[hold.cart])
    moves.tx.notice(hold.show, hold.viewer_id, "cart.changed", {"cart": plain(cart), "reason": "changed"})
    return cart
