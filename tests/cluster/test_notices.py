"""What the product is told of a show's video, and by whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from live.core.bus import BusError
from live.core.tasks import running
from stream.notices import Notices, census
from tests.cluster.conftest import until


class World:
    """What one worker has, what others have, and what was told."""

    def __init__(self) -> None:
        self.here: set[str] = set()
        self.here_held = True  # whether there are leases for what is here
        self.there: set[str] = set()
        self.marked: set[str] = set()
        self.told: list[tuple[str, bool]] = []
        self.failures = 0
        self.away = False  # the bus

    def present(self, show: str) -> bool:
        return show in self.here

    async def elsewhere(self, show: str) -> bool:
        if self.away:
            raise BusError("away")
        return show in self.there

    async def held(self, show: str) -> bool:
        return (self.here_held and show in self.here) or await self.elsewhere(show)

    async def on_air(self) -> list[str]:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the store is away")
        return sorted(self.marked)

    async def tell(self, show: str, present: bool) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the store is away")
        self.told.append((show, present))
        (self.marked.add if present else self.marked.discard)(show)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def notices(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Notices]:
    monkeypatch.setattr("stream.notices.VACANCY_S", 0.05)
    monkeypatch.setattr("stream.notices._RETRY_S", 0.01)
    made = Notices(world.tell, world.present, world.elsewhere, patient=True)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(made.run()))
        yield made


async def test_coming_is_told_at_once_and_going_after_a_moment(world: World, notices: Notices) -> None:
    world.here = {"a", "b"}
    for show in ("a", "b", "a"):
        notices.announce(show)
    await until(lambda: sorted(world.told) == [("a", True), ("b", True)])
    world.here.remove("a")
    notices.announce("a")
    await asyncio.sleep(0)
    assert len(world.told) == 2
    await until(lambda: world.told[2:] == [("a", False)])


async def test_who_is_back_in_a_moment_was_never_gone(world: World, notices: Notices) -> None:
    world.here = {"a"}
    notices.announce("a")
    await until(lambda: world.told)
    world.here.clear()
    notices.announce("a")
    await asyncio.sleep(0)
    world.here.add("a")
    notices.announce("a")
    await notices.settle()
    assert world.told == [("a", True)]


async def test_what_goes_on_elsewhere_is_not_ours_to_end(world: World, notices: Notices) -> None:
    world.here = {"a"}
    notices.announce("a")
    await until(lambda: world.told)
    world.here, world.there = set(), {"a"}
    notices.announce("a")
    await notices.settle()
    assert world.told == [("a", True)]
    world.here, world.there = {"a"}, set()
    notices.announce("a")
    await notices.settle()
    assert world.told == [("a", True), ("a", True)], "the other worker may have said something else meanwhile"


async def test_without_a_bus_what_ended_here_is_over(world: World, notices: Notices) -> None:
    world.here = {"a"}
    notices.announce("a")
    await until(lambda: world.told)
    world.here, world.away = set(), True
    notices.announce("a")
    await until(lambda: world.told[1:] == [("a", False)])


async def test_telling_is_repeated_and_other_shows_do_not_wait(world: World, notices: Notices) -> None:
    world.failures = 1
    world.here = {"a", "b"}
    notices.announce("a")
    notices.announce("b")
    await until(lambda: sorted(world.told) == [("a", True), ("b", True)])
    assert world.told[0] == ("b", True)


async def test_the_census_finds_what_nobody_has_twice(
    world: World, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.notices.CENSUS_INTERVAL_S", 0.02)
    world.marked = {"here", "there", "nowhere"}
    world.here, world.there = {"here"}, {"there"}
    world.failures = 2
    async with running(census(world.on_air, world.held, world.tell, notices)):
        await until(lambda: world.told)
        assert world.told == [("nowhere", False)]
        world.away = True
        world.marked.add("unknown")
        await asyncio.sleep(0.1)
        assert world.told == [("nowhere", False)], "without the bus nobody knows"
        world.away = False
        await until(lambda: world.told[1:] == [("unknown", False)])


async def test_the_census_repeats_what_another_one_denied(
    world: World, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.notices.CENSUS_INTERVAL_S", 0.02)
    world.here = {"a"}
    notices.announce("a")
    await until(lambda: world.told == [("a", True)])
    world.away = True
    world.here_held = False
    world.marked.clear()  # by a worker that found no lease
    async with running(census(world.on_air, world.held, world.tell, notices)):
        await asyncio.sleep(0.1)
        assert world.told == [("a", True)], "without the bus nobody knows"
        world.away = False
        await asyncio.sleep(0.1)
        assert world.told == [("a", True)], "the others would deny it again"
        world.here_held = True
        await until(lambda: world.marked == {"a"})
        await asyncio.sleep(0.1)
        assert world.told == [("a", True), ("a", True)]


async def test_the_census_asks_again_before_it_tells(
    world: World, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.notices.CENSUS_INTERVAL_S", 0.02)
    world.marked = {"a", "b"}

    async def tell(show: str, present: bool) -> None:
        await world.tell(show, present)
        world.there |= world.marked  # the other one is back meanwhile

    async with running(census(world.on_air, world.held, tell, notices)):
        await until(lambda: world.told)
        await asyncio.sleep(0.1)
    assert len(world.told) == 1
    assert len(world.marked) == 1
