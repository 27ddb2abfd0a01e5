"""Which layer a viewer gets: rules one by one, and whole viewings on emulated paths."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import (
    AUDIO_ONLY_AFTER_S,
    AUDIO_ONLY_AGAIN_S,
    LAYER_QUIET_S,
    LAYER_SETTLE_S,
    REMB_STALLED_S,
    START_BITS_PER_S,
    TRIAL_PASSED_S,
    TRIAL_WAIT_S_MAX,
    TRIAL_WAIT_S_MIN,
)
from stream.downstream.selection import Selector, ranked
from stream.feed import LayerState
from tests.faults.path import Conditions
from tests.stream.viewing import LAYERS, Emulation, Viewing, rises

LOW, MIDDLE, HIGH = 0, 1, 2
SEEDS = range(2)


def fat(loss: float = 0.0, jitter_s: float = 0.0) -> Conditions:
    return Conditions(loss=loss, delay_s=0.02, jitter_s=jitter_s, bits_per_s=8e6, queue_bytes=150_000)


def narrow(bits_per_s: float, queue_bytes: int = 40_000) -> Conditions:
    return Conditions(delay_s=0.02, bits_per_s=bits_per_s, queue_bytes=queue_bytes)


class Driver:
    """A Selector that is asked every 100 ms, on a relay that switches at once."""

    def __init__(self, layers: tuple[LayerState, ...] = LAYERS) -> None:
        self.selector = Selector()
        self.layers = layers
        self.now = 100.0
        self.layer: int | None = None

    def run(self, seconds: float, **report: float) -> int | None:
        """Let time pass, with this report once a second; returns the layer."""
        for tick in range(round(seconds * 10)):
            if tick % 10 == 0:
                self.report(**report)
            self.layer = self.selector.choose(self.layers, self.layer, self.now)
            self.now += 0.1
        return self.layer

    def report(self, **report: float) -> None:
        remb = report.get("remb")
        self.selector.report(
            remb=None if remb is None else round(remb),
            loss=report.get("loss"),
            rtt_s=report.get("rtt_s"),
            now=self.now,
        )

    def climb(self) -> None:
        """To the best layer, long enough for the usual round trip to be known and every trial to have passed."""
        assert self.run(40, loss=0.0, rtt_s=0.05) == len(self.layers) - 1


class TestRanked:
    def test_the_picture_area_decides(self) -> None:
        assert ranked((LayerState(9, 1280, 720), LayerState(10, 320, 180), LayerState(5, 640, 360))) == [1, 2, 0]

    def test_the_bitrate_decides_where_a_size_is_not_known(self) -> None:
        assert ranked((LayerState(9, 0, 0), LayerState(10, 320, 180), LayerState(5, 640, 360))) == [2, 0, 1]

    def test_what_does_not_arrive_is_left_out_unless_nothing_does(self) -> None:
        assert ranked((LayerState(0, 320, 180), LayerState(10, 640, 360))) == [1]
        assert ranked((LayerState(0, 640, 360), LayerState(0, 320, 180))) == [1, 0]


class TestStart:
    def test_the_first_layer_is_the_best_that_fits_into_the_start_budget(self) -> None:
        assert Driver().run(0.1) == MIDDLE
        fits = LayerState(START_BITS_PER_S, 1280, 720)
        assert Driver((*LAYERS[:2], fits)).run(0.1) == HIGH

    def test_a_single_layer_is_shown_whatever_its_rate(self) -> None:
        driver = Driver((LayerState(6_000_000, 1920, 1080),))
        assert driver.run(30, loss=0.0, rtt_s=0.05) == 0
        assert not driver.selector.limited

    def test_of_layers_that_nothing_is_known_of_the_first_is_taken(self) -> None:
        driver = Driver((LayerState(0, 0, 0),) * 3)
        assert driver.run(5) == 0
        assert Driver(()).run(1) is None

    def test_it_climbs_one_step_at_a_time(self) -> None:
        driver = Driver()
        assert driver.run(LAYER_QUIET_S - 0.1, loss=0.0, rtt_s=0.05) == MIDDLE
        assert driver.selector.limited
        assert driver.run(0.4) == HIGH
        assert not driver.selector.limited


class TestVerdict:
    def test_it_says_why_it_chose_and_how_bad_the_path_is(self) -> None:
        driver = Driver()
        driver.climb()
        said = []
        for losses in ((0.0, 0.0), (0.5, 0.5), ()):
            for loss in losses:
                driver.report(loss=loss, rtt_s=0.05)
            layer = driver.selector.choose(driver.layers, HIGH, driver.now)
            said.append((layer, driver.selector.congested, driver.selector.severe))
        # It waits for the lower layer's keyframe in the end.
        assert said == [(HIGH, False, False), (MIDDLE, True, True), (MIDDLE, False, False)]

    def test_a_layer_that_goes_on_fails_once(self) -> None:
        """It is sent until the lower one's keyframe comes; what is reported meanwhile is old news."""
        waits = []
        for reports in (1, 4):
            driver = Driver()
            assert driver.run(8, loss=0.0, rtt_s=0.05) == HIGH
            for _ in range(reports):
                driver.report(loss=0.3, rtt_s=0.3)
                driver.report(loss=0.3, rtt_s=0.3)
                assert driver.selector.choose(driver.layers, HIGH, driver.now) == MIDDLE
            since = driver.now
            driver.layer = MIDDLE
            driver.now += 5
            while driver.run(0.1, loss=0.0, rtt_s=0.05) == MIDDLE:
                assert driver.now < since + 60
            waits.append(driver.now - since)
        assert waits[0] == pytest.approx(waits[1], abs=0.2)


