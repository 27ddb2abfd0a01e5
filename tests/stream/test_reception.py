"""What reports say, the throttle of PLIs, the rate that loss allows."""

import pytest

from live.core.limits import (
    PLI_INTERVAL_S,
    REMB_BITS_PER_S_MAX,
    REMB_BITS_PER_S_MIN,
    REMB_BITS_PER_S_START,
    REMB_INTERVAL_S,
)
from stream.upstream.reception import KeyframeRequests, RateControl, Reception


class TestReception:
    def test_a_stream_without_loss(self) -> None:
        reception = Reception(7, 90_000)
        assert reception.expected == 0
        assert reception.report(0.0).fraction_lost == 0
        for index in range(10):
            reception.received(100 + index, 3000 * index, index / 30)
        block = reception.report(1.0)
        assert (block.ssrc, block.fraction_lost, block.lost, block.highest, block.jitter) == (7, 0, 0, 109, 0)
        assert (reception.packets, reception.recent, reception.jitter_s) == (10, (0, 10), 0.0)

    def test_loss_is_counted_since_the_last_report(self) -> None:
        reception = Reception(7, 90_000)
        for sequence in (1, 2, 4):
            reception.received(sequence, 0, 0.0)
        first = reception.report(0.0)
        assert (first.fraction_lost, first.lost, reception.recent) == (64, 1, (1, 4))
        reception.received(3, 0, 0.0)
        reception.received(5, 0, 0.0)
        second = reception.report(0.0)
        assert (second.fraction_lost, second.lost) == (0, 0)

    def test_a_total_loss_is_255(self) -> None:
        reception = Reception(7, 90_000)
        reception.received(1, 0, 0.0)
        reception.report(0.0)
        reception.received(1001, 0, 0.0)
        assert reception.report(0.0).fraction_lost == 255

    def test_jitter_grows_with_uneven_arrival_and_survives_the_wrap_of_the_timestamp(self) -> None:
        reception = Reception(7, 90_000)
        for index, (timestamp, now) in enumerate([((1 << 32) - 3000, 0.0), (0, 1 / 30), (3000, 3 / 30)]):
            reception.received(index, timestamp, now)
        assert reception.report(0.0).jitter == round(3000 / 16)
        assert reception.jitter_s == pytest.approx(3000 / 16 / 90_000)

    def test_what_was_sent_again_is_no_jitter(self) -> None:
        reception = Reception(7, 90_000)
        for sequence, now in ((1, 0.0), (3, 2 / 30), (2, 0.5), (4, 3 / 30)):
            reception.received(sequence, 3000 * (sequence - 1), now)
        block = reception.report(0.0)
        assert (block.jitter, block.lost) == (0, 0)

    def test_the_last_sender_report_is_quoted(self) -> None:
        reception = Reception(7, 90_000)
        reception.sender_report(0x0123456789ABCDEF, 10.0)
        block = reception.report(10.5)
        assert (block.last_report, block.delay) == (0x456789AB, 32768)


def test_many_wishes_are_one_pli_per_interval_until_the_keyframe_comes() -> None:
    keyframes = KeyframeRequests()
    assert not keyframes.due(0.0)
    keyframes.want()
    keyframes.want()
    assert keyframes.due(0.0)
    keyframes.want()
    assert not keyframes.due(PLI_INTERVAL_S - 0.01)
    assert keyframes.due(PLI_INTERVAL_S)
    keyframes.arrived()
    assert not keyframes.due(9.0)


class TestRateControl:
    def test_it_rises_without_loss_up_to_the_maximum(self) -> None:
        rate = RateControl()
        assert rate.update(0.0, 1e6) > REMB_BITS_PER_S_START
        for _ in range(50):
            rate.update(0.0, 1e6)
        assert rate.bits_per_s == REMB_BITS_PER_S_MAX

    def test_it_rises_no_faster_when_asked_more_often(self) -> None:
        often, seldom = RateControl(), RateControl()
        for _ in range(5):
            often.update(0.0, 1e6, REMB_INTERVAL_S / 5)
        assert often.bits_per_s == pytest.approx(seldom.update(0.0, 1e6), rel=1e-5)

    def test_it_begins_where_it_is_told(self) -> None:
        rate = RateControl(3_000_000, 3_100_000)
        assert rate.update(0.0, 1e6) == 3_100_000

    def test_it_holds_with_a_little_loss(self) -> None:
        assert RateControl().update(0.05, 1e6) == REMB_BITS_PER_S_START

    def test_it_falls_with_loss_towards_what_arrives_and_never_below_the_minimum(self) -> None:
        rate = RateControl()
        assert rate.update(0.2, 1_000_000) == 1_350_000
        for _ in range(50):
            rate.update(0.5, 0.0)
        assert rate.bits_per_s == REMB_BITS_PER_S_MIN
