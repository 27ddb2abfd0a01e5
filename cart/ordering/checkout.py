"""Check-out: the holds of a cart become one order, exactly once, and no lock is held while the payment is asked.

Three steps: a transaction moves the holds to `claiming` and stores a pending order with the wish to set its money
aside; the provider is asked; another transaction places the order, or gives the holds back. When the worker dies in
between, the sweep asks the provider what came of it after CLAIM_TTL_S: what was paid is placed, with its units still
claiming. What was not heard of by then lapses, and the units go back.

A payment that is heard of afterwards takes stock, coupons and budgets again if they are there; else, and whenever an
order does not need the money, it is given back, once (see `payments`).
"""

from collections.abc import Callable, Sequence

import msgspec
import structlog
from msgspec.structs import replace

from cart import audit, baskets, prices
from cart import store as cart_store
from cart.moves import Moves
from cart.ordering import orders, payments, post, settling, shipping, store
from cart.ordering.addresses import Address
from cart.ordering.orders import Buyer, Order, OrderState
from cart.ordering.payments import PaymentRefused, Receipt, Step, StepKind, StepState, Verdict
from cart.ordering.shipping import Choice
from cart.ordering.till import Till, book, locked, new_step, void, want_capture
from cart.pricing.priced import Priced, PricedLine
from cart.pricing.taxes import Tax
from cart.stock import Hold, HoldState, Movement
from cart.stockroom import Stockroom
from cart.store import Kept
from cart.webhooks import outbox
from live.core.codec import plain
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import CLAIM_TTL_S, PAYMENT_DELAYS_S, PAYMENT_LATE_S

_log = structlog.get_logger(__name__)

Pricer = Callable[[Moves, str, Sequence[Hold]], Priced]
"""What a cart of living holds costs in a transaction: (moves, cart, holds)."""
Placed = Callable[[Moves, Order, Priced], None]
"""Told within the same transaction that an order is begun, to use up coupons and budgets."""
Release = Callable[[Moves, str], None]
"""Told, by the order's id, that they were not used up after all."""
Again = Callable[[Moves, Order], bool]
"""Asked to use them up anew for an order that had given them back; False: somebody else has, and nothing was done."""


class Form(msgspec.Struct, frozen=True):
    """A check-out form whose words are checked. `total_minor`: what the buyer saw (None: not said)."""

    buyer: Buyer
    total_minor: int | None = None
    choice: Choice | None = None
    address: Address | None = None


