"""Any series of what shoppers, time and merchants do leaves the books right, on both databases."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select, text

from cart import tables
from cart.catalogue import VariantEntry
from cart.ordering import tables as order_tables
from cart.ordering.office import Trade
from cart.ordering.payments import Charge, PaymentRefused, PayOnPickup, Receipt
from cart.service import Shop
from cart.stock import EFFECTS, Movement
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.service import Shows
from tests.cart.conftest import Screens, product, stock, viewer

T = TypeVar("T")
SKUS = ("CUP", "MUG-RED")
VIEWERS = ("ada", "bob")
EXPECTED = {
    Kind.sold_out, Kind.hold_expired, Kind.not_in_cart, Kind.invalid_quantity, Kind.cart_empty, Kind.payment_refused,
}  # fmt: skip


class Counter(PayOnPickup):
    """A payment that says what the machine has told it."""

    broke = False
    takes_s = 0

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    async def authorise(self, charge: Charge) -> Receipt:
        self._clock.advance(self.takes_s)
        if self.broke:
            raise PaymentRefused("No money.")
        return await super().authorise(charge)


class Stampede(RuleBasedStateMachine):
    """Runs in a thread of its own; what it does runs on the test's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, database: Database, shows: Shows, clock: ManualClock) -> None:
        super().__init__()
        self.loop = loop
        self.database = database
        self.shows = shows
        self.clock = clock
        self.till = Counter(clock)
        self.shop = Shop(database, shows, clock, trade=Trade(payment=self.till), pace_s=0)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def attempt(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            self.run(coroutine)
        except Problem as problem:
            assert problem.kind in EXPECTED, problem

    @initialize()
    def begin(self) -> None:
        async def empty() -> None:
            async with self.database.write() as conn:
                for table in (
                    "hold",
                    "stock_movement",
                    "idempotency",
                    "payment_step",
                    "letter",
                    "order_line",
                    "orders",
                ):
                    await conn.execute(text(f"DELETE FROM {table}"))
                await conn.execute(text("UPDATE stock_level SET on_hand = 0, allocated = 0, held = 0"))

        self.run(empty())
        self.run(
            stock(
                self.shows,
                product("cup", VariantEntry(sku="CUP", price_minor=1000, stock=6)),
                product(
                    "mug",
                    VariantEntry(sku="MUG-RED", title="Red", price_minor=1500, stock=1),
                    title="Mug",
                ),
            )
        )

    @rule(who=st.sampled_from(VIEWERS), sku=st.sampled_from(SKUS), quantity=st.integers(1, 4))
    def add(self, who: str, sku: str, quantity: int) -> None:
        self.attempt(self.shop.add("demo", viewer(who), sku, quantity))

    @rule(who=st.sampled_from(VIEWERS), sku=st.sampled_from(SKUS), key=st.sampled_from(["a", "b"]))
    def add_keyed(self, who: str, sku: str, key: str) -> None:
        self.attempt(self.shop.add("demo", viewer(who), sku, key=f"{key}-{sku}"))

    @rule(who=st.sampled_from(VIEWERS), sku=st.sampled_from(SKUS), quantity=st.integers(1, 4))
    def change(self, who: str, sku: str, quantity: int) -> None:
        self.attempt(self.shop.change("demo", viewer(who), sku, quantity))

    @rule(who=st.sampled_from(VIEWERS), sku=st.sampled_from(SKUS))
    def extend(self, who: str, sku: str) -> None:
        self.attempt(self.shop.extend("demo", viewer(who), sku))

    @rule(who=st.sampled_from(VIEWERS), sku=st.sampled_from(SKUS))
    def remove(self, who: str, sku: str) -> None:
        self.attempt(self.shop.remove("demo", viewer(who), sku))

    @rule(who=st.sampled_from(VIEWERS), broke=st.booleans(), takes_s=st.sampled_from([0, 301, 601]))
    def check_out(self, who: str, broke: bool, takes_s: int) -> None:
        self.till.broke, self.till.takes_s = broke, takes_s
        self.attempt(self.shop.checkout("demo", viewer(who), name="Ada", email="ada@example.com"))

    @rule(seconds=st.sampled_from([1, 299, 301]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def sweep(self) -> None:
        self.run(self.shop.keeper.sweep())

    @rule(sku=st.sampled_from(["CUP"]), count=st.integers(0, 8))
    def count(self, sku: str, count: int) -> None:
        async def recount() -> None:
            entry = product("cup", VariantEntry(sku=sku, price_minor=1000, stock=count))
            try:
                await stock(self.shows, entry)
            except AssertionError as error:
                assert "in carts and orders" in str(error)

        self.run(recount())

    @rule(sku=st.sampled_from(SKUS))
    def race(self, sku: str) -> None:
        async def everybody() -> None:
            calls = [self.shop.add("demo", viewer(who), sku) for who in VIEWERS]
            for result in await asyncio.gather(*calls, self.shop.keeper.sweep(), return_exceptions=True):
                if isinstance(result, BaseException):
                    assert isinstance(result, Problem) and result.kind in EXPECTED, result

        self.run(everybody())

    @invariant()
    def the_books_are_right(self) -> None:
        async def look() -> None:
            async with self.database.read() as conn:
                levels = {row.sku: row for row in await conn.execute(select(tables.stock_level))}
                moved = list(await conn.execute(select(tables.stock_movement)))
                sold = list(await conn.execute(select(order_tables.order_line).join(order_tables.orders).where(
                    order_tables.orders.c.state == "placed")))  # fmt: skip
                totals = list(await conn.execute(select(order_tables.orders)))
                lines = list(await conn.execute(select(order_tables.order_line)))
            for sku in SKUS:
                found = levels[sku]
                assert found.on_hand >= found.allocated + found.held
                sums = [0, 0, 0]
                for row in moved:
                    if row.sku == sku:
                        for place, sign in enumerate(EFFECTS[Movement(row.kind)]):
                            sums[place] += sign * row.quantity
                assert (found.on_hand, found.allocated, found.held) == tuple(sums)
                assert found.allocated == sum(line.quantity for line in sold if line.sku == sku)
            for order in totals:
                own = [line for line in lines if line.order_id == order.id]
                assert order.total_minor == sum(line.price_minor * line.quantity for line in own) > 0
            assert await self.shop.keeper.reconcile() == []

        self.run(look())


@pytest.mark.timeout(180)
async def test_the_books_stay_right(database: Database, shows: Shows, clock: ManualClock, screens: Screens) -> None:
    loop = asyncio.get_running_loop()
    sqlite = database.dialect == "sqlite"
    await asyncio.to_thread(
        run_state_machine_as_test,
        cast("type[Stampede]", lambda: Stampede(loop, database, shows, clock)),
        settings=settings(
            max_examples=15 if sqlite else 10,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
