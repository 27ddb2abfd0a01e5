"""Idempotency keys of a cart over both databases: the same request is done once and answered alike."""

import asyncio

import pytest

from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from tests.cart.conftest import ADA, BOB, level, refused


@pytest.mark.parametrize("key", ["k1", "[\"'\\u0041 $[0] %s :k é 😀"])
async def test_the_same_key_is_answered_alike_and_done_once(shop: Shop, database: Database, key: str) -> None:
    first = await shop.add("demo", ADA, "CUP", 2, key=key)
    again = await shop.add("demo", ADA, "CUP", 2, key=key)
    assert (first.replayed, again.replayed, again.body) == (False, True, first.body)
    assert await level(database, "CUP") == (10, 0, 2)


async def test_the_same_key_with_another_request_is_refused(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP", 2, key="k1")
    for call in (
        shop.add("demo", ADA, "CUP", 3, key="k1"),
        shop.change("demo", ADA, "CUP", 2, key="k1"),
        shop.remove("demo", ADA, "CUP", key="k1"),
    ):
        assert (await refused(call)).kind is Kind.key_reused
    assert await level(database, "CUP") == (10, 0, 2)


async def test_the_same_key_of_another_viewer_is_another_key(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP", key="k1")
    assert not (await shop.add("demo", BOB, "CUP", key="k1")).replayed
    assert await level(database, "CUP") == (10, 0, 2)


async def test_one_key_many_times_at_once_is_done_once(shop: Shop, database: Database) -> None:
    answers = await asyncio.gather(*(shop.add("demo", ADA, "CUP", key="k1") for _ in range(10)))
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 9
    assert len({answer.body["hold"]["hold_id"] for answer in answers}) == 1
    assert await level(database, "CUP") == (10, 0, 1)


async def test_a_refusal_does_not_use_the_key_up(shop: Shop) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    assert (await refused(shop.add("demo", BOB, "MUG-RED", key="k1"))).kind is Kind.sold_out
    await shop.remove("demo", ADA, "MUG-RED")
    assert not (await shop.add("demo", BOB, "MUG-RED", key="k1")).replayed


async def test_keys_that_no_table_should_hold_are_refused(shop: Shop) -> None:
    for key in ("", "x" * 129, "a\x00b", "a\nb"):
        assert (await refused(shop.add("demo", ADA, "CUP", key=key))).kind is Kind.invalid_field


async def test_keys_are_forgotten_after_a_day(shop: Shop, clock: ManualClock) -> None:
    await shop.add("demo", ADA, "CUP", key="k1")
    await shop.keeper.prune()
    assert (await shop.add("demo", ADA, "CUP", key="k1")).replayed
    clock.advance(24 * 3600 + 1)
    await shop.keeper.prune()
    assert not (await shop.add("demo", ADA, "CUP", key="k1")).replayed