class Checkout:
    """Turns carts into orders; `till` takes the money, at once or (`at_once` False) when an order is shipped."""

    def __init__(
        self,
        stockroom: Stockroom,
        till: Till,
        *,
        at_once: bool = False,
        price: Pricer | None = None,
        consume: Placed | None = None,
        release: Release | None = None,
        again: Again | None = None,
    ) -> None:
        """`price` and what follows are of the prices' service (None: what the holds say, without taxes)."""
        self._stockroom = stockroom
        self._till = till
        self._at_once = at_once
        self._price = price or _as_held
        self._consume = consume
        self.release: Release = release or _nothing_to_release
        self._again = again

    def begin(self, moves: Moves, cart: str, form: Form) -> Order:
        """The pending order for a locked cart, whose holds are claiming now.

        Raises what `orders.check_holds`, `orders.check_out` and `shipping.choose` raise.
        """
        tx = moves.tx
        holds, priced = self._ready(moves, cart)
        chosen = shipping.choose(
            store.methods(tx.conn), form.choice, form.address, priced.currency, priced.total_minor, priced.shipping_off
        )
        order = orders.check_out(
            holds,
            priced,
            now_ms=tx.now_ms,
            order_id=uuid7(tx.now_ms),
            buyer=form.buyer,
            payment=self._till.payment.name,
            total_minor=form.total_minor,
            chosen=chosen,
            address=form.address,
            shipping_taxes=[] if chosen is None else shipping.taxes(chosen.price_minor, priced.taxes),
        )
        self._claim(moves, cart, holds, order, priced, tx.now_ms + CLAIM_TTL_S * 1000)
        late_ms = tx.now_ms + PAYMENT_LATE_S * 1000
        key = payments.authorise_key(order.id)
        step = new_step(tx.now_ms, order, StepKind.authorise, key, order.total_minor, due_at_ms=late_ms)
        store.insert_step(tx.conn, step)
        return order

    def hand_over(self, moves: Moves, cart: str, total_minor: int | None, until_ms: int) -> Order:
        """As `begin`, for a cart that the merchant's own check-out sells, until then; it asks for address and money."""
        holds, priced = self._ready(moves, cart)
        now_ms, nobody = moves.tx.now_ms, Buyer("", "", "")
        order = orders.check_out(
            holds, priced, now_ms=now_ms, order_id=uuid7(now_ms), buyer=nobody, payment=orders.EXTERNAL,
            total_minor=total_minor,
        )  # fmt: skip
        order = replace(order, source=orders.EXTERNAL)
        self._claim(moves, cart, holds, order, priced, until_ms)
        return order

    async def finish(self, order: Order, key: str | None, request_hash: str) -> Order:
        """The placed order, whose answer is kept under `key`.

        Raises `Problem` payment_refused, or hold_expired when the answer came too late; the money is given back then.
        """
        receipt, refusal = await self._ask(order)
        cart = baskets.cart_id(order.show, order.viewer_id)

        def settle(moves: Moves) -> Order:
            tx = moves.tx
            if key is not None:
                cart_store.forget_answer(tx.conn, cart, key)
            if receipt is None:
                return self._refuse(moves, locked(moves, order), refusal, unsure=refusal == _SILENT)
            stored, _ = self._hear(moves, locked(moves, order), receipt)
            if key is not None and stored.state in orders.SOLD:
                kept = Kept(request_hash, {"order": plain(stored)}, tx.now_ms)
                cart_store.keep_answers(tx.conn, {(cart, key): kept})
            return stored

        settled = await self._stockroom.change(settle)
        self._till.soon(settled.id)
        if settled.state in orders.SOLD:
            return settled
        if settled.state is OrderState.refused:
            raise Problem(Kind.payment_refused, refusal or "The payment was for another amount; it is given back.")
        raise Problem(Kind.hold_expired, "The payment was answered too late; it is given back.", extra={"skus": []})

    async def heard(self, order_id: str, receipt: Receipt) -> Verdict:
        """What a provider says by itself: money was set aside for an order. The same twice is heard once."""
        payments.checked(receipt)

        def hear(moves: Moves) -> tuple[Order, Verdict]:
            order = store.find_order(moves.tx.conn, order_id)
            if order is None:
                raise Problem(Kind.unknown_order, field="order")
            return self._hear(moves, locked(moves, order), receipt)

        order, verdict = await self._stockroom.change(hear)
        self._till.soon(order.id)
        return verdict

    # --- what happens by itself -------------------------------------------------------------------------------

    async def lapse(self, order_id: str) -> bool:
        """End a check-out whose payment did not answer in time, or place it when it did and nobody heard.

        False: it was answered meanwhile.
        """
        order = await self._till.order(order_id)
        receipt = None
        if order.total_minor > 0:
            try:
                receipt = await self._till.look(order)
            except Exception as error:  # a provider may break in any way; the units must not wait for it
                _log.warning("payment_unheard", order=order_id, why=payments.reason(error))
        if receipt is not None or (order.total_minor == 0 and order.source != orders.EXTERNAL):
            return await self.heard(order_id, receipt or settling.nothing(order)) is not Verdict.known

        def end(moves: Moves) -> bool:
            stored = locked(moves, order)
            if stored.state is not OrderState.pending:
                return False
            lapsed = self.give_back(moves, stored, OrderState.lapsed)
            book(moves, audit.SERVER, "order.lapsed", stored, lapsed)
            return True

        ended = await self._stockroom.change(end)
        if ended and order.source != orders.EXTERNAL:  # of hand-offs many are abandoned
            _log.warning("payment_lapsed", order=order_id)
        return ended

    async def due(self, step: Step) -> None:
        """Do a step of a payment whose time has come."""
        await (self._give_up(step) if step.kind is StepKind.authorise else self._till.ask(step))

    async def _give_up(self, step: Step) -> None:
        """Look a last time what came of an authorisation that was never heard of; nothing: it is voided."""
        order = await self._till.order(step.order_id)
        receipt: Receipt | None = None
        failure: Exception | None = None
        try:
            receipt = await self._till.look(order)
        except Exception as error:  # a provider may break in any way; it is asked again
            failure = error
        if receipt is not None:
            await self.heard(order.id, receipt)
            return

        def end(moves: Moves) -> None:
            tx = moves.tx
            stored = locked(moves, order)
            found = next(one for one in store.steps(tx.conn, order.id) if one.id == step.id)
            if found.state is not StepState.wanted:
                return
            due_at_ms = payments.retry_at_ms(tx.now_ms, found.attempts + 1, PAYMENT_DELAYS_S)
            if failure is not None and due_at_ms is not None:
                why = payments.reason(failure)
                later = replace(found, attempts=found.attempts + 1, reason=why, due_at_ms=due_at_ms)
                store.save_step(tx.conn, later)
                return
            self._close(moves, found, "never answered")
            void(moves, stored, "")

        await self._stockroom.change(end)
        self._till.soon(order.id)

    # --- within a transaction ---------------------------------------------------------------------------------

    async def _ask(self, order: Order) -> tuple[Receipt | None, str]:
        """What was set aside, and "", or None and why it was not."""
        if order.total_minor == 0:
            return settling.nothing(order), ""
        try:
            return await self._till.authorise(order), ""
        except PaymentRefused as refusal:
            return None, str(refusal) or "The payment was refused."
        except TimeoutError:
            return None, _SILENT
        except Exception as error:  # a provider may break in any way; nobody knows what it did
            _log.error("payment_failed", order=order.id, why=payments.reason(error))
            return None, _SILENT

    def _refuse(self, moves: Moves, order: Order, why: str, *, unsure: bool) -> Order:
        """End the order of a payment that was refused; `unsure`: it may have been taken without our hearing of it."""
        asked = settling.asked(store.steps(moves.tx.conn, order.id))
        if asked.state is StepState.wanted:
            self._close(moves, asked, why)
            if unsure:
                void(moves, order, "")
        if order.state is not OrderState.pending:
            return order
        refused = self.give_back(moves, order, OrderState.refused)
        book(moves, audit.SERVER, "order.refused", order, refused)
        return refused

    def _hear(self, moves: Moves, order: Order, receipt: Receipt) -> tuple[Order, Verdict]:
        """Act on an authorisation, and write it down; the order's cart and levels are locked."""
        tx = moves.tx
        steps = store.steps(tx.conn, order.id)
        known = {step.reference for step in steps if step.kind is StepKind.authorise and step.reference}
        lapsed = order.state is OrderState.lapsed
        gone = lapsed and (payments.letting_go(steps) or store.bought_elsewhere(tx.conn, order))
        verdict = payments.judge(order, receipt, known, gone=gone)
        if verdict is Verdict.known:
            return order, verdict
        settling.write_down(moves, order, settling.asked(steps), receipt)
        if verdict is Verdict.retake and not self._retake(moves, order):
            verdict = Verdict.surplus
        if verdict is Verdict.place or verdict is Verdict.retake:
            return self.place(moves, order), verdict
        void(moves, order, receipt.reference, receipt.amount_minor)
        if verdict is Verdict.wrong and order.state is OrderState.pending:
            refused = self.give_back(moves, order, OrderState.refused)
            book(moves, audit.SERVER, "order.refused", order, refused)
            return refused, verdict
        _log.warning("payment_given_back", order=order.id, why=verdict.value)
        return order, verdict

    def _retake(self, moves: Moves, order: Order) -> bool:
        """Take anew what a lapsed order has given back: coupons, budgets, units; False: not all of it is there."""
        if not self.uses_again(moves, order):
            return False
        if settling.retake(moves, order):
            return True
        self.release(moves, order.id)
        return False

    def uses_again(self, moves: Moves, order: Order) -> bool:
        """Use up anew the coupons and budgets of a lapsed order; False: others have, and nothing was done."""
        return self._again is None or self._again(moves, order)

    def place(self, moves: Moves, order: Order) -> Order:
        """The order is sold, whose units are claiming, or allocated already when it had lapsed."""
        tx = moves.tx
        if order.state is OrderState.pending:
            holds = cart_store.claimed_holds(tx.conn, order.id)
            assert len(holds) == len(order.lines), "claiming holds stay while the order is pending"
            moves.end_holds(holds, HoldState.claimed, Movement.claimed, order_id=order.id)
            moves.register.drop_coupons(holds[0].cart)
            moves.tell_owners(holds, "ordered")
        placed = replace(order.to(OrderState.placed), placed_at_ms=tx.now_ms)
        book(moves, audit.SERVER, "order.placed", order, placed)
        outbox.put(tx.conn, tx.now_ms, "order.placed", plain(placed), placed.show)
        post.put(tx.conn, tx.now_ms, post.LetterKind.confirmation, placed, {})
        if self._at_once and not self._till.provider(order).by_hand:
            want_capture(moves, placed)
        return placed

    def give_back(self, moves: Moves, order: Order, to: OrderState) -> Order:
        """To the cart what still has time, to everybody what has not, and the coupons to those who may use them."""
        tx = moves.tx
        holds = cart_store.claimed_holds(tx.conn, order.id)
        alive: list[Hold] = [hold for hold in holds if hold.unpaid(tx.now_ms) is HoldState.active]
        cart_store.set_state(tx.conn, alive, HoldState.active)
        expired = [hold for hold in holds if hold not in alive]
        moves.end_holds(expired, HoldState.expired, Movement.expired)
        self.release(moves, order.id)
        moves.tell_owners(holds, "hold_expired" if expired else "changed")
        ended = order.to(to)
        if order.source == orders.EXTERNAL:
            outbox.put(tx.conn, tx.now_ms, "handoff.changed", plain(ended), ended.show)
        return ended

    def _ready(self, moves: Moves, cart: str) -> tuple[list[Hold], Priced]:
        """A locked cart's holds, all of which can be ordered, with their levels locked, and what they cost."""
        conn = moves.tx.conn
        holds = cart_store.cart_holds(conn, [cart])[cart]
        if holds:
            skus = {hold.sku for hold in holds}
            cart_store.lock_levels(conn, skus)
            # As they are now that nobody changes them; what the waitlist has brought meanwhile was never seen.
            holds = [hold for hold in cart_store.cart_holds(conn, [cart])[cart] if hold.sku in skus]
        lost = cart_store.newest_state(conn, cart) is HoldState.expired
        orders.check_holds(holds, moves.tx.now_ms, lost=lost)
        return holds, self._price(moves, cart, holds)

    def _claim(
        self, moves: Moves, cart: str, holds: Sequence[Hold], order: Order, priced: Priced, until_ms: int
    ) -> None:
        """Store a pending order, whose holds are claiming until then."""
        store.insert_order(moves.tx.conn, order, cart)
        if self._consume is not None:
            self._consume(moves, order, priced)
        cart_store.set_state(moves.tx.conn, holds, HoldState.claiming, order_id=order.id, claim_until_ms=until_ms)

    def _close(self, moves: Moves, asked: Step, why: str) -> None:
        tx = moves.tx
        closed = replace(asked, state=StepState.refused, reason=why, due_at_ms=None, done_at_ms=tx.now_ms)
        store.save_step(tx.conn, closed)


_SILENT = "The payment did not answer in time."


def _nothing_to_release(_moves: Moves, _order_id: str) -> None:
    pass


def _as_held(_moves: Moves, _cart: str, holds: Sequence[Hold]) -> Priced:
    """What the holds say, with no rules and no taxes."""
    cart = baskets.cart_of(holds)
    lines = [
        PricedLine(
            key=hold.id, sku=hold.sku, unit_minor=hold.price_minor, list_minor=hold.price_minor,
            quantity=hold.quantity, line_minor=amount, off_minor=0, net_minor=amount, tax_minor=0, tax_bp=0,
        )
        for hold in holds
        if (amount := prices.line_total(hold.price_minor, hold.quantity)) >= 0
    ]  # fmt: skip
    return Priced(
        currency=cart.currency, ruleset=0, lines=lines, discounts=[], shipping_off=[], subtotal_minor=cart.total_minor,
        total_minor=cart.total_minor, taxes=[Tax(0, cart.total_minor, 0)], gifts=[], hints=[], trace=[],
    )  # fmt: skip
