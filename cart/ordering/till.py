"""Asks the payment's provider for what was decided, until it is done, and writes down what it said.

A step is stored by the transaction that decides it; asking comes after COMMIT, so no lock is held meanwhile. A worker
that dies between the two, or while the provider works, costs time only: another one asks again, under the same key.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from msgspec.structs import replace

from cart import audit
from cart import store as cart_store
from cart.baskets import cart_id
from cart.moves import Moves
from cart.ordering import payments, refunds, store
from cart.ordering.elsewhere import Elsewhere
from cart.ordering.orders import EXTERNAL, Order, OrderState
from cart.ordering.payments import Charge, Payment, PaymentRefused, Receipt, Step, StepKind, StepState
from cart.ordering.refunds import Refund
from cart.stockroom import Stockroom
from cart.webhooks import outbox
from live.core import tasks
from live.core.codec import plain
from live.core.database import Database
from live.core.ids import serial7
from live.core.limits import PAYMENT_DELAYS_S, PAYMENT_STEP_TIMEOUT_S, PAYMENT_TIMEOUT_S, TILL_TASKS_MAX

_log = structlog.get_logger(__name__)

LEASE_MS = round((PAYMENT_STEP_TIMEOUT_S + 10) * 1000)  # of a worker that asks; when it dies, another one may


class Till:
    """See the module. `payment` is the provider."""

    def __init__(self, database: Database, stockroom: Stockroom, payment: Payment) -> None:
        self._database = database
        self._stockroom = stockroom
        self.payment = payment
        self._elsewhere = Elsewhere()
        self._asking: set[asyncio.Task[Any]] = set()
        self._under_way: dict[str, asyncio.Future[None]] = {}  # by step, until what the provider said is written down

    def provider(self, order: Order) -> Payment:
        """Who takes an order's money."""
        return self._elsewhere if order.source == EXTERNAL else self.payment

    def soon(self, order_id: str) -> None:
        """Ask for what an order's transaction wants, without waiting; when too much is under way, the sweep does it."""
        if len(self._asking) >= TILL_TASKS_MAX:
            return
        task = asyncio.create_task(self.work(order_id), name="till")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._asking:
            await asyncio.wait(self._asking)

    async def close(self) -> None:
        """Stop asking; what is not answered is asked again by whoever comes next."""
        await tasks.end(*self._asking)

    async def work(self, order_id: str) -> None:
        """Ask for all that an order wants now, authorisations left out; a failure is tried again later."""
        for step in await self.steps(order_id):
            if step.state is StepState.wanted and step.kind is not StepKind.authorise and step.due_at_ms is not None:
                await self.ask(step)

    async def steps(self, order_id: str) -> list[Step]:
        """The steps of an order."""
        return await self._database.read_sync(lambda conn: store.steps(conn, order_id))

    async def order(self, order_id: str) -> Order:
        """An order that exists."""
        order = await self._database.read_sync(lambda conn: store.find_order(conn, order_id))
        assert order is not None, "orders are never deleted"
        return order

    async def authorise(self, order: Order) -> Receipt:
        """Set an order's money aside; raises `PaymentRefused`, `TimeoutError` and whatever the provider raises."""
        async with asyncio.timeout(PAYMENT_TIMEOUT_S):
            return payments.checked(await self.payment.authorise(_authorisation(order)))

    async def look(self, order: Order) -> Receipt | None:
        """What came of the asking; None: nothing, and nothing will. Raises as `authorise`."""
        async with asyncio.timeout(PAYMENT_STEP_TIMEOUT_S):
            receipt = await self.provider(order).look(_authorisation(order))
        return None if receipt is None else payments.checked(receipt)

    async def ask(self, step: Step) -> None:
        """Ask the provider for one step that is due, and write down what it said; another worker leaves it to us.

        Who wants it while this worker asks waits until it is written down: he is told what came of it.
        """
        if (other := self._under_way.get(step.id)) is not None:
            await asyncio.wait((other,))
            return
        done = self._under_way[step.id] = asyncio.get_running_loop().create_future()
        try:
            await self._ask(step)
        finally:
            del self._under_way[step.id]
            done.cancel()

    async def _ask(self, step: Step) -> None:
        if not await self._stockroom.change(lambda moves: _take(moves, step)):
            return
        order = await self.order(step.order_id)
        receipt: Receipt | None = None
        failure: Exception | None = None
        try:
            async with asyncio.timeout(PAYMENT_STEP_TIMEOUT_S):
                receipt = await _call(self.provider(order), step.kind, payments.charge(order, step))
        except Exception as error:  # a provider may break in any way; what it was asked for is asked again
            failure = error
        await self._stockroom.change(lambda moves: _settle(moves, step, receipt, failure))


