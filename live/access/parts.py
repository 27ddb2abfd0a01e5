"""What access is made of, put together for one worker."""

from collections.abc import Iterator
from typing import Self

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from live.access.holders import Holders
from live.access.service import Keys
from live.access.sign_on import SignOn
from live.access.warden import Warden
from live.core.auth import Tokens
from live.core.clock import Clock
from live.core.database import Database
from live.core.settings import Settings
from live.core.tallies import TakeAll


class Access(Collector):
    """Service keys, sign-on and the bounds of changes; somebody must `run` it."""

    def __init__(self, keys: Keys, holders: Holders, warden: Warden, sign_on: SignOn) -> None:
        self.keys = keys
        self.warden = warden
        self.sign_on = sign_on
        self._holders = holders

    @classmethod
    def of(cls, settings: Settings, database: Database, tokens: Tokens, clock: Clock, take: TakeAll) -> Self:
        """The one that `settings` describe. `take` counts rates over all workers."""
        holders = Holders(database, clock)
        warden = Warden(holders, take, clock, addresses=settings.sockets_per_address > 0)
        return cls(Keys(database, holders), holders, warden, SignOn.of(settings, database, tokens, clock))

    async def run(self) -> None:
        """Write down what is used, until cancelled."""
        await self._holders.run()

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Prometheus figures."""
        yield from self.warden.collect()
        yield from self.sign_on.collect()

    async def close(self) -> None:
        """Answer nobody any more."""
        await self._holders.close()
        await self.sign_on.close()
