"""Counters and histograms."""

import pytest

from live.core.buckets import Buckets
from live.realtime.figures import Figures


def test_buckets_count_up_to_their_bounds() -> None:
    buckets = Buckets((0.1, 1.0))
    for value in (0.0, 0.1, 0.5, 1.0, 7.0):
        buckets.observe(value)
    assert buckets.counts == [2, 2, 1]
    assert buckets.cumulative() == [("0.1", 2), ("1.0", 4), ("+Inf", 5)]
    assert buckets.sum == pytest.approx(8.6)


def test_frames_are_counted_by_kind() -> None:
    figures = Figures()
    figures.sent("reply", 100)
    figures.sent("reply", 20)
    assert (figures.frames["reply"], figures.bytes["reply"], figures.frames["event"]) == (2, 120, 0)
