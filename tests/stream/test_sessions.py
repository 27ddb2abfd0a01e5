"""The life of a session: only the table's transitions, and every deadline."""

import pytest

from live.core.limits import ADDRESS_QUIET_S, CONSENT_EXPIRY_S, HANDSHAKE_TIMEOUT_S, PEER_DEAD_S, PEER_SWEEP_INTERVAL_S
from stream.transport.sessions import TRANSITIONS, IllegalTransition, Reason, Role, Session, State, Trigger


def session(state: State = State.waiting) -> Session:
    made = Session("id", "show", Role.publisher, '"tag"', 0.0)
    if state in (State.checked, State.connected):
        made.consented(0.0)
    if state is State.connected:
        made.secured(0.0)
    if state is State.closed:
        made.ended(Reason.deleted)
    return made


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("trigger", Trigger)
def test_only_what_is_in_the_table_happens(state: State, trigger: Trigger) -> None:
    made = session(state)
    if (state, trigger) in TRANSITIONS:
        made.trigger(trigger)
        assert made.state is TRANSITIONS[state, trigger]
    else:
        with pytest.raises(IllegalTransition):
            made.trigger(trigger)
        assert made.state is state


def test_every_state_can_end_and_closed_is_final() -> None:
    assert {state for state, trigger in TRANSITIONS if trigger is Trigger.ended} == set(State) - {State.closed}
    assert not [state for state, _ in TRANSITIONS if state is State.closed]


def test_its_age_counts_from_the_offer() -> None:
    made = session(State.connected)
    made.consented(3.0)
    assert made.age_s(5.0) == 5.0


def test_consent_may_come_any_number_of_times() -> None:
    made = session(State.connected)
    made.consented(5.0)
    assert made.state is State.connected


@pytest.mark.parametrize("state", [State.waiting, State.checked])
def test_a_handshake_has_a_deadline(state: State) -> None:
    made = session(state)
    assert made.expired(HANDSHAKE_TIMEOUT_S - 0.1) is None
    assert made.expired(HANDSHAKE_TIMEOUT_S) is Reason.handshake_timeout


def test_a_silent_peer_is_found_within_the_promised_time_even_between_two_sweeps() -> None:
    made = session(State.connected)
    made.consented(100.0)
    assert made.expired(100.0 + PEER_DEAD_S / 2) is None
    assert made.expired(100.0 + PEER_DEAD_S - PEER_SWEEP_INTERVAL_S) is Reason.silent


def test_a_session_is_alive_while_it_is_heard() -> None:
    assert not session(State.checked).alive(0.0)
    made = session(State.connected)
    made.heard(100.0)
    assert made.alive(100.0 + ADDRESS_QUIET_S - 0.1)
    assert not made.alive(100.0 + ADDRESS_QUIET_S)
    made.ended(Reason.deleted)
    assert not made.alive(100.0)


def test_without_consent_packets_do_not_keep_a_session() -> None:
    made = session(State.connected)
    made.heard(CONSENT_EXPIRY_S - 0.1)
    assert made.expired(CONSENT_EXPIRY_S - 0.1) is None
    made.heard(CONSENT_EXPIRY_S)
    assert made.expired(CONSENT_EXPIRY_S) is Reason.consent_expired


def test_a_closed_session_does_not_expire_and_keeps_its_reason() -> None:
    made = session(State.closed)
    assert made.expired(1e9) is None
    assert made.reason is Reason.deleted


@pytest.mark.parametrize(
    ("header", "matches"),
    [('"tag"', True), ("*", True), ('"*"', True), ('"old", "tag"', True), ('"old"', False), ('W/"tag"', False),
     ("", False), ("täg", False)],
)  # fmt: skip
def test_if_match(header: str, matches: bool) -> None:
    assert session().matches(header) is matches
