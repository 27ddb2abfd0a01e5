"""Handshakes take turns: a little of them in each turn of the event loop, so that a rush of viewers stalls nobody.

One step of a handshake is 0.2 ms of cryptography; a burst of datagrams from joining viewers is dozens of them. They
wait here in the order in which they came, one entry for each session, and run for HANDSHAKE_SLICE_S before the relay
and everybody else get the loop back. What comes before a handshake waits here too: to read an offer and to write its
answer takes 0.7 ms, and a rush brings dozens of offers at once; one is answered in a turn of the loop.

Threads would not make room for more: every core has its worker already, and each return from OpenSSL would wait for the
interpreter's lock (`docs/decisions/hot-path.md`).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from live.core.limits import HANDSHAKE_SLICE_S


class Steps(Protocol):
    """Somebody with work in small steps."""

    def step(self) -> bool:
        """Do one; returns whether there is another. Raises nothing."""


class _Whole:
    """Somebody who takes a whole slice, in a task of his own."""

    def __init__(self, granted: "asyncio.Future[None]") -> None:
        self.granted = granted

    def step(self) -> bool:
        if not self.granted.done():  # he may have given up meanwhile
            self.granted.set_result(None)
        return False


class Turns:
    """The queue of one worker; each session and each request is in it once at most."""

    def __init__(self, *, slice_s: float = HANDSHAKE_SLICE_S, now: Callable[[], float] = time.perf_counter) -> None:
        self._slice_s = slice_s
        self._now = now
        self._waiting: deque[Steps] = deque()
        self._handle: asyncio.Handle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def wake(self, steps: Steps) -> None:
        """Let `steps` step when its turn has come, until it has nothing left; the caller does not call twice."""
        self._waiting.append(steps)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._turn)

    async def mine(self) -> None:
        """Wait for one's turn to do something that takes about as long as a slice, without waiting again."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wake(_Whole(granted))
        await granted

    def _turn(self) -> None:
        deadline = self._now() + self._slice_s
        self._handle = None
        try:
            while self._waiting:
                steps = self._waiting.popleft()
                if steps.step():
                    self._waiting.append(steps)  # after the others: a flood from one session is its own delay
                if isinstance(steps, _Whole) or self._now() >= deadline:
                    break
        finally:
            if self._waiting:
                self._handle = asyncio.get_running_loop().call_soon(self._turn)
