"""What a shopper can do; every verb is one transaction that the database itself keeps from overselling."""

from typing import Any

from cart import baskets, catalogue, shelf, stock, store
from cart.answers import Answer, Effect, once, request_hash
from cart.baskets import Cart, cart_id
from cart.catalogue import Product
from cart.checkout import Checkout
from cart.keeper import Keeper
from cart.moves import Moves
from cart.orders import Order, Payment, PayOnPickup, buyer
from cart.shelf import Offer
from cart.stock import MAIN, Hold, HoldState, Movement
from cart.store import Part
from live import store as shows_store
from live.core.auth import Principal, Role
from live.core.clock import Clock
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import HOLD_TTL_S, PRODUCTS_PAGE, SWEEP_BATCH
from live.service import Shows
from live.timeline import show_clock

__all__ = ["Answer", "Shop"]


class Shop:
    """Carts, stock and orders of this installation.

    `hold_ttl_s`: how long a cart keeps its units; `payment` takes the money at check-out (None: on pick-up).
    `keeper` ends the holds: somebody must run it.
    """

    def __init__(
        self,
        database: Database,
        shows: Shows,
        clock: Clock,
        *,
        hold_ttl_s: int = HOLD_TTL_S,
        payment: Payment | None = None,
    ) -> None:
        self._database = database
        self._shows = shows
        self._hold_ttl_ms = hold_ttl_s * 1000
        self._checkout = Checkout(shows, payment or PayOnPickup())
        self.keeper = Keeper(database, shows, clock, self._checkout)

    # --- reading ----------------------------------------------------------------------------------------------

    async def products(self, ids: list[str]) -> list[dict[str, Any]]:
        """Products as screens see them, in the order of `ids`; unknown ones are left out."""
        async with self._database.read() as conn:
            found = await shelf.products(conn, [id_ for id_ in ids if catalogue.is_id(id_)])
        return [plain(product) for product in found]

    async def product(self, id_: str) -> Product:
        """One product; raises `Problem` unknown_product."""
        async with self._database.read() as conn:
            found = await shelf.products(conn, [id_]) if catalogue.is_id(id_) else []
        if not found:
            raise Problem(Kind.unknown_product, field="product")
        return found[0]

    async def catalogue(self, after: str = "") -> list[Product]:
        """A page of products, ordered by id; `after`: the last id of the page before, "" for the first page."""
        if after and not catalogue.is_id(after):
            raise Problem(Kind.invalid_field, "Not a product's id.", field="after")
        async with self._database.read() as conn:
            return await shelf.products(conn, await shelf.product_ids(conn, after, PRODUCTS_PAGE))

    async def cart(self, show: str, principal: Principal) -> Cart:
        """The viewer's cart in a show; raises `Problem` unknown_show."""
        cart = cart_id(show, principal.subject)
        async with self._database.read() as conn:
            await self._shows.find(conn, show)
            return baskets.cart_of((await store.cart_holds(conn, [cart]))[cart])

    async def order(self, order_id: str, principal: Principal) -> Order:
        """An order, for its buyer and for hosts of its show; raises `Problem` unknown_order for all others."""
        async with self._database.read() as conn:
            order = await store.find_order(conn, order_id) if catalogue.is_id(order_id) else None
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
        stock.check_quantity(quantity)

        async def effect(moves: Moves, cart: str) -> dict[str, Any]:
            offer = await _offer(moves, sku)
            if price_minor is not None and price_minor != offer.price_minor:
                raise _price_changed(offer, "It costs another amount by now.")
            hold = await _alive(moves, cart, offer)
            if hold is None:
                hold = await self._new_hold(moves, cart, show, principal, offer, quantity)
                await _take(moves, offer, Part(quantity=quantity, hold_id=hold.id, show=show))
                await store.insert_hold(moves.tx.conn, hold)
            else:
                expires_at_ms = hold.renewed(moves.tx.now_ms, self._hold_ttl_ms)
                await _grow(moves, offer, hold, hold.quantity + quantity, expires_at_ms)
            seen = await _tell(moves, hold)
            line = next(line for line in seen.lines if line.sku == sku)
            return {"cart": plain(seen), "hold": plain(line)}

        return await self._once(show, principal, ("add", sku, quantity, price_minor), key, effect)

    async def change(
        self, show: str, principal: Principal, sku: str, quantity: int, *, key: str | None = None
    ) -> Answer:
        """Make the cart hold exactly `quantity` of a SKU, without giving it more time: {cart}.

        Raises `Problem` as `add`, and hold_expired, not_in_cart.
        """
        stock.check_quantity(quantity)

        async def effect(moves: Moves, cart: str) -> dict[str, Any]:
            offer = await _offer(moves, sku)
            hold = await _held(moves, cart, offer)
            if quantity > hold.quantity:
                await _grow(moves, offer, hold, quantity, hold.expires_at_ms)
            elif quantity < hold.quantity:
                part = Part(quantity=hold.quantity - quantity, hold_id=hold.id, show=show)
                level = await moves.move(offer.product_id, sku, Movement.released, [part])
                assert level is not None, "a level holds the units of its holds"
                await store.resize_hold(moves.tx.conn, hold.id, quantity, hold.expires_at_ms)
            return {"cart": plain(await _tell(moves, hold))}

        return await self._once(show, principal, ("change", sku, quantity), key, effect)

    async def extend(self, show: str, principal: Principal, sku: str, *, key: str | None = None) -> Answer:
        """Give a hold that has not expired its full time again, for buyers who need longer (WCAG 2.2, 2.2.1): {cart}.

        Raises `Problem` unknown_show, unknown_sku, hold_expired, hold_final, not_in_cart, checkout_running, key_reused.
        """

        async def effect(moves: Moves, cart: str) -> dict[str, Any]:
            hold = await _held(moves, cart, await _offer(moves, sku))
            expires_at_ms = hold.extended(moves.tx.now_ms, self._hold_ttl_ms)
            await store.resize_hold(moves.tx.conn, hold.id, hold.quantity, expires_at_ms)
            return {"cart": plain(await _tell(moves, hold))}

        return await self._once(show, principal, ("extend", sku), key, effect)

    async def remove(self, show: str, principal: Principal, sku: str, *, key: str | None = None) -> Answer:
        """Take a SKU out of the cart, if it is there: {cart}. Raises `Problem` unknown_sku, checkout_running."""

        async def effect(moves: Moves, cart: str) -> dict[str, Any]:
            hold = await _alive(moves, cart, await _offer(moves, sku))
            if hold is None:
                return {"cart": plain(baskets.cart_of((await store.cart_holds(moves.tx.conn, [cart]))[cart]))}
            await moves.end_holds([hold], HoldState.released, Movement.released)
            return {"cart": plain(await _tell(moves, hold))}

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

        async def effect(moves: Moves, cart: str) -> None:
            begun.append(await self._checkout.begin(moves, cart, who, total_minor))

        answer = await self._once(show, principal, request, key, effect)
        if not begun:
            return answer
        order = await self._checkout.finish(begun[0], key, request_hash(request))
        self.keeper.selling(show)
        return Answer(body={"order": plain(order)})

    async def _once(
        self, show: str, principal: Principal, request: tuple[Any, ...], key: str | None, effect: Effect
    ) -> Answer:
        answer = await once(self._shows, show, principal, request, key, effect)
        self.keeper.selling(show)
        return answer

    async def _new_hold(
        self, moves: Moves, cart: str, show_id: str, principal: Principal, offer: Offer, quantity: int
    ) -> Hold:
        """A hold with the stamp of what is on screen; its units are not taken yet."""
        tx = moves.tx
        show = await self._shows.find(tx.conn, show_id)
        pin = await shows_store.current_pin(tx.conn, show_id)
        return Hold(
            id=uuid7(tx.now_ms),
            cart=cart,
            show=show_id,
            viewer_id=principal.subject,
            sku=offer.sku,
            location=MAIN,
            quantity=quantity,
            price_minor=offer.price_minor,
            currency=offer.currency,
            state=HoldState.active,
            expires_at_ms=tx.now_ms + self._hold_ttl_ms,
            claim_until_ms=None,
            order_id=None,
            pin_id=pin.id if pin is not None and pin.product_id == offer.product_id else None,
            at_ms=show_clock(show.started_at_ms, show.ended_at_ms, tx.now_ms),
            product_id=offer.product_id,
            title=offer.title,
            variant=offer.variant,
            picture=offer.picture,
        )


