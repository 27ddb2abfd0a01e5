"""Check-out: the holds of a cart become one order, exactly once, and no lock is held while the payment is asked.

Three steps: a transaction moves the holds to `claiming` and stores a pending order; the payment is asked; another
transaction places the order, or gives the holds back. When the worker dies in between, the sweep gives the units
back after CLAIM_TTL_S and has the payment voided.
"""

import asyncio

import msgspec
import structlog

from cart import baskets, store
from cart.moves import Moves
from cart.ordering import orders
from cart.ordering import store as order_store
from cart.ordering.orders import Buyer, Order, OrderState, Payment, PaymentRefused
from cart.stock import Hold, HoldState, Movement
from cart.stockroom import Stockroom
from cart.store import Kept
from live.core.codec import plain
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import CLAIM_TTL_S, PAYMENT_TIMEOUT_S

_log = structlog.get_logger(__name__)


class Checkout:
    """Turns carts into orders; `payment` takes the money."""

    def __init__(self, stockroom: Stockroom, payment: Payment) -> None:
        self._stockroom = stockroom
        self._payment = payment

    def begin(self, moves: Moves, cart: str, buyer: Buyer, total_minor: int | None) -> Order:
        """The pending order for a locked cart, whose holds are claiming now; raises what `orders.check_out` raises."""
        tx = moves.tx
        holds = (store.cart_holds(tx.conn, [cart]))[cart]
        if holds:
            store.lock_levels(tx.conn, [hold.sku for hold in holds])
            holds = (store.cart_holds(tx.conn, [cart]))[cart]  # as they are now that nobody changes them
        lost = store.newest_state(tx.conn, cart) is HoldState.expired
        order = orders.check_out(
            holds,
            now_ms=tx.now_ms,
            order_id=uuid7(tx.now_ms),
            buyer=buyer,
            payment=self._payment.name,
            total_minor=total_minor,
            lost=lost,
        )
        order_store.insert_order(tx.conn, order, cart)
        until_ms = tx.now_ms + CLAIM_TTL_S * 1000
        store.set_state(tx.conn, holds, HoldState.claiming, order_id=order.id, claim_until_ms=until_ms)
        return order

    async def finish(self, order: Order, key: str | None, request_hash: str) -> Order:
        """The placed order, whose answer is kept under `key`.

        Raises `Problem` payment_refused, or hold_expired when the answer came too late; the money is given back then.
        """
        refusal = await self._ask(order)
        cart = baskets.cart_id(order.show, order.viewer_id)

        def settle(moves: Moves) -> Order | None:
            """The order as it is now; None: it was ended before the payment answered."""
            tx = moves.tx
            stored = _locked(moves, order)
            if key is not None:
                store.forget_answer(tx.conn, cart, key)
            if stored.state is not OrderState.pending:
                return None
            if refusal is not None:
                _give_back(moves, stored, OrderState.refused)
                return stored
            placed = _place(moves, stored)
            if key is not None:
                store.keep_answers(tx.conn, {(cart, key): Kept(request_hash, {"order": plain(placed)}, tx.now_ms)})
            return placed

        settled = await self._stockroom.change(settle)
        if settled is None:
            await self._payment.void(order)
            raise Problem(Kind.hold_expired, "The payment was answered too late; it is given back.", extra={"skus": []})
        if refusal is not None:
            raise Problem(Kind.payment_refused, refusal)
        return settled

    async def lapse(self, order_id: str) -> bool:
        """End a check-out whose payment did not answer in time; False: it was answered meanwhile."""

        def end(moves: Moves) -> Order | None:
            order = order_store.find_order(moves.tx.conn, order_id)
            assert order is not None, "a claim names its order"
            order = _locked(moves, order)
            if order.state is not OrderState.pending:
                return None
            _give_back(moves, order, OrderState.lapsed)
            return order

        order = await self._stockroom.change(end)
        if order is None:
            return False
        _log.warning("payment_lapsed", order=order_id)
        await self._payment.void(order)
        return True

    async def _ask(self, order: Order) -> str | None:
        """Why the payment was refused; None: it was authorised."""
        try:
            async with asyncio.timeout(PAYMENT_TIMEOUT_S):
                await self._payment.authorise(order)
        except PaymentRefused as refusal:
            return str(refusal) or "The payment was refused."
        except TimeoutError:
            await self._payment.void(order)  # it may have been authorised without our hearing of it
            return "The payment did not answer in time."
        return None


def _locked(moves: Moves, order: Order) -> Order:
    """The order as it is, when nobody else changes its cart and its levels any more."""
    conn = moves.tx.conn
    store.lock_carts(conn, [baskets.cart_id(order.show, order.viewer_id)])
    store.lock_levels(conn, [line.sku for line in order.lines])
    stored = order_store.find_order(conn, order.id)
    assert stored is not None, "orders are never deleted"
    return stored


def _place(moves: Moves, order: Order) -> Order:
    tx = moves.tx
    holds = store.claimed_holds(tx.conn, order.id)
    assert len(holds) == len(order.lines), "claiming holds stay while the order is pending"
    moves.end_holds(holds, HoldState.claimed, Movement.claimed, order_id=order.id)
    order = msgspec.structs.replace(order, state=order.to(OrderState.placed), placed_at_ms=tx.now_ms)
    order_store.save_order(tx.conn, order)
    moves.tell_owners(holds, "ordered")
    return order


def _give_back(moves: Moves, order: Order, to: OrderState) -> None:
    """To the cart what still has time, to everybody what has not."""
    tx = moves.tx
    holds = store.claimed_holds(tx.conn, order.id)
    alive: list[Hold] = [hold for hold in holds if hold.unpaid(tx.now_ms) is HoldState.active]
    store.set_state(tx.conn, alive, HoldState.active)
    expired = [hold for hold in holds if hold not in alive]
    moves.end_holds(expired, HoldState.expired, Movement.expired)
    order_store.save_order(tx.conn, msgspec.structs.replace(order, state=order.to(to)))
    moves.tell_owners(holds, "hold_expired" if expired else "changed")
