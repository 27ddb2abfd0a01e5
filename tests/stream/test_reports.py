"""What a browser's reports say of its path, however often it sends them."""

from live.core.limits import REPORT_WINDOW_S
from stream.reports import Reports

SOON = REPORT_WINDOW_S / 4


def test_the_loss_is_that_of_a_window_however_many_reports_there_are() -> None:
    reports = Reports()
    assert reports.loss(1000, 0, 10.0) is None
    for index in range(1, 5):
        assert reports.loss(1000 + 2 * index, index, 10.0 + REPORT_WINDOW_S * index / 5) is None
    assert reports.loss(1100, 5, 10.0 + REPORT_WINDOW_S) == 0.05
    assert reports.loss(1200, 5, 10.0 + 2 * REPORT_WINDOW_S) == 0.0


def test_what_was_repaired_since_is_no_negative_loss() -> None:
    reports = Reports()
    reports.loss(1000, 5, 0.0)
    assert reports.loss(1100, 2, 1.0) == 0.0


def test_numbers_wrap_and_nonsense_is_bounded() -> None:
    reports = Reports()
    reports.loss(0xFFFFFFF0, 0, 0.0)
    assert reports.loss(0x10, 8, 1.0) == 0.25
    assert reports.loss(0x10, 8, 2.0) == 0.0, "no video was sent"
    assert reports.loss(0x20, 8_000_000, 3.0) == 1.0
    assert reports.loss(0x8, 0, 4.0) == 0.0, "the viewer counts anew"
    assert reports.loss(0x18, 4, 5.0) == 0.25


def test_a_falling_remb_is_news_at_once_and_a_rising_one_in_its_time() -> None:
    reports = Reports()
    assert reports.remb(1_000_000, 0.0)
    assert not reports.remb(1_010_000, SOON)
    assert not reports.remb(960_000, SOON)
    assert reports.remb(940_000, SOON)
    assert reports.remb(800_000, SOON)
    assert not reports.remb(800_000, 2 * SOON)
    assert reports.remb(800_000, SOON + REPORT_WINDOW_S)
