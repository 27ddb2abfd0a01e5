"""Transfers against shoppers, against each other and against closing, at two workers, over both databases."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from cart.places.locations import LocationChange, StockLocation
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import HOLD_TTL_S
from tests.cart.conftest import viewer
from tests.cart.places.conftest import OPS, at, send

ALLOWED = {Kind.stock_short, Kind.sold_out, Kind.hold_expired, Kind.not_in_cart, Kind.cart_empty, Kind.not_sold_out}


async def _all(*jobs: Awaitable[Any]) -> list[Any]:
    """What came of jobs done at once; refusals are kept, and anything else that is raised is a bug."""
    results = await asyncio.gather(*jobs, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Problem):
            raise result
    return results


def _kinds(results: list[Any]) -> set[Kind]:
    return {one.kind for one in results if isinstance(one, Problem)}


async def test_the_last_units_are_sold_or_leave(places: Shop, other: Shop, database: Database) -> None:
    """Ten units, twenty who want one, and ten transfers of one: each unit is somebody's once."""
    adds = [(places, other)[n % 2].add("demo", viewer(f"v{n}"), "CUP") for n in range(20)]
    moves = [send((places, other)[n % 2], "main", "berlin", {"CUP": 1}) for n in range(10)]
    results = await _all(*(job for pair in zip(adds[:10], moves, strict=True) for job in pair), *adds[10:])
    assert _kinds(results) <= {Kind.sold_out, Kind.stock_short}
    levels = await at(database)
    on_hand, _, held = levels["main"]
    done = sum(1 for one in results if not isinstance(one, Problem))
    assert (on_hand, on_hand + levels.get("berlin", (0, 0, 0))[0]) == (held, 10) and done == 10
    assert not await places.keeper.reconcile()


async def test_one_key_moves_once(places: Shop, other: Shop, database: Database) -> None:
    results = await _all(*(send((places, other)[n % 2], "main", "berlin", {"CUP": 2}, "same") for n in range(8)))
    assert all(one == results[0] for one in results)
    assert await at(database) == {"berlin": (2, 0, 0), "main": (8, 0, 0)}


async def test_there_and_back_never_wait_for_each_other(places: Shop, other: Shop, database: Database) -> None:
    """Opposite ways and orders of SKUs, into locations that have no levels yet: a deadlock would be an error."""
    await places.places.create(StockLocation("aachen", "Aachen", "store"), OPS)
    ways = [("main", "berlin"), ("berlin", "main"), ("main", "aachen"), ("aachen", "berlin"), ("berlin", "aachen")]
    orders = (["CUP", "MUG-BLUE"], ["MUG-BLUE", "CUP"])
    for turn in range(2):
        jobs = [send((places, other)[n % 2], *ways[(n + turn) % 5], dict.fromkeys(orders[n % 2], 1)) for n in range(10)]
        buys = [other.add("demo", viewer(f"v{turn}-{n}"), ("CUP", "MUG-BLUE")[n % 2]) for n in range(4)]
        assert _kinds(await _all(*jobs, *buys)) <= {Kind.stock_short, Kind.sold_out}
    for sku, units in (("CUP", 10), ("MUG-BLUE", 5)):
        assert sum(on_hand for on_hand, _, _ in (await at(database, sku)).values()) == units
    assert not await places.keeper.reconcile()


async def test_nothing_arrives_where_it_is_closed(places: Shop, other: Shop, database: Database) -> None:
    close, open_ = LocationChange(active=False), LocationChange(active=True)
    for turn in range(3):
        results = await _all(
            send(places, "main", "berlin", {"CUP": 1}),
            other.places.change("berlin", close, OPS),
            send(other, "main", "berlin", {"CUP": 1}),
        )
        assert _kinds(results) <= {Kind.location_in_use, Kind.location_closed}
        units = (await at(database)).get("berlin", (0, 0, 0))[0]
        assert (await places.places.location("berlin")).active or units == 0, turn
        if units:
            await send(places, "berlin", "main", {"CUP": units})
        await places.places.change("berlin", open_, OPS)


async def test_units_are_conserved_and_held_ones_never_leave(
    places: Shop, other: Shop, database: Database, clock: ManualClock
) -> None:
    """Whatever is done at once, in any order: units are where movements say, and carts keep theirs."""
    dice = random.Random(7)
    people = [viewer(f"p{number}") for number in range(5)]
    counted = 10

    def deed(shop: Shop) -> Awaitable[Any]:
        who, units = dice.choice(people), dice.randint(1, 4)
        email = "p@example.com"
        deeds: list[Callable[[], Awaitable[Any]]] = [
            lambda: shop.add("demo", who, "CUP", units),
            lambda: shop.add("demo", who, "CUP"),
            lambda: shop.remove("demo", who, "CUP"),
            lambda: shop.checkout("demo", who, name="P", email=email),
            lambda: shop.waiting.join("demo", who, "CUP", key=None),
            lambda: send(shop, "main", "berlin", {"CUP": units}),
            lambda: send(shop, "berlin", "main", {"CUP": units}),
            lambda: send(shop, "berlin", "main", {"CUP": 1}),
            lambda: shop.keeper.sweep(),
        ]
        return dice.choice(deeds)()

    for turn in range(8):
        results = await _all(*(deed(dice.choice((places, other))) for _ in range(7)))
        assert _kinds(results) <= ALLOWED, _kinds(results)
        if turn % 3 == 2:
            clock.advance(HOLD_TTL_S / 2)
        levels = await at(database)
        assert sum(on_hand for on_hand, _, _ in levels.values()) == counted
        for on_hand, allocated, held in levels.values():
            assert on_hand >= allocated + held
        assert levels.get("berlin", (0, 0, 0))[1:] == (0, 0), "carts and orders have what is in main"
        assert not await places.keeper.reconcile() and not await other.waiting.check()
