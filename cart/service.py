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
from cart.catalogue import Product
from cart.keeper import Keeper
from cart.moves import Moves
from cart.ordering import store as order_store
from cart.ordering.checkout import Checkout
from cart.ordering.orders import Order, Payment, PayOnPickup, buyer
from cart.shelf import Offer
from cart.stock import Hold, HoldState, Movement
from cart.stockroom import Stockroom
from cart.store import Part
from live.core.auth import Principal, Role
from live.core.clock import Clock
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.lanes import Committed, Lane
from live.core.limits import HOLD_TTL_S, LANE_PACE_S, PRODUCTS_PAGE, STATE_INTERVAL_S, SWEEP_BATCH
from live.service import Shows
from live.timeline import Pin

__all__ = ["Answer", "Shop"]


class Shop:
    """Carts, stock and orders of this installation.

    `hold_ttl_s`: how long a cart keeps its units; `payment` takes the money at check-out (None: on pick-up).
    `stock_interval_s`: screens hear no more often what is left of a SKU. `pace_s`: see `Lane`, of the adds. `keeper`
    ends the holds: somebody must run it.
    """

    def __init__(
        self,
        database: Database,
        shows: Shows,
        clock: Clock,
        *,
        hold_ttl_s: int = HOLD_TTL_S,
        payment: Payment | None = None,
        stock_interval_s: float = STATE_INTERVAL_S,
        pace_s: float = LANE_PACE_S,
    ) -> None:
        self._database = database
        self._shows = shows
        self._hold_ttl_ms = hold_ttl_s * 1000
        self._stockroom = Stockroom(
            shows,
            clock,
            stock_interval_s=stock_interval_s,
            shared=database.dialect == "sqlite",
            pace_s=pace_s / 2,  # a check-out is two changes
        )
        self._checkout = Checkout(self._stockroom, payment or PayOnPickup())
        self.adds: Lane[Add, Answer] = Lane("adds to carts", self._add_all, key=lambda add: add.sku, pace_s=pace_s)
        self.keeper = Keeper(database, shows, clock, self._stockroom, self._checkout)

    async def close(self) -> None:
        """Take no more adds; wait until those that were taken are committed and the screens know what is left."""
        await self.adds.close()
        await self._stockroom.close()

    # --- reading ----------------------------------------------------------------------------------------------

    async def products(self, ids: list[str]) -> list[dict[str, Any]]:
        """Products as screens see them, in the order of `ids`; unknown ones are left out."""
        known = [id_ for id_ in ids if catalogue.is_id(id_)]
        found = await self._database.read_sync(lambda conn: shelf.products(conn, known))
        return [plain(product) for product in found]

    def shown(self, conn: Connection, ids: Sequence[str], show: str, pin: Pin | None) -> list[dict[str, Any]]:
        """Products as the screens of a show see them while `pin` is on them."""
        return [plain(product) for product in shelf.products(conn, [id_ for id_ in ids if catalogue.is_id(id_)])]

    async def product(self, id_: str) -> Product:
        """One product; raises `Problem` unknown_product."""
        known = [id_] if catalogue.is_id(id_) else []
        found = await self._database.read_sync(lambda conn: shelf.products(conn, known))
        if not found:
            raise Problem(Kind.unknown_product, field="product")
        return found[0]

    async def catalogue(self, after: str = "") -> list[Product]:
        """A page of products, ordered by id; `after`: the last id of the page before, "" for the first page."""
        if after and not catalogue.is_id(after):
            raise Problem(Kind.invalid_field, "Not a product's id.", field="after")
        return await self._database.read_sync(
            lambda conn: shelf.products(conn, shelf.product_ids(conn, after, PRODUCTS_PAGE))
        )

    async def cart(self, show: str, principal: Principal) -> Cart:
        """The viewer's cart in a show; raises `Problem` unknown_show."""
        cart = cart_id(show, principal.subject)

        def holds(conn: Connection) -> list[Hold]:
            self._shows.on_screen(conn, show)
            return store.cart_holds(conn, [cart])[cart]

        return baskets.cart_of(await self._database.read_sync(holds))

    async def carts(self, show: str, subjects: Sequence[str]) -> dict[str, Cart]:
        """The carts of several viewers of a show that exists, in one query."""
        ids = {subject: cart_id(show, subject) for subject in subjects}
        holds = await self._database.read_sync(lambda conn: store.cart_holds(conn, list(ids.values())))
        return {subject: baskets.cart_of(holds[cart]) for subject, cart in ids.items()}

    async def order(self, order_id: str, principal: Principal) -> Order:
        """An order, for its buyer and for hosts of its show; raises `Problem` unknown_order for all others."""
        order = None
        if catalogue.is_id(order_id):
            order = await self._database.read_sync(lambda conn: order_store.find_order(conn, order_id))
        if order is None or not (order.viewer_id == principal.subject or principal.may(Role.host, order.show)):
            raise Problem(Kind.unknown_order, field="order")
        return order

    # --- the cart ---------------------------------------------------------------------------------------------

    async def add(
        self,
        show: str,
        principal: Principal,
        sku: str,
        quantity: int = 1,
        *,
        price_minor: int | None = None,
        key: str | None = None,
    ) -> Answer:
        """Hold units for the viewer: {cart, hold}. A hold that is there grows, and its time starts again
        as long as it could be extended.

        `price_minor`: what the viewer saw (None: not said). Raises `Problem` unknown_show, unknown_sku,
        invalid_quantity, sold_out, price_changed, mixed_currency, cart_full, checkout_running, key_reused.
        """
        check_key(key)
        stock.check_quantity(quantity)
        if not catalogue.is_id(sku):  # a place in the lane is kept under it
            raise Problem(Kind.unknown_sku, field="sku")
        hash_ = "" if key is None else request_hash(("add", sku, quantity, price_minor))
        answer = await self.adds.do(Add(show, principal.subject, sku, quantity, price_minor, key, hash_))
        self.keeper.selling(show)
        return answer

    async def _add_all(self, adds: Sequence[Add]) -> Committed[Answer]:
        answers, told = await self._stockroom.begin(lambda moves: add_all(moves, adds, self._hold_ttl_ms))
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
                _grow(moves, offer, hold, quantity)
            elif quantity < hold.quantity:
                part = Part(quantity=hold.quantity - quantity, hold_id=hold.id, show=show)
                level = moves.move(offer.product_id, sku, Movement.released, [part])
                assert level is not None, "a level holds the units of its holds"
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
                return {"cart": plain(baskets.cart_of((store.cart_holds(moves.tx.conn, [cart]))[cart]))}
            moves.end_holds([hold], HoldState.released, Movement.released)
            return {"cart": plain(_tell(moves, hold))}

        return await self._once(show, principal, ("remove", sku), key, effect)

    async def checkout(
        self,
        show: str,
        principal: Principal,
        *,
        name: str,
        email: str,
        note: str | None = None,
        total_minor: int | None = None,
        key: str | None = None,
    ) -> Answer:
        """Order what is in the cart: {order}. `total_minor`: what the buyer saw (None: not said).

        Raises `Problem` invalid_field, cart_empty, hold_expired (nothing was changed), price_changed,
        checkout_running, payment_refused, key_reused, key_in_flight.
        """
        who = buyer(name, email, note)
        request = ("checkout", name, email, note, total_minor)
        begun: list[Order] = []

        def effect(moves: Moves, cart: str) -> None:
            begun[:] = [self._checkout.begin(moves, cart, who, total_minor)]  # it may be done again

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


