"""Stands before every operation over HTTP: knows services by their keys, and refuses who changes too much.

Rates are counted over all workers, in the bus. What one worker alone finds to be too much it refuses by itself, so a
flood costs the bus nothing; while the bus is away this is what is left of the bounds. A bus that hangs is asked by one
change every CHANGES_BUS_AGAIN_S: all the others would take the four seconds that it is waited for.
"""

import math
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily

from live.access.holders import Holders
from live.core.addresses import network
from live.core.auth import Principal, Role
from live.core.clock import Clock
from live.core.errors import Kind, Problem
from live.core.gate import Gate
from live.core.limits import (
    ADDRESS_CHANGES_BURST,
    ADDRESS_CHANGES_PER_S,
    ADDRESSES_REMEMBERED_MAX,
    CHANGES_BURST,
    CHANGES_BUS_AGAIN_S,
    CHANGES_BUS_SLOW_S,
    CHANGES_PER_S,
    SERVICE_CHANGES_BURST,
    SERVICE_CHANGES_PER_S,
    STAFF_CHANGES_BURST,
    STAFF_CHANGES_PER_S,
)
from live.core.tallies import Pace, TakeAll

SHOPPER, STAFF, SERVICE, ADDRESS = "shopper", "staff", "service", "address"
_CHANNEL = "changes"  # all of it in one place, so that one call asks for who and where
_PACES = {
    SHOPPER: Pace(CHANGES_PER_S, CHANGES_BURST),
    STAFF: Pace(STAFF_CHANGES_PER_S, STAFF_CHANGES_BURST),
    SERVICE: Pace(SERVICE_CHANGES_PER_S, SERVICE_CHANGES_BURST),
    ADDRESS: Pace(ADDRESS_CHANGES_PER_S, ADDRESS_CHANGES_BURST),
}


class Warden:
    """See the module, and `live.core.rest.Warden`. `take` counts over all workers; `addresses`: these are bounded."""

    def __init__(self, holders: Holders, take: TakeAll, clock: Clock, *, addresses: bool) -> None:
        self._holders = holders
        self._take = take
        self._clock = clock
        self._addresses = addresses
        self._gates = {
            kind: Gate(pace.per_s, int(pace.burst), ADDRESSES_REMEMBERED_MAX) for kind, pace in _PACES.items()
        }
        self._hangs = False  # the bus, as it was asked last; then it is not asked ...
        self._again_s = 0.0  # ... before this moment of the monotonic clock
        self.refused: Counter[str] = Counter(dict.fromkeys(_PACES, 0))

    async def service(self, key: str, address: str) -> Principal:
        """As `Holders.find`."""
        return await self._holders.find(key, address)

    async def take(self, principal: Principal | None, address: str) -> None:
        """Count a change; raises `Problem` rate_limited, and then nothing was taken from anybody else's bound."""
        asked = [] if principal is None else [(_kind(principal), principal.subject)]
        if self._addresses and address and (principal is None or principal.scopes is None):
            asked.append((ADDRESS, network(address)))
        for kind, who in asked:
            if wait_s := self._gates[kind].take(who, self._clock.monotonic()):
                raise self._refusal(kind, wait_s)
        began_s = self._clock.monotonic()
        if not asked or (self._hangs and began_s < self._again_s):
            return
        self._again_s = began_s + CHANGES_BUS_AGAIN_S
        refusing, wait_s = await self._take(_CHANNEL, [(f"{kind}:{who}", _PACES[kind]) for kind, who in asked])
        ended_s = self._clock.monotonic()
        self._hangs = ended_s - began_s >= CHANGES_BUS_SLOW_S
        if self._hangs:
            self._again_s = ended_s + CHANGES_BUS_AGAIN_S
        if wait_s:
            raise self._refusal(refusing.partition(":")[0], wait_s)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Prometheus figures."""
        text = "Changes over HTTP that were refused because they came too fast, by whose bound it was"
        family = CounterMetricFamily("showcart_changes_throttled", text, labels=["of"])
        for kind, count in self.refused.items():
            family.add_metric([kind], count)
        yield family

    def _refusal(self, kind: str, wait_s: float) -> Problem:
        self.refused[kind] += 1
        detail = f"At most {_PACES[kind].per_s:g} changes a second for one {kind}."
        return Problem(Kind.rate_limited, detail, retry_after_s=math.ceil(wait_s))


def _kind(principal: Principal) -> str:
    if principal.scopes is not None:
        return SERVICE
    return SHOPPER if principal.role is Role.viewer else STAFF
