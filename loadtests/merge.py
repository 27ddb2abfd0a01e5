"""Several swarms as one audience, and several runs as one figure with its spread."""

import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec

from loadtests.histogram import Histogram
from loadtests.measures import Second, Totals

_HISTOGRAMS = ("join", "delivery", "acknowledge", "late", "back")
_WORST = ("lag_max_ms",)


def merged_seconds(swarms: Sequence[Sequence[Second]]) -> list[Second]:
    """The seconds of all swarms together, which began at the same time; one that was told less stays as it was."""
    if len(swarms) == 1:
        return list(swarms[0])
    merged = []
    for index, group in enumerate(zip_longest(*swarms)):
        whole: Second = _merged([one for one in group if one is not None], Second)
        missing = sum(seconds[-1].open for seconds in swarms if 0 < len(seconds) <= index)
        merged.append(msgspec.structs.replace(whole, open=whole.open + missing))
    return merged


def merged_totals(swarms: Sequence[Totals]) -> Totals:
    """The totals of all swarms together."""
    return swarms[0] if len(swarms) == 1 else _merged(swarms, Totals)


def _merged(parts: Sequence[Any], type_: type[Any]) -> Any:
    members: dict[str, Any] = {}
    for name in type_.__struct_fields__:
        values = [getattr(part, name) for part in parts]
        if name in _HISTOGRAMS:
            whole = Histogram()
            for value in values:
                whole.add(Histogram.of_plain(value))
            members[name] = whole.plain()
        elif isinstance(values[0], dict):
            counted: Counter[str] = Counter()
            for value in values:
                counted.update(value)
            members[name] = dict(sorted(counted.items()))
        else:
            members[name] = max(values) if name in (*_WORST, "at_s") else sum(values)
    return type_(**members)


class Spread(NamedTuple):
    """One figure over several runs."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float | None]) -> Spread | None:
    """The spread of what was measured; None when a run did not measure it."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Spread(statistics.median(known), min(known), max(known))
