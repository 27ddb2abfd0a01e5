"""Two workers, guests who sign in, a merchant who reports twice, and time: whatever comes first, the books agree."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from cart import store as cart_store
from cart.handoff.reports import Report
from cart.handoff.syncing import Wish
from cart.ordering import store as order_store
from cart.ordering.orders import SOLD
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.limits import HOLD_TTL_S
from live.service import Shows
from tests.cart.conftest import Screens, level, viewer
from tests.cart.handoff.conftest import SHOP, TTL_S, WAY, customer

SKUS = ("CUP", "MUG-BLUE", "MUG-RED")
GUESTS, CUSTOMERS = ("ada", "bob", "eve"), ("c1", "c2")
TURNS, AT_ONCE = 4, 14


@pytest.fixture
async def other(database_url: str, clock: ManualClock) -> AsyncIterator[Shop]:
    """Another worker's shop on the same store."""
    database = await Database.open(database_url, clock)
    shop = Shop(database, Shows(database, Screens(), clock), clock, stock_interval_s=0, pace_s=0, way=WAY)
    yield shop
    await shop.office.till.idle()
    await shop.close()
    await database.close()


class _World:
    """Does something at random, by one of two shops; `handed` are the hand-offs so far."""

    def __init__(self, chance: random.Random, shops: tuple[Shop, Shop]) -> None:
        self._chance = chance
        self._shops = shops
        self.handed: list[str] = []

    def step(self) -> Coroutine[Any, Any, Any]:
        chance, shop = self._chance, self._chance.choice(self._shops)
        handing, sku, units = shop.handing, chance.choice(SKUS), chance.randint(1, 2)
        guest, who = chance.choice(GUESTS), customer(chance.choice(CUSTOMERS))
        shopper = chance.choice((viewer(guest), who))
        steps: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: shop.add("demo", shopper, sku, units),
            lambda: shop.add("demo", viewer(guest), sku, units),
            lambda: handing.merging.merge(guest, who),
            lambda: self.hand_over(shop, shopper),
            lambda: self._report(shop, Report(number=f"S-{chance.randrange(8)}")),
            lambda: self._report(shop, Report(state="cancelled")),
            lambda: handing.handoffs.take_back("demo", shopper, key=None),
            lambda: handing.sync.put(str(who.customer), "demo", [Wish(sku, units)], SHOP, version="*", key=None),
            lambda: shop.checkout("demo", shopper, name="Ada", email="ada@example.com"),
            shop.keeper.sweep,
        ]
        return chance.choice(steps)()

    async def hand_over(self, shop: Shop, shopper: Any) -> None:
        answer = await shop.handing.handoffs.open("demo", shopper, None, key=None)
        self.handed.append(answer.body["handoff"]["id"])

    async def _report(self, shop: Shop, report: Report) -> None:
        if self.handed:
            id_ = self._chance.choice(self.handed)
            await asyncio.gather(*(one.handing.handoffs.report(id_, report, SHOP, None) for one in self._shops))


async def test_whatever_comes_first_the_books_are_right(
    shop: Shop, other: Shop, database: Database, clock: ManualClock
) -> None:
    chance = random.Random(7)
    world = _World(chance, (shop, other))
    for who in (viewer("zoe"), customer("c3")):  # whatever becomes of the others
        await shop.add("demo", who, "CUP", 2)
        await world.hand_over(shop, who)
    for _ in range(TURNS):
        outcomes = await asyncio.gather(*(world.step() for _ in range(AT_ONCE)), return_exceptions=True)
        broken = [one for one in outcomes if isinstance(one, BaseException) and not isinstance(one, Problem)]
        assert broken == []
        assert await database.read_sync(cart_store.drift) == []
        clock.advance(chance.choice((1, HOLD_TTL_S // 2, TTL_S)))
    found = await database.read_sync(lambda conn: order_store.list_orders(conn, before=""))
    sold = Counter[str]()
    for order in found:
        if order.state in SOLD:
            sold.update({line.sku: line.quantity - line.cancelled for line in order.lines})
    for sku in SKUS:
        assert (await level(database, sku))[1] == sold[sku], "what orders wait for is set aside, and nothing else"
    numbers = [order.external_number for order in found if order.external_number is not None]
    assert len(numbers) == len(set(numbers)), "one order for each number"
