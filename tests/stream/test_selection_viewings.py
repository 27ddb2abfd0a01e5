"""Which layer a viewer gets: whole viewings on emulated paths."""

import pytest

from live.core.limits import (
    TRIAL_WAIT_S_MAX,
)
from tests.faults.path import Conditions
from tests.stream.choosing import HIGH, LOW, MIDDLE
from tests.stream.viewing import Emulation, Viewing, rises

SEEDS = range(2)


def fat(loss: float = 0.0, jitter_s: float = 0.0) -> Conditions:
    return Conditions(loss=loss, delay_s=0.02, jitter_s=jitter_s, bits_per_s=8e6, queue_bytes=150_000)


def narrow(bits_per_s: float, queue_bytes: int = 40_000) -> Conditions:
    return Conditions(delay_s=0.02, bits_per_s=bits_per_s, queue_bytes=queue_bytes)


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
