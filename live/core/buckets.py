"""A histogram as plain integers: cheap where values are counted, read when somebody scrapes."""

from bisect import bisect_left
from collections.abc import Sequence


class Buckets:
    """A histogram: `counts[i]` values of at most `bounds[i]` and above the bound before; the last: all above."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count `value`."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, int]]:
        """As Prometheus has it: (upper bound, values up to it), the last bound being "+Inf"."""
        total, rows = 0, []
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            total += count
            rows.append((str(bound), total))
        return rows