def _offer(moves: Moves, sku: str) -> Offer:
    """What a SKU is, with its level locked; raises `Problem` unknown_sku."""
    found = shelf.lock_offers(moves.tx.conn, [sku]) if catalogue.is_id(sku) else {}
    if sku not in found:
        raise Problem(Kind.unknown_sku, field="sku")
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
    while moves.move(offer.product_id, offer.sku, Movement.held, [part]) is None:
        expired = moves.expire([offer.sku], SWEEP_BATCH)
        if not expired:
            break
        moves.tell_owners(expired, "hold_expired")
    else:
        return
    raise stock.sold_out((store.lock_levels(moves.tx.conn, [offer.sku]))[offer.sku])


def _grow(moves: Moves, offer: Offer, hold: Hold, quantity: int) -> None:
    """Take more units into a hold; raises `Problem` invalid_quantity, price_changed, sold_out."""
    stock.check_quantity(quantity)
    check_same_price(hold, offer)
    _take(moves, offer, Part(quantity=quantity - hold.quantity, hold_id=hold.id, show=hold.show))
    store.resize_holds(moves.tx.conn, [replace(hold, quantity=quantity)])


def _tell(moves: Moves, hold: Hold) -> Cart:
    """The cart of a hold as it is now; all screens of its owner see it."""
    cart = baskets.cart_of((store.cart_holds(moves.tx.conn, [hold.cart]))[hold.cart])
    moves.tx.notice(hold.show, hold.viewer_id, "cart.changed", {"cart": plain(cart), "reason": "changed"})
    return cart
