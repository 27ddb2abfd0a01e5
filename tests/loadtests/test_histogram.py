"""Buckets against the sorted list they stand for."""

import math

from hypothesis import given
from hypothesis import strategies as st

from loadtests.histogram import VALUE_US_MAX, Histogram, bucket_of, upper_edge_us

values = st.lists(st.integers(0, VALUE_US_MAX), min_size=1, max_size=200)
percents = st.floats(0, 100, exclude_min=True)


def histogram(recorded: list[int]) -> Histogram:
    result = Histogram()
    for value in recorded:
        result.record(value)
    return result


@given(st.integers(0, VALUE_US_MAX))
def test_a_bucket_holds_its_value_and_is_narrow(value: int) -> None:
    edge = upper_edge_us(bucket_of(value))
    assert value <= edge <= value + value // 64
    assert bucket_of(edge) == bucket_of(value)
    assert bucket_of(edge + 1) == bucket_of(value) + 1
    assert bucket_of(value) < 1700


@given(values, percents)
def test_a_percentile_is_the_ranked_value_or_a_little_more(recorded: list[int], percent: float) -> None:
    exact = sorted(recorded)[max(1, math.ceil(percent * len(recorded) / 100)) - 1]
    found = histogram(recorded).percentile_us(percent)
    assert found is not None
    assert exact <= found <= exact + exact // 64
    assert histogram(recorded).percentile_us(100) == max(recorded)


@given(values, values)
def test_two_add_up_to_one(one: list[int], other: list[int]) -> None:
    together = histogram(one)
    together.add(histogram(other))
    assert together.plain() == histogram(one + other).plain()
    assert together.count == len(one) + len(other)


@given(values)
def test_the_wire_keeps_everything(recorded: list[int]) -> None:
    again = Histogram.of_plain(histogram(recorded).plain())
    assert again.plain() == histogram(recorded).plain()
    assert again.count == len(recorded)


def test_nothing_was_counted() -> None:
    empty = Histogram()
    assert empty.percentile_us(50) is None
    assert empty.percentile_ms(50) is None
    assert empty.max_ms is None


def test_values_outside_are_counted_at_the_edge() -> None:
    edges = histogram([-5, VALUE_US_MAX * 2])
    assert edges.count == 2
    assert edges.percentile_us(1) == 0
    assert edges.max_ms == VALUE_US_MAX / 1000
