"""When a publisher is asked for what is missing, and when no more."""

from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import (
    NACK_ATTEMPTS_MAX,
    NACK_GRACE_S,
    NACK_INTERVAL_S,
    NACK_INTERVAL_S_MAX,
    NACK_PENDING_MAX,
    REORDER_WINDOW_PACKETS,
    RTT_S_MAX,
    RTT_S_START,
)
from stream.upstream.losses import LossTracker, RoundTrip

NEVER = float("inf")


class TestRoundTrip:
    def test_it_is_smoothed(self) -> None:
        trip = RoundTrip()
        trip.measured(0.08)
        assert trip.seconds == 0.08
        trip.measured(0.16)
        assert trip.seconds == 0.09

    def test_nonsense_stays_within_the_bounds(self) -> None:
        trip = RoundTrip()
        trip.measured(-1.0)
        assert trip.seconds == 0.0
        trip = RoundTrip()
        trip.measured(99.0)
        assert trip.seconds == RTT_S_MAX

    def test_each_request_waits_twice_as_long_up_to_a_bound(self) -> None:
        trip = RoundTrip()
        assert [trip.wait(asked) for asked in (1, 2, 3)] == [RTT_S_START, 2 * RTT_S_START, NACK_INTERVAL_S_MAX]

    def test_a_near_host_is_not_asked_without_pause_and_a_far_one_not_before_it_can_answer(self) -> None:
        trip = RoundTrip()
        trip.measured(0.0)
        assert trip.wait(1) == NACK_INTERVAL_S
        trip = RoundTrip()
        trip.measured(0.8)
        assert trip.wait(1) == trip.wait(5) == 1.0


class TestLossTracker:
    def test_a_gap_is_asked_for_after_the_grace_until_it_is_filled(self) -> None:
        losses, trip = LossTracker(), RoundTrip()
        assert losses.advanced(10, 0.0)
        assert losses.advanced(11, 0.0)
        assert losses.due_at == NEVER
        assert losses.advanced(14, 0.0)
        assert (losses.pending, losses.due_at) == (2, NACK_GRACE_S)
        assert losses.due(0.0, trip) == ([], None)
        assert losses.due(0.01, trip) == ([12, 13], None)
        assert losses.due(0.01 + RTT_S_START / 2, trip) == ([], None)
        assert losses.filled(12, 0.09) == 0.09 - 0.01
        assert losses.due(0.12, trip) == ([13], None)
        # After two requests nobody can tell which of them this answers.
        assert losses.filled(13, 0.2) is None
        assert (losses.due_at, losses.lost, losses.gone) == (NEVER, 2, 0)

    def test_packets_that_overtake_each_other_are_not_lost(self) -> None:
        losses = LossTracker()
        losses.advanced(1, 0.0)
        losses.advanced(3, 0.0)
        assert losses.filled(2, 0.001) is None
        assert losses.due(1.0, RoundTrip()) == ([], None)
        assert losses.lost == 0

    def test_it_gives_up_in_bounded_time_and_says_so(self) -> None:
        losses, trip = LossTracker(), RoundTrip()
        losses.advanced(1, 0.0)
        losses.advanced(3, 0.0)
        asked, now = 0, 0.0
        while losses.pending:
            now = losses.due_at
            ask, given_up = losses.due(now, trip)
            asked += len(ask)
        assert (asked, given_up) == (NACK_ATTEMPTS_MAX, 2)
        assert now < NACK_GRACE_S + RTT_S_START + 0.2 + 3 * NACK_INTERVAL_S_MAX + 0.001
        assert (losses.lost, losses.gone) == (1, 1)

    def test_without_requests_a_hole_is_given_up_when_nothing_came(self) -> None:
        losses = LossTracker(0)
        losses.advanced(1, 0.0)
        losses.advanced(3, 0.0)
        assert losses.due(NACK_INTERVAL_S_MAX - 0.001, RoundTrip()) == ([], None)
        assert losses.due(NACK_INTERVAL_S_MAX, RoundTrip()) == ([], 2)
        assert (losses.lost, losses.gone) == (1, 1)

    def test_what_is_out_of_the_window_is_given_up(self) -> None:
        losses = LossTracker()
        losses.advanced(1, 0.0)
        for sequence in range(3, REORDER_WINDOW_PACKETS + 10):
            losses.advanced(sequence, 0.0)
        assert losses.due(NACK_GRACE_S, RoundTrip()) == ([], 2)

    def test_a_hole_too_big_needs_a_keyframe(self) -> None:
        losses = LossTracker()
        losses.advanced(1, 0.0)
        losses.advanced(3, 0.0)
        assert not losses.advanced(4 + NACK_PENDING_MAX, 0.0)
        assert (losses.pending, losses.due_at) == (0, NEVER)
        assert losses.gone == 1 + NACK_PENDING_MAX
        assert losses.advanced(5 + NACK_PENDING_MAX, 0.0)

    def test_holes_that_come_one_by_one_are_looked_for_once_per_grace(self) -> None:
        losses, trip = LossTracker(), RoundTrip()
        losses.advanced(0, 0.0)
        looks = 0
        for index in range(1, 200):
            now = index * 0.001
            losses.advanced(2 * index, now)
            if now >= losses.due_at:
                looks += 1
                losses.due(now, trip)
        assert looks <= 0.2 / NACK_GRACE_S

    @given(st.permutations(range(40)))
    def test_any_order_leaves_nothing_missing(self, order: list[int]) -> None:
        losses, newest = LossTracker(), -1
        losses.advanced(-1, 0.0)
        for sequence in order:
            if sequence > newest:
                losses.advanced(sequence, 0.0)
                newest = sequence
            else:
                losses.filled(sequence, 0.0)
        assert (losses.pending, losses.due_at) == (0, NEVER)
