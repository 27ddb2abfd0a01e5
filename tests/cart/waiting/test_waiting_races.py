"""Many who wait, click, leave and let lapse at two workers at once, over both databases."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import func, select

from cart import store
from cart.service import Shop
from cart.stock import HoldState
from cart.tables import hold
from cart.waiting import store as queue
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import HOLD_TTL_S
from tests.cart.conftest import ADA, Screens, level, viewer
from tests.cart.waiting.conftest import EMAIL, held, plan, wait

OPS = Principal(subject="ops", role=Role.ops, show="*", name="Ops")
QUEUE = [viewer(f"q{number}") for number in range(50)]


async def _all(*jobs: Awaitable[Any]) -> list[Any]:
    """What came of jobs done at once; refusals are kept, and anything else that is raised is a bug."""
    results = await asyncio.gather(*jobs, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Problem):
            raise result
    return results


async def test_the_last_unit_goes_from_one_to_the_next_of_fifty(
    shop: Shop, other: Shop, database: Database, clock: ManualClock, screens: Screens
) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    await _all(
        *((shop, other)[number % 2].waiting.join("demo", who, "MUG-RED", key=None) for number, who in enumerate(QUEUE))
    )
    async with database.read() as conn:
        order = [one.viewer_id for one in await conn.run_sync(queue.heads, "MUG-RED", 0, 50, ())]
    assert sorted(order) == sorted(who.subject for who in QUEUE)
    served = ["ada"]
    for turn in range(4):
        jobs: list[Awaitable[Any]] = [
            at.add("demo", viewer(f"passer-by-{turn}-{number}"), "MUG-RED")
            for number in range(3)
            for at in (shop, other)
        ]
        if turn % 2:
            clock.advance(HOLD_TTL_S)
            jobs += [shop.keeper.sweep(), other.keeper.sweep()]
        else:
            jobs.append(other.remove("demo", viewer(served[-1]), "MUG-RED"))
        results = await _all(*jobs)
        assert [one.kind for one in results if isinstance(one, Problem)] == [Kind.sold_out] * 6, "no passer-by got it"
        await shop.keeper.sweep()
        served = ["ada", *(to for _, to, name, _ in screens.notices if name == "waitlist.offered")]
        assert len(served) == turn + 2 and await held(shop, viewer(served[-1])) == {"MUG-RED": 1}
        assert await level(database, "MUG-RED") == (1, 0, 1)
    assert served[1:] == order[:4], "first come, first served"
    assert not await shop.waiting.check() and not await shop.keeper.reconcile()


async def test_nobody_waits_beside_a_free_unit(shop: Shop, other: Shop, database: Database) -> None:
    """Whoever joins finds it sold out, or is told that it is not; in between there is nothing."""
    for _ in range(2):
        for who in (ADA, *QUEUE[:2]):
            await _all(shop.add("demo", who, "MUG-BLUE", 5), shop.waiting.leave("demo", who, "MUG-BLUE", key=None))
        joined = await _all(
            *(shop_.waiting.join("demo", who, "MUG-BLUE", key=None) for shop_ in (shop, other) for who in QUEUE[:5]),
            other.remove("demo", ADA, "MUG-BLUE"),
            *(other.remove("demo", who, "MUG-BLUE") for who in QUEUE[:2]),
        )
        assert {one.kind for one in joined if isinstance(one, Problem)} <= {Kind.not_sold_out}
        await shop.waiting.look()  # who was joining again just then was passed over for that moment
        async with database.read() as conn:
            found = (await conn.run_sync(store.levels, ["MUG-BLUE"]))["MUG-BLUE"]
        assert found.available == 0 or found.waiting == 0
        for who in QUEUE[:5]:
            await shop.remove("demo", who, "MUG-BLUE")
    assert not await shop.waiting.check() and not await shop.keeper.reconcile()


async def test_the_books_of_queues_and_drops_stay_right(
    shop: Shop, other: Shop, database: Database, clock: ManualClock
) -> None:
    dice = random.Random(11)
    people = [viewer(f"p{number}") for number in range(6)]
    await plan(shop, total_limit=7, per_customer_limit=3)
    orders: list[tuple[str, Principal]] = []

    async def buy(at: Shop, who: Principal) -> None:
        answer = await at.checkout("demo", who, name="P", email=EMAIL)
        orders.append((answer.body["order"]["id"], who))

    async def cancel(at: Shop, _: Principal) -> None:
        if orders:
            await at.office.orders.cancel(*orders.pop(dice.randrange(len(orders))))

    async def sweep(at: Shop, _: Principal) -> None:
        clock.advance(HOLD_TTL_S / 2)
        await at.keeper.sweep()

    deeds: list[Callable[[Shop, Principal], Awaitable[Any]]] = [
        *[lambda at, who: at.add("demo", who, "CUP", dice.randint(1, 2))] * 3,
        lambda at, who: at.add("demo", who, "MUG-RED"),
        lambda at, who: at.change("demo", who, "CUP", dice.randint(1, 3)),
        lambda at, who: at.remove("demo", who, dice.choice(["CUP", "MUG-RED"])),
        *[lambda at, who: at.waiting.join("demo", who, dice.choice(["CUP", "MUG-RED"]), 2, key=None)] * 3,
        lambda at, who: at.waiting.leave("demo", who, "CUP", key=None),
        lambda at, _: at.office.stocktake.adjust("MUG-RED", dice.choice([1, -1]), OPS),
        buy, cancel, sweep,
    ]  # fmt: skip
    for _ in range(9):
        await _all(*(dice.choice(deeds)(dice.choice((shop, other)), dice.choice(people)) for _ in range(7)))
        [drop] = await shop.planning.drops("demo")
        assert drop.taken <= 7
        assert drop.taken == await _taken(database, orders)
        assert not await shop.keeper.reconcile() and not await other.waiting.check()
    await shop.waiting.look()
    async with database.read() as conn:
        found = (await conn.run_sync(store.levels, ["MUG-RED"]))["MUG-RED"]
    assert found.available == 0 or found.waiting == 0
    assert max([(await held(shop, who)).get("CUP", 0) for who in people]) <= 3


async def _taken(database: Database, orders: list[tuple[str, Principal]]) -> int:
    """Cups in carts, and in orders that stand."""
    living = hold.c.state.in_([HoldState.active.value, HoldState.claiming.value])
    sold = hold.c.order_id.in_([order_id for order_id, _ in orders]) & (hold.c.state == HoldState.claimed.value)
    async with database.read() as conn:
        return await conn.scalar(select(func.sum(hold.c.quantity)).where(hold.c.sku == "CUP", living | sold)) or 0


async def test_a_cart_that_is_being_changed_keeps_its_turn(
    shop: Shop, other: Shop, database: Database, clock: ManualClock
) -> None:
    """On PostgreSQL the head's cart is locked by another transaction when a unit becomes free: it stays reserved."""
    await shop.add("demo", ADA, "MUG-RED")
    head, second = QUEUE[:2]
    await wait(shop, head, second)
    if database.dialect == "postgresql":
        async with database.write() as conn:
            await conn.run_sync(store.lock_carts, [f"demo:{head.subject}"])
            await other.remove("demo", ADA, "MUG-RED")
            assert (await held(shop, head), await held(shop, second)) == ({}, {})
            problem = (await _all(other.add("demo", ADA, "MUG-RED")))[0]
            assert (problem.kind, problem.extra["available"]) == (Kind.sold_out, 0)
            assert [place["position"] for place in await wait(other, viewer("late"))] == [3]
        await other.waiting.look()
    else:
        await other.remove("demo", ADA, "MUG-RED")
    assert (await held(shop, head), await held(shop, second)) == ({"MUG-RED": 1}, {})
