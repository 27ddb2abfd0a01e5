"""Who may ask how often: one bucket an address, refilled all the time, in a table of bounded size.

A bucket is one number (GCRA, ITU-T I.371): when it would be full again. An address whose bucket is full needs no
entry, so the table holds only those who have asked lately. IPv6 hosts choose among 2^64 addresses of their own
network, so a network is one bucket.

This is per worker and without a store, because it must hold when everything else is busy.
"""

from live.core.addresses import network


class Gate:
    """`rate_per_s` and `burst` for each address; at most `size` addresses are remembered."""

    def __init__(self, rate_per_s: float, burst: int, size: int) -> None:
        self._step_s = 1 / rate_per_s
        self._depth_s = burst / rate_per_s
        self._size = size
        self._full_at: dict[str, float] = {}

    def take(self, address: str, now: float) -> float:
        """0.0: granted. Else the seconds to wait; nothing was taken. `now` is monotonic seconds."""
        key = network(address)
        full_at = max(self._full_at.pop(key, now), now) + self._step_s
        wait_s = full_at - now - self._depth_s
        refused = wait_s > 1e-9  # a full bucket must grant all of its burst, whatever floating point makes of it
        self._full_at[key] = full_at - self._step_s if refused else full_at
        if len(self._full_at) > self._size:
            del self._full_at[next(iter(self._full_at))]  # who has not asked for the longest time
        return wait_s if refused else 0.0

    def __len__(self) -> int:
        return len(self._full_at)
