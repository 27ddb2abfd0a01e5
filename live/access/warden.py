"""Stands before every operation over HTTP: knows services by their keys, and refuses who changes too much.

Rates are counted over all workers, in the bus. What one worker alone finds to be too much it refuses by itself, so a
flood costs the bus nothing; while the bus is away this is what is left of the bounds.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily

from live.access.holders import Holders
from live.core.addresses import network
from live.core.auth import Principal, Role
from live.core.bus import Take
from live.core.clock import Clock
from live.core.errors import Kind, Problem
from live.core.gate import Gate
from live.core.limits import (
    ADDRESS_CHANGES_BURST,
    ADDRESS_CHANGES_PER_S,
    ADDRESSES_REMEMBERED_MAX,
    CHANGES_BURST,
    CHANGES_PER_S,
    SERVICE_CHANGES_BURST,
    SERVICE_CHANGES_PER_S,
    STAFF_CHANGES_BURST,
    STAFF_CHANGES_PER_S,
)


class Bound(NamedTuple):
    """`per_s` changes, `burst` at once, for each of a kind."""

    kind: str
    per_s: float
    burst: int


SHOPPER = Bound("shopper", CHANGES_PER_S, CHANGES_BURST)
STAFF = Bound("staff", STAFF_CHANGES_PER_S, STAFF_CHANGES_BURST)
SERVICE = Bound("service", SERVICE_CHANGES_PER_S, SERVICE_CHANGES_BURST)
ADDRESS = Bound("address", ADDRESS_CHANGES_PER_S, ADDRESS_CHANGES_BURST)


class Warden:
    """See the module, and `live.core.rest.Warden`. `take` counts over all workers; `addresses`: these are bounded."""

    def __init__(self, holders: Holders, take: Take, clock: Clock, *, addresses: bool) -> None:
        self._holders = holders
        self._take = take
        self._clock = clock
        self._addresses = addresses
        bounds = (SHOPPER, STAFF, SERVICE, ADDRESS)
        self._gates = {bound: Gate(bound.per_s, bound.burst, ADDRESSES_REMEMBERED_MAX) for bound in bounds}
        self.refused: Counter[str] = Counter({bound.kind: 0 for bound in bounds})

    async def service(self, key: str, address: str) -> Principal:
        """As `Holders.find`."""
        return await self._holders.find(key, address)

    async def take(self, principal: Principal | None, address: str) -> None:
        """Count a change; raises `Problem` rate_limited. Who asks is counted first, then where they are."""
        if principal is not None:
            await self._count(_bound(principal), principal.subject)
        if self._addresses and address and (principal is None or principal.scopes is None):
            await self._count(ADDRESS, network(address))

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Prometheus figures."""
        text = "Changes over HTTP that were refused because they came too fast, by whose bound it was"
        family = CounterMetricFamily("showcart_changes_throttled", text, labels=["of"])
        for kind, count in self.refused.items():
            family.add_metric([kind], count)
        yield family

    async def _count(self, bound: Bound, who: str) -> None:
        wait_s = self._gates[bound].take(who, self._clock.monotonic())
        wait_s = wait_s or await self._take(f"changes:{bound.kind}:{who}", bound.per_s, bound.burst)
        if wait_s:
            self.refused[bound.kind] += 1
            detail = f"At most {bound.per_s:g} changes a second for one {bound.kind}."
            raise Problem(Kind.rate_limited, detail, retry_after_s=math.ceil(wait_s))


def _bound(principal: Principal) -> Bound:
    if principal.scopes is not None:
        return SERVICE
    return SHOPPER if principal.role is Role.viewer else STAFF
