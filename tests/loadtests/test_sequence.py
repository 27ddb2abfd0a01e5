"""One viewer's position, against what it was really given."""

from hypothesis import given
from hypothesis import strategies as st

from loadtests.sequence import Sequence, Verdict


def joined(offset: int = 0) -> Sequence:
    sequence = Sequence()
    sequence.connected("a", offset)
    return sequence


def test_nothing_counts_before_connected() -> None:
    sequence = Sequence()
    assert sequence.event(1) is Verdict.ignored
    assert not sequence.here("a", 7)


@given(st.integers(0, 50), st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_each_loss_and_repetition_is_noticed(start: int, fates: list[int]) -> None:
    """`fates` says how often each event comes; a gap is answered at once with all that is missing."""
    sequence = joined(start)
    duplicates = gaps = 0
    missing = False
    for offset, times in enumerate(fates, start + 1):
        for repeated in range(times):
            verdict = sequence.event(offset)
            if repeated:
                duplicates += 1
                assert verdict is Verdict.duplicate
            elif missing:
                gaps += 1
                assert verdict is Verdict.gap
                assert sequence.event(offset + 1) is Verdict.ignored
                sequence.restored("a", offset, range(sequence.offset + 1, offset + 1))
            else:
                assert verdict is Verdict.applied
            missing = False
        missing = missing or not times
    assert (sequence.duplicates, sequence.gaps, sequence.lost) == (duplicates, gaps, 0)
    lacking = sequence.behind("a", start + len(fates))
    assert sequence.received + lacking == len(fates)
    assert (lacking > 0) == missing


@given(st.integers(1, 30), st.sets(st.integers(1, 30)))
def test_what_a_recovery_leaves_out_is_lost(end: int, given_: set[int]) -> None:
    sequence = joined()
    answered = sorted(offset for offset in given_ if offset <= end)
    sequence.restored("a", end, answered)
    assert sequence.lost == end - len(answered)
    assert sequence.received == len(answered)
    assert sequence.offset == end


def test_a_recovery_may_repeat() -> None:
    sequence = joined(3)
    sequence.restored("a", 5, [3, 4, 5])
    assert (sequence.duplicates, sequence.received, sequence.lost) == (1, 2, 0)


def test_a_snapshot_replaces_what_is_missing() -> None:
    sequence = joined(3)
    assert sequence.event(9) is Verdict.gap
    sequence.connected("a", 9)
    assert (sequence.replaced, sequence.lost, sequence.offset) == (6, 0, 9)
    sequence.connected("b", 2)
    assert (sequence.replaced, sequence.epoch, sequence.offset) == (6, "b", 2)


def test_the_servers_position_shows_a_gap() -> None:
    sequence = joined(3)
    assert not sequence.here("a", 3)
    assert not sequence.here("a", 2)
    assert sequence.here("a", 4)
    assert not sequence.here("a", 5), "one recovery at a time"
    sequence.restored("a", 4, [4])
    assert sequence.here("b", 4)
    assert sequence.gaps == 2


def test_a_socket_that_is_gone_hears_nothing() -> None:
    sequence = joined(3)
    sequence.disconnected()
    assert sequence.event(4) is Verdict.ignored
    assert sequence.behind("b", 9) == 0
