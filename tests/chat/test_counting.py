"""Reactions over a real bus: exact over workers, whatever is lost on the way; told as a state; rates."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping

import pytest
from redis.asyncio import Redis

from chat.counting import Reactions
from chat.reactions import KINDS, Reaction
from live.core.auth import Principal, Role
from live.core.bus import Bus, BusError
from live.core.clock import ManualClock, SystemClock
from live.core.codec import decode
from live.core.errors import Kind, Problem
from live.core.limits import REACTIONS_BURST, REACTIONS_IDLE_S
from live.realtime.news import News
from live.realtime.outlet import Outlet
from live.realtime.payloads import PublishedNotice, PublishedState
from tests.chat.conftest import ANN, BOB
from tests.refusals import refused

NOTHING: dict[str, int] = dict.fromkeys(KINDS, 0)


class Line:
    """A worker's way to the bus that fails as often as a test wants: before the call, or after it was done."""

    def __init__(self, outlet: Outlet, seed: int = 0, failing: float = 0.0) -> None:
        self._outlet = outlet
        self._random = random.Random(seed)
        self.failing = failing
        self.calls = 0
        self.failed = 0

    async def count(self, show: str, name: str, member: str, counts: Mapping[str, int]) -> dict[str, int]:
        self.calls += 1
        fails = self._random.random() < self.failing
        if fails and self._random.random() < 0.5:
            self.failed += 1
            raise BusError("out of reach")
        sums = await self._outlet.count(show, name, member, counts)
        if fails:
            self.failed += 1
            raise BusError("the answer was lost")
        return sums


@pytest.fixture
async def outlets(valkey_url: str) -> AsyncIterator[list[Outlet]]:
    """Of two workers."""
    buses = [await Bus.open(valkey_url) for _ in range(2)]
    yield [Outlet(bus) for bus in buses]
    for bus in buses:
        await bus.close()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.counting.REACTION_FLUSH_S", 0.005)
    monkeypatch.setattr("chat.counting.REACTION_RETRY_S_MAX", 0.01)


def crowd(size: int) -> list[Principal]:
    return [Principal(f"viewer {number}", Role.viewer, "*", "V") for number in range(size)]


async def settled(reactions: Reactions, wanted: dict[str, int]) -> None:
    """The totals are, or become, what is wanted."""
    async with asyncio.timeout(5):
        while await reactions.totals("demo") != wanted:
            await asyncio.sleep(0.01)


async def test_two_workers_count_exactly_although_calls_and_answers_are_lost(outlets: list[Outlet], bus: Bus) -> None:
    told: list[dict[str, int]] = []
    async with bus.subscribe(
        "demo", lambda message: told.append(decode(message.payload, "msgpack", PublishedState).data)
    ):
        lines = [Line(outlet, seed, failing=0.4) for seed, outlet in enumerate(outlets)]
        workers = [Reactions(line.count, SystemClock()) for line in lines]
        choices = random.Random(7)
        wanted = NOTHING.copy()
        for number, viewer in enumerate(crowd(1000)):
            kind: Reaction = choices.choice(KINDS)
            wanted[kind] += 1
            workers[choices.randrange(2)].react("demo", viewer, kind)
            if number % 50 == 49:  # so many calls there are at least, however slow the bus is
                before = [line.calls for line in lines]
                async with asyncio.timeout(10):
                    while any(line.calls == calls for line, calls in zip(lines, before, strict=True)):
                        await asyncio.sleep(0.005)
        async with asyncio.timeout(10):
            while not told or told[-1] != wanted:
                await asyncio.sleep(0.01)
        for line, worker in zip(lines, workers, strict=True):
            line.failing = 0.0
            assert await worker.totals("demo") == wanted
            await worker.close()
    assert sum(line.failed for line in lines) >= 3
    # Totals only ever grow on their way to the screens, though two workers tell them.
    for kind in KINDS:
        assert [sums[kind] for sums in told] == sorted(sums[kind] for sums in told)


async def test_a_worker_that_ends_passes_on_what_it_has_and_one_that_died_is_not_forgotten(
    outlets: list[Outlet],
) -> None:
    cut = Line(outlets[0], failing=1.0)
    ending, other = Reactions(cut.count, SystemClock()), Reactions(outlets[1].count, SystemClock())
    ending.react("demo", ANN, "heart")
    ending.react("demo", ANN, "clap")
    async with asyncio.timeout(5):
        while cut.calls < 3:
            await asyncio.sleep(0.005)
    cut.failing = 0.0
    await ending.close()
    await settled(other, NOTHING | {"heart": 1, "clap": 1})
    again = Reactions(outlets[0].count, SystemClock())
    again.react("demo", ANN, "heart")
    await settled(other, NOTHING | {"heart": 2, "clap": 1})
    await again.close()


