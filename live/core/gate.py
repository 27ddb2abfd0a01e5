"""Who may ask how often: one bucket a key, refilled all the time, in a table of bounded size.

A bucket is one number (GCRA, ITU-T I.371): when it would be full again. A key whose bucket is full needs no entry, so
the table holds only those who have asked lately. The key of an address is its `live.core.addresses.network`, because
IPv6 hosts choose among 2^64 addresses of their own.

This is per worker and without a store, because it must hold when everything else is busy.
"""

_NOTHING_S = 1e-4  # a full bucket must grant all of its burst; floats lose that much of the years that a machine is up


class Gate:
    """`rate_per_s` and `burst` for each key; at most `size` keys are remembered."""

    def __init__(self, rate_per_s: float, burst: int, size: int) -> None:
        self._step_s = 1 / rate_per_s
        self._depth_s = burst / rate_per_s
        self._size = size
        self._full_at: dict[str, float] = {}

    def take(self, key: str, now: float) -> float:
        """0.0: granted. Else the seconds to wait; nothing was taken. `now` is monotonic seconds."""
        full_at = max(self._full_at.pop(key, now), now) + self._step_s
        wait_s = full_at - now - self._depth_s
        refused = wait_s > _NOTHING_S
        self._full_at[key] = full_at - self._step_s if refused else full_at
        if len(self._full_at) > self._size:
            del self._full_at[next(iter(self._full_at))]  # who has not asked for the longest time
        return wait_s if refused else 0.0

    def __len__(self) -> int:
        return len(self._full_at)
