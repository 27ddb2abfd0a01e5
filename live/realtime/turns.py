"""Whose turn it is to write: no slice of writing holds the loop for long, however many shows are busy.

Ten thousand writes take 75 ms or more, nearly all of it in the kernel. So the audiences of a worker are written to
in slices of FANOUT_SLICE_S, in turns, and between two slices the loop comes round FANOUT_TURNS_BETWEEN times. What is
ready runs in one of them, and what is awaited goes on by a step in each: an answer takes ten or so, from the socket to
the database, the bus and back. With one turn between slices a chat message waited 78 ms for its answer, and waits 30.
Short turns share a slice.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from live.core.limits import (
    BATCH_INTERVAL_S,
    BATCH_INTERVAL_S_BUSY,
    BATCH_INTERVAL_S_EASY,
    BATCH_INTERVAL_S_MAX,
    FANOUT_SHARE_EASY,
    FANOUT_SHARE_MAX,
    FANOUT_SHARE_MIN,
    FANOUT_SLICE_S,
    FANOUT_TURNS_BETWEEN,
    LOOP_SHARE_MAX,
)
from live.realtime.figures import Figures

_SMOOTHING = 0.3  # of what everything else takes of the loop, from round to round


def interval_s(spent_s: float, others: float = 0.0) -> float:
    """From the begin of a round that took `spent_s` of writing to the begin of the next one.

    A large audience takes longer to write to than BATCH_INTERVAL_S: then rounds are rarer instead of the load higher,
    at an easy share of the loop's time as long as that is soon enough, else at the largest share one show may have, but
    not later than people notice. Past that only for want of a free loop: `others` is the share that everything else
    takes of it, and a worker without a rest answers nobody in time.
    """
    easy_s = min(spent_s / FANOUT_SHARE_EASY, BATCH_INTERVAL_S_EASY)
    soon_s = min(max(BATCH_INTERVAL_S, easy_s, spent_s / FANOUT_SHARE_MAX), BATCH_INTERVAL_S_MAX)
    free = max(LOOP_SHARE_MAX - others, FANOUT_SHARE_MIN)
    return max(soon_s, min(spent_s / free, BATCH_INTERVAL_S_BUSY))


class Pace:
    """How soon one show's rounds follow each other beside everything else that its worker does."""

    __slots__ = ("_others",)

    def __init__(self) -> None:
        self._others = 0.0

    def after(self, spent_s: float, lasted_s: float) -> float:
        """`interval_s` for a round that took `spent_s` of writing and `lasted_s` from begin to end.

        Between two slices all else that is ready runs once, so what it took is what it asks of the loop.
        """
        others = 1 - spent_s / lasted_s if lasted_s > spent_s else 0.0
        self._others += (others - self._others) * _SMOOTHING
        return interval_s(spent_s, self._others)


class Turn(Protocol):
    """Somebody who writes."""

    def write(self, until_s: float) -> bool:
        """Write a little at least, and until then (of the turns' clock); whether something is left."""
        ...


class Turns:
    """See the module. `clock` is in seconds, finer than the loop's own, which is cached or in milliseconds."""

    def __init__(self, figures: Figures, clock: Callable[[], float] = time.perf_counter) -> None:
        self.figures = figures
        self.clock = clock
        self._waiting: dict[Turn, None] = {}
        self._handle: asyncio.Handle | None = None

    def add(self, turn: Turn) -> None:
        """Let `turn` write soon; once, however often it is added before."""
        self._waiting[turn] = None
        if self._handle is None:
            # Not at once: what the bus's reader hands over in one go is written together.
            self._handle = asyncio.get_running_loop().call_soon(self._run)

    def remove(self, turn: Turn) -> None:
        """Forget `turn`."""
        self._waiting.pop(turn, None)

    def waits(self, turn: Turn) -> bool:
        """Whether `turn` is to write soon."""
        return turn in self._waiting

    def _let_others(self, turns: int) -> None:
        """Let the loop come round so often before the next slice; with nothing to do that takes 0.03 ms each time."""
        loop = asyncio.get_running_loop()
        if turns > 1:
            self._handle = loop.call_soon(self._let_others, turns - 1)
        else:
            self._handle = loop.call_soon(self._run)

    def _run(self) -> None:
        self._handle = None
        start_s = now_s = self.clock()
        until_s = start_s + FANOUT_SLICE_S
        try:
            while self._waiting:
                turn = next(iter(self._waiting))
                del self._waiting[turn]
                if turn.write(until_s):
                    self._waiting[turn] = None
                now_s = self.clock()
                if now_s >= until_s:
                    break
        finally:
            if self._waiting and self._handle is None:
                self._let_others(FANOUT_TURNS_BETWEEN)
        self.figures.slices += 1
        self.figures.slice_s_max = max(self.figures.slice_s_max, now_s - start_s)
