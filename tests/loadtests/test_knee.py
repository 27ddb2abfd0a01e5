"""Where a ramp bends, and where it does not."""

from collections.abc import Callable

from loadtests.knee import LEVELS, Knee, knee_of, levels_of
from loadtests.measures import Mark, Second
from loadtests.scenario import Burst, Chat, Scenario, Viewers, Wave
from tests.loadtests.samples import histogram

RAMP_S = 60


def second(at_s: float, viewers: int, p99_ms: float, deliveries: int = 2000) -> Second:
    timed = histogram()
    timed.record(int(p99_ms * 1000), deliveries)
    empty = histogram().plain()
    return Second(
        at_s=at_s, open=viewers, joins=0, deliveries=viewers * 10, frames=0, received_bytes=0, lag_max_ms=0.0,
        cpu_percent=0.0, closes={}, cut=0, gaps=0, lost=0, duplicates=0, replaced=0, join=empty, delivery=timed.plain(),
    )  # fmt: skip


def ramped(p99_ms: Callable[[int], float], *, after_s: int = 20) -> list[Second]:
    """100 viewers more in each second of the ramp, then all of them for `after_s`; `p99_ms` by how many are there."""
    counts = [100 * min(at, RAMP_S) for at in range(1, RAMP_S + after_s + 1)]
    return [second(float(at), viewers, p99_ms(viewers)) for at, viewers in enumerate(counts, 1)]


def scenario(**members: object) -> Scenario:
    told: dict[str, object] = {"duration_s": 90.0, "viewers": Viewers(6000, 60.0)} | members
    return Scenario(title="t", **told)  # type: ignore[arg-type]


def found(p99_ms: Callable[[int], float]) -> Knee:
    knee = knee_of(scenario(), ramped(p99_ms))
    assert knee is not None
    return knee


def test_a_flat_line_has_no_knee() -> None:
    knee = found(lambda viewers: 30.0)
    assert (knee.at, len(knee.levels), round(knee.flat_p99_ms)) == (None, LEVELS, 30)
    top = knee.levels[-1]
    assert (top.viewers, top.deliveries_per_s, top.seconds) == (6000, 59_869.6, 23)


def test_a_bend_is_found_where_it_is() -> None:
    knee = found(lambda viewers: 30.0 if viewers < 4000 else 30.0 + (viewers - 4000) / 10)
    assert knee.at is not None
    assert 4200 <= knee.at.viewers <= 4700, "at 4,300 it has doubled"
    assert knee.at.at_s == knee.at.viewers // 100 - 1, "the level begins a second before its median"
    assert 42_000 <= knee.at.deliveries_per_s <= 47_000
    assert knee.at.p99_ms > knee.limit_ms == 2 * knee.flat_p99_ms


def test_what_rises_little_has_no_knee() -> None:
    """Some milliseconds are those of batches."""
    assert found(lambda viewers: 2.0 if viewers < 2000 else 20.0).at is None
    assert found(lambda viewers: 100.0 + viewers / 100).at is None


def test_what_comes_back_has_no_knee() -> None:
    assert found(lambda viewers: 900.0 if 3000 < viewers < 6000 else 30.0).at is None, "the joins were too many"
    knee = found(lambda viewers: 900.0 if 2000 < viewers < 2400 or viewers > 5000 else 30.0)
    assert knee.at is not None
    assert knee.at.viewers > 5000


def test_one_bad_second_says_nothing() -> None:
    seconds = ramped(lambda viewers: 30.0)
    seconds[40] = second(41.0, 4100, 5000.0)
    knee = knee_of(scenario(), seconds)
    assert knee is not None
    assert knee.at is None
    at_the_end = ramped(lambda viewers: 30.0 if viewers < 6000 else 500.0, after_s=0)
    last = [second(60.0 + at, 6400, 500.0) for at in (1, 2)]
    for seconds, reached in ((at_the_end[:-1], False), ([*at_the_end[:-1], *last], False), (
        [*at_the_end[:-1], *last, second(63.0, 6400, 500.0)], True)):  # fmt: skip
        knee = knee_of(scenario(), seconds)
        assert knee is not None
        assert (knee.at is not None) == reached, len(seconds)


def test_only_the_ramp_counts() -> None:
    """What a drop, a fault, a burst or leaving people do to the latency is no matter of how many are there."""
    seconds = ramped(lambda viewers: 30.0 if viewers < 6000 else 900.0)
    assert (whole := knee_of(scenario(), seconds)) is not None
    assert whole.at is not None
    for other, marks in (
        (scenario(), [Mark(59.5, "drop")]),
        (scenario(chat=Chat(2.0, (Burst(59.5, 5.0, 10.0),))), []),
        (scenario(viewers=Viewers(6000, 60.0, wave=(Wave(59.5, leaves=10),))), []),
        (scenario(duration_s=59.5), []),
    ):
        knee = knee_of(other, seconds, marks)
        assert knee is not None
        assert (knee.at, knee.levels[-1].viewers) == (None, 5800)


def test_too_little_says_nothing() -> None:
    assert knee_of(scenario(), []) is None
    assert knee_of(scenario(), ramped(lambda viewers: 30.0), [Mark(4.5, "drop")]) is None
    few = [second(float(at), at, 30.0, deliveries=50) for at in range(1, 60)]
    assert levels_of(few) == []
    assert levels_of([second(1.0, 0, 30.0, deliveries=0)]) == []
    short = [second(1.0, 10, 30.0), second(1.1, 20, 30.0)]
    assert [one.viewers for one in levels_of(short)] == [10]
