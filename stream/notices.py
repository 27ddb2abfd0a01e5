"""Telling the rest of the product whether video of a show arrives: by the worker that has it, and nobody else.

When a publisher ends here, a backup elsewhere may go on; then this worker has nothing more to say. When a worker dies
it says nothing at all; the others find its shows by the census: marked as on air, and nobody holds their lease. One
that could not reach the bus for a while is taken for dead, too; its own census finds that and tells again.

A publisher who goes over to another worker leaves this one when its session there is up, and that worker may still be
asking for the lease then. So an end is told after a moment only, and after a longer one by a worker that is about to
end, which has asked its publishers to go over. A lease that has run out but was not given back belongs to a worker that
is late or dead: to the census.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from live.core.bus import BusError
from live.core.limits import CENSUS_INTERVAL_S, HAND_OVER_S, VACANCY_S

logger = logging.getLogger(__name__)

_RETRY_S = 1.0


class Notices:
    """What is known of each show, told in order and again when telling has failed.

    `present` says whether a show's video arrives here, `elsewhere` whether another worker has the show (it raises
    `BusError` when nobody knows), `tell` takes the news. `patient`: there are other workers, so an end waits a moment.
    """

    def __init__(
        self,
        tell: Callable[[str, bool], Awaitable[None]],
        present: Callable[[str], bool],
        elsewhere: Callable[[str], Awaitable[bool]],
        *,
        patient: bool,
    ) -> None:
        self._tell = tell
        self._present = present
        self._elsewhere = elsewhere
        self._patience_s = VACANCY_S if patient else 0.0
        self._parting = False
        self._due: dict[str, float] = {}
        self._told: set[str] = set()  # the shows that were told to be present
        self._news = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def announce(self, show: str) -> None:
        """The video of `show` may have come or gone; the newest truth is told."""
        wait_s = 0.0 if self._present(show) else self._patience_s
        self._due[show] = asyncio.get_running_loop().time() + wait_s
        self._settled.clear()
        self._news.set()

    @property
    def told(self) -> set[str]:
        """The shows that have been told to be present, and still are."""
        return {show for show in self._told if self._present(show)}

    def repeat(self, show: str) -> None:
        """Somebody else has told the contrary of what was told of `show` here."""
        self._told.discard(show)
        self.announce(show)

    def part(self) -> None:
        """From now on whoever ends here goes over to another worker, most likely."""
        self._patience_s, self._parting = HAND_OVER_S, True

    async def settle(self) -> None:
        """Wait until all is told, without patience unless it parts."""
        if not self._parting:
            self._patience_s = 0.0
            self._due = dict.fromkeys(self._due, 0.0)
        self._news.set()
        await self._settled.wait()

    async def run(self) -> None:
        """Tell until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            for show in [show for show, due in self._due.items() if due <= loop.time()]:
                await self._tell_of(show)
            if not self._due:
                self._settled.set()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(self._due.values()) if self._due else None):
                    await self._news.wait()

    async def _tell_of(self, show: str) -> None:
        present = self._present(show)
        if present != (show in self._told):
            try:
                if present or not await self._taken(show):
                    await self._tell(show, present)
            except Exception:
                logger.exception("could not tell that the publisher of %s changed; trying again", show)
                self._due[show] = asyncio.get_running_loop().time() + _RETRY_S
                return
            (self._told.add if present else self._told.discard)(show)
        if self._present(show) == present:
            self._due.pop(show, None)

    async def _taken(self, show: str) -> bool:
        try:
            return await self._elsewhere(show)
        except BusError:
            return False  # nobody can be asked, and here it is over


async def census(
    on_air: Callable[[], Awaitable[list[str]]],
    held: Callable[[str], Awaitable[bool]],
    tell: Callable[[str, bool], Awaitable[None]],
    notices: Notices,
) -> None:
    """Put right, until cancelled, which shows are marked as `on_air`.

    Those that nobody has (`held`), twice in a row, are not; those that `notices` has told of are, if anybody has them:
    who cannot ask for the lease does not contradict those who can.
    """
    suspects: set[str] = set()
    while True:
        try:
            told = notices.told  # before the marks are read: what is told from here on may not be among them
            marked = set(await on_air())
            for show in (told & notices.told) - marked:
                if await held(show):
                    logger.warning("%s was taken for gone while its worker could not reach the bus", show)
                    notices.repeat(show)
            vacant = {show for show in marked if not await held(show)}
            for show in vacant & suspects:
                if await held(show):  # telling of the others took its time
                    vacant.discard(show)
                    continue
                logger.warning("the worker that %s was published through is gone", show)
                await tell(show, False)
            suspects = vacant - suspects
        except BusError:
            suspects = set()  # nobody could have renewed a lease
        except Exception:
            logger.exception("the census failed; trying again")
        await asyncio.sleep(CENSUS_INTERVAL_S)
