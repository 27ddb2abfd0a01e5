"""The newest values, and when they go out."""

import math

from live.core.limits import STATE_INTERVAL_S, STATES_MAX
from live.realtime.facts import Facts
from live.realtime.protocol import State


def test_newest_wins_and_goes_out_when_due() -> None:
    facts = Facts()
    assert (facts.changed, facts.take(0.0)) == (False, ([], []))
    for n in range(3):
        facts.put(State("stock", {"n": n}, "a"), False, n / 100)
    facts.put(State("figures", {}), True, 0.03)
    assert facts.changed
    assert facts.take(1.0) == ([State("stock", {"n": 2}, "a")], [State("figures", {})])
    facts.put(State("stock", {"n": 3}, "a"), False, 1.1)
    assert facts.take(1.1) == ([], []), "not due"
    assert facts.due_s == 1.0 + STATE_INTERVAL_S
    assert facts.take(facts.due_s) == ([State("stock", {"n": 3}, "a")], [])
    assert not facts.changed


def test_since_tells_what_a_snapshot_does_not_know() -> None:
    facts = Facts()
    facts.put(State("a", {}), False, 1.0)
    facts.put(State("b", {}), False, 2.0)
    facts.put(State("c", {}), True, 3.0)
    assert [s.name for s in facts.since(2.0, staff=False)] == ["b"]
    assert [s.name for s in facts.since(0.0, staff=True)] == ["a", "b", "c"]


def test_oldest_is_forgotten_of_too_many() -> None:
    facts = Facts()
    forgot = [facts.put(State("stock", {}, str(n)), False, float(n)) for n in range(STATES_MAX + 5)]
    assert forgot == [False] * STATES_MAX + [True] * 5
    told, _ = facts.take(1e6)
    assert sorted(int(state.key) for state in told) == list(range(5, STATES_MAX + 5))


def test_what_was_told_before_is_known_to_who_asks_for_all_and_goes_out_to_nobody() -> None:
    facts = Facts()
    facts.know(State("a", {}), False)
    facts.put(State("b", {}), False, 2.0)
    assert [s.name for s in facts.since(-math.inf, staff=False)] == ["a", "b"]
    assert [s.name for s in facts.since(0.0, staff=False)] == ["b"]
    assert facts.take(3.0) == ([State("b", {})], [])
