"""How long writing holds the loop, who has it in between, and what that does to ten thousand viewers."""

import asyncio
from collections.abc import Callable
from typing import NoReturn

import pytest

from live.core.auth import Principal, Role
from live.core.limits import (
    BATCH_INTERVAL_S,
    BATCH_INTERVAL_S_BUSY,
    BATCH_INTERVAL_S_EASY,
    FANOUT_SHARE_EASY,
    FANOUT_SHARE_MAX,
    FANOUT_SLICE_S,
    FANOUT_TURNS_BETWEEN,
    LOOP_SHARE_MAX,
)
from live.core.position import Position
from live.realtime.channel import Channel, Viewer
from live.realtime.figures import Figures
from live.realtime.turns import Pace, Turns, interval_s
from tests.realtime.scripted import START, ScriptedSocket, publish

SLICE_S_MAX = 0.005


async def a_slice() -> None:
    """As many turns of the loop as hold one slice."""
    for _ in range(FANOUT_TURNS_BETWEEN):
        await asyncio.sleep(0)


class Clock:
    """Moves only when something is written."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class CostlySocket(ScriptedSocket):
    def __init__(self, clock: Clock, cost_s: float) -> None:
        super().__init__()
        self._clock = clock
        self._cost_s = cost_s
        self.written = 0

    @property
    def write(self) -> Callable[[bytes], object]:
        return self._pay

    def _pay(self, frame: bytes) -> None:
        self._clock.now_s += self._cost_s
        self.written += 1


class Worker:
    """Channels that share the turns of one worker, and the socket of everybody in each."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.figures = Figures()
        self.turns = Turns(self.figures, clock)

    def show(self, name: str, viewers: int, cost_s: float) -> tuple[Channel, CostlySocket]:
        channel = Channel(name, START, lambda channel, viewers: None, self.turns)
        socket = CostlySocket(self.clock, cost_s)
        for i in range(viewers):
            viewer = Viewer(socket, "json", Principal(subject=f"v{i}", role=Role.viewer, show="*", name="V"), channel)
            channel.join(viewer, Position("e", 10))
            channel.enter(viewer)
        return channel, socket


@pytest.mark.parametrize("cost_s", [3e-6, 9e-6, 60e-6])
async def test_no_slice_holds_the_loop_over_5_ms_at_10_000_viewers(cost_s: float) -> None:
    worker = Worker(Clock())
    channel, socket = worker.show("a", 10_000, cost_s)
    publish(channel)
    while socket.written < 10_000:
        before_s = worker.clock.now_s
        await asyncio.sleep(0)  # one turn of the loop
        assert worker.clock.now_s - before_s <= SLICE_S_MAX
    assert worker.figures.slices == pytest.approx(10_000 * cost_s / FANOUT_SLICE_S, rel=0.35, abs=1)
    assert FANOUT_SLICE_S / 2 <= worker.figures.slice_s_max <= SLICE_S_MAX


async def test_busy_shows_take_turns_and_share_the_slice_with_small_ones() -> None:
    worker = Worker(Clock())
    shows = [worker.show(f"big {i}", 2000, 8e-6) for i in range(4)]
    small = [worker.show(f"small {i}", 5, 8e-6) for i in range(20)]
    for channel, _ in (*shows, *small):
        publish(channel)
    slices = 0
    while any(socket.written < 2000 for _, socket in shows):
        before_s = worker.clock.now_s
        await a_slice()
        slices += 1
        assert worker.clock.now_s - before_s <= SLICE_S_MAX, "however many shows are busy"
        written = [socket.written for _, socket in shows]
        assert max(written) - min(written) <= 272, "none is further ahead than a slice"
        if slices == 5:
            assert all(socket.written == 5 for _, socket in small), "one slice was enough for all of them"
    assert slices == pytest.approx(4 * 2000 * 8e-6 / FANOUT_SLICE_S, abs=4)


async def test_commands_are_done_between_two_slices() -> None:
    worker = Worker(Clock())
    channel, socket = worker.show("a", 10_000, 8e-6)
    steps: list[int] = []

    async def command() -> None:
        for _ in range(3 * FANOUT_TURNS_BETWEEN):  # as many times as it has to wait for the loop
            await asyncio.sleep(0)
            steps.append(socket.written)

    publish(channel)
    await asyncio.sleep(0)
    await command()
    assert len(set(steps)) <= 4, "several steps between two slices"
    assert max(steps) - min(steps) <= 3 * 272
    channel.close()


async def test_closed_show_is_forgotten_and_a_broken_one_holds_up_no_other() -> None:
    worker = Worker(Clock())
    one, one_socket = worker.show("one", 10, 1e-6)
    broken, _ = worker.show("broken", 10, 1e-6)
    other, other_socket = worker.show("other", 10, 1e-6)
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context["exception"]))

    def fail() -> NoReturn:
        raise RuntimeError("a bug of ours")

    broken._begin = fail  # type: ignore[method-assign]
    for channel in (one, broken, other):
        publish(channel)
    one.close()
    for _ in range(4):
        await a_slice()
    assert (one_socket.written, other_socket.written) == (0, 10)
    assert [str(fault) for fault in faults] == ["a bug of ours"]


def test_large_audience_makes_rounds_rarer() -> None:
    assert interval_s(0.001) == BATCH_INTERVAL_S
    assert interval_s(0.016) == pytest.approx(0.016 / FANOUT_SHARE_EASY), "2,000 viewers: a fifth of the loop"
    assert interval_s(0.035) == BATCH_INTERVAL_S_EASY, "5,000 viewers: as late as is easily soon enough"
    assert interval_s(0.1) == pytest.approx(0.1 / FANOUT_SHARE_MAX), "10,000 viewers: a quarter of a core is left"
    assert interval_s(0.5) == BATCH_INTERVAL_S_BUSY  # one round follows the other


def test_a_loop_that_has_enough_to_do_is_given_rest() -> None:
    """Writing that takes 0.13 s a round, and others that take more and more of the loop beside it."""
    intervals = [interval_s(0.13, others) for others in (0.0, 0.2, 0.35, 0.6, 0.9)]
    assert intervals[:2] == pytest.approx([0.13 / FANOUT_SHARE_MAX] * 2)
    assert intervals[2:4] == pytest.approx([0.13 / (LOOP_SHARE_MAX - others) for others in (0.35, 0.6)])
    assert intervals[4] == BATCH_INTERVAL_S_BUSY


def test_small_audiences_do_not_care_how_busy_a_worker_is() -> None:
    assert interval_s(0.001, 0.95) == BATCH_INTERVAL_S


def test_a_pace_follows_what_others_take() -> None:
    pace = Pace()
    busy = [pace.after(0.13, 0.26) for _ in range(20)]
    assert busy == sorted(busy) and busy[-1] == pytest.approx(0.13 / (LOOP_SHARE_MAX - 0.5), rel=0.01)
    assert [pace.after(0.13, 0.13) for _ in range(20)][-1] == pytest.approx(0.13 / FANOUT_SHARE_MAX)
    assert pace.after(0.0, 0.0) == BATCH_INTERVAL_S
