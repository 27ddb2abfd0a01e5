"""What may be done to an order once it is there: by its buyer, by the staff of its show, and by other systems.

Every verb is one transaction that moves the units, books the order, writes the trail and stores what the payment's
provider is to be asked; asking comes after COMMIT. A key makes a verb idempotent, as in the cart.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from cart import audit, catalogue
from cart import store as cart_store
from cart.answers import Answer, check_key, replay, request_hash
from cart.moves import Moves
from cart.ordering import orders, payments, post, refunds, store
from cart.ordering.checkout import Checkout
from cart.ordering.orders import Order, OrderState
from cart.ordering.payments import StepKind, StepState
from cart.ordering.post import LetterKind
from cart.ordering.refunds import Units
from cart.ordering.till import LEASE_MS, Till, book, give_back, locked, want_capture, want_refund
from cart.stock import Movement
from cart.stockroom import Stockroom
from cart.store import Kept, Part
from cart.webhooks import outbox
from live.core.auth import Principal, Role
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import ORDER_REASON_CHARS_MAX
from live.shows import clean_line

Effect = Callable[[Moves, Order, audit.Actor], Order]

_SHIPPABLE = orders.OPEN | {OrderState.refunded}
_RETURNABLE = _SHIPPABLE | {OrderState.withdrawn, OrderState.returned}


class Orders:
    """See the module."""

    def __init__(self, database: Database, stockroom: Stockroom, till: Till, checkout: Checkout) -> None:
        self._database = database
        self._stockroom = stockroom
        self.till = till
        self.checkout = checkout

    # --- reading ----------------------------------------------------------------------------------------------

    async def get(self, order_id: str, principal: Principal) -> Order:
        """An order, for its buyer and for the staff of its show; raises `Problem` unknown_order for all others."""
        order = None
        if catalogue.is_id(order_id):
            order = await self._database.read_sync(lambda conn: store.find_order(conn, order_id))
        if order is None or not (order.viewer_id == principal.subject or principal.may(Role.host, order.show)):
            raise Problem(Kind.unknown_order, field="order")
        return order

    async def mine(self, principal: Principal, before: str = "") -> list[Order]:
        """A page of one's own orders, the newest first; those that were never placed are left out."""
        _check_page(before)
        found = await self._database.read_sync(
            lambda conn: store.list_orders(conn, before=before, viewer_id=principal.subject)
        )
        return [order for order in found if order.placed_at_ms is not None]

    async def of_show(self, show: str | None, state: str | None = None, before: str = "") -> list[Order]:
        """A page of a show's orders (None: of all shows), the newest first; raises `Problem` invalid_field."""
        _check_page(before)
        if state is not None and state not in store.states():
            raise Problem(Kind.invalid_field, f"One of {', '.join(store.states())}.", field="state")
        return await self._database.read_sync(
            lambda conn: store.list_orders(conn, before=before, show=show, state=state)
        )

    async def payments(self, order_id: str) -> list[Mapping[str, Any]]:
        """What the provider was asked for an order, and what it said."""
        return payments.views(await self._database.read_sync(lambda conn: store.steps(conn, order_id)))

    async def trail(self, subject: str, after: str = "") -> list[audit.Entry]:
        """A page of what happened to a subject ("": to all), the oldest first."""
        _check_page(after)
        return list(await self._database.read_sync(lambda conn: audit.entries(conn, subject, after)))

    # --- verbs ------------------------------------------------------------------------------------------------

    async def capture(self, order_id: str, principal: Principal, key: str | None = None) -> Answer:
        """Take the money of a placed order: {order, payments}. What is captured stays so.

        Raises `Problem` unknown_order, illegal_order_step, and payment_refused when the provider says no.
        """

        def effect(moves: Moves, order: Order, who: audit.Actor) -> Order:
            order.require(orders.OPEN, "captured")
            steps = store.steps(moves.tx.conn, order.id)
            running = payments.capturing(steps)
            if running is not None and (running.due_at_ms or 0) > moves.tx.now_ms + LEASE_MS:
                store.save_step(moves.tx.conn, replace(running, due_at_ms=moves.tx.now_ms))  # somebody wants it now
            elif order.state is OrderState.placed and running is None:
                want_capture(moves, order)
                audit.write(moves.tx.conn, moves.tx.now_ms, who, _asked(order, "order.capture"))
            return order

        answer = await self._change(order_id, principal, ("capture", order_id), key, effect)
        if not answer.replayed and answer.body["order"]["state"] == OrderState.placed.value:
            refused = [step for step in answer.body["payments"] if step["kind"] == StepKind.capture.value]
            if refused[-1]["state"] == StepState.refused.value:
                raise Problem(Kind.payment_refused, refused[-1]["reason"])
        return answer

    async def ship(self, order_id: str, principal: Principal, key: str | None = None) -> Answer:
        """Say that an order has left, or was picked up: {order, payments}. Its money is taken first, if it was not.

        Raises `Problem` as `capture`, and payment_pending while the provider does not answer.
        """
        order = await self.get(order_id, principal)
        if order.state is OrderState.placed and principal.may(Role.host, order.show):
            captured = await self.capture(order_id, principal)
            if captured.body["order"]["state"] == OrderState.placed.value:
                raise Problem(Kind.payment_pending, "Its money could not be taken yet; try again.", retry_after_s=30)

        def effect(moves: Moves, order: Order, who: audit.Actor) -> Order:
            order.require(_SHIPPABLE - {OrderState.placed}, "shipped")
            if order.shipped_at_ms is not None:
                return order
            for line in order.lines:
                _move(moves, order, line.sku, Movement.shipped, line.quantity - line.cancelled)
            shipped = replace(order, shipped_at_ms=moves.tx.now_ms)
            book(moves, who, "order.shipped", order, shipped)
            post.put(moves.tx.conn, moves.tx.now_ms, LetterKind.shipped, shipped, {})
            return shipped

        return await self._change(order_id, principal, ("ship", order_id), key, effect)

    async def cancel(self, order_id: str, principal: Principal, reason: str = "", key: str | None = None) -> Answer:
        """End an order that has not left: its units can be sold again, its money goes back: {order, payments}.

        For the staff and for the buyer. Raises `Problem` unknown_order, illegal_order_step, invalid_field.
        """
        why = _reason(reason)

        def effect(moves: Moves, order: Order, who: audit.Actor) -> Order:
            if order.state is OrderState.cancelled:
                return order
            order.require(orders.OPEN, "cancelled")
            if order.shipped_at_ms is not None:
                raise Problem(Kind.illegal_order_step, "It has left; take it back instead.", field="order")
            cancelled = self.end(moves, order, OrderState.cancelled)
            book(moves, who, "order.cancelled", order, cancelled)
            outbox.put(moves.tx.conn, moves.tx.now_ms, "order.cancelled", plain(cancelled), cancelled.show)
            post.put(moves.tx.conn, moves.tx.now_ms, LetterKind.cancelled, cancelled, {"reason": why})
            return cancelled

        return await self._change(order_id, principal, ("cancel", order_id, why), key, effect, buyer=True)

    async def refund(
        self,
        order_id: str,
        principal: Principal,
        lines: Sequence[Units] = (),
        *,
        shipping_minor: int = 0,
        goodwill_minor: int = 0,
        reason: str = "",
        key: str | None = None,
    ) -> Answer:
        """Give back money for units, for shipping, or as goodwill: {order, payments}.

        Units that have not left are not delivered any more, and can be sold again. Raises `Problem` unknown_order,
        illegal_order_step, refund_exceeds, unknown_sku, invalid_quantity, invalid_field.
        """
        why = _reason(reason)
        request = ("refund", order_id, [plain(line) for line in lines], shipping_minor, goodwill_minor, why)

        def effect(moves: Moves, order: Order, who: audit.Actor) -> Order:
            wanted = refunds.units(order, lines)
            what, after = refunds.refund(order, wanted, shipping_minor, goodwill_minor)
            if order.shipped_at_ms is None:
                after = _cancel_units(moves, after, wanted)
            self._give(moves, order, what)
            book(moves, who, "order.refunded", order, after)
            self._tell_refund(moves, after, what, why)
            return after

        return await self._change(order_id, principal, request, key, effect)

    async def take_back(
        self,
        order_id: str,
        principal: Principal,
        lines: Sequence[Units],
        *,
        restock: bool = True,
        refund: bool = False,
        reason: str = "",
        key: str | None = None,
    ) -> Answer:
        """Say that units came back: {order, payments}.

        `restock`: they can be sold again; `refund`: their money goes back too, unless it has. Raises `Problem` as
        `refund`.
        """
        why = _reason(reason)
        request = ("return", order_id, [plain(line) for line in lines], restock, refund, why)

        def effect(moves: Moves, order: Order, who: audit.Actor) -> Order:
            order.require(_RETURNABLE, "returned")
            wanted = refunds.units(order, lines)
            after = _return_units(moves, order, wanted, restock=restock)
            book(moves, who, "order.returned", order, after)
            unpaid = {line.sku: line.quantity - line.refunded for line in after.lines}
            open_ = {sku: min(count, unpaid[sku]) for sku, count in wanted.items() if unpaid[sku] > 0}
            if not (refund and open_):
                return after
            what, given = refunds.refund(after, open_, 0, 0)
            self._give(moves, after, what)
            book(moves, who, "order.refunded", after, given)
            self._tell_refund(moves, given, what, why)
            return given

        return await self._change(order_id, principal, request, key, effect)

    # --- parts ------------------------------------------------------------------------------------------------

    def end(self, moves: Moves, order: Order, to: OrderState) -> Order:
        """An order that has not left, in its last state: its units are back on the shelf, its money goes back."""
        after, _ = give_back(moves, order)
        units = {line.sku: line.quantity - line.cancelled for line in order.lines}
        after = _cancel_units(moves, after, {sku: count for sku, count in units.items() if count}).to(to)
        self.checkout.release(moves, order.id)
        return after

    def _give(self, moves: Moves, order: Order, what: refunds.Refund) -> None:
        if what.amount_minor > 0:
            want_refund(moves, order, what)

    def _tell_refund(self, moves: Moves, order: Order, what: refunds.Refund, why: str) -> None:
        tx = moves.tx
        outbox.put(tx.conn, tx.now_ms, "order.refunded", plain(order), order.show)
        post.put(tx.conn, tx.now_ms, LetterKind.refunded, order, {"refund": plain(what), "reason": why})

    async def _change(
        self,
        order_id: str,
        principal: Principal,
        request: tuple[Any, ...],
        key: str | None,
        effect: Effect,
        *,
        buyer: bool = False,
    ) -> Answer:
        """Do `effect` with the order locked, or answer as before under `key`; then ask the provider what it wants."""
        check_key(key)
        found = await self.get(order_id, principal)
        if not (buyer or principal.may(Role.host, found.show)):
            raise Problem(Kind.role_forbidden, "This is for the staff of the order's show.")
        scope, hash_ = f"order:{order_id}:{principal.subject}", request_hash(request)

        def work(moves: Moves) -> tuple[Answer, bool]:
            conn = moves.tx.conn
            order = locked(moves, found)
            if key is not None:
                kept = cart_store.kept_answers(conn, [(scope, key)]).get((scope, key))
                if (body := replay(kept, hash_, moves.tx.now_ms)) is not None:
                    return Answer(body, replayed=True), False
            after = effect(moves, order, audit.actor(principal))
            steps = store.steps(conn, order.id)
            body = _body(after, steps)
            if key is not None:
                cart_store.keep_answers(conn, {(scope, key): Kept(hash_, body, moves.tx.now_ms)})
            return Answer(body), any(step.state is StepState.wanted for step in steps)

        answer, wants = await self._stockroom.change(work)
        if not wants:
            return answer
        await self.till.work(order_id)

        def asked(moves: Moves) -> Answer:
            """The answer with what the provider said, which is what a repeated key gets from now on."""
            conn = moves.tx.conn
            body = _body(locked(moves, found, levels=False), store.steps(conn, order_id))
            if key is not None:
                cart_store.forget_answer(conn, scope, key)
                cart_store.keep_answers(conn, {(scope, key): Kept(hash_, body, moves.tx.now_ms)})
            return Answer(body)

        return await self._stockroom.change(asked)


