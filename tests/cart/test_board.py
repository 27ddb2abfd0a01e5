"""What is left is told at once when it is quiet, a few times a second when it sells, and never wrongly at last."""

import asyncio

import pytest

from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.service import Shows
from tests.cart.conftest import ADA, BOB, Screens, viewer

_SOON_S = 0.01


@pytest.fixture
def shop(database: Database, shows: Shows, clock: ManualClock) -> Shop:
    """A shop whose board waits for an interval of a clock that stands still."""
    return Shop(database, shows, clock, stock_interval_s=_SOON_S, pace_s=0)


async def told(screens: Screens, sku: str, value: int) -> list[int]:
    """What the screens were told, when the newest is `value`."""
    async with asyncio.timeout(10):
        while not (seen := screens.stock(sku)) or seen[-1] != value:
            await asyncio.sleep(_SOON_S)
    return seen


async def test_the_first_change_is_told_by_its_own_transaction(shop: Shop, screens: Screens) -> None:
    await shop.add("demo", ADA, "CUP")
    assert screens.stock("CUP") == [9]
    await shop.close()
    assert screens.stock("CUP") == [9]


async def test_changes_in_between_are_told_together(shop: Shop, screens: Screens) -> None:
    for number in range(4):
        await shop.add("demo", viewer(f"v{number}"), "CUP")
        await shop.add("demo", viewer(f"v{number}"), "MUG-BLUE")
    await shop.close()
    cups = screens.stock("CUP")
    assert (cups[0], cups[-1]) == (9, 6)
    assert screens.stock("MUG-BLUE")[-1] == 1
    assert cups == sorted(cups, reverse=True)


async def test_what_waits_is_told_by_itself(shop: Shop, screens: Screens) -> None:
    for who in (ADA, BOB):
        await shop.add("demo", who, "CUP")
    assert await told(screens, "CUP", 8)
    for who in (ADA, BOB):
        await shop.add("demo", who, "CUP")
    assert await told(screens, "CUP", 6)
    await shop.close()


async def test_many_clicks_are_two_messages(
    database: Database, shows: Shows, clock: ManualClock, screens: Screens
) -> None:
    shop = Shop(database, shows, clock, stock_interval_s=3600, pace_s=0)
    for number in range(9):
        await shop.add("demo", viewer(f"v{number}"), "CUP")
    assert screens.stock("CUP") == [9]
    await shop.close()
    assert screens.stock("CUP") == [9, 1]


async def test_the_turn_to_sold_out_is_never_late(shop: Shop, screens: Screens) -> None:
    await shop.add("demo", ADA, "MUG-BLUE", 2)
    await shop.add("demo", BOB, "MUG-BLUE", 3)
    assert screens.stock("MUG-BLUE")[-1] == 0
    assert screens.of("product.sold_out") == [{"sku": "MUG-BLUE"}]
    await shop.remove("demo", BOB, "MUG-BLUE")
    assert screens.stock("MUG-BLUE")[-1] == 3
    assert screens.of("product.restocked") == [{"sku": "MUG-BLUE", "available": 3}]
    await shop.close()


async def test_a_store_out_of_reach_leaves_it_to_be_told(
    shop: Shop, screens: Screens, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    def fail(*_: object) -> None:
        tried.set()
        raise Problem(Kind.unavailable)

    with monkeypatch.context() as patch:
        patch.setattr(shop._stockroom.board, "_tell", fail)  # before there is anything to tell
        for who in (ADA, BOB):
            await shop.add("demo", who, "CUP")
        async with asyncio.timeout(10):
            await tried.wait()
    assert await told(screens, "CUP", 8)
    await shop.close()
