"""A host goes over from a worker that ends to one that stays and is slow: nobody is told that he was away."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from live.core.limits import HAND_OVER_S
from live.core.tasks import running
from stream.cluster.cluster import stage_name
from stream.notices import Notices
from tests.cluster.conftest import SHOW, Publish, on_air
from tests.properties.virtual_time import VirtualLoop
from tests.stream.conftest import House


class Worker:
    """One of two: what it has, and what it tells."""

    def __init__(self, name: str, scene: "Scene") -> None:
        self.name = name
        self.scene = scene
        self.has = False
        self.notices = Notices(self._tell, lambda show: self.has, self._elsewhere, patient=True)

    def take(self) -> None:
        self.has, self.scene.owner = True, self.name
        self.notices.announce(SHOW)

    def lose(self) -> None:
        self.has = False
        if self.scene.owner == self.name:
            self.scene.owner = ""
        self.notices.announce(SHOW)

    async def _tell(self, show: str, present: bool) -> None:
        await asyncio.sleep(self.scene.chance.uniform(0.0, 0.02))
        if not self.scene.told or self.scene.told[-1] != present:  # the show tells what changes
            self.scene.told.append(present)

    async def _elsewhere(self, show: str) -> bool:
        await asyncio.sleep(self.scene.chance.uniform(0.0, 0.02))
        return self.scene.owner not in ("", self.name)


class Scene:
    """`owner`: of the lease, "" when it was given back."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.owner = ""
        self.told: list[bool] = []
        self.ending, self.staying = Worker("ending", self), Worker("staying", self)

    async def play(self, late_s: float | None, ends_s: float) -> None:
        """The host has left the old session; `late_s` later the staying worker has the lease (None: never), `ends_s`
        later the ending one stops."""
        async with running(self.ending.notices.run()), running(self.staying.notices.run()):
            self.ending.take()
            await asyncio.sleep(1.0)
            self.ending.notices.part()
            loop = asyncio.get_running_loop()
            if late_s is not None:
                loop.call_later(late_s, self.staying.take)
            self.ending.lose()
            await asyncio.sleep(ends_s)
            await self.ending.notices.settle()
            await asyncio.sleep(5.0)


def _run(play: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        async def go() -> None:
            await play()

        runner.run(go())


@pytest.mark.parametrize("seed", range(50))
def test_who_is_late_with_the_lease_was_never_away(seed: int) -> None:
    scene = Scene(seed)
    late_s, ends_s = scene.chance.uniform(0.0, HAND_OVER_S - 0.1), scene.chance.uniform(0.0, 2.0)
    _run(lambda: scene.play(late_s, ends_s))
    assert scene.told == [True]


@pytest.mark.parametrize("seed", range(5))
def test_who_goes_nowhere_is_told_to_be_away(seed: int) -> None:
    scene = Scene(seed)
    _run(lambda: scene.play(None, scene.chance.uniform(0.0, 2.0)))
    assert scene.told == [True, False]


async def test_a_lease_that_ran_out_belongs_to_who_is_late(
    houses: list[House], publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that the host went over to stands still when the other one asks whether anybody has him."""
    before, after, _ = houses
    await publish(before, 1)
    await on_air(before)
    monkeypatch.setattr("stream.director.LEASE_RENEWAL_S", 60.0)
    await publish(after, 2)
    await on_air(after)
    assert after.media.cluster is not None
    while await after.media.cluster.leases.read(stage_name(SHOW)) is not None:
        await asyncio.sleep(0.05)
    assert await before.media._elsewhere(SHOW)
    before.media.announce(SHOW)
    await before.media._notices.settle()
    assert [present for house in houses for _, present in house.told] == [True, True]