def _body(order: Order, steps: Sequence[payments.Step]) -> dict[str, Any]:
    return {"order": plain(order), "payments": payments.views(steps)}


def _asked(order: Order, action: str) -> audit.Change:
    return audit.Change(action, f"order:{order.id}", None, {"amount_minor": order.total_minor}, order.show)


def _move(moves: Moves, order: Order, sku: str, kind: Movement, units: int) -> None:
    """Move units of an order, whose levels are locked."""
    if units == 0:
        return
    product_id = next(line.product_id for line in order.lines if line.sku == sku)
    part = Part(quantity=units, order_id=order.id, show=order.show, viewer_id=order.viewer_id)
    assert moves.move(product_id, sku, kind, [part]), "a level has the units of its orders"


def _cancel_units(moves: Moves, order: Order, wanted: Mapping[str, int]) -> Order:
    """Units that were never sent go back to the shelf; those that are cancelled already do not count twice."""
    lines = []
    for line in order.lines:
        count = min(wanted.get(line.sku, 0), line.quantity - line.cancelled)
        _move(moves, order, line.sku, Movement.cancelled, count)
        lines.append(replace(line, cancelled=line.cancelled + count))
    return replace(order, lines=lines)


def _return_units(moves: Moves, order: Order, wanted: Mapping[str, int], *, restock: bool) -> Order:
    """Units that came back; raises `Problem` illegal_order_step, invalid_field, refund_exceeds."""
    if order.shipped_at_ms is None:
        raise Problem(Kind.illegal_order_step, "It has not left yet; cancel or refund it instead.", field="order")
    if not wanted:
        raise Problem(Kind.invalid_field, "Say what came back.", field="lines")
    lines = []
    for line in order.lines:
        count = wanted.get(line.sku, 0)
        left = line.quantity - line.cancelled - line.returned
        if count > left:
            raise Problem(Kind.refund_exceeds, f"Only {left} of {line.sku} are still with the buyer.", field="lines")
        if restock:
            _move(moves, order, line.sku, Movement.returned, count)
        lines.append(replace(line, returned=line.returned + count))
    after = replace(order, lines=lines)
    complete = all(line.returned + line.cancelled == line.quantity for line in lines)
    return after.to(OrderState.returned) if complete and after.may(OrderState.returned) else after


def _reason(text: str) -> str:
    return clean_line(text, "reason", ORDER_REASON_CHARS_MAX) if text.strip() else ""


def _check_page(place: str) -> None:
    if place and not catalogue.is_id(place):
        raise Problem(Kind.invalid_field, "The `next` of the page before.", field="after")
