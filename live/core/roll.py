"""The roll call of the workers: whoever ends without a word may have left something untold, and others look after it.

Each worker (or whatever else changes shows, as an import does) keeps a mark on the bus for as long as it lives, and
takes it away when it ends in good order. The mark of one that was killed runs out. The first to find it, a worker that
is still there or one that starts, takes it out and sees to it that everybody looks at the truth again. Should that one
be killed before it has done so, the next one does the same for both.

A worker that merely hung for as long is taken for dead. That costs a snapshot, and nothing else.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Self

from live.core.bus import Bus, BusError
from live.core.ids import secret_token
from live.core.limits import ROLL_BEAT_S, ROLL_SILENCE_S, ROLL_TTL_S
from live.core.tasks import end

log = logging.getLogger(__name__)
_LEAVE_S = 1.0


class Roll:
    """See the module. `found` counts the unclean ends that this worker was the one to find."""

    def __init__(self, bus: Bus, look_again: Callable[[], Awaitable[None]], settled: Callable[[], bool]) -> None:
        self.found = 0
        self._member = secret_token(9)
        self._bus = bus
        self._look_again = look_again
        self._settled = settled
        self._seen_to = 0  # of those found
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, bus: Bus, look_again: Callable[[], Awaitable[None]], settled: Callable[[], bool]
    ) -> AsyncIterator[Self]:
        """On the roll until the block ends; `look_again` is called after unclean ends, again when it raises.

        When not `settled` at the end, something was left untold: the mark stays, and others look after it.
        Raises `BusError`.
        """
        roll = cls(bus, look_again, settled)
        await roll._beat()  # before anything can be committed
        beating = asyncio.create_task(roll._run(), name="roll call")
        looking = asyncio.create_task(roll._look(), name="look after unclean ends")
        try:
            yield roll
        finally:
            roll._stopping.set()
            # A beat under way is let through: it could overtake what takes the mark away.
            await asyncio.wait((beating,), timeout=_LEAVE_S)
            await end(beating, looking)
            await roll._leave()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(BusError):  # counted there; whoever beats next knows that nobody could be heard
                await self._beat()
            with suppress(TimeoutError):
                async with asyncio.timeout(ROLL_BEAT_S):
                    await self._stopping.wait()

    async def _beat(self) -> None:
        if over := await self._bus.marks.beat(self._member, ROLL_TTL_S, ROLL_SILENCE_S):
            log.warning("%d of the workers ended uncleanly; what they may have left untold is looked after", len(over))
            self.found += len(over)
            self._news.set()

    async def _look(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            found = self.found
            try:
                await self._look_again()
                self._seen_to = found
            except Exception as error:  # a store's, or our own bug
                log.warning("what was left untold could not be looked after yet: %r", error)
                self._news.set()
                await asyncio.sleep(ROLL_BEAT_S)

    async def _leave(self) -> None:
        if self._seen_to < self.found or not self._settled():
            log.warning("something is left untold; others look after it")
            return
        with suppress(BusError, TimeoutError):  # the mark runs out instead, and costs everybody a snapshot
            async with asyncio.timeout(_LEAVE_S):
                await self._bus.marks.leave(self._member)
