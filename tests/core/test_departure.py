"""Who waits for whom when workers leave, on a real bus."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import orjson
import pytest

from live.core.bus import Bus
from live.core.departure import Departure
from live.core.errors import Kind, Problem
from live.core.health import readiness
from live.core.valkey import EmbeddedValkey


class Viewers:
    """Who has to be told to go, and goes when the test says so."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sessions: dict[str, str] = {}
        self.told = asyncio.Event()
        self.closed = 0
        self.left = False

    def __len__(self) -> int:
        return self.number

    async def drain(self, hand_over: Callable[[], Awaitable[None]]) -> None:
        self.told.set()
        await hand_over()
        self.closed, self.number = self.number, 0

    async def leave(self) -> None:
        assert not self.left, "once is enough"
        self.left = True

    def dismiss(self) -> None:
        self.sessions.clear()


async def test_everybody_goes_to_a_worker_that_stays(bus: Bus) -> None:
    async with Departure.open(bus) as leaving, Departure.open(bus):
        leaving.refuse()
        assert leaving.checks == {}
        viewers = Viewers(2)
        viewers.sessions["a"] = "its picture"
        draining = asyncio.create_task(leaving.drain(viewers, viewers))
        await viewers.told.wait()
        with pytest.raises(Problem) as refused:
            leaving.refuse()
        assert (refused.value.kind, refused.value.retry_after_s) == (Kind.draining, 1)
        response = await readiness(leaving.checks)
        assert (response.status_code, orjson.loads(response.body)) == (503, {"worker": "draining"})
        viewers.number = 0
        done, _ = await asyncio.wait((draining,), timeout=0.6)
        assert not done, "somebody still watches"
        viewers.sessions.clear()
        await draining
        assert (viewers.closed, viewers.left) == (0, True)


async def test_who_leaves_alone_or_last_waits_for_nobody(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.core.departure.DRAIN_S", 60.0)
    async with asyncio.timeout(10), Departure.open(bus) as first, Departure.open(bus) as second:
        one, other = Viewers(1), Viewers(1)
        one.sessions["a"] = "its picture"
        draining = asyncio.create_task(first.drain(one, one))
        await one.told.wait()
        await second.drain(other, other)
        await draining
        assert (one.closed, other.closed, one.sessions) == (1, 1, {})


async def test_whoever_does_not_go_is_closed(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.core.departure.DRAIN_S", 0.3)
    async with Departure.open(bus) as leaving, Departure.open(bus):
        viewers = Viewers(1)
        await leaving.drain(viewers, viewers)
        assert viewers.closed == 1


async def test_without_a_bus_nobody_could_go_anywhere(valkey: EmbeddedValkey) -> None:
    async with AsyncExitStack() as stack:
        bus = await Bus.open(await valkey.start())
        stack.push_async_callback(bus.close)
        leaving = await stack.enter_async_context(Departure.open(bus))
        await stack.enter_async_context(Departure.open(bus))
        await valkey.stop()
        viewers = Viewers(1)
        async with asyncio.timeout(9):
            await leaving.drain(viewers, viewers)
        assert (viewers.closed, viewers.left) == (1, False)
