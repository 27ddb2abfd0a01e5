"""Who may open another socket: bounds for one address, and for the worker as a whole.

    reason      bound                                             refused with
    full        sockets of the worker                             503 overloaded
    sockets     sockets of one address                            429 rate_limited
    handshakes  handshakes per second of one address              429 rate_limited
    rush        handshakes per second of the worker               503 overloaded

They are tried in this order, so that one address that is over its own bounds takes nothing of what all share. A rush
that is refused must not come back as one: each who is refused is told a later time, as if they stood in a queue that
is served at the rate of the bucket. Whether they keep to it is up to them; who comes early is refused again.

Time is an argument: seconds on any clock that never goes back. Addresses are per worker; IPv6 counts by /64.
"""

import math

from live.core.addresses import network
from live.core.errors import Kind, Problem
from live.core.gate import Gate
from live.core.limits import (
    ADDRESSES_REMEMBERED_MAX,
    HANDSHAKES_BURST,
    HANDSHAKES_PER_ADDRESS_WINDOW_S,
    HANDSHAKES_PER_S,
    RETRY_AFTER_FULL_S,
    RETRY_AFTER_S_MAX,
    WS_CONNECTIONS_MAX,
)
from live.realtime.session import Bucket


class Admission:
    """See the module. `sockets_per_address` 0: no bounds for one address. `now_s` is when it begins to count."""

    def __init__(
        self,
        now_s: float,
        *,
        sockets_per_address: int,
        sockets_max: int = WS_CONNECTIONS_MAX,
        handshakes_per_s: float = HANDSHAKES_PER_S,
        handshakes_burst: float = HANDSHAKES_BURST,
    ) -> None:
        self._sockets_max = sockets_max
        self._per_address = sockets_per_address
        self._rate_per_s = handshakes_per_s
        self._rush = Bucket(handshakes_per_s, handshakes_burst, now_s)
        self._queued = 0.0  # told to come later, and not due yet
        self._queued_at_s = now_s
        # Everybody of an address may come back at once, and as many again in each window.
        rate_per_s = sockets_per_address / HANDSHAKES_PER_ADDRESS_WINDOW_S
        self._gate = Gate(rate_per_s, sockets_per_address, ADDRESSES_REMEMBERED_MAX) if sockets_per_address else None
        self._open: dict[str, int] = {}  # sockets by address; none are not kept
        self.sockets = 0
        self.admitted = 0
        self.refused = {"full": 0, "sockets": 0, "handshakes": 0, "rush": 0}

    def admit(self, address: str, now_s: float) -> Problem | None:
        """None: another socket of `address` counts from now on, until `released`. Else why not, and until when."""
        key = network(address)
        if self.sockets >= self._sockets_max:
            return self._refuse("full", Kind.overloaded, RETRY_AFTER_FULL_S)
        if self._gate is not None:
            if self._open.get(key, 0) >= self._per_address:
                return self._refuse("sockets", Kind.rate_limited, RETRY_AFTER_FULL_S)
            if wait_s := self._gate.take(key, now_s):
                return self._refuse("handshakes", Kind.rate_limited, math.ceil(wait_s))
        if self._rush.take(1, now_s):
            return self._refuse("rush", Kind.overloaded, self._queue(now_s))
        self._open[key] = self._open.get(key, 0) + 1
        self.sockets += 1
        self.admitted += 1
        return None

    def released(self, address: str) -> None:
        """A socket that was admitted for `address` is gone."""
        key = network(address)
        left = self._open[key] - 1
        self.sockets -= 1
        if left:
            self._open[key] = left
        else:
            del self._open[key]

    def _queue(self, now_s: float) -> int:
        """Whole seconds until it is the turn of one more who came in a rush."""
        self._queued = max(0.0, self._queued - (now_s - self._queued_at_s) * self._rate_per_s) + 1
        self._queued_at_s = now_s
        return min(RETRY_AFTER_S_MAX, math.ceil(self._queued / self._rate_per_s))

    def _refuse(self, reason: str, kind: Kind, retry_after_s: int) -> Problem:
        self.refused[reason] += 1
        return Problem(kind, retry_after_s=retry_after_s)
