"""What a worker that ended uncleanly may have left untold is looked after, by whoever is there, on a real bus."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from live.core.bus import Bus
from live.core.errors import Kind, Problem
from live.core.marks import _KEY
from live.core.valkey import EmbeddedValkey
from live.realtime.outlet import Outlet
from tests.core.conftest import Ear


class Marks:
    """The marks as the server has them."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def run_out(self, *members: str) -> None:
        """As if these, or all that are there, had said nothing for years."""
        for member in members or await self.members():
            await self._client.hset(_KEY, member, "1")

    async def members(self) -> set[str]:
        return {str(name) for name in await self._client.hkeys(_KEY)} - {"heard"}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.core.roll.ROLL_BEAT_S", 0.05)


@pytest.fixture
async def marks(valkey_url: str) -> AsyncIterator[Marks]:
    async with Redis.from_url(valkey_url, decode_responses=True) as client:
        yield Marks(client)


@pytest.fixture
async def ear(bus: Bus) -> AsyncIterator[Ear]:
    """Hears what the viewers of the show are told; an epoch has begun."""
    heard = Ear()
    async with bus.subscribe("demo", heard):
        await bus.position("demo")
        yield heard


async def _demo() -> list[str]:
    return ["demo"]


async def _until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not done():
            await asyncio.sleep(0.005)


def _kinds(ear: Ear) -> list[str]:
    return [message.kind for message in ear.heard]


async def test_a_worker_that_starts_looks_after_one_that_was_killed(bus: Bus, ear: Ear, marks: Marks) -> None:
    await marks.run_out("dead")
    async with Outlet.open(bus, _demo) as outlet:
        await ear.until(len)  # type: ignore[arg-type]
        assert outlet.unclean_ends == 1
    assert _kinds(ear) == ["gone"]
    assert await marks.members() == set(), "it has looked after it, and has left cleanly"


async def test_one_of_those_who_are_there_looks_after_one_that_is_killed(bus: Bus, ear: Ear, marks: Marks) -> None:
    async with Outlet.open(bus, _demo) as one, Outlet.open(bus, _demo) as another:
        await marks.run_out("dead")
        await ear.until(len)  # type: ignore[arg-type]
        assert one.unclean_ends + another.unclean_ends == 1
    assert _kinds(ear) == ["gone"]


async def test_whoever_ends_cleanly_costs_nobody_a_snapshot(bus: Bus, ear: Ear, marks: Marks) -> None:
    async with Outlet.open(bus, _demo) as stays:
        (staying,) = await marks.members()
        async with Outlet.open(bus, _demo) as leaves:
            assert len(await marks.members()) == 2
            await leaves.event("demo", 0, "word", {})
        assert await marks.members() == {staying}
        assert stays.unclean_ends == 0
    assert _kinds(ear) == ["event"]


async def test_what_cannot_be_looked_after_at_once_is_later(
    bus: Bus, ear: Ear, marks: Marks, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = [Problem(Kind.overloaded, "Busy."), RuntimeError("a bug of ours")]

    async def busy() -> list[str]:
        if refusals:
            raise refusals.pop()
        return ["demo"]

    await marks.run_out("dead")
    async with Outlet.open(bus, busy):
        await ear.until(len)  # type: ignore[arg-type]
    assert caplog.text.count("could not be looked after yet") == 2


async def test_whoever_ends_before_it_has_looked_after_it_leaves_that_to_others(
    bus: Bus, ear: Ear, marks: Marks
) -> None:
    async def away() -> list[str]:
        raise Problem(Kind.unavailable, "The database is away.")

    await marks.run_out("dead")
    async with Outlet.open(bus, away) as outlet:
        assert outlet.unclean_ends == 1
    assert len(await marks.members()) == 1, "its own"
    await marks.run_out()
    async with Outlet.open(bus, _demo):
        await ear.until(len)  # type: ignore[arg-type]


async def test_whoever_ends_with_something_untold_leaves_that_to_others(
    bus: Bus, ear: Ear, marks: Marks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hanging(channel: str) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(bus, "rotate", hanging)
        async with Outlet.open(bus, _demo) as outlet:
            await outlet.event("demo", 0, "word", {"text": "x" * 100_000})
    assert len(await marks.members()) == 1
    await marks.run_out()
    async with Outlet.open(bus, _demo):
        await ear.until(len)  # type: ignore[arg-type]


async def test_a_server_that_stood_still_says_nothing_about_the_workers(
    bus: Bus, ear: Ear, marks: Marks, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.core.roll.ROLL_TTL_S", 0.5)
    monkeypatch.setattr("live.core.roll.ROLL_SILENCE_S", 0.25)
    async with Outlet.open(bus, _demo) as one, Outlet.open(bus, _demo) as another:
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(0.8)
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        beats: list[str] = []
        beat = bus.marks.beat

        async def counted(member: str, ttl_s: float, silence_s: float) -> list[str]:
            beats.append(member)
            return await beat(member, ttl_s, silence_s)

        monkeypatch.setattr(bus.marks, "beat", counted)
        await _until(lambda: len(beats) > 6)
        assert len(await marks.members()) == 2
        assert one.unclean_ends + another.unclean_ends == 0
    assert _kinds(ear) == []


async def test_without_a_bus_the_end_is_not_held_up(valkey: EmbeddedValkey) -> None:
    bus = await Bus.open(await valkey.start())
    try:
        async with Outlet.open(bus, _demo):
            await valkey.stop()
            ended_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - ended_s < 5.0
    finally:
        await bus.close()
