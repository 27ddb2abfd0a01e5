"""Which layer a viewer gets on a bad path: what is congestion and what is not, and when only sound is left."""

from live.core.limits import (
    AUDIO_ONLY_AFTER_S,
    AUDIO_ONLY_AGAIN_S,
    LAYER_SETTLE_S,
    REMB_STALLED_S,
)
from stream.downstream.selection import Selector
from tests.stream.choosing import HIGH, LOW, MIDDLE, Driver
from tests.stream.viewing import LAYERS


class TestCongestion:
    def test_loss_with_a_longer_round_trip(self) -> None:
        driver = Driver()
        driver.climb()
        driver.report(loss=0.3, rtt_s=0.2)
        assert driver.run(0.1) == MIDDLE

    def test_the_heavier_the_loss_the_deeper_the_fall(self) -> None:
        driver = Driver()
        driver.climb()
        driver.report(loss=0.75, rtt_s=0.2)
        assert driver.run(0.1) == LOW

    def test_a_queue_that_grows_without_loss(self) -> None:
        driver = Driver()
        driver.climb()
        driver.run(1, rtt_s=0.25)
        driver.report(rtt_s=2.9)  # 2.65 s more in a second: 500 kbit/s come through
        assert driver.run(0.1) == LOW

    def test_a_queue_that_drains_is_none(self) -> None:
        driver = Driver()
        driver.climb()
        driver.report(rtt_s=2.0)
        driver.run(1)
        driver.report(rtt_s=0.5)
        assert driver.run(0.1) == HIGH

    def test_one_long_round_trip_is_none(self) -> None:
        driver = Driver()
        driver.climb()
        driver.report(loss=0.0, rtt_s=2.0)
        driver.run(0.9)
        assert driver.run(5, loss=0.0, rtt_s=0.05) == HIGH

    def test_a_loss_by_chance_is_none(self) -> None:
        driver = Driver()
        driver.climb()
        assert driver.run(60, loss=0.08, rtt_s=0.05) == HIGH

    def test_a_heavy_loss_needs_no_round_trip(self) -> None:
        driver = Driver()
        assert driver.run(30, loss=0.0) == HIGH
        driver.report(loss=0.2)
        assert driver.run(0.1) == MIDDLE

    def test_a_heavy_loss_is_borne_where_a_browser_sees_no_queue(self) -> None:
        driver = Driver()
        assert driver.run(30, loss=0.0, remb=2_600_000) == HIGH
        assert driver.run(10, loss=0.2, remb=2_600_000) == HIGH
        assert driver.run(10, loss=0.5, remb=2_600_000) == LOW

    def test_a_remb_that_has_fallen_below_the_rate(self) -> None:
        driver = Driver()
        assert driver.run(30, loss=0.0, rtt_s=0.05, remb=2_600_000) == HIGH
        driver.report(remb=425_000)
        assert driver.run(0.1) == LOW

    def test_a_remb_that_is_below_the_rate_and_has_not_risen_for_long(self) -> None:
        driver = Driver()
        assert driver.run(30, loss=0.0, remb=1_700_000) == HIGH
        driver.report(remb=1_550_000)
        assert driver.run(0.1) == MIDDLE

    def test_a_remb_that_stops_rising_below_the_rate(self) -> None:
        driver = Driver()
        driver.climb()
        driver.run(1, remb=1_000_000)
        driver.run(1, remb=1_050_000)
        assert driver.run(REMB_STALLED_S - 1, remb=1_050_000) == HIGH
        driver.report(loss=0.03)  # something else speaks of congestion too
        driver.run(0.3)
        driver.report(remb=1_050_000)
        assert driver.run(0.1) == MIDDLE

    def test_a_remb_that_stands_still_on_a_calm_path_is_no_limit(self) -> None:
        driver = Driver()
        driver.climb()
        assert driver.run(REMB_STALLED_S * 3, loss=0.0, rtt_s=0.05, remb=1_050_000) == HIGH

    def test_a_remb_that_rises_from_below_the_rate_is_no_limit(self) -> None:
        driver = Driver()
        driver.climb()
        remb = 400_000.0
        for _ in range(30):
            remb *= 1.05
            assert driver.run(1, loss=0.0, rtt_s=0.05, remb=remb) == HIGH

    def test_reports_from_before_a_step_down_move_nobody_again(self) -> None:
        driver = Driver()
        driver.climb()
        driver.report(loss=0.3, rtt_s=0.2)
        driver.run(0.1)
        driver.run(LAYER_SETTLE_S - 0.3, loss=0.3, rtt_s=0.2, remb=300_000)
        assert driver.run(0.1) == MIDDLE

    def test_the_relay_may_stop_the_old_layer_while_it_waits_for_the_lower_one(self) -> None:
        selector, now = Selector(), 0.0
        layer: int | None = None
        for _ in range(300):
            layer = selector.choose(LAYERS, layer, now)
            now += 0.1
        assert layer == HIGH
        selector.report(loss=0.45, now=now)
        assert selector.choose(LAYERS, layer, now) == MIDDLE
        selector.report(loss=0.45, now=now + 0.1)
        assert selector.choose(LAYERS, None, now + 0.1) == MIDDLE
        selector.report(loss=0.45, now=now + 1.2)
        assert selector.choose(LAYERS, MIDDLE, now + 1.2) == MIDDLE

    def test_or_goes_on_with_the_old_one_and_hears_that_even_less_fits(self) -> None:
        driver = Driver()
        driver.climb()
        for loss, expected in ((0.3, MIDDLE), (0.75, LOW), (0.3, LOW)):
            driver.report(loss=loss, rtt_s=0.2)
            assert driver.selector.choose(LAYERS, HIGH, driver.now) == expected
            assert driver.selector.choose(LAYERS, HIGH, driver.now + 0.1) == expected
            driver.now += 1