async def _call(payment: Payment, kind: StepKind, charge: Charge) -> Receipt | None:
    if kind is StepKind.capture:
        return await payment.capture(charge)
    if kind is StepKind.refund:
        return await payment.refund(charge)
    assert kind is StepKind.void, "an authorisation is asked at check-out only"
    await payment.void(charge)
    return None


def new_step(
    now_ms: int,
    order: Order,
    kind: StepKind,
    key: str,
    amount_minor: int,
    *,
    reference: str = "",
    detail: dict[str, Any] | None = None,
    due_at_ms: int | None = None,
) -> Step:
    """A step that is wanted; `due_at_ms` None: at once."""
    return Step(
        id=serial7(now_ms),
        order_id=order.id,
        kind=kind,
        key=key,
        amount_minor=amount_minor,
        currency=order.currency,
        reference=reference,
        detail=detail,
        due_at_ms=now_ms if due_at_ms is None else due_at_ms,
        created_at_ms=now_ms,
    )


def locked(moves: Moves, order: Order, *, levels: bool = True) -> Order:
    """The order as it is, when nobody else changes its cart (and its levels) any more."""
    conn = moves.tx.conn
    cart_store.lock_carts(conn, [cart_id(order.show, order.viewer_id)])
    if levels:
        cart_store.lock_levels(conn, [line.sku for line in order.lines])
    stored = store.find_order(conn, order.id)
    assert stored is not None, "orders are never deleted"
    return stored


def book(moves: Moves, who: audit.Actor, action: str, before: Order | None, after: Order) -> None:
    """Store what changed of an order, and write it into the trail."""
    tx = moves.tx
    store.save_order(tx.conn, after, before)
    old = None if before is None else dict(before.books())
    change = audit.Change(action, f"order:{after.id}", old, dict(after.books()), after.show)
    audit.write(tx.conn, tx.now_ms, who, change)
    if action in ("order.captured", "order.shipped", "order.returned", "order.withdrawn"):
        outbox.put(tx.conn, tx.now_ms, action, plain(after), after.show)


def _authorisation(order: Order) -> Charge:
    key = payments.authorise_key(order.id)
    return Charge(
        key=key,
        authorisation=key,
        order_id=order.id,
        number=order.number,
        amount_minor=order.total_minor,
        currency=order.currency,
    )


def _take(moves: Moves, step: Step) -> bool:
    now_ms = moves.tx.now_ms
    return store.take_step(moves.tx.conn, step, now_ms, now_ms + LEASE_MS)


def _settle(moves: Moves, asked: Step, receipt: Receipt | None, failure: Exception | None) -> None:
    tx = moves.tx
    order = store.find_order(tx.conn, asked.order_id)
    assert order is not None, "orders are never deleted"
    order = locked(moves, order, levels=False)
    step = next(one for one in store.steps(tx.conn, order.id) if one.id == asked.id)
    if step.state is not StepState.wanted:
        return  # another worker has asked as well, under the same key
    after = _after(step, receipt, failure, tx.now_ms)
    store.save_step(tx.conn, after)
    if step.kind is StepKind.capture:
        _captured(moves, order, after)
    if after.state is not StepState.done:
        level: Callable[..., Any] = _log.warning if after.state is StepState.wanted else _log.error
        level("payment_step_failed", order=order.id, step=step.kind.value, state=after.state.value, why=after.reason)


