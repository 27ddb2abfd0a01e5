"""Who is at work, against a real Valkey, alone and as a cluster: an unclean end is told once, a clean one never."""

import asyncio

from live.core.bus import Bus
from live.core.marks import _KEY
from tests.core.conftest import Raw
from tests.core.conftest import anywhere as valkey_url

__all__ = ["valkey_url"]

LONG_S = 60.0
SHORT_S = 0.05
NEVER_S = 3600.0  # silence is no excuse before


async def _run_out(bus: Bus, *members: str) -> None:
    for member in members:
        assert await bus.marks.beat(member, SHORT_S, NEVER_S) == []
    await asyncio.sleep(SHORT_S * 2)


async def test_whoever_beats_or_leaves_is_not_missed(bus: Bus, other: Bus) -> None:
    await _run_out(bus, "a")
    assert await bus.marks.beat("a", LONG_S, NEVER_S) == [], "its own mark ran out; it is here"
    assert await other.marks.beat("b", LONG_S, NEVER_S) == []
    await _run_out(other, "b")  # which is as good as it is for all
    await bus.marks.leave("a")
    assert await other.marks.beat("b", LONG_S, NEVER_S) == []


async def test_an_unclean_end_is_told_to_one(bus: Bus, other: Bus) -> None:
    told = await asyncio.gather(*(bus.marks.beat(name, SHORT_S, NEVER_S) for name in ("x", "y")))  # maybe each other
    await asyncio.sleep(SHORT_S * 2)
    told += await asyncio.gather(*((bus, other)[i % 2].marks.beat(f"w{i}", LONG_S, NEVER_S) for i in range(20)))
    assert sorted(name for names in told for name in names) == ["x", "y"]


async def test_nobody_is_judged_when_nobody_could_be_heard(bus: Bus, other: Bus) -> None:
    await _run_out(bus, "x")
    assert await other.marks.beat("a", SHORT_S, SHORT_S) == [], "it may not have been able to speak"
    await asyncio.sleep(SHORT_S * 2)
    assert sorted(await other.marks.beat("b", LONG_S, NEVER_S)) == ["a", "x"], "but it has not spoken since"
    assert await other.marks.beat("b", LONG_S, NEVER_S) == []


async def test_nothing_is_left_of_those_who_have_left(bus: Bus, other: Bus, raw: Raw) -> None:
    for member in ("a", "b"):
        await bus.marks.beat(member, LONG_S, NEVER_S)
    async with raw("workers/marks") as client:
        assert 0 < await client.ttl(_KEY) <= 24 * 3600
        await other.marks.leave("a")
        assert set(await client.hkeys(_KEY)) == {b"b", b"heard"}
        await other.marks.leave("b")
        await other.marks.leave("b")
        assert not await client.exists(_KEY)


async def test_a_clock_that_was_set_back_keeps_no_mark_for_longer(bus: Bus) -> None:
    await bus.marks.beat("x", LONG_S * 60, NEVER_S)
    assert await bus.marks.beat("a", SHORT_S, NEVER_S) == []
    await asyncio.sleep(SHORT_S * 2)
    assert await bus.marks.beat("a", SHORT_S, NEVER_S) == ["x"]
