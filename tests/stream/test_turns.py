"""Handshakes take turns: in order, in slices, and a bug in one does not stop the others."""

import asyncio
import itertools

import pytest

from stream.transport.turns import Turns


class Steps:
    """So many steps, each of which takes so long on the test's clock."""

    def __init__(self, name: str, count: int, log: list[str], clock: list[float] | None = None) -> None:
        self.name, self.count, self.log, self.clock = name, count, log, clock

    def step(self) -> bool:
        self.log.append(self.name)
        self.count -= 1
        if self.clock is not None:
            self.clock[0] += 0.4
        if self.name == "bug":
            raise RuntimeError("our own bug")
        return self.count > 0


async def test_everybody_steps_in_turn() -> None:
    log: list[str] = []
    turns = Turns()
    for name, count in (("a", 3), ("b", 1), ("c", 2)):
        turns.wake(Steps(name, count, log))
    assert len(turns) == 3
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["a", "b", "c", "a", "c", "a"]
    assert len(turns) == 0


async def test_the_loop_is_given_back_after_a_slice() -> None:
    log: list[str] = []
    clock = [0.0]
    turns = Turns(slice_s=1.0, now=lambda: clock[0])
    turns.wake(Steps("a", 7, log, clock))
    seen = []
    for _ in range(5):
        await asyncio.sleep(0)
        seen.append(len(log))
    assert seen == [3, 6, 7, 7, 7]


async def test_who_takes_a_whole_slice_has_a_turn_of_the_loop_alone() -> None:
    log: list[str] = []
    turns = Turns()

    async def work(name: str) -> None:
        await turns.mine()
        log.append(name)

    tasks = [asyncio.create_task(work(name)) for name in ("first", "given up", "second")]
    await asyncio.sleep(0)
    tasks[1].cancel()
    turns.wake(Steps("step", 2, log))
    seen = []
    for _ in range(6):
        await asyncio.sleep(0)
        seen.append(tuple(log))
    assert log == ["first", "second", "step", "step"]
    assert not any({"first", "second"} <= set(after) - set(before) for before, after in itertools.pairwise(seen))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]


async def test_a_bug_in_one_is_reported_and_the_others_go_on() -> None:
    log: list[str] = []
    turns, problems = Turns(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem["exception"]))
    for name in ("a", "bug", "b"):
        turns.wake(Steps(name, 1, log))
    for _ in range(3):
        await asyncio.sleep(0)
    assert log == ["a", "bug", "b"]
    assert [type(problem) for problem in problems] == [RuntimeError]


def test_turns_need_a_loop() -> None:
    with pytest.raises(RuntimeError):
        Turns().wake(Steps("a", 1, []))
