"""Whatever shoppers, time, providers, merchants and power cuts do, in any order, the books stay right.

Two workers over one database, SQLite and PostgreSQL. After each step no unit is sold twice, what is held is what carts
hold, what is allocated is what orders wait for, and coupons count the orders that keep them. At the end every add that
was acknowledged is there once, and every cent is where the books say.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from cart.ordering.payments import StepKind
from cart.ordering.provider import Fault
from cart.ordering.refunds import Units
from live.core.clock import ManualClock
from live.core.errors import Kind, Problem
from live.core.limits import CLAIM_TTL_S
from tests.cart.commerce import Premises, Worker, check_money
from tests.cart.conftest import viewer
from tests.cart.machine import EXPECTED, SKU, WHICH, WHO, WORKER, Shoppers, play
from tests.cart.ordering.conftest import HOST, OPS

FAULT = st.sampled_from([Fault.none, Fault.none, *Fault])
VERBS = ("capture", "ship", "cancel", "refund", "return")


class Commerce(Shoppers):
    """Everything between a click and the money that comes back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, premises: Premises) -> None:
        super().__init__(loop, premises)
        self.changed: set[str] = set()  # holds that grew by other ways than adds

    # --- shoppers

    @rule(worker=WORKER, who=WHO, sku=SKU, quantity=st.integers(1, 2))
    def add(self, worker: int, who: str, sku: str, quantity: int) -> None:
        self.run(self.click(worker, self.ask(who, sku, quantity)))

    @rule(worker=WORKER, which=WHICH)
    def again(self, worker: int, which: int) -> None:
        """The answer was lost on the way: the same click is answered alike."""
        if self.acked:
            key = sorted(self.acked)[which % len(self.acked)]
            (who, sku, quantity), hold_id = self.acked[key]
            answer = self.run(self.at(worker).add("demo", viewer(who), sku, quantity, key=key))
            assert answer.replayed and answer.body["hold"]["hold_id"] == hold_id

    @rule(worker=WORKER, who=WHO, sku=SKU, quantity=st.integers(1, 4))
    def change(self, worker: int, who: str, sku: str, quantity: int) -> None:
        answer = self.attempt(self.at(worker).change("demo", viewer(who), sku, quantity))
        if answer is not None:
            self.changed |= {line["hold_id"] for line in answer.body["cart"]["lines"] if line["sku"] == sku}

    @rule(worker=WORKER, who=WHO, sku=SKU)
    def extend(self, worker: int, who: str, sku: str) -> None:
        self.attempt(self.at(worker).extend("demo", viewer(who), sku))

    @rule(worker=WORKER, who=WHO, sku=SKU)
    def remove(self, worker: int, who: str, sku: str) -> None:
        self.attempt(self.at(worker).remove("demo", viewer(who), sku))

    @rule(worker=WORKER, who=WHO, codes=st.sampled_from([["TWICE"], []]))
    def coupons(self, worker: int, who: str, codes: list[str]) -> None:
        self.attempt(self.at(worker).coupons("demo", viewer(who), codes))

    def fill(self, worker: int, who: str, sku: str, quantity: int, coupon: bool) -> None:
        self.run(self.click(worker, self.ask(who, sku, quantity)))
        if coupon:
            self.attempt(self.at(worker).coupons("demo", viewer(who), ["TWICE"]))

    @rule(worker=WORKER, who=WHO, sku=SKU, quantity=st.integers(1, 3), coupon=st.booleans(), fault=FAULT)
    def check_out(self, worker: int, who: str, sku: str, quantity: int, coupon: bool, fault: Fault) -> None:
        self.fill(worker, who, sku, quantity, coupon)
        self.premises.bank.script[StepKind.authorise].append(fault)
        self.attempt(self.buy(worker, who))
        self.premises.bank.script[StepKind.authorise].clear()

    @rule(
        worker=WORKER, who=WHO, sku=SKU, coupon=st.booleans(), also=WHO, drops=st.booleans(),
        fault=st.sampled_from([Fault.none, Fault.none, Fault.wrong, Fault.double]),
    )  # fmt: skip
    def check_out_late(
        self, worker: int, who: str, sku: str, coupon: bool, fault: Fault, drops: bool, also: str
    ) -> None:
        """The money comes when the check-out has lapsed, and others have shopped meanwhile."""
        self.fill(worker, who, sku, 1, coupon)
        bank, other = self.premises.bank, 1 - worker
        bank.script[StepKind.authorise].append(fault)

        async def meanwhile(_charge: object) -> None:
            bank.meanwhile, bank.blind = None, True
            self.premises.clock.advance(CLAIM_TTL_S)
            await self.at(other).keeper.sweep()
            if drops:
                await _tried(lambda: self.at(other).remove("demo", viewer(who), sku))
            await self.click(other, self.ask(also, sku, 1))
            await _tried(lambda: self.at(other).coupons("demo", viewer(also), ["TWICE"]))
            await _tried(lambda: self.buy(other, also))
            bank.blind = False

        bank.meanwhile = meanwhile
        self.attempt(self.buy(worker, who))
        bank.meanwhile, bank.blind = None, False
        bank.script[StepKind.authorise].clear()

    # --- time, providers, merchants

    @rule(worker=WORKER)
    def sweep(self, worker: int) -> None:
        self.run(self.at(worker).keeper.sweep())

    @rule(worker=WORKER)
    def notices(self, worker: int) -> None:
        self.run(self.premises.notices(self.premises.workers[worker]))

    @rule(worker=WORKER, sku=SKU, change=st.sampled_from([-2, -1, 1, 3]))
    def adjust(self, worker: int, sku: str, change: int) -> None:
        self.attempt(self.at(worker).office.stocktake.adjust(sku, change, OPS))

    @rule(worker=WORKER, which=WHICH, verbs=st.lists(st.sampled_from(VERBS), min_size=1, max_size=3), sku=SKU,
          fault=st.sampled_from([Fault.none, Fault.none, Fault.lost, Fault.unheard]), more=st.booleans())  # fmt: skip
    def order(self, worker: int, which: int, verbs: list[str], sku: str, fault: Fault, more: bool) -> None:
        """Something is done to one of the orders that were paid for."""
        found = [order for order in self.run(self.premises.orders()) if order.placed_at_ms is not None]
        if not found:
            return
        orders, id_ = self.at(worker).office.orders, found[which % len(found)].id
        calls: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "capture": lambda: orders.capture(id_, HOST),
            "ship": lambda: orders.ship(id_, HOST),
            "cancel": lambda: orders.cancel(id_, HOST),
            "refund": lambda: orders.refund(id_, HOST, [Units(sku, 1)], shipping_minor=10, goodwill_minor=more),
            "return": lambda: orders.take_back(id_, HOST, [Units(sku, 1)], restock=more, refund=True),
        }
        bank = self.premises.bank
        for kind in (StepKind.capture, StepKind.void, StepKind.refund):
            bank.script[kind].append(fault)
        for verb in verbs:
            try:
                self.run(calls[verb]())
            except Problem as problem:
                assert problem.kind in EXPECTED | {Kind.unknown_sku}, problem
        for kind in (StepKind.capture, StepKind.void, StepKind.refund):
            bank.script[kind].clear()

    # --- several at once, and power cuts

    def _rush(self, sku: str) -> list[Awaitable[Any]]:
        keys = [self.ask(who, sku, 1) for who in ("ada", "bob", "cleo", "ada")]
        clicks = [self.click(number % 2, key) for number, key in enumerate(keys)]
        return [*clicks, _tried(lambda: self.buy(0, "ada")), self.at(1).keeper.sweep()]

    @rule(sku=SKU)
    def race(self, sku: str) -> None:
        async def everybody() -> None:
            await asyncio.gather(*self._rush(sku))

        self.run(everybody())

    @rule(sku=SKU, after=st.integers(0, 4))
    def crash(self, sku: str, after: int) -> None:
        """The power goes in the middle of a rush, when so many have been answered."""

        async def everybody() -> None:
            running = {asyncio.ensure_future(one) for one in self._rush(sku)}
            while len(running) > 6 - after:
                _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            await self.premises.crash(*running)

        self.run(everybody())

    @rule(who=WHO, taken=st.booleans())
    def crash_while_paying(self, who: str, taken: bool) -> None:
        """The power goes while the provider is asked; `taken`: it has set the money aside."""
        self.fill(0, who, "CUP", 1, True)
        bank = self.premises.bank
        reached = asyncio.Event()

        async def meanwhile(_charge: object) -> None:
            reached.set()
            await asyncio.Event().wait()

        async def cut() -> None:
            if taken:
                bank.unheard = reached
            else:
                bank.meanwhile = meanwhile
            paying = asyncio.ensure_future(_tried(lambda: self.buy(0, who, "one key")))
            waiting = asyncio.ensure_future(reached.wait())
            await asyncio.wait({paying, waiting}, return_when=asyncio.FIRST_COMPLETED)
            await self.premises.crash(paying, waiting)

        self.run(cut())

    # --- what must hold

    async def _end(self) -> None:
        """All is said again that nobody heard the answer to, and asked until it is answered."""
        for key in list(self.asked):
            await self.click(0, key)
        first: Worker = self.premises.workers[0]
        for _ in range(2):
            await self.premises.settle()
            await self.premises.notices(first)
        await self.premises.settle()
        books = await self.premises.books()
        books.check()
        check_money(books.orders, self.premises.bank)
        assert await first.shop.keeper.reconcile() == []
        acked: Counter[str] = Counter()
        for (_, _, quantity), hold_id in self.acked.values():
            acked[hold_id] += quantity
        for hold_id, taken in books.taken().items():
            assert taken == acked[hold_id] or (taken > acked[hold_id] and hold_id in self.changed), (
                "lost, or done twice"
            )
        assert not acked.keys() - books.taken().keys()


async def _tried(doing: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    try:
        await doing()
    except Problem as problem:
        assert problem.kind in EXPECTED | {Kind.key_reused, Kind.key_in_flight}, problem


@pytest.mark.timeout(300)
async def test_the_books_stay_right(database_url: str, clock: ManualClock) -> None:
    await play(Commerce, Premises(database_url, clock), seeds=6 if database_url.startswith("sqlite") else 3)