def give_back(moves: Moves, order: Order) -> tuple[Order, dict[str, Any]]:
    """Have all money of an order given back, in whatever way it was taken; the order afterwards, and what goes back.

    While its money is being taken nobody knows which way that is: what comes of it is given back then.
    """
    tx = moves.tx
    steps = store.steps(tx.conn, order.id)
    if order.captured_minor == 0:
        if order.total_minor > 0 and payments.capturing(steps) is None:
            void(moves, order, payments.tender(steps))
        return order, {}
    if order.refundable_minor == 0:
        return order, {}
    what, after = refunds.everything(order)
    want_refund(moves, order, what)
    return after, plain(what)


def void(moves: Moves, order: Order, reference: str, amount_minor: int | None = None) -> None:
    """Have money let go that was set aside; `reference` "": whatever came of the asking."""
    tx = moves.tx
    amount = order.total_minor if amount_minor is None else amount_minor
    if amount > 0:
        key = payments.void_key(order.id, reference)
        store.insert_step(tx.conn, new_step(tx.now_ms, order, StepKind.void, key, amount, reference=reference))


def want_capture(moves: Moves, order: Order) -> None:
    """Have an order's money taken."""
    _want(moves, order, StepKind.capture, order.total_minor, None)


def want_refund(moves: Moves, order: Order, what: Refund) -> None:
    """Have money of an order given back."""
    _want(moves, order, StepKind.refund, what.amount_minor, plain(what))


def _want(moves: Moves, order: Order, kind: StepKind, amount_minor: int, detail: dict[str, Any] | None) -> None:
    tx = moves.tx
    steps = store.steps(tx.conn, order.id)
    key, reference = payments.numbered_key(order.id, kind, steps), payments.tender(steps)
    step = new_step(tx.now_ms, order, kind, key, amount_minor, reference=reference, detail=detail)
    store.insert_step(tx.conn, step)


def _captured(moves: Moves, order: Order, step: Step) -> None:
    """What a capture that ended means for its order, which may not need the money any more."""
    if step.state is StepState.wanted:
        return
    done = step.state is StepState.done
    if order.state is OrderState.placed:
        if done:
            captured = replace(order.to(OrderState.captured), captured_minor=step.amount_minor)
            book(moves, audit.SERVER, "order.captured", order, captured)
        return
    taken = replace(order, captured_minor=step.amount_minor) if done else order
    after, _ = give_back(moves, taken)
    book(moves, audit.SERVER, "order.given_back", order, after)


def _after(step: Step, receipt: Receipt | None, failure: Exception | None, now_ms: int) -> Step:
    if receipt is not None and (receipt.amount_minor, receipt.currency) != (step.amount_minor, step.currency):
        why = f"the provider moved {receipt.amount_minor} {receipt.currency}, not {step.amount_minor} {step.currency}"
        return replace(step, state=StepState.dead, reason=why, due_at_ms=None, done_at_ms=now_ms)
    if failure is None:
        return replace(step, state=StepState.done, reason="", due_at_ms=None, done_at_ms=now_ms)
    why = payments.reason(failure)
    attempts = step.attempts + 1
    if isinstance(failure, PaymentRefused):
        return replace(step, state=StepState.refused, reason=why, attempts=attempts, due_at_ms=None, done_at_ms=now_ms)
    due_at_ms = payments.retry_at_ms(now_ms, attempts, PAYMENT_DELAYS_S)
    state = StepState.dead if due_at_ms is None else StepState.wanted
    return replace(step, state=state, reason=why, attempts=attempts, due_at_ms=due_at_ms)
