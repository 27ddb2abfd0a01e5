"""Who is pinged when: on a loop whose time is a number, so that hours are nothing and nothing is luck."""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any, cast

import pytest

from live.core.limits import FANOUT_SLICE_S, WS_PING_INTERVAL_S, WS_PING_SLOT_S, WS_PING_TIMEOUT_S
from live.realtime.pulse import Member, Pulse

_PING_S = 6e-6


class Loop:
    """What a pulse needs of a loop; one `turn` runs what is due, as asyncio's does."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.calls: list[tuple[float, int, asyncio.Handle]] = []
        self._number = itertools.count()

    def call_later(self, delay_s: float, call: Callable[..., object], *arguments: Any) -> asyncio.Handle:
        handle = asyncio.Handle(call, arguments, cast(asyncio.AbstractEventLoop, self))
        heapq.heappush(self.calls, (self.now_s + delay_s, next(self._number), handle))
        return handle

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> asyncio.Handle:
        return self.call_later(0.0, call, *arguments)

    def turn(self) -> None:
        due_s, _, handle = heapq.heappop(self.calls)
        self.now_s = max(self.now_s, due_s)
        if not handle.cancelled():
            handle._run()

    def until(self, then_s: float) -> None:
        while self.calls and self.calls[0][0] <= then_s:
            self.turn()
        self.now_s = max(self.now_s, then_s)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise context["exception"]

    def get_debug(self) -> bool:
        return False


class Peer:
    """Remembers when it was pinged; a write takes its time."""

    slot: set[Member] | None = None

    def __init__(self, loop: Loop, then: Callable[[], None] = lambda: None) -> None:
        self._loop = loop
        self._then = then
        self.pinged_s: list[float] = []

    def pulse(self, payload: bytes, frame: bytes) -> None:
        assert frame == b"\x89\x04" + payload, "RFC 6455, 5.5.2: final, opcode 9, four bytes, not masked"
        self.pinged_s.append(self._loop.now_s)
        self._loop.now_s += _PING_S
        self._then()


def made(interval_s: float = WS_PING_INTERVAL_S, timeout_s: float = WS_PING_TIMEOUT_S) -> tuple[Loop, Pulse]:
    loop = Loop()
    return loop, Pulse(interval_s, timeout_s, cast(asyncio.AbstractEventLoop, loop), lambda: loop.now_s)


def test_everybody_is_pinged_once_an_interval_whenever_they_came() -> None:
    loop, pulse = made()
    chance = random.Random(4)
    came: list[tuple[float, Peer]] = []
    for _ in range(300):
        loop.until(loop.now_s + chance.uniform(0, 0.3))
        came.append((loop.now_s, Peer(loop)))
        pulse.join(came[-1][1])
    loop.until(loop.now_s + 200)
    for since_s, peer in came:
        first_s, *_ = peer.pinged_s
        assert WS_PING_INTERVAL_S - 1.1 * WS_PING_SLOT_S <= first_s - since_s <= WS_PING_INTERVAL_S + 0.1
        gaps = [after - before for before, after in itertools.pairwise(peer.pinged_s)]
        assert len(gaps) >= 9
        assert min(gaps) > WS_PING_INTERVAL_S - 0.01, "whoever answers at once has the whole interval to"
        assert max(gaps) < WS_PING_INTERVAL_S + 0.1


def test_a_loop_that_stood_still_pings_nobody_twice_for_it() -> None:
    loop, pulse = made()
    peer = Peer(loop)
    pulse.join(peer)
    loop.until(30.0)
    loop.now_s += 100.0  # suspended
    loop.until(loop.now_s + 60.0)
    assert len(peer.pinged_s) == 4
    assert min(b - a for a, b in itertools.pairwise(peer.pinged_s)) > WS_PING_INTERVAL_S - 0.01


def test_a_crowd_that_came_at_once_holds_the_loop_no_longer_than_a_slice() -> None:
    loop, pulse = made()
    crowd = [Peer(loop) for _ in range(5_000)]
    for peer in crowd:
        pulse.join(peer)
    longest_s = 0.0
    while not all(peer.pinged_s for peer in crowd):
        due_s = max(loop.now_s, loop.calls[0][0])
        loop.turn()
        longest_s = max(longest_s, loop.now_s - due_s)
    assert FANOUT_SLICE_S / 2 < longest_s < FANOUT_SLICE_S + 16 * _PING_S
    assert all(len(peer.pinged_s) == 1 for peer in crowd)


def test_who_has_left_is_not_pinged_even_between_two_slices() -> None:
    loop, pulse = made()
    crowd = [Peer(loop) for _ in range(2_000)]
    for peer in crowd:
        pulse.join(peer)
    while not any(peer.pinged_s for peer in crowd):
        loop.turn()
    gone = [peer for peer in crowd if not peer.pinged_s]
    assert gone
    for peer in gone:
        pulse.leave(peer)
        pulse.leave(peer)
    loop.until(loop.now_s + 60)
    assert not any(peer.pinged_s for peer in gone)
    assert len(pulse) == len(crowd) - len(gone)


def test_nobody_left_means_no_timer_and_somebody_new_has_one_again() -> None:
    loop, pulse = made()
    first = Peer(loop, lambda: pulse.leave(first))
    pulse.join(first)
    loop.until(100.0)
    assert (len(first.pinged_s), len(pulse), loop.calls) == (1, 0, [])
    second = Peer(loop)
    pulse.join(second)
    pulse.leave(second)
    pulse.join(second)
    loop.until(loop.now_s + 45.0)
    assert len(second.pinged_s) == 2


def test_one_that_fails_costs_the_others_nothing() -> None:
    loop, pulse = made()

    def fail() -> None:
        raise OSError("gone")

    peers = [Peer(loop), Peer(loop, fail), Peer(loop)]
    for peer in peers:
        pulse.join(peer)
    with pytest.raises(OSError, match="gone"):
        loop.until(25.0)
    loop.until(25.0)
    assert [len(peer.pinged_s) for peer in peers] == [1, 1, 1]


@pytest.mark.parametrize(("interval_s", "timeout_s", "rounds"), [(20, 20, 1), (0.05, 0.1, 2), (20, 30, 2), (20, 5, 1)])
def test_patience_is_whole_rounds_and_never_less_than_the_timeout(
    interval_s: float, timeout_s: float, rounds: int
) -> None:
    assert made(interval_s, timeout_s)[1].patience == rounds
