"""Where a far end is: nominations, moves without one, and restarts. Values only."""

from live.core.limits import AMPLIFICATION_MAX, MOVED_PACKETS, PEER_ADDRESSES_MAX
from stream.transport.paths import Credentials, Paths

OLD, NEW, NEWER = Credentials("old", "p1"), Credentials("new", "p2"), Credentials("newer", "p3")
HOME, TRAIN = ("192.0.2.1", 1000), ("198.51.100.1", 2000)


def at_home() -> Paths:
    paths = Paths(OLD)
    assert paths.checked(HOME, "old", nominated=True) is None
    return paths


def test_the_first_proved_address_is_sent_to_until_another_is_nominated() -> None:
    paths = Paths(OLD)
    before = paths.address
    paths.checked(HOME, "old", nominated=False)
    assert before is None
    paths.checked(TRAIN, "old", nominated=False)
    assert paths.address == HOME
    paths.checked(TRAIN, "old", nominated=True)
    assert paths.address == TRAIN
    assert paths.newest == OLD


def test_media_in_a_row_from_another_proved_address_is_a_move() -> None:
    paths = at_home()
    for _ in range(MOVED_PACKETS - 1):
        assert paths.heard(TRAIN) is None
    assert paths.address == HOME
    paths.heard(TRAIN)
    assert paths.address == TRAIN


def test_stragglers_of_the_path_before_move_nobody() -> None:
    paths = at_home()
    for _ in range(10):
        for _ in range(MOVED_PACKETS - 1):
            paths.heard(TRAIN)
        paths.heard(HOME)
    for _ in range(10):
        paths.heard(TRAIN)
        paths.heard(("203.0.113.1", 1))
    assert paths.address == HOME


def test_old_credentials_are_good_until_the_new_ones_nominate() -> None:
    paths = at_home()
    assert paths.restart(NEW) is None
    assert (paths.current, paths.newest) == (OLD, NEW)
    assert paths.checked(TRAIN, "new", nominated=False) is None
    paths.checked(HOME, "old", nominated=True)
    assert (paths.address, paths.current) == (HOME, OLD)
    assert paths.checked(TRAIN, "new", nominated=True) == OLD
    assert (paths.address, paths.current, paths.pending) == (TRAIN, NEW, None)


def test_media_by_a_path_of_the_new_session_completes_a_restart() -> None:
    paths = at_home()
    paths.restart(NEW)
    paths.checked(TRAIN, "new", nominated=False)
    assert [paths.heard(TRAIN) for _ in range(MOVED_PACKETS)] == [None] * (MOVED_PACKETS - 1) + [OLD]
    assert (paths.address, paths.newest) == (TRAIN, NEW)


def test_a_second_restart_replaces_one_that_never_was() -> None:
    paths = at_home()
    paths.restart(NEW)
    paths.checked(TRAIN, "new", nominated=False)
    assert paths.restart(NEWER) == NEW
    assert (paths.current, paths.newest) == (OLD, NEWER)
    assert [paths.heard(TRAIN) for _ in range(MOVED_PACKETS)] == [None] * MOVED_PACKETS
    assert (paths.address, paths.current) == (TRAIN, OLD), "a move, and no restart"


def test_a_restart_before_anything_was_proved_needs_no_nomination() -> None:
    paths = Paths(OLD)
    paths.restart(NEW)
    assert paths.checked(HOME, "new", nominated=False) == OLD
    assert (paths.address, paths.current) == (HOME, NEW)


def test_what_has_begun_is_sent_elsewhere_only_after_an_answer_from_there() -> None:
    paths = at_home()
    assert paths.trusts(TRAIN), "nothing was sent yet"
    paths.begin()
    assert paths.trusts(HOME)
    assert not paths.trusts(TRAIN)
    assert [paths.heard(TRAIN) for _ in range(9)] == [None] * 9
    assert paths.address == HOME
    paths.reached(TRAIN)
    paths.reached(TRAIN)
    assert paths.trusts(TRAIN)
    for _ in range(MOVED_PACKETS):
        paths.heard(TRAIN)
    assert paths.address == TRAIN
    assert not paths.trusts(HOME), "the first address has to answer too, to be gone back to"


def test_only_the_newest_answers_are_remembered() -> None:
    paths = at_home()
    paths.begin()
    for number in range(PEER_ADDRESSES_MAX + 1):
        paths.reached(("198.51.100.1", number))
    trusted = [paths.trusts(("198.51.100.1", number)) for number in range(PEER_ADDRESSES_MAX + 1)]
    assert trusted == [False, *[True] * PEER_ADDRESSES_MAX]


def test_an_address_gets_a_multiple_of_what_it_sent_until_it_is_reached() -> None:
    paths = Paths(OLD)
    assert not paths.spend(1), "there is nobody"
    paths.checked(HOME, "old", nominated=True)
    paths.earned(HOME, 100, answered=True)  # an answer and a check of 100 bytes each have gone out
    assert not paths.spend(100 * (AMPLIFICATION_MAX - 2) + 1)
    paths.earned(TRAIN, 1000, answered=False)
    paths.earned(HOME, 10, answered=False)
    assert paths.spend(100 * (AMPLIFICATION_MAX - 2) + 10 * AMPLIFICATION_MAX)
    assert not paths.spend(1)
    paths.reached(HOME)
    assert paths.spend(10_000)


def test_what_one_address_earned_is_not_spent_on_another() -> None:
    paths = at_home()
    paths.earned(HOME, 1000, answered=False)
    paths.checked(TRAIN, "old", nominated=True)
    assert not paths.spend(1)
