"""What access is made of, put together for one worker."""

from typing import Self

from live.access.holders import Holders
from live.access.service import Keys
from live.access.warden import Warden
from live.core.bus import Take
from live.core.clock import Clock
from live.core.database import Database
from live.core.settings import Settings


class Access:
    """Service keys and the bounds of changes; somebody must `run` it."""

    def __init__(self, keys: Keys, holders: Holders, warden: Warden) -> None:
        self.keys = keys
        self.warden = warden
        self._holders = holders

    @classmethod
    def of(cls, settings: Settings, database: Database, clock: Clock, take: Take) -> Self:
        """The one that `settings` describe. `take` counts rates over all workers."""
        holders = Holders(database, clock)
        warden = Warden(holders, take, clock, addresses=settings.sockets_per_address > 0)
        return cls(Keys(database, holders), holders, warden)

    async def run(self) -> None:
        """Write down what is used, until cancelled."""
        await self._holders.run()

    async def close(self) -> None:
        """Answer nobody any more."""
        await self._holders.close()
