"""Drops over both databases: the window is the database's clock's, and limits hold."""

import asyncio
from typing import Any

import pytest

from cart.service import Shop
from cart.waiting.planning import DropChange, NewDrop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import HOLD_TTL_S
from live.service import Shows
from tests.cart.conftest import ADA, BOB, Screens, level, refused, viewer
from tests.cart.waiting.conftest import ANN, BEN, EMAIL, HOST, held, plan, told, wait


async def test_the_window_is_judged_by_the_databases_clock(shop: Shop, clock: ManualClock) -> None:
    now_ms = clock.now_ms()
    drop = await plan(shop, opens_at_ms=now_ms + 1000, closes_at_ms=now_ms + 2000)
    clock.advance(0.999)
    problem = await refused(shop.add("demo", ADA, "CUP"))
    assert problem.kind is Kind.drop_not_open and problem.field == "sku"
    assert problem.extra == {"sku": "CUP", "opens_at_ms": drop["opens_at_ms"], "now_ms": now_ms + 999}
    clock.advance(0.001)
    await shop.add("demo", ADA, "CUP")
    clock.advance(0.999)
    await shop.add("demo", ADA, "CUP")
    clock.advance(0.001)
    for verb in (shop.add("demo", ADA, "CUP"), shop.change("demo", ADA, "CUP", 3)):
        problem = await refused(verb)
        assert (problem.kind, problem.extra["closes_at_ms"]) == (Kind.drop_over, now_ms + 2000)
    await shop.change("demo", ADA, "CUP", 1)
    order = (await shop.checkout("demo", ADA, name="Ada", email=EMAIL)).body["order"]
    assert order["state"] == "placed", "what is in the cart in time can be ordered afterwards"


async def test_limits_count_carts_and_orders_and_nothing_that_came_back(
    shop: Shop, clock: ManualClock, database: Database
) -> None:
    await plan(shop, total_limit=3, per_customer_limit=2)
    await shop.add("demo", ADA, "CUP", 2)
    problem = await refused(shop.add("demo", ADA, "CUP"))
    assert (problem.kind, problem.extra["left"], problem.field) == (Kind.drop_customer_limit, 0, "quantity")
    order = (await shop.checkout("demo", ADA, name="Ada", email=EMAIL)).body["order"]
    assert (await refused(shop.add("demo", ADA, "CUP"))).kind is Kind.drop_customer_limit, "orders count"
    problem = await refused(shop.add("demo", BOB, "CUP", 2))
    assert (problem.kind, problem.extra["left"]) == (Kind.drop_limit_reached, 1)
    await shop.add("demo", BOB, "CUP")
    await shop.remove("demo", BOB, "CUP")
    await shop.add("demo", ANN, "CUP")
    clock.advance(HOLD_TTL_S)
    await shop.keeper.sweep()
    await shop.add("demo", BOB, "CUP")
    await shop.office.orders.cancel(order["id"], ADA)
    await shop.add("demo", ADA, "CUP", 2)
    assert (await refused(shop.add("demo", ANN, "CUP"))).extra["left"] == 0
    [drop] = await shop.planning.drops("demo")
    assert (drop.taken, drop.left) == (3, 0)
    assert await level(database, "CUP") == (10, 0, 3)


async def test_two_workers_and_two_hundred_adds_never_sell_more_than_the_drop(
    shop: Shop, other: Shop, database: Database
) -> None:
    await plan(shop, total_limit=6, per_customer_limit=2)
    people = [viewer(f"v{number % 40}") for number in range(200)]
    results = await asyncio.gather(
        *((shop, other)[number % 2].add("demo", who, "CUP") for number, who in enumerate(people)),
        return_exceptions=True,
    )
    kinds = {result.kind for result in results if isinstance(result, Problem)}
    assert sum(not isinstance(result, BaseException) for result in results) == 6
    assert kinds <= {Kind.drop_limit_reached, Kind.drop_customer_limit}
    assert await level(database, "CUP") == (10, 0, 6)
    [drop] = await shop.planning.drops("demo")
    assert (drop.taken, drop.left) == (6, 0)