class TestWishes:
    def test_a_cap_is_obeyed_at_once_and_is_no_limit_of_the_path(self) -> None:
        driver = Driver()
        driver.climb()
        driver.selector.cap = 1
        assert driver.run(0.1) == MIDDLE
        driver.selector.cap = 0
        assert driver.run(10, loss=0.0, rtt_s=0.05) == LOW
        assert not driver.selector.limited
        driver.selector.cap = -5
        assert driver.run(1) == LOW
        driver.selector.cap = 7
        assert driver.run(10, loss=0.0, rtt_s=0.05) == HIGH

    def test_without_video_there_is_none_and_its_return_is_a_new_start(self) -> None:
        driver = Driver()
        driver.climb()
        driver.selector.video = False
        assert driver.run(1, loss=0.0, rtt_s=0.05) is None
        assert not driver.selector.limited
        driver.selector.video = True
        assert driver.run(0.1) == MIDDLE

    def test_a_layer_that_ends_is_replaced_by_the_best_other_one(self) -> None:
        driver = Driver()
        driver.climb()
        driver.layers = (*LAYERS[:2], LayerState(0, 1280, 720))
        assert driver.run(0.1) == MIDDLE
        assert not driver.selector.limited

    def test_a_publisher_that_stalls_moves_nobody(self) -> None:
        driver = Driver()
        driver.climb()
        driver.layers = tuple(layer._replace(bits_per_s=0) for layer in LAYERS)
        assert driver.run(10, loss=1.0, rtt_s=0.05) == HIGH

    def test_a_layer_that_is_gone_with_its_publisher_is_left(self) -> None:
        driver = Driver()
        driver.climb()
        driver.layers = LAYERS[:1]
        assert driver.run(0.1) == LOW


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