async def _offer(moves: Moves, sku: str) -> Offer:
    """What a SKU is, with its level locked; raises `Problem` unknown_sku."""
    offer = await shelf.offer(moves.tx.conn, sku) if catalogue.is_id(sku) else None
    if offer is None:
        raise Problem(Kind.unknown_sku, field="sku")
    await store.lock_levels(moves.tx.conn, [sku])
    return offer


async def _alive(moves: Moves, cart: str, offer: Offer) -> Hold | None:
    """The cart's active hold; one whose time is over is ended. Raises `Problem` checkout_running."""
    hold = await store.live_hold(moves.tx.conn, cart, offer.sku)
    if hold is None:
        return None
    if hold.state is HoldState.claiming:
        raise Problem(Kind.checkout_running, retry_after_s=2)
    if hold.overdue(moves.tx.now_ms):
        await moves.end_holds([hold], HoldState.expired, Movement.expired)
        return None
    return hold


async def _held(moves: Moves, cart: str, offer: Offer) -> Hold:
    """The cart's active hold; raises `Problem` hold_expired, not_in_cart, checkout_running."""
    hold = await _alive(moves, cart, offer)
    if hold is None:
        expired = await store.newest_state(moves.tx.conn, cart, offer.sku) is HoldState.expired
        raise Problem(Kind.hold_expired if expired else Kind.not_in_cart, field="sku")
    return hold


