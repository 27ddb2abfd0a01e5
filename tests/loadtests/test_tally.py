"""Counters of a swarm: seconds add up to totals, and only what belongs into a latency is in it."""

from loadtests.sequence import Sequence
from loadtests.tally import Tally
from tests.loadtests.samples import histogram


def test_seconds_add_up() -> None:
    tally = Tally(1_000_000)
    tally.join(500)
    tally.join(None)
    tally.frames, tally.received_bytes = 3, 70
    first = tally.second(2_000_000)
    tally.join(700)
    tally.lag(2500)
    second = tally.second(3_000_000)
    assert (first.at_s, first.open, first.joins, first.frames, first.received_bytes) == (1.0, 2, 1, 3, 70)
    assert (second.at_s, second.open, second.joins, second.frames, second.lag_max_ms) == (2.0, 3, 1, 0, 2.5)
    totals = tally.totals([Sequence()], viewers=5, lacking=2)
    assert (totals.joined, totals.not_joined, totals.lost, totals.lag_max_ms) == (2, 3, 2, 2.5)
    assert totals.join == histogram(500, 700).plain()


def test_history_is_seen_but_not_timed() -> None:
    tally = Tally(0)
    tally.send(1, due_us=100, at_us=150)
    tally.answer(1, None, 400)
    settled_before = tally.settled
    tally.deliver((1, 100), at_us=90_000, came_us=101)
    assert (settled_before, tally.settled) == (False, True)
    tally.deliver((1, 100), at_us=600, came_us=100)
    tally.deliver(None, at_us=700, came_us=0)
    assert tally.second(1).delivery == histogram(500).plain()
    totals = tally.totals([], viewers=1, lacking=0)
    assert (totals.deliveries, totals.acknowledged, totals.unseen) == (3, 1, 0)
    assert totals.acknowledge == histogram(300).plain()
    assert totals.late == histogram(50).plain()


def test_refusals_and_closes() -> None:
    tally = Tally(0)
    tally.send(1, 0, 0)
    tally.answer(1, "slow_mode", 5)
    tally.answer(None, "token_expired", 5)
    tally.answer(7, None, 5)
    tally.join(1)
    tally.close("4001", was_open=True)
    tally.close("OSError", was_open=False)
    totals = tally.totals([], viewers=1, lacking=0)
    assert tally.settled
    assert tally.open == 0
    assert (totals.refused_count, totals.closes_count, totals.unanswered, totals.acknowledged) == (2, 2, 0, 0)
