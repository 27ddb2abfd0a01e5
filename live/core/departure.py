"""A worker's way out: whether others stay to take its clients over, and how long it waits for them to go.

Workers that let people in listen on one channel of the bus, and those that drain do so no longer. So a worker that ends
knows whether there is anybody to go to, in this process's family or on another machine, and waits for nothing when all
end together or it is the only one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Protocol, Self

from live.core.bus import Bus, BusError
from live.core.errors import Kind, Problem
from live.core.limits import DRAIN_LOOK_S, DRAIN_S

log = logging.getLogger(__name__)

_OPEN = "workers/open"
_RETRY_AFTER_S = 1
_LEAVE_S = 1.0


class Connections(Protocol):
    """The viewers' sockets."""

    def __len__(self) -> int: ...

    async def drain(self, hand_over: Callable[[], Awaitable[None]]) -> None:
        """Tell everybody to go elsewhere, wait for `hand_over`, close what is left."""


class Media(Protocol):
    """The media sessions."""

    @property
    def sessions(self) -> Mapping[str, Any]: ...

    async def leave(self) -> None:
        """Tell everybody to go elsewhere."""

    def dismiss(self) -> None:
        """Hang up on whoever is left."""


class Departure:
    """See the module. `begun`: nobody new is taken in."""

    def __init__(self, bus: Bus) -> None:
        self.begun = False
        self._bus = bus
        self._listening = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def open(cls, bus: Bus) -> AsyncIterator[Self]:
        """For a worker that stays, until it begins to leave, at the latest when the block ends. Raises `BusError`."""
        departure = cls(bus)
        async with departure._listening:
            await departure._listening.enter_async_context(bus.subscribe(_OPEN, lambda message: None))
            yield departure

    def refuse(self) -> None:
        """Raises `Problem` draining when nobody new is taken in."""
        if self.begun:
            raise Problem(Kind.draining, retry_after_s=_RETRY_AFTER_S)

    @property
    def checks(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What the worker's readiness hangs on: a check that fails, from when it leaves on."""
        return {"worker": self._check} if self.begun else {}

    async def _check(self) -> None:
        self.refuse()

    async def drain(self, connections: Connections, media: Media) -> None:
        """Have everybody go over to the workers that stay, if any do; then hang up on who is left."""
        self.begun = True
        with suppress(
            TimeoutError
        ):  # the count of those who stay is then one too high, and the wait as long as it may be
            async with asyncio.timeout(_LEAVE_S):
                await self._listening.aclose()
        await connections.drain(lambda: self._hand_over(connections, media))
        media.dismiss()

    async def _hand_over(self, connections: Connections, media: Media) -> None:
        """Wait until all have gone to other workers: no longer than DRAIN_S, and not when none stays."""
        told = False
        try:
            async with asyncio.timeout(DRAIN_S):
                while (len(connections) or media.sessions) and await self._others():
                    if not told:
                        told = True
                        await media.leave()
                    await asyncio.sleep(DRAIN_LOOK_S)
        except TimeoutError:
            log.info("not everybody has gone over to another worker in time")

    async def _others(self) -> bool:
        try:
            return await self._bus.send(_OPEN, b"", "direct") > 0
        except BusError:
            return False  # nobody could go anywhere