async def _take(moves: Moves, offer: Offer, part: Part) -> None:
    """Hold units of a locked level, expired ones of other carts if need be; raises `Problem` sold_out."""
    while await moves.move(offer.product_id, offer.sku, Movement.held, [part]) is None:
        expired = await moves.expire([offer.sku], SWEEP_BATCH)
        if not expired:
            break
        await moves.tell_owners(expired, "hold_expired")
    else:
        return
    raise stock.sold_out((await store.lock_levels(moves.tx.conn, [offer.sku]))[offer.sku])


async def _grow(moves: Moves, offer: Offer, hold: Hold, quantity: int, expires_at_ms: int) -> None:
    """Take more units into a hold; raises `Problem` invalid_quantity, price_changed, sold_out."""
    stock.check_quantity(quantity)
    if (hold.price_minor, hold.currency) != (offer.price_minor, offer.currency):
        raise _price_changed(offer, "The cart holds it at another price; take it out first to buy at the new one.")
    await _take(moves, offer, Part(quantity=quantity - hold.quantity, hold_id=hold.id, show=hold.show))
    await store.resize_hold(moves.tx.conn, hold.id, quantity, expires_at_ms)


async def _tell(moves: Moves, hold: Hold) -> Cart:
    """The cart of a hold as it is now; all screens of its owner see it."""
    cart = baskets.cart_of((await store.cart_holds(moves.tx.conn, [hold.cart]))[hold.cart])
    moves.tx.notice(hold.show, hold.viewer_id, "cart.changed", {"cart": plain(cart), "reason": "changed"})
    return cart


def _price_changed(offer: Offer, detail: str) -> Problem:
    extra = {"sku": offer.sku, "price_minor": offer.price_minor, "currency": offer.currency}
    return Problem(Kind.price_changed, detail, field="price_minor", extra=extra)
