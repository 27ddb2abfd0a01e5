"""Where the latency of a growing audience leaves its flat part: how many the server carries as if they were few.

The seconds of the *ramp* are looked at: from the start until something besides joins happens (the drop, a fault, a
burst of chat, a wave that leaves). The chat's rate is the same in all of them, so the load grows with the viewers.
They are sorted into `LEVELS` levels by how many viewers are there, and each level has the median of its seconds'
p99: one bad second says nothing.

The *flat part* is what the lowest quarter of the levels has, as a median. The *knee* is the lowest level from which
on every level is above `max(RISE_FACTOR * flat, flat + RISE_MS)`: at twice the time of a server with little to do,
half of it is waiting; and a show that becomes busy is sent in batches, which alone takes some milliseconds. That
*every* higher level must be above keeps a rush of joins from being taken for a knee: when it is over, those who are
in are served as before.
"""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from loadtests.histogram import Histogram
from loadtests.measures import Mark, Second
from loadtests.scenario import Scenario

LEVELS = 20
LEVELS_MIN = 5  # fewer do not show a flat part
TIMED_MIN = 100  # deliveries in a second, for its p99 to say something
SPAN_S_MIN = 0.2  # of a second whose rate is told: a swarm that is late makes the next one short
SECONDS_MIN = 3  # above the limit, before that is a knee
RISE_FACTOR = 2.0
RISE_MS = 25.0  # the shortest batch of a busy show


class Level(msgspec.Struct, frozen=True):
    """The seconds of a ramp in which about so many were there."""

    at_s: float  # when it was reached first
    viewers: int
    deliveries_per_s: float
    p99_ms: float
    seconds: int


class Knee(msgspec.Struct, frozen=True):
    """What a ramp showed, level by level. `at` None: no knee was reached, up to the last level."""

    flat_p99_ms: float
    limit_ms: float  # above it the p99 is no longer flat
    at: Level | None
    levels: list[Level]


def knee_of(scenario: Scenario, seconds: Sequence[Second], marks: Sequence[Mark] = ()) -> Knee | None:
    """The knee of a run; None: its ramp was too short, or too little was timed in it, to tell."""
    levels = ramp(scenario, seconds, marks)
    if len(levels) < LEVELS_MIN:
        return None
    flat_ms = statistics.median(one.p99_ms for one in levels[: math.ceil(len(levels) / 4)])
    limit_ms = max(RISE_FACTOR * flat_ms, flat_ms + RISE_MS)
    flat = max(index for index, one in enumerate(levels) if one.p99_ms <= limit_ms)
    above = levels[flat + 1 :]
    found = above[0] if sum(one.seconds for one in above) >= SECONDS_MIN else None
    return Knee(round(flat_ms, 1), round(limit_ms, 1), found, levels)


def ramp(scenario: Scenario, seconds: Sequence[Second], marks: Sequence[Mark] = ()) -> list[Level]:
    """The levels of a run's ramp, the lowest first; one that was passed too quickly to be timed is left out."""
    ends_s = [mark.at_s for mark in marks]
    ends_s += [burst.at_s for burst in scenario.chat.burst]
    ends_s += [wave.at_s for wave in scenario.viewers.wave if wave.leaves]
    end_s = min([*ends_s, scenario.duration_s])
    return levels_of([second for second in seconds if second.at_s <= end_s])


def levels_of(seconds: Sequence[Second]) -> list[Level]:
    """The levels of these seconds, which follow each other from the start."""
    top = max((second.open for second in seconds), default=0)
    groups: dict[int, list[tuple[Second, float, float]]] = {}
    ends_s = [0.0, *(second.at_s for second in seconds)]
    for second, (begin_s, end_s) in zip(seconds, pairwise(ends_s), strict=True):
        span_s = end_s - begin_s
        timed = Histogram.of_plain(second.delivery)
        p99_ms = timed.percentile_ms(99)
        if p99_ms is not None and timed.count >= TIMED_MIN and span_s >= SPAN_S_MIN:
            groups.setdefault(second.open * LEVELS // (top + 1), []).append((second, span_s, p99_ms))
    return [_level(group) for _, group in sorted(groups.items())]


def _level(group: Sequence[tuple[Second, float, float]]) -> Level:
    deliveries, span_s = sum(second.deliveries for second, _, _ in group), sum(span_s for _, span_s, _ in group)
    return Level(
        at_s=group[0][0].at_s,
        viewers=round(statistics.median(second.open for second, _, _ in group)),
        deliveries_per_s=round(deliveries / span_s, 1),
        p99_ms=round(statistics.median(p99_ms for _, _, p99_ms in group), 1),
        seconds=len(group),
    )