class TestAudioOnly:
    def test_it_is_the_last_step_and_never_a_quick_one(self) -> None:
        driver = Driver()
        driver.run(30, loss=0.0, rtt_s=0.05)
        driver.run(3, loss=0.6, rtt_s=0.5)
        assert driver.layer == LOW
        fell = driver.now
        while driver.run(0.1, loss=0.6, rtt_s=0.5) is not None:
            assert driver.now - fell < 3 * AUDIO_ONLY_AFTER_S
        assert driver.now - fell >= AUDIO_ONLY_AFTER_S
        assert driver.selector.limited

    def test_what_is_only_bad_keeps_the_picture(self) -> None:
        driver = Driver(LAYERS[:1])
        driver.run(10, loss=0.0, rtt_s=0.05)
        assert driver.run(60, loss=0.2, rtt_s=0.2) == LOW

    def test_a_moment_of_peace_starts_the_patience_anew(self) -> None:
        driver = Driver(LAYERS[:1])
        driver.run(10, loss=0.0, rtt_s=0.05)
        for _ in range(10):
            driver.run(AUDIO_ONLY_AFTER_S - 2, loss=0.6)
            assert driver.run(5, loss=0.0, rtt_s=0.05) == LOW

    def test_video_is_tried_again_when_the_sound_comes_through(self) -> None:
        driver = Driver(LAYERS[:1])
        assert driver.run(60, loss=0.7) in (None, LOW)
        while driver.run(1, loss=0.7) is not None:
            pass
        assert driver.run(20, loss=0.7) is None
        assert driver.run(40, loss=0.0, rtt_s=0.05) == LOW

    def test_a_second_failure_is_seen_sooner(self) -> None:
        driver = Driver(LAYERS[:1])
        assert driver.run(20, loss=0.7) is None
        tried = next(driver.now for _ in range(1000) if driver.run(0.1) == LOW)
        while driver.run(1, loss=0.7) is not None:
            pass
        assert driver.now - tried <= AUDIO_ONLY_AGAIN_S + 4  # the first report comes too early, the second is half good

    def test_a_relay_that_has_not_stopped_yet_is_told_so_again(self) -> None:
        driver = Driver(LAYERS[:1])
        driver.run(1)
        while driver.layer is not None:
            driver.run(0.1, loss=0.7)
        for later in (0.1, 0.2, 30.0):
            assert driver.selector.choose(LAYERS[:1], LOW, driver.now + later) is None
