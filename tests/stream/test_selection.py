"""Which layer a viewer gets: the rules one by one, but for those of a bad path (test_selection_congestion.py)."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import (
    LAYER_QUIET_S,
    LAYER_SETTLE_S,
    START_BITS_PER_S,
    TRIAL_PASSED_S,
    TRIAL_WAIT_S_MAX,
    TRIAL_WAIT_S_MIN,
)
from stream.downstream.selection import Selector, ranked
from stream.feed import LayerState
from tests.stream.choosing import HIGH, LOW, MIDDLE, Driver
from tests.stream.viewing import LAYERS


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
