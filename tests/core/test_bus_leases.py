"""Leases against a real Valkey, alone and as a cluster: one holder, and fences that only grow."""

import asyncio

from live.core.bus import Bus
from live.core.leases import Lease
from tests.core.conftest import anywhere as valkey_url

__all__ = ["valkey_url"]

TTL_S = 30.0
SHORT_S = 0.05


async def _take(bus: Bus, owner: str, **options: float) -> tuple[Lease, bool]:
    given = {"ttl_s": TTL_S, "rank": 0} | options
    return await bus.leases.acquire("show", owner, b"at " + owner.encode(), **given)  # type: ignore[arg-type]


async def test_one_holds_and_everybody_sees_who(bus: Bus, other: Bus) -> None:
    assert await bus.leases.read("show") is None
    mine, granted = await _take(bus, "a", rank=1)
    assert granted
    assert mine == Lease(mine.fence, "a", 1, b"at a")
    assert await other.leases.read("show") == mine
    assert await _take(other, "b") == (mine, False)
    assert await other.leases.read("another show") is None


async def test_whoever_asks_at_once_only_one_gets_it(bus: Bus, other: Bus) -> None:
    answers = await asyncio.gather(*[_take((bus, other)[i % 2], f"w{i}") for i in range(20)])
    assert [granted for _, granted in answers].count(True) == 1
    assert len({lease for lease, _ in answers}) == 1


async def test_a_lease_runs_out_and_its_fence_goes_on(bus: Bus) -> None:
    first, _ = await _take(bus, "a", ttl_s=SHORT_S)
    await asyncio.sleep(SHORT_S * 2)
    assert await bus.leases.read("show") is None
    assert await bus.leases.last("show") == first
    second, granted = await _take(bus, "b")
    assert granted
    assert second.fence > first.fence
    assert not await bus.leases.renew("show", "a", first.fence, TTL_S)
    assert not await bus.leases.release("show", "a", first.fence)
    assert await bus.leases.read("show") == second


async def test_renewing_holds_on_and_revives_what_nobody_else_took(bus: Bus) -> None:
    mine, _ = await _take(bus, "a", ttl_s=SHORT_S)
    assert await bus.leases.renew("show", "a", mine.fence, TTL_S)
    await asyncio.sleep(SHORT_S * 2)
    assert await bus.leases.read("show") == mine
    assert await bus.leases.renew("show", "a", mine.fence, SHORT_S)
    await asyncio.sleep(SHORT_S * 2)
    assert await bus.leases.read("show") is None
    assert await bus.leases.renew("show", "a", mine.fence, TTL_S)
    assert await bus.leases.read("show") == mine


async def test_what_was_released_is_free_at_once(bus: Bus) -> None:
    mine, _ = await _take(bus, "a")
    assert await bus.leases.release("show", "a", mine.fence)
    assert await bus.leases.read("show") is await bus.leases.last("show") is None
    assert not await bus.leases.renew("show", "a", mine.fence, TTL_S)
    assert not await bus.leases.release("show", "a", mine.fence)
    assert (await _take(bus, "b"))[1]


async def test_one_holder_is_replaced_but_not_the_one_after_it(bus: Bus) -> None:
    first, _ = await _take(bus, "a")
    assert await _take(bus, "b", over=first.fence - 1) == (first, False)
    second, granted = await _take(bus, "b", over=first.fence)
    assert granted
    assert await _take(bus, "c", over=first.fence) == (second, False), "two who saw the same holder stall"
    third, granted = await _take(bus, "c", over=second.fence)
    assert granted
    assert first.fence < second.fence < third.fence


async def test_the_holder_may_take_it_again(bus: Bus) -> None:
    first, _ = await _take(bus, "a")
    second, granted = await _take(bus, "a", rank=1)
    assert (granted, second.rank) == (True, 1)
    assert second.fence > first.fence


async def test_words_of_the_holder_are_opaque(bus: Bus) -> None:
    value = bytes(range(256))
    lease, _ = await bus.leases.acquire("show", "ö:{x}", value, rank=7, ttl_s=TTL_S)
    assert await bus.leases.read("show") == lease == Lease(lease.fence, "ö:{x}", 7, value)
