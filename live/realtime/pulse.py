"""When whom to ping: one timer for all WebSockets of a server, where uvicorn has one or two for each.

    slot     0     1     2    …    99       one is due every WS_PING_SLOT_S, and after the last the first
    who     {a,c}  {}   {d}        {b}      joined while the one before theirs was due

Everybody in a slot is sent the same frame, which is made once; who still owes the answer to the one before, for as many
rounds as the patience is long, is given up instead. A slot is never due sooner after the last time than the interval,
however late the loop was meanwhile: who answers is given the time to. A slot with a crowd in it is worked through in
slices of FANOUT_SLICE_S. docs/decisions/raw-websocket-writes.md has the figures.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable
from typing import Protocol

from live.core.limits import FANOUT_SLICE_S, WS_PING_SLOT_S

_LOOK = 16  # pings between two looks at the clock


class Member(Protocol):
    """A WebSocket, or who else is to be asked whether it is there. `slot` is None outside of the rounds."""

    slot: "set[Member] | None"

    def pulse(self, payload: bytes, frame: bytes) -> None:
        """Its turn: `frame` is a ping with that payload."""


class Pulse:
    """See the module. `patience` is in rounds. `clock` in seconds, finer than the loop's own."""

    def __init__(
        self,
        interval_s: float,
        timeout_s: float,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.patience = max(1, math.ceil(timeout_s / interval_s))
        self._slots: list[set[Member]] = [set() for _ in range(max(2, round(interval_s / WS_PING_SLOT_S)))]
        self._slot_s = interval_s / len(self._slots)
        self._loop = loop
        self._clock = clock
        self._next = 0
        self._members = 0
        self._handle: asyncio.Handle | None = None

    def __len__(self) -> int:
        return self._members

    def join(self, member: Member) -> None:
        """Ping `member` once in each round; for the first time when the interval is over, or one slot sooner."""
        assert member.slot is None
        member.slot = self._slots[self._next - 1]
        member.slot.add(member)
        self._members += 1
        if self._handle is None:
            self._handle = self._loop.call_later(self._slot_s, self._begin)

    def leave(self, member: Member) -> None:
        """Ping `member` no more; nothing when it does not take part."""
        slot, member.slot = member.slot, None
        if slot is None:
            return
        slot.discard(member)
        self._members -= 1
        if not self._members and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _begin(self) -> None:
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        payload = random.randbytes(4)
        self._go_on(slot, list(slot), payload, b"\x89\x04" + payload)

    def _go_on(self, slot: set[Member], left: list[Member], payload: bytes, frame: bytes) -> None:
        """One slice. Who is in `left` may have gone meanwhile."""
        self._handle = None
        until_s = self._clock() + FANOUT_SLICE_S
        try:
            while left and (len(left) % _LOOK or self._clock() < until_s):
                member = left.pop()
                if member.slot is slot:
                    member.pulse(payload, frame)
        finally:
            if self._members and self._handle is None:
                self._handle = (
                    self._loop.call_soon(self._go_on, slot, left, payload, frame)
                    if left
                    else self._loop.call_later(self._slot_s, self._begin)
                )
