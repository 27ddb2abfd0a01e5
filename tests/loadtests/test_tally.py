"""Counters of a swarm: seconds add up to totals, and only what belongs into a latency is in it."""

from loadtests.sequence import Sequence
from loadtests.shelf import Chunk
from loadtests.tally import Tally
from tests.loadtests.samples import histogram


def test_seconds_add_up() -> None:
    tally = Tally(1_000_000)
    tally.join(500)
    tally.come_back(300, recovered=True)
    tally.frames, tally.received_bytes = 3, 70
    first = tally.second(2_000_000, cpu_s=0.25)
    tally.join(700)
    tally.lag(2500)
    tally.complete(0.5)
    tally.frames += 1000
    second = tally.second(3_000_000, cpu_s=0.75)
    assert (first.at_s, first.open, first.joins, first.frames, first.received_bytes) == (1.0, 2, 1, 3, 70)
    assert (second.at_s, second.open, second.joins, second.frames, second.lag_max_ms) == (2.0, 3, 1, 1000, 2.5)
    assert (first.cpu_percent, second.cpu_percent) == (25.0, 50.0)
    totals = tally.totals(viewers=5, lacking=2, not_back=1, cpu_s=0.75)
    assert (totals.joined, totals.not_joined, totals.lost, totals.lag_max_ms) == (2, 3, 2, 2.5)
    assert totals.join == histogram(500, 700).plain()
    assert (totals.recovered, totals.resnapped, totals.not_back) == (1, 0, 1)
    assert totals.back == histogram(300).plain()
    assert totals.frame_cpu_us == 250.0


def test_history_is_seen_but_not_timed() -> None:
    tally = Tally(0)
    tally.send(1, due_us=100, at_us=150)
    tally.answer(1, None, 400)
    settled_before = tally.settled
    tally.deliver((1, 100), at_us=90_000, from_us=101)
    assert (settled_before, tally.settled) == (False, True)
    tally.deliver((1, 100), at_us=600, from_us=100)
    tally.deliver(None, at_us=700, from_us=0)
    assert tally.second(1, 0.0).delivery == histogram(500).plain()
    totals = tally.totals(viewers=1, lacking=0, not_back=0, cpu_s=0.0)
    assert (totals.deliveries, totals.acknowledged, totals.unseen) == (3, 1, 0)
    assert totals.acknowledge == histogram(300).plain()
    assert totals.late == histogram(50).plain()


def test_refusals_and_closes() -> None:
    tally = Tally(0)
    tally.send(1, 0, 0)
    tally.answer(1, "slow_mode", 5)
    tally.answer(None, "token_expired", 5)
    tally.answer(7, None, 5)
    tally.close("4001")
    tally.close("OSError")
    totals = tally.totals(viewers=1, lacking=0, not_back=0, cpu_s=0.0)
    assert tally.settled
    assert (totals.refused_count, totals.closes_count, totals.unanswered, totals.acknowledged) == (2, 2, 0, 0)


def test_each_second_tells_its_own_losses_and_closes() -> None:
    one, other = Sequence(), Sequence()
    tally = Tally(0, [one, other])
    for sequence in (one, other):
        sequence.connected("a", 1)
    one.event(1)
    tally.close("4001")
    tally.close("4001")
    first = tally.second(1_000_000, 0.0)
    other.restored("a", 5, [4, 5])
    one.connected("a", 4)
    tally.close("4001")
    tally.close("http 503")
    second = tally.second(2_000_000, 0.0)
    last = tally.second(2_500_000, 0.0, lacking=7)
    assert [(each.duplicates, each.lost, each.replaced) for each in (first, second, last)] == [
        (1, 0, 0), (0, 2, 3), (0, 7, 0),
    ]  # fmt: skip
    assert [each.closes for each in (first, second, last)] == [{"4001": 2}, {"4001": 1, "http 503": 1}, {}]
    totals = tally.totals(viewers=2, lacking=7, not_back=0, cpu_s=0.0)
    assert (totals.duplicates, totals.lost, totals.replaced) == (1, 9, 3)
    assert totals.closes == {"4001": 3, "http 503": 1}


def test_what_is_stored_and_not_shown_is_not_lost() -> None:
    tally = Tally(0)
    for number in (1, 2):
        tally.send(number, 0, 0)
    tally.answer(1, None, 5, shown=False)
    tally.answer(2, None, 5)
    settled_before = tally.settled
    tally.deliver((2, 0), at_us=10, from_us=0)
    assert (settled_before, tally.settled) == (False, True)
    totals = tally.totals(viewers=1, lacking=0, not_back=0, cpu_s=0.0)
    assert (totals.sampled, totals.acknowledged, totals.unseen, totals.unanswered) == (1, 2, 0, 0)
    assert totals.frame_cpu_us is None


def test_arrivals_are_counted_together() -> None:
    tally = Tally(0)
    chunk = Chunk(b"x" * 10, 2, [4, 5, 6], [(1, 100), (2, 200)])
    chunk.count = 50
    tally.settle(chunk, 300)
    assert (chunk.count, tally.frames, tally.deliveries, tally.received_bytes) == (0, 100, 150, 500)
    assert tally.seen == {1, 2}
    delivery = tally.second(1, 0.0).delivery
    assert sorted(delivery["counts"].values()) == [50, 50]
    assert delivery["max_us"] == 200
