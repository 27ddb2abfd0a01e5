"""Many shoppers, shops and sweeps at once over both databases: nothing is sold twice, nothing is lost."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.util import await_only

from cart import store
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import HOLD_TTL_S
from live.service import Shows
from tests.cart.conftest import ADA, Screens, level, viewer


async def test_a_stampede_never_oversells(shop: Shop, database: Database, screens: Screens) -> None:
    results = await asyncio.gather(
        *(shop.add("demo", viewer(f"v{number}"), "CUP") for number in range(100)), return_exceptions=True
    )
    holds = [result for result in results if not isinstance(result, BaseException)]
    kinds = {result.kind for result in results if isinstance(result, Problem)}
    assert (len(holds), kinds) == (10, {Kind.sold_out})
    assert await level(database, "CUP") == (10, 0, 10)
    told = screens.stock("CUP")
    assert told == sorted(told, reverse=True) and told[-1] == 0, "in the order of the commits"
    assert screens.of("product.sold_out") == [{"sku": "CUP"}]
    assert await shop.keeper.reconcile() == []


async def test_two_shops_on_one_database_agree(
    shop: Shop, database_url: str, clock: ManualClock, database: Database
) -> None:
    other_database = await Database.open(database_url, clock)
    other = Shop(other_database, Shows(other_database, Screens(), clock), clock, pace_s=0)
    try:
        results = await asyncio.gather(
            *((shop, other)[number % 2].add("demo", viewer(f"v{number}"), "CUP") for number in range(30)),
            return_exceptions=True,
        )
    finally:
        await other_database.close()
    assert sum(not isinstance(result, BaseException) for result in results) == 10
    assert await level(database, "CUP") == (10, 0, 10)


async def test_sweeps_at_once_end_a_hold_once(shop: Shop, database: Database, clock: ManualClock) -> None:
    for number in range(6):
        await shop.add("demo", viewer(f"v{number}"), ("CUP", "MUG-BLUE")[number % 2])
    clock.advance(HOLD_TTL_S)
    ended = await asyncio.gather(*(shop.keeper.sweep() for _ in range(4)))
    assert sum(ended) == 6
    assert await level(database, "CUP") == (10, 0, 0)


async def test_carts_with_the_same_skus_in_other_orders_never_wait_for_each_other(
    shop: Shop, database: Database, clock: ManualClock
) -> None:
    """Check-outs, sweeps and adds lock the same levels; a deadlock would fail one of them."""

    async def shopper(number: int) -> None:
        skus = ["CUP", "MUG-BLUE"] if number % 2 else ["MUG-BLUE", "CUP"]
        who = viewer(f"v{number}")
        for sku in skus:
            await shop.add("demo", who, sku)
        if number % 3:
            await shop.checkout("demo", who, name="Ada", email="ada@example.com")

    clock.advance(HOLD_TTL_S)
    await asyncio.gather(*(shopper(number) for number in range(5)), shop.keeper.sweep(), shop.keeper.sweep())
    assert await level(database, "CUP") == (10, 3, 2)
    assert await level(database, "MUG-BLUE") == (5, 3, 2)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer
@pytest.mark.parametrize("verb", ["change", "extend", "checkout"])
async def test_a_sweep_waits_for_whoever_has_a_level_locked(
    shop: Shop, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The hold's time runs out between being looked at and being changed."""
    await shop.add("demo", ADA, "CUP", 3)
    sweeps: list[asyncio.Task[int]] = []

    async def somebody_waits() -> bool:
        async with database.read() as conn:
            return bool(await conn.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    # The last look at the hold of each verb.
    name = {"change": "live_hold", "extend": "live_hold", "checkout": "newest_state"}[verb]
    look = getattr(store, name)

    async def let_the_time_run_out() -> None:
        clock.advance(HOLD_TTL_S)
        sweeps.append(asyncio.create_task(shop.keeper.sweep()))
        while not (sweeps[0].done() or await somebody_waits()):
            await asyncio.sleep(0.01)

    def look_and_let_the_time_run_out(*arguments: Any) -> Any:
        seen = look(*arguments)
        await_only(let_the_time_run_out())
        return seen

    monkeypatch.setattr(store, name, look_and_let_the_time_run_out)
    if verb == "change":
        await shop.change("demo", ADA, "CUP", 2)
    elif verb == "extend":
        await shop.extend("demo", ADA, "CUP")
    else:
        await shop.checkout("demo", ADA, name="Ada", email="ada@example.com")
    await sweeps[0]
    assert await level(database, "CUP") == ((10, 3, 0) if verb == "checkout" else (10, 0, 0))
    assert await shop.keeper.reconcile() == []
