"""Durations counted in buckets whose width grows with the value: bounded memory, and several of them add up.

The layout is that of HdrHistogram: 64 buckets for each power of two, so that a percentile is never too low and at
most 1/64 too high, whether it is a microsecond or ten minutes. At most 1,600 buckets exist.
"""

from collections.abc import Mapping
from typing import Any

_SUB_BITS = 6
_SUB = 1 << _SUB_BITS
VALUE_US_MAX = 600 * 1_000_000  # longer ones count as ten minutes


def bucket_of(value_us: int) -> int:
    """The number of the bucket that holds `value_us` (0 to `VALUE_US_MAX`)."""
    shift = max(0, value_us.bit_length() - _SUB_BITS - 1)
    return (shift << _SUB_BITS) + (value_us >> shift)


def upper_edge_us(bucket: int) -> int:
    """The largest value that falls into `bucket`."""
    shift = max(0, (bucket >> _SUB_BITS) - 1)
    return ((bucket - (shift << _SUB_BITS) + 1) << shift) - 1


class Histogram:
    """Counts of durations in microseconds."""

    __slots__ = ("count", "counts", "max_us")

    def __init__(self) -> None:
        self.count = 0
        self.max_us = 0
        self.counts: dict[int, int] = {}

    def record(self, value_us: int, times: int = 1) -> None:
        """Count a duration; what lies outside 0 … `VALUE_US_MAX` is counted at that edge."""
        value_us = min(max(value_us, 0), VALUE_US_MAX)
        bucket = bucket_of(value_us)
        self.counts[bucket] = self.counts.get(bucket, 0) + times
        self.count += times
        if value_us > self.max_us:
            self.max_us = value_us

    def add(self, other: "Histogram") -> None:
        """Count everything that `other` counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.count += other.count
        self.max_us = max(self.max_us, other.max_us)

    def percentile_us(self, percent: float) -> int | None:
        """The smallest value that at least `percent` of the values do not exceed; None when nothing was counted."""
        if not self.count:
            return None
        rank = max(1, -int(-percent * self.count // 100))
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                return min(upper_edge_us(bucket), self.max_us)
        return self.max_us

    def percentile_ms(self, percent: float) -> float | None:
        """The percentile in milliseconds; None when nothing was counted."""
        value = self.percentile_us(percent)
        return None if value is None else value / 1000

    @property
    def max_ms(self) -> float | None:
        """The largest value in milliseconds; None when nothing was counted."""
        return self.max_us / 1000 if self.count else None

    def plain(self) -> dict[str, Any]:
        """The histogram for JSON."""
        return {"max_us": self.max_us, "counts": {str(bucket): count for bucket, count in self.counts.items()}}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> "Histogram":
        """The histogram that `plain` describes."""
        histogram = cls()
        histogram.counts = {int(bucket): int(count) for bucket, count in plain["counts"].items()}
        histogram.count = sum(histogram.counts.values())
        histogram.max_us = int(plain["max_us"])
        return histogram