async def test_one_customer_at_two_workers_gets_the_share_once(shop: Shop, other: Shop) -> None:
    await plan(shop, per_customer_limit=3)
    tries = [(shop, other)[number % 2].add("demo", ADA, "CUP") for number in range(12)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 3
    assert await held(shop, ADA) == {"CUP": 3}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_was_in_carts_before_counts_and_other_shows_do_not(shop: Shop, shows: Shows) -> None:
    await shows.create("other", "Other")
    await shop.add("demo", ADA, "CUP", 2)
    await shop.add("other", ADA, "CUP", 2)
    await plan(shop, total_limit=3)
    assert (await refused(shop.add("demo", BOB, "CUP", 2))).extra["left"] == 1
    await shop.add("other", BOB, "CUP", 2)
    await shop.remove("demo", ADA, "CUP")
    await shop.add("demo", BOB, "CUP", 3)
    await shop.remove("other", ADA, "CUP")
    assert (await shop.planning.drops("demo"))[0].taken == 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_screens_hear_of_drops_and_of_what_is_left(
    shop: Shop, shows: Shows, screens: Screens, clock: ManualClock
) -> None:
    shop.attach()
    drop = await plan(shop, opens_at_ms=clock.now_ms() + 5000, total_limit=3)
    seen = {name: value for name, value in drop.items() if name != "taken"}
    assert screens.of("drop.changed") == [{"sku": "CUP", "drop": seen}]
    assert (await shows.snapshot("demo"))["drops"] == [seen]
    answer = await shop.planning.change("demo", HOST, drop["id"], DropChange(opens_at_ms=0, total_limit=4), key="k")
    assert screens.of("drop.changed")[-1]["drop"] == seen | {"opens_at_ms": 0, "total_limit": 4, "left": 4}
    assert (await shop.planning.change(
        "demo", HOST, drop["id"], DropChange(opens_at_ms=0, total_limit=4), key="k"
    )).body == answer.body  # fmt: skip
    await shop.add("demo", ADA, "CUP", 3)
    assert _lefts(screens) == [1]
    assert (await shows.snapshot("demo"))["drops"][0]["left"] == 1
    await shop.planning.cancel("demo", HOST, drop["id"])
    assert screens.of("drop.changed")[-1] == {"sku": "CUP", "drop": None}
    assert (await shows.snapshot("demo"))["drops"] == []
    await shop.add("demo", ADA, "CUP", 7)
    assert (await refused(shop.planning.cancel("demo", HOST, drop["id"]))).kind is Kind.unknown_drop


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_left_is_told_a_few_times_a_second_however_fast_it_sells(
    database: Database, shows: Shows, screens: Screens, clock: ManualClock
) -> None:
    shop = Shop(database, shows, clock, stock_interval_s=3600, pace_s=0)
    await plan(shop, total_limit=8)
    for number in range(5):
        await shop.add("demo", viewer(f"v{number}"), "CUP")
    assert _lefts(screens) == [7], "the first one at once"
    await shop.close()
    assert _lefts(screens) == [7, 3], "and then the newest"


def _lefts(screens: Screens) -> list[int]:
    return [
        data["left"] for _, name, key, data, staff in screens.states if (name, key, staff) == ("drop", "CUP", False)
    ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_hosts_plan_change_and_replace(shop: Shop, clock: ManualClock) -> None:
    now_ms = clock.now_ms()
    drop = await plan(shop, opens_at_ms=now_ms + 1000, closes_at_ms=now_ms + 2000, per_customer_limit=2)
    problem = await refused(plan(shop, opens_at_ms=now_ms))
    assert (problem.kind, problem.extra["drop"]) == (Kind.drop_exists, drop["id"])
    changed = await shop.planning.change(
        "demo", HOST, drop["id"], DropChange(per_customer_limit=None, closes_at_ms=now_ms + 3000)
    )
    assert changed.body["drop"] == drop | {"per_customer_limit": None, "closes_at_ms": now_ms + 3000}
    clock.advance(1)
    change = DropChange(total_limit=5)
    assert (await refused(shop.planning.change("demo", HOST, drop["id"], change))).kind is Kind.drop_open
    assert (await refused(shop.planning.change("other", HOST, drop["id"], change))).kind is Kind.unknown_show
    assert (await refused(shop.planning.change("demo", HOST, "nothing", change))).kind is Kind.unknown_drop
    clock.advance(2)
    again = await plan(shop, opens_at_ms=now_ms + 9000)
    assert [one.id for one in await shop.planning.drops("demo")] == [again["id"]], "in place of the one that is over"
    assert (await refused(shop.add("demo", ADA, "CUP"))).kind is Kind.drop_not_open


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_plan_that_makes_no_sense_names_its_member(shop: Shop) -> None:
    cases: list[tuple[dict[str, Any], str, Kind]] = [
        ({"sku": "NO-SUCH"}, "sku", Kind.unknown_sku),
        ({"sku": "NUL\0"}, "sku", Kind.unknown_sku),
        ({"opens_at_ms": 2**63}, "opens_at_ms", Kind.invalid_field),
        ({"closes_at_ms": 1_000}, "closes_at_ms", Kind.invalid_field),
        ({"total_limit": 0}, "total_limit", Kind.invalid_field),
    ]
    for members, field, kind in cases:
        plain: dict[str, Any] = {"sku": "CUP", "opens_at_ms": 0} | members
        problem = await refused(shop.planning.create("demo", HOST, NewDrop(**plain), key=None))
        assert (problem.kind, problem.field) == (kind, field)
    beyond = NewDrop(sku="CUP", opens_at_ms=2**70)
    problem = await refused(shop.planning.create("demo", HOST, beyond, key="k"))
    assert problem.kind is Kind.invalid_field
    assert await shop.planning.drops("demo") == []


async def test_who_waits_in_a_drop_waits_for_its_window_and_its_limits(
    shop: Shop, screens: Screens, clock: ManualClock, shows: Shows
) -> None:
    await shows.create("other", "Other")
    await shop.add("demo", ADA, "MUG-BLUE", 5)
    await wait(shop, ANN, BEN, sku="MUG-BLUE")
    await shop.waiting.join("other", BOB, "MUG-BLUE", key=None)
    closes_at_ms = clock.now_ms() + 100_000
    await plan(shop, "MUG-BLUE", opens_at_ms=clock.now_ms() + 1000, closes_at_ms=closes_at_ms, total_limit=6)
    await shop.change("demo", ADA, "MUG-BLUE", 3)
    assert [await held(shop, who) for who in (ANN, BEN)] == [{}, {}], "it has not opened"
    assert (await shop.cart("other", BOB)).lines[0].quantity == 1, "elsewhere there is no drop"
    clock.advance(1)
    await shop.waiting.look()
    assert [await held(shop, who) for who in (ANN, BEN)] == [{"MUG-BLUE": 1}, {}]
    clock.advance(99)
    await shop.waiting.look()
    assert told(screens, BEN, "waitlist.changed")[-1]["reason"] == "drop_over"
    assert (await refused(shop.waiting.join("demo", BEN, "MUG-BLUE", key=None))).kind is Kind.drop_over
    assert await shop.waiting.check() == []


async def test_a_drop_that_is_sold_has_a_queue_though_the_shelf_is_full(shop: Shop, screens: Screens) -> None:
    await plan(shop, total_limit=1, per_customer_limit=1)
    await shop.add("demo", ADA, "CUP")
    assert (await refused(shop.waiting.join("demo", ADA, "CUP", key=None))).kind is Kind.drop_customer_limit
    await wait(shop, ANN, BEN, sku="CUP")
    await shop.remove("demo", ADA, "CUP")
    assert (await held(shop, ANN), await held(shop, BEN)) == ({"CUP": 1}, {})
    assert (await refused(shop.add("demo", ADA, "CUP"))).kind is Kind.drop_limit_reached
