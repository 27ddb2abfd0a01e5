"""What a browser's reports say of its path, however often it sends them."""

import pytest

from live.core.limits import FREEZE_S, REPORT_WINDOW_S, ROUND_TRIP_INTERVAL_S
from stream.downstream.reports import Reports, Window

SOON = REPORT_WINDOW_S / 4


def test_the_loss_is_that_of_a_window_however_many_reports_there_are() -> None:
    window = Window()
    assert window.loss(1000, 0, 10.0) is None
    for index in range(1, 5):
        assert window.loss(1000 + 2 * index, index, 10.0 + REPORT_WINDOW_S * index / 5) is None
    assert window.loss(1100, 5, 10.0 + REPORT_WINDOW_S) == 0.05
    assert window.loss(1200, 5, 10.0 + 2 * REPORT_WINDOW_S) == 0.0


def test_what_was_repaired_since_is_no_negative_loss() -> None:
    window = Window()
    window.loss(1000, 5, 0.0)
    assert window.loss(1100, 2, 1.0) == 0.0


def test_numbers_wrap_and_nonsense_is_bounded() -> None:
    window = Window()
    window.loss(0xFFFFFFF0, 0, 0.0)
    assert window.loss(0x10, 8, 1.0) == 0.25
    assert window.loss(0x10, 8, 2.0) == 0.0
    assert window.loss(0x10, 8, 3.0, nothing=1.0) == 1.0
    assert window.loss(0x20, 8_000_000, 4.0) == 1.0
    assert window.loss(0x8, 0, 5.0, nothing=1.0) == 0.0, "the viewer counts anew"
    assert window.loss(0x18, 4, 6.0) == 0.25


def test_sound_and_video_are_counted_apart() -> None:
    reports = Reports()
    reports.video(1000, 0, 0.0, None)
    reports.sound(5000, 0, 0.0)
    assert reports.video(1100, 10, 1.0, None) == 0.1
    assert reports.sound(5100, 20, 1.0) == 0.2


@pytest.mark.parametrize("wrapped", [0, 0x1FFF0], ids=["plain", "wrapped"])
@pytest.mark.parametrize("rtt_s", [None, 0.3])
def test_a_number_that_stands_still_while_more_is_sent_is_a_blackout(wrapped: int, rtt_s: float | None) -> None:
    reports = Reports()
    patience = FREEZE_S + (rtt_s or 0.0)
    reports.sent(wrapped, 0.0)
    assert reports.video(wrapped, 0, 0.0, rtt_s) is None
    assert reports.video(wrapped, 0, 0.05, rtt_s) is None, "too soon to tell"
    reports.sent(wrapped + 20, 0.1)
    assert reports.stalled_since(0.1 + patience, rtt_s) is None
    reports.sent(wrapped + 40, 0.2)
    assert reports.stalled_since(0.11 + patience, rtt_s) == 0.1
    assert reports.video(wrapped, 0, 1.0, rtt_s) == 1.0
    assert reports.video(wrapped, 0, 2.0, rtt_s) == 0.0, "nothing more was sent since"
    reports.sent(wrapped + 60, 2.1)
    assert reports.video(wrapped, 0, 3.0, rtt_s) == 1.0
    assert reports.video(wrapped + 60, 57, 4.0, rtt_s) == 0.95
    assert reports.stalled_since(9.0, rtt_s) is None


def test_what_has_just_been_sent_is_not_lost() -> None:
    reports = Reports()
    reports.sent(1000, 0.0)
    reports.video(1000, 0, 0.0, None)
    reports.sent(1001, 0.9)
    assert reports.video(1000, 0, 1.0, None) == 0.0
    assert reports.video(1001, 0, 2.0, None) == 0.0


def test_before_anything_is_known_nothing_is_claimed() -> None:
    reports = Reports()
    reports.sent(None, 0.0)
    reports.sent(1000, 0.1)
    assert reports.stalled_since(9.0, None) is None, "the viewer has reported nothing"
    early = Reports()
    early.video(1000, 0, 0.0, None)
    early.sent(1020, 0.1)
    assert early.video(1000, 0, 1.0, None) == 0.0
    early.sent(1040, 1.1)
    assert early.video(1000, 0, 2.0, None) == 1.0


def test_who_is_meant_to_get_nothing_does_not_wait() -> None:
    reports = Reports()
    reports.sent(1000, 0.0)
    reports.video(1000, 0, 0.0, None)
    reports.sent(1020, 0.1)
    reports.sent(None, 0.2)
    assert reports.stalled_since(9.0, None) is None
    assert reports.video(1000, 0, 1.0, None) == 0.0


def test_a_number_beyond_what_was_sent_is_no_stall() -> None:
    reports = Reports()
    reports.video(1000, 0, 0.0, None)
    reports.sent(999, 0.1)
    assert reports.stalled_since(9.0, None) is None


def test_each_sender_report_tells_one_round_trip_and_not_too_often() -> None:
    reports = Reports()
    assert reports.round_trip(0.5, 1.0)
    assert not reports.round_trip(0.5, 1.0 + ROUND_TRIP_INTERVAL_S), "quoted again"
    assert reports.round_trip(1.2, 1.0 + 2 * ROUND_TRIP_INTERVAL_S)
    assert not reports.round_trip(1.3, 1.0 + 2.5 * ROUND_TRIP_INTERVAL_S)
    assert not reports.round_trip(1.1, 9.0), "older than the last one"


def test_a_falling_remb_is_news_at_once_and_a_rising_one_in_its_time() -> None:
    reports = Reports()
    assert reports.remb(1_000_000, 0.0)
    assert not reports.remb(1_010_000, SOON)
    assert not reports.remb(960_000, SOON)
    assert reports.remb(940_000, SOON)
    assert reports.remb(800_000, SOON)
    assert not reports.remb(800_000, 2 * SOON)
    assert reports.remb(800_000, SOON + REPORT_WINDOW_S)