class TestTrials:
    def test_a_trial_that_fails_goes_back_to_what_was_well(self) -> None:
        driver = Driver()
        assert driver.run(LAYER_QUIET_S + 0.5, loss=0.0, rtt_s=0.05) == HIGH
        driver.report(loss=0.9)
        assert driver.run(0.1) == MIDDLE

    def test_trials_that_fail_are_made_less_and_less_often_but_not_given_up(self) -> None:
        driver = Driver()
        tried: list[float] = []
        for _ in range(1200):
            before = driver.layer
            driver.run(0.1)
            if driver.layer == HIGH:
                if before != HIGH:
                    tried.append(driver.now)
                driver.report(loss=0.9)
        waits = [after - before for before, after in itertools.pairwise(tried)]
        assert waits[0] <= LAYER_QUIET_S + TRIAL_WAIT_S_MIN
        assert all(TRIAL_WAIT_S_MAX <= wait <= TRIAL_WAIT_S_MAX + 1 for wait in waits[3:])

    @pytest.mark.parametrize(("remb", "layer"), [(700_000, MIDDLE), (350_000, LOW)])
    def test_a_trial_that_meets_a_squeeze_goes_as_far_down_as_remb_says(self, remb: int, layer: int) -> None:
        driver = Driver()
        assert driver.run(LAYER_QUIET_S + 0.5, loss=0.0, rtt_s=0.05, remb=900_000) == HIGH
        driver.run(LAYER_SETTLE_S)
        driver.report(remb=remb)
        assert driver.run(0.1) == layer

    def test_what_was_left_out_on_the_way_down_is_too_much_as_well(self) -> None:
        driver = Driver()
        driver.climb()
        driver.report(remb=1_700_000)
        driver.report(remb=200_000)
        assert driver.run(0.1) == LOW
        assert driver.run(TRIAL_WAIT_S_MIN - 0.2, loss=0.0, rtt_s=0.05) == LOW
        assert driver.run(LAYER_QUIET_S, loss=0.0, rtt_s=0.05) == MIDDLE
        driver.report(remb=150_000)
        assert driver.run(0.1) == LOW

    def test_what_is_passed_is_forgotten(self) -> None:
        driver = Driver()
        for _ in range(5):
            while driver.run(0.1) != HIGH:
                pass
            driver.run(0.1)
            driver.report(loss=0.9)
            assert driver.run(0.1) == MIDDLE
        assert driver.run(TRIAL_WAIT_S_MAX + TRIAL_PASSED_S + 1) == HIGH
        driver.report(loss=0.4)
        assert driver.run(0.1) == MIDDLE
        assert driver.run(TRIAL_WAIT_S_MIN + LAYER_QUIET_S) == HIGH

    def test_nothing_is_tried_while_a_queue_stands(self) -> None:
        driver = Driver()
        driver.run(2.9, loss=0.0, rtt_s=0.05)
        driver.run(1, rtt_s=0.05)
        driver.selector.cap = 1
        driver.run(1, rtt_s=0.05)
        driver.run(2, rtt_s=0.09)
        driver.selector.cap = None
        assert driver.run(1, rtt_s=0.09) == MIDDLE

    def test_congestion_ends_a_trial_that_still_waits_for_its_keyframe(self) -> None:
        selector = Selector()
        assert selector.choose(LAYERS[1:], None, 0.0) == 0
        assert selector.choose(LAYERS[1:], 0, 0.1) == 0
        assert selector.choose(LAYERS[1:], 0, 4.0) == 1
        assert selector.choose(LAYERS[1:], 0, 4.1) == 1
        selector.report(loss=0.4, now=4.2)
        assert selector.choose(LAYERS[1:], 0, 4.2) == 0


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


@given(
    reports=st.lists(
        st.tuples(
            st.none() | st.integers(0, 1 << 40),
            st.none() | st.floats(0, 1),
            st.none() | st.floats(0, 100),
            st.floats(0, 5),
        ),
        max_size=60,
    ),
    bits=st.lists(st.integers(0, 5_000_000), max_size=3),
    cap=st.none() | st.integers(-1, 3),
)
def test_whatever_is_reported_only_layers_that_are_wanted_and_arrive_are_chosen(
    reports: list[tuple[int | None, float | None, float | None, float]], bits: list[int], cap: int | None
) -> None:
    layers = tuple(LayerState(rate, 16 << index, 9 << index) for index, rate in enumerate(bits))
    selector, current, now = Selector(), None, 0.0
    selector.cap = cap
    for remb, loss, rtt_s, later in reports:
        now += later
        selector.report(remb=remb, loss=loss, rtt_s=rtt_s, now=now)
        current = selector.choose(layers, current, now)
        if current is not None:
            assert current in ranked(layers)[: None if cap is None else max(cap, 0) + 1]