async def test_what_the_bus_has_forgotten_the_living_workers_restore(outlets: list[Outlet], valkey_url: str) -> None:
    worker = Reactions(outlets[0].count, SystemClock())
    worker.react("demo", ANN, "fire")
    await settled(worker, NOTHING | {"fire": 1})
    async with Redis.from_url(valkey_url) as redis:
        await redis.flushall()
    assert await worker.totals("demo") == NOTHING
    worker.react("demo", ANN, "fire")
    await settled(worker, NOTHING | {"fire": 2})
    await worker.close()


async def test_while_the_bus_is_away_the_last_totals_hold(outlets: list[Outlet]) -> None:
    line = Line(outlets[0])
    worker = Reactions(line.count, SystemClock())
    worker.react("demo", ANN, "wow")
    await settled(worker, NOTHING | {"wow": 1})
    line.failing = 1.0
    assert await worker.totals("demo") == NOTHING | {"wow": 1}
    assert await worker.totals("other") == NOTHING
    worker.react("demo", ANN, "wow")  # is counted all the same
    line.failing = 0.0
    await settled(worker, NOTHING | {"wow": 2})
    await worker.close()


async def test_a_viewer_has_a_rate_for_each_show() -> None:
    clock = ManualClock(5000)

    async def count(show: str, name: str, member: str, counts: Mapping[str, int]) -> dict[str, int]:
        return dict(counts)

    worker = Reactions(count, clock)
    for _ in range(REACTIONS_BURST):
        worker.react("demo", ANN, "heart")
    with pytest.RaisesExc(Problem, check=lambda p: (p.kind, p.retry_after_s) == (Kind.rate_limited, 1)):
        worker.react("demo", ANN, "heart")
    worker.react("demo", BOB, "heart")
    worker.react("other", ANN, "heart")
    clock.advance(0.2)
    worker.react("demo", ANN, "heart")
    with refused(Kind.rate_limited):
        worker.react("demo", ANN, "heart")
    await worker.close()
    assert await worker.totals("demo") == NOTHING


async def test_a_count_that_nobody_adds_to_is_given_up(clock: ManualClock) -> None:
    members: dict[str, set[str]] = {"demo": set(), "other": set()}

    async def count(show: str, name: str, member: str, counts: Mapping[str, int]) -> dict[str, int]:
        members[show].add(member)
        return dict(counts)

    worker = Reactions(count, clock)

    async def react(show: str) -> None:
        worker.react(show, ANN, "heart")
        async with asyncio.timeout(5):
            while worker._flushing:
                await asyncio.sleep(0.005)

    await react("demo")
    await react("demo")
    clock.advance(REACTIONS_IDLE_S + 1)
    await react("other")
    await react("demo")  # a count of a new name, because it begins with nothing
    assert {show: len(names) for show, names in members.items()} == {"demo": 2, "other": 1}
    await worker.close()


async def test_what_is_left_out_is_told_to_the_staff_only(outlets: list[Outlet], bus: Bus) -> None:
    """As the bus carries it; who is staff is the channel's business."""
    heard: asyncio.Queue[list[PublishedNotice]] = asyncio.Queue()
    async with bus.subscribe(
        "demo", lambda message: heard.put_nowait(decode(message.payload, "msgpack", list[PublishedNotice]))
    ):
        left_out = News("notice", "chat.left_out", {"messages": []}, staff=True)
        await outlets[0].tell("demo", [left_out, News("notice", "chat.muted", {}, key="ann")])
        async with asyncio.timeout(5):
            assert await heard.get() == [
                PublishedNotice("", "chat.left_out", {"messages": []}, staff=True),
                PublishedNotice("ann", "chat.muted", {}),
            ]


async def test_a_worker_counts_so_many_shows(monkeypatch: pytest.MonkeyPatch, outlets: list[Outlet]) -> None:
    monkeypatch.setattr("chat.counting.REACTION_SHOWS_MAX", 2)
    clock = ManualClock()
    reactions = Reactions(outlets[0].count, clock)
    for show in ("one", "two"):
        reactions.react(show, ANN, "heart")
    with refused(Kind.overloaded):
        reactions.react("three", ANN, "heart")
    assert reactions.counted == {"taken": 2, "refused": 1}
    reactions.react("one", ANN, "heart")
    async with asyncio.timeout(5):
        while reactions._flushing:
            await asyncio.sleep(0.005)
    clock.advance(REACTIONS_IDLE_S + 1)
    reactions.react("three", ANN, "heart")
    await reactions.close()
