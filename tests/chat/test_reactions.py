"""What one worker has counted, as numbers."""

from chat.reactions import KINDS, Tally


def test_a_tally_says_all_it_has_counted() -> None:
    tally = Tally("one", 5.0)
    assert (tally.due, tally.counts(), tally.sums) == (False, dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0))
    tally.add("heart", 6.0)
    tally.add("heart", 7.0)
    counts = tally.counts()
    tally.add("wow", 8.0)
    assert (tally.due, counts) == (True, {"heart": 2, "clap": 0, "fire": 0, "wow": 0})
    sums = counts | {"clap": 9}
    tally.noted(counts, sums)
    assert (tally.due, tally.sums, tally.used_s) == (True, sums, 8.0)
    tally.noted(tally.counts(), sums)
    assert not tally.due
    tally.add("heart", 9.0)
    assert tally.counts() == {"heart": 3, "clap": 0, "fire": 0, "wow": 1}


def test_a_tally_is_idle_when_nothing_is_due_and_nothing_comes() -> None:
    tally = Tally("one", 5.0)
    assert not tally.idle(15.0, 10.0)
    assert tally.idle(15.1, 10.0)
    tally.add("clap", 5.0)
    assert not tally.idle(99.0, 10.0)
