"""What the state machines of the books share: shoppers who click at one of two workers, and the run itself."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cart.ordering.shipping import Choice
from cart.service import Shop
from live.core.errors import Kind, Problem
from tests.cart.commerce import STOCK, Premises
from tests.cart.conftest import viewer
from tests.cart.ordering.samples import ENTRY

T = TypeVar("T")
NAMES = ("ada", "bob", "cleo")
WHO = st.sampled_from(NAMES)
SKU = st.sampled_from(tuple(STOCK))
WORKER = st.integers(0, 1)
WHICH = st.integers(0, 9)
STEPS = 30  # of each run
EXPECTED = {
    Kind.sold_out, Kind.hold_expired, Kind.hold_final, Kind.not_in_cart, Kind.invalid_quantity, Kind.cart_empty,
    Kind.payment_refused, Kind.payment_pending, Kind.checkout_running, Kind.price_changed, Kind.coupon_refused,
    Kind.illegal_order_step, Kind.refund_exceeds,
}  # fmt: skip


class Shoppers(RuleBasedStateMachine):
    """Runs in a thread of its own; what it does runs on the test's loop."""

    expected = EXPECTED

    def __init__(self, loop: asyncio.AbstractEventLoop, premises: Premises) -> None:
        super().__init__()
        self.loop = loop
        self.premises = premises
        self.clicks = 0
        self.asked: dict[str, tuple[str, str, int]] = {}  # adds by key: whose, what, how many; nobody heard the answer
        self.acked: dict[str, tuple[tuple[str, str, int], str]] = {}  # adds by key, with their holds

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def attempt(self, coroutine: Coroutine[Any, Any, T]) -> T | None:
        try:
            return self.run(coroutine)
        except Problem as problem:
            assert problem.kind in self.expected, problem
            return None

    def at(self, worker: int) -> Shop:
        return self.premises.workers[worker].shop

    @initialize()
    def begin(self) -> None:
        self.run(self.premises.fresh())

    # --- shoppers

    async def click(self, worker: int, key: str) -> None:
        """An add; it is remembered until its answer is heard."""
        who, sku, quantity = self.asked[key]
        try:
            answer = await self.at(worker).add("demo", viewer(who), sku, quantity, key=key)
        except Problem as problem:
            del self.asked[key]
            assert problem.kind in self.expected, problem
        else:
            self.acked[key] = self.asked.pop(key), answer.body["hold"]["hold_id"]

    def ask(self, who: str, sku: str, quantity: int) -> str:
        self.clicks += 1
        key = f"{self.clicks:04}-{who}-{sku}"
        self.asked[key] = who, sku, quantity
        return key

    async def buy(self, worker: int, who: str, key: str | None = None) -> None:
        shop = self.at(worker)
        form = {"name": "Ada", "email": "ada@example.com", "shipping": Choice("post"), "to": ENTRY}
        await shop.checkout("demo", viewer(who), key=key, **form)  # type: ignore[arg-type]
        await shop.office.till.idle()

    # --- time

    @rule(seconds=st.sampled_from([1, 61, 601]))
    def wait(self, seconds: int) -> None:
        self.premises.clock.advance(seconds)

    # --- what must hold

    @invariant()
    def the_books_are_right(self) -> None:
        self.run(self.premises.books()).check()

    def teardown(self) -> None:
        self.run(self._end())

    async def _end(self) -> None:
        raise NotImplementedError


async def play(
    machine: Callable[[asyncio.AbstractEventLoop, Premises], Shoppers], premises: Premises, *, seeds: int
) -> None:
    """Let a machine run, from the opening of its premises to their closing; the same runs for each number of `seeds`.

    Each seed is two runs, the simplest and a new one: Hypothesis makes most of a longer series by repeating steps of
    the run before, which is good for texts and says little about a shop.
    """
    loop = asyncio.get_running_loop()

    def runs() -> None:
        for number in range(seeds):
            run_state_machine_as_test(
                seed(number)(cast("type[Shoppers]", lambda: machine(loop, premises))),
                settings=settings(
                    max_examples=2, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
                ),
                _min_steps=STEPS - 1,
            )

    await premises.open()
    try:
        await asyncio.to_thread(runs)
    finally:
        await premises.close()
