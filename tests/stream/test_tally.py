"""The figures of several workers as one."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream.downstream.figures import audience_figures
from stream.downstream.tally import AudienceFigures, merged

NOBODY = AudienceFigures(**audience_figures((), ("q", "f"), {}, 0, 0.0))
COUNTED = (
    "audio_only",
    "waiting",
    "limited",
    "bitrate_bps",
    "nacks",
    "plis",
    "retransmitted",
    "dropped",
    "frozen",
    "freezes",
)


def part(**known: object) -> AudienceFigures:
    return msgspec.structs.replace(NOBODY, **known)


def test_numbers_and_rates_add() -> None:
    one = part(layers={"q": 1, "f": 4}, **{name: index for index, name in enumerate(COUNTED)})
    two = part(layers={"f": 3, "h": 2}, **{name: 10 for name in COUNTED})
    found = merged(((5, one), (5, two)))
    assert found.layers == {"q": 1, "h": 2, "f": 7}
    assert [getattr(found, name) for name in COUNTED] == [index + 10 for index in range(len(COUNTED))]


def test_means_and_medians_are_weighted_by_viewers_and_percentiles_are_the_highest() -> None:
    one = part(loss=0.1, loss_p95=0.2, rtt_ms=100.0, rtt_p95_ms=300.0, jitter_ms=9.0)
    two = part(loss=0.0, loss_p95=0.5, rtt_ms=20.0, rtt_p95_ms=40.0, jitter_ms=1.0)
    found = merged(((1, one), (3, two), (7, part())))
    assert (found.loss, found.loss_p95) == (0.025, 0.5)
    assert (found.rtt_ms, found.rtt_p95_ms, found.jitter_ms) == (40.0, 300.0, 3.0)


def test_what_nobody_knows_is_not_known() -> None:
    found = merged(((0, part(rtt_ms=5.0)), (2, NOBODY)))
    assert found == NOBODY


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_mean_lies_between_those_of_the_workers(known: list[tuple[int, float]]) -> None:
    found = merged([(viewers, part(loss=loss)) for viewers, loss in known])
    assert found.loss is not None
    losses = [loss for _, loss in known]
    assert min(losses) - 0.0001 <= found.loss <= max(losses) + 0.0001
