"""What the generators measured: one `Second` after the other, and totals at the end. It travels as JSON lines."""

from typing import Any

import msgspec

from loadtests.histogram import Histogram


class Second(msgspec.Struct, tag="second"):
    """One second of a swarm, which ended `at_s` after the start. Durations are histograms, see `Histogram.plain`."""

    at_s: float
    open: int  # sockets that are connected now
    joins: int
    deliveries: int  # events that were applied, on all screens together
    frames: int
    received_bytes: int
    lag_max_ms: float  # of the swarm's own event loop: above some milliseconds its latencies are in doubt
    join: dict[str, Any]
    delivery: dict[str, Any]


class Totals(msgspec.Struct, tag="totals"):
    """A whole run of a swarm; `Sequence` says what gaps, duplicates, replaced and lost are."""

    viewers: int
    joined: int
    sent: int  # probes: chat messages on the schedule
    unsent: int  # no speaker was connected when a probe was due
    acknowledged: int
    unanswered: int
    unseen: int  # acknowledged, and on no screen
    deliveries: int
    frames: int
    received_bytes: int
    duplicates: int
    gaps: int
    replaced: int
    lost: int
    closes: dict[str, int]  # by close code, or "http 503" for a refused handshake
    refused: dict[str, int]  # by the problem's name
    join: dict[str, Any]
    delivery: dict[str, Any]
    acknowledge: dict[str, Any]  # from the time a probe was due to its reply
    late: dict[str, Any]  # from the time a probe was due to when it was sent
    lag_max_ms: float

    @property
    def not_joined(self) -> int:
        return self.viewers - self.joined

    @property
    def closes_count(self) -> int:
        return sum(self.closes.values())

    @property
    def refused_count(self) -> int:
        return sum(self.refused.values())

    def histogram(self, name: str) -> Histogram:
        """One of `join`, `delivery`, `acknowledge`, `late`."""
        return Histogram.of_plain(getattr(self, name))


Line = Second | Totals


OTHERS = "other programs"  # of this machine, together; their memory is not read


class Usage(msgspec.Struct):
    """What one group of processes used in a second."""

    at_s: float
    process: str  # "server", "valkey", "swarm", "shoppers" or `OTHERS`
    cpu_percent: float  # 100 is one core
    memory_mb: float


class Action(msgspec.Struct):
    """What shoppers did under one name, and how long it took, failures included."""

    name: str
    method: str
    count: int
    failures: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class ShopperSecond(msgspec.Struct):
    """The shoppers at one time: how many there are, and how much they do."""

    at_s: float
    users: int
    actions_per_s: float
    failures_per_s: float
    p50_ms: float | None
    p99_ms: float | None


class Shopping(msgspec.Struct):
    """A whole run of the shoppers. `failures` is by the problem's name."""

    actions: list[Action] = []
    seconds: list[ShopperSecond] = []
    failures: dict[str, int] = {}
    p99_ms: float | None = None

    @property
    def failures_count(self) -> int:
        return sum(self.failures.values())