class TestViewings:
    """What a viewer of three layers sees on a path that is narrow for two minutes and then wide again."""

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize(("remb", "queue_bytes"), [(True, 10_000), (True, 40_000), (True, 60_000), (False, 20_000)])
    def test_squeezed_to_500_kbits_it_is_low_within_5_s_and_back_on_top_15_s_after_relief(
        self, seed: int, remb: bool, queue_bytes: int
    ) -> None:
        script = [(0.0, fat()), (30.0, narrow(500_000, queue_bytes)), (150.0, fat())]
        viewing = Emulation(script, seed, remb=remb).run(170)
        assert viewing.at(29.9) == HIGH
        assert LOW in viewing.between(30.0, 35.0)
        assert viewing.since(150.0, {HIGH}) <= 15.0
        # Trials go on, because only they find relief; but not more of them than their longest wait allows.
        assert (
            rises([layer for layer in viewing.between(35.0, 150.0) if layer is not None]) <= 115 / TRIAL_WAIT_S_MAX + 3
        )
        assert _share(viewing, 35.0, 150.0, {LOW}) > 0.6

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("remb", [True, False])
    def test_on_1_mbits_it_sits_on_the_middle_layer(self, seed: int, remb: bool) -> None:
        viewing = Emulation([(0.0, narrow(1_000_000))], seed, remb=remb).run(100)
        assert _share(viewing, 20.0, 100.0, {MIDDLE}) > 0.7
        assert _share(viewing, 20.0, 100.0, {LOW}) < 0.1

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize(("remb", "round_trips"), [(True, True), (False, True), (False, False)])
    @pytest.mark.parametrize("conditions", [fat(loss=0.05), fat(jitter_s=0.06), fat(loss=0.02, jitter_s=0.06)])
    def test_a_radio_link_that_loses_or_shakes_stays_on_top(
        self, seed: int, remb: bool, round_trips: bool, conditions: Conditions
    ) -> None:
        viewing = Emulation([(0.0, conditions)], seed, remb=remb, round_trips=round_trips).run(40)
        assert set(viewing.between(2.0, 40.0)) <= {MIDDLE, HIGH, None}
        assert _share(viewing, 10.0, 40.0, {HIGH}) > 0.9

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("remb", [True, False])
    def test_without_room_for_any_picture_there_is_sound_and_later_the_picture_again(
        self, seed: int, remb: bool
    ) -> None:
        script = [(0.0, fat()), (20.0, narrow(60_000, 8_000)), (80.0, fat())]
        viewing = Emulation(script, seed, remb=remb).run(140)
        assert _share(viewing, 35.0, 80.0, {None}) > 0.4
        assert viewing.at(139.0) in (MIDDLE, HIGH)

    def test_a_relay_that_asks_with_the_layer_that_it_waits_for_does_well_too(self) -> None:
        script = [(0.0, fat()), (30.0, narrow(500_000)), (60.0, fat())]
        viewing = Emulation(script, 1, asks_with_wanted=True).run(80)
        assert LOW in viewing.between(30.0, 35.0)
        assert viewing.since(60.0, {HIGH}) <= 15.0


def _share(viewing: Viewing, start: float, end: float, layers: set[int | None]) -> float:
    """The part of this time in which these layers were shown."""
    steps = [start + (end - start) * step / 1000 for step in range(1000)]
    return sum(viewing.at(step) in layers for step in steps) / len(steps)
