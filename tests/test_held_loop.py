"""The watch over the event loop finds what it is for, and accuses nobody else."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.held_loop import HELD_S, HeldLoop

_SOURCE = """
def hold(clock, seconds):
    until = clock() + seconds
    while clock() < until:
        sum(range(100))

async def step(clock, seconds):
    hold(clock, seconds)
"""
_ROOT = Path(__file__).parents[1]


def _code(path: str) -> dict[str, Callable[..., Any]]:
    """As if it were in a file of the project."""
    names: dict[str, Any] = {}
    exec(compile(_SOURCE, str(_ROOT / path), "exec"), names)
    return names


async def _found(loop_watch: HeldLoop, path: str, seconds: float) -> list[tuple[float, str]]:
    """What the watch over this very test finds, and shall not blame it for."""
    await asyncio.create_task(_code(path)["step"](time.thread_time, seconds))
    found = loop_watch.found.copy()
    loop_watch.found.clear()
    return found


async def test_a_step_of_ours_that_holds_the_loop_is_found(loop_watch: HeldLoop) -> None:
    ((held_s, where),) = await _found(loop_watch, "live/held.py", HELD_S * 2)
    assert HELD_S < held_s < HELD_S * 4
    assert where.startswith("live/held.py:hold (")


async def test_a_short_step_and_a_tests_own_are_not(loop_watch: HeldLoop) -> None:
    assert await _found(loop_watch, "live/held.py", HELD_S / 2) == []
    assert await _found(loop_watch, "tests/held.py", HELD_S * 2) == []


async def test_what_may_hold_the_loop_is_named(loop_watch: HeldLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.held_loop.MAY_HOLD", {"live/held.py:step"})
    assert await _found(loop_watch, "live/held.py", HELD_S * 2) == []


async def test_waiting_holds_nothing(loop_watch: HeldLoop) -> None:
    """Another process has the core: the clock on the wall goes on, that of the thread does not."""
    asyncio.get_running_loop().call_soon(time.sleep, HELD_S * 1.5)
    await asyncio.sleep(HELD_S * 2)
    assert loop_watch.found == []


async def test_a_callback_nobody_could_look_into_is_whose_it_is() -> None:
    watch = HeldLoop()
    ours, theirs = _code("cart/held.py")["hold"], _code("tests/held.py")["hold"]
    loop = asyncio.get_running_loop()
    for callback in (ours, theirs, len):
        watch._judge(asyncio.Handle(callback, (), loop), HELD_S * 2)
    assert [where for _, where in watch.found] == ["cart/held.py:hold (1)"]
