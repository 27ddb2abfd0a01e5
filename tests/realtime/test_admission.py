"""Who is let in when many come: on a clock of our own."""

from live.core.errors import Kind, Problem
from live.core.limits import HANDSHAKES_BURST, HANDSHAKES_PER_S, RETRY_AFTER_S_MAX
from live.realtime.admission import Admission

ADDRESS = "192.0.2.1"


def crowd(admission: Admission, number: int, now_s: float) -> list[Problem | None]:
    """What `number` viewers from as many addresses are told."""
    return [admission.admit(f"10.{each >> 16}.{each >> 8 & 255}.{each & 255}", now_s) for each in range(number)]


def kind(problem: Problem | None) -> Kind | None:
    return None if problem is None else problem.kind


def test_five_thousand_within_ten_seconds_are_let_in_however_they_come() -> None:
    for shares in ([500] * 10, [2500, 1000, 1000, 500], [0, 2000, 1500, 1000, 500]):
        admission = Admission(0.0, sockets_per_address=1000)
        told = [crowd(admission, share, float(second)) for second, share in enumerate(shares)]
        assert all(problem is None for second in told for problem in second)
        assert (admission.admitted, admission.sockets) == (5000, 5000)


def test_a_stampede_is_refused_and_told_to_come_back_one_after_the_other() -> None:
    admission = Admission(0.0, sockets_per_address=1000)
    told = crowd(admission, 50_000, 0.0)
    refused = [problem for problem in told if problem is not None]
    assert len(told) - len(refused) == HANDSHAKES_BURST
    assert {problem.kind for problem in refused} == {Kind.overloaded}
    waits = [problem.retry_after_s or 0 for problem in refused]
    assert waits == sorted(waits)
    for wait_s in range(1, 48):
        assert waits.count(wait_s) == HANDSHAKES_PER_S
    assert admission.refused == {"full": 0, "sockets": 0, "handshakes": 0, "rush": len(refused)}
    assert admission.admit(ADDRESS, 1.0) is None, "it goes on"


def test_nobody_is_told_to_wait_for_ever_and_the_queue_runs_off() -> None:
    admission = Admission(0.0, sockets_per_address=0, handshakes_per_s=1, handshakes_burst=1)
    waits = [problem.retry_after_s for problem in crowd(admission, 101, 0.0) if problem]
    assert (waits[0], waits[-1]) == (1, RETRY_AFTER_S_MAX)
    admission.admit(ADDRESS, 200.0)
    later = admission.admit(ADDRESS, 200.0)
    assert later is not None and later.retry_after_s == 1


def test_a_worker_has_so_many_sockets() -> None:
    admission = Admission(0.0, sockets_per_address=0, sockets_max=2)
    told = [admission.admit(ADDRESS, 0.0) for _ in range(3)]
    assert told[:2] == [None, None]
    assert kind(told[2]) is Kind.overloaded and told[2] and told[2].retry_after_s
    admission.released(ADDRESS)
    assert admission.admit(ADDRESS, 0.0) is None
    assert admission.refused["full"] == 1


def test_an_address_has_so_many_sockets_and_ipv6_counts_by_network() -> None:
    for first, second, other in (
        (ADDRESS, "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"),
    ):
        admission = Admission(0.0, sockets_per_address=2)
        assert [admission.admit(address, 0.0) for address in (first, second)] == [None, None]
        assert kind(admission.admit(first, 60.0)) is Kind.rate_limited
        assert admission.admit(other, 60.0) is None
        admission.released(second)
        assert admission.admit(first, 60.0) is None
        assert admission.refused["sockets"] == 1


def test_an_address_that_comes_and_goes_takes_nothing_from_the_others() -> None:
    admission = Admission(0.0, sockets_per_address=20, handshakes_per_s=10, handshakes_burst=50)
    admitted = 0
    for each in range(1000):
        if admission.admit(ADDRESS, each / 1000) is None:
            admission.released(ADDRESS)
            admitted += 1
    assert admitted == 21  # as many as it may have, and two a second
    assert admission.refused == {"full": 0, "sockets": 0, "handshakes": 979, "rush": 0}
    refused = admission.admit(ADDRESS, 1.0)
    assert refused is None or refused.retry_after_s == 1
    assert admission.admit("192.0.2.2", 1.0) is None


def test_without_a_bound_for_one_address_there_is_none() -> None:
    admission = Admission(0.0, sockets_per_address=0)
    assert [admission.admit(ADDRESS, 0.0) for _ in range(2000)] == [None] * 2000


def test_nothing_is_kept_of_those_who_left() -> None:
    admission = Admission(0.0, sockets_per_address=5)
    for address in ("192.0.2.1", "192.0.2.1", "2001:db8::1", ""):
        assert admission.admit(address, 0.0) is None
    for address in ("", "192.0.2.1", "2001:db8::1", "192.0.2.1"):
        admission.released(address)
    assert (admission.sockets, admission._open) == (0, {})
