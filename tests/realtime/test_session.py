"""The session's table, transition by transition, without a socket or a clock."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.codec import Encoding
from live.core.errors import (
    FLOOD,
    MALFORMED_FRAME,
    MESSAGE_TOO_BIG,
    NOT_CONNECTED,
    OUT_OF_ORDER,
    TOKEN_EXPIRED,
)
from live.core.limits import COMMANDS_BURST, COMMANDS_REFUSED_MAX, WS_CONNECT_TIMEOUT_S, WS_MESSAGE_BYTES_MAX
from live.realtime.protocol import ClientMessage, Command, Connect, Ping, Pong, Position, Recover, Refused
from live.realtime.session import Answer, Bucket, Do, Join, Resume, Session, Shut, State

CONNECT = Connect(id="1")
COMMAND = Command(id="2", name="chat.post", data={"text": "hi"}, key="k")
RECOVER = Recover(id="3", position=Position("e", 4))
PING = Ping()


def wire(message: ClientMessage, encoding: Encoding = "json") -> bytes | str:
    return msgspec.json.encode(message).decode() if encoding == "json" else msgspec.msgpack.encode(message)


def give(session: Session, message: ClientMessage, now_s: float = 0.0) -> Any:
    return session.receive(wire(message, session.encoding), now_s, 1234)


def state_of(session: Session) -> State:
    return session.state


def live(encoding: Encoding = "json", expires_s: float | None = None) -> Session:
    session = Session(encoding, 0.0)
    assert give(session, CONNECT) == Join(CONNECT)
    session.joined(expires_s)
    return session


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_a_whole_visit(encoding: Encoding) -> None:
    session = Session(encoding, 0.0)
    assert state_of(session) is State.waiting
    assert give(session, PING) == Answer(Pong(time_ms=1234))
    assert give(session, CONNECT) == Join(CONNECT)
    assert state_of(session) is State.joining
    assert give(session, PING) == Answer(Pong(time_ms=1234))
    session.joined(None)
    assert give(session, COMMAND) == Do(COMMAND)
    assert give(session, RECOVER) == Resume(RECOVER)
    assert give(session, PING) == Answer(Pong(time_ms=1234))
    assert session.tick(1e9) is None
    session.end()
    assert state_of(session) is State.closed
    assert give(session, COMMAND) is None
    assert session.tick(1e9) is None


@pytest.mark.parametrize("message", [COMMAND, RECOVER])
def test_nothing_before_connect(message: ClientMessage) -> None:
    session = Session("json", 0.0)
    assert give(session, message) == Shut(OUT_OF_ORDER)
    assert state_of(session) is State.closed


@pytest.mark.parametrize("message", [CONNECT, COMMAND, RECOVER])
def test_nothing_while_joining(message: ClientMessage) -> None:
    session = Session("json", 0.0)
    give(session, CONNECT)
    assert give(session, message) == Shut(OUT_OF_ORDER)


def test_no_second_connect() -> None:
    assert give(live(), CONNECT) == Shut(OUT_OF_ORDER)


def test_who_is_turned_away_may_try_again_while_patience_lasts() -> None:
    session = Session("json", 0.0)
    give(session, CONNECT)
    session.turned_away()
    assert session.tick(WS_CONNECT_TIMEOUT_S - 0.1) is None
    assert give(session, CONNECT) == Join(CONNECT)
    session.turned_away()
    assert session.tick(WS_CONNECT_TIMEOUT_S) == NOT_CONNECTED


def test_silence_before_connect_ends_it() -> None:
    session = Session("json", 100.0)
    assert not session.overdue(100.0 + WS_CONNECT_TIMEOUT_S - 0.01)
    assert session.tick(100.0 + WS_CONNECT_TIMEOUT_S) == NOT_CONNECTED
    assert state_of(session) is State.closed


def test_joining_is_not_timed_here() -> None:
    session = Session("json", 0.0)
    give(session, CONNECT)
    assert session.tick(1e9) is None


def test_an_expired_token_ends_it() -> None:
    session = live(expires_s=60.0)
    assert session.tick(59.9) is None
    assert session.tick(60.0) == TOKEN_EXPIRED
    assert state_of(session) is State.closed


@pytest.mark.parametrize(
    "payload",
    [
        "", "{", "[]", "null", '"x"', "{}", '{"type":"nonsense"}', '{"type":"command"}', '{"type":"command","id":1}',
        '{"type":"command","id":"1","name":"x","data":[]}', '{"type":"connect","id":"1","position":{"epoch":1}}',
        '{"type":"connect","id":"' + "x" * 65 + '"}', "[" * 5000, "\ud800", b"{}",
    ],
)  # fmt: skip
def test_malformed_json_ends_it(payload: str | bytes) -> None:
    if payload == "\ud800":
        payload = "\x00"
    assert Session("json", 0.0).receive(payload, 0.0, 0) == Shut(MALFORMED_FRAME)


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x90", b"\x81\xa4type\xa1x", b"\xdd\xff\xff\xff\xff", "text"])
def test_malformed_msgpack_ends_it(payload: str | bytes) -> None:
    assert Session("msgpack", 0.0).receive(payload, 0.0, 0) == Shut(MALFORMED_FRAME)


def test_too_big_is_measured_in_bytes() -> None:
    limit = WS_MESSAGE_BYTES_MAX
    assert Session("msgpack", 0.0).receive(b"x" * (limit + 1), 0.0, 0) == Shut(MESSAGE_TOO_BIG)
    assert Session("json", 0.0).receive("x" * (limit + 1), 0.0, 0) == Shut(MESSAGE_TOO_BIG)
    assert Session("json", 0.0).receive("ä" * (limit // 2 + 1), 0.0, 0) == Shut(MESSAGE_TOO_BIG)
    assert Session("json", 0.0).receive("x" * limit, 0.0, 0) == Shut(MALFORMED_FRAME)


@given(st.binary(max_size=200), st.text(max_size=200))
def test_garbage_never_raises(octets: bytes, text: str) -> None:
    for encoding in ("json", "msgpack"):
        for payload in (octets, text):
            session = live(encoding)
            answer = session.receive(payload, 0.0, 0)
            assert isinstance(answer, Do | Resume | Answer | Shut)


# --- rates ----------------------------------------------------------------------------------------------------


def test_burst_then_refused_then_refilled() -> None:
    session = live()
    for _ in range(COMMANDS_BURST - 1):  # the connect was one
        assert give(session, COMMAND) == Do(COMMAND)
    refused = give(session, COMMAND)
    assert isinstance(refused, Answer) and isinstance(refused.message, Refused)
    assert refused.message.id == "2"
    assert (refused.message.error["name"], refused.message.error["retry_after_s"]) == ("rate_limited", 1)
    assert give(session, PING) is None, "a ping too many is not worth an answer"
    assert give(session, COMMAND, 0.06) == Do(COMMAND)


def test_recovering_costs_more() -> None:
    session = live()
    count = 0
    while give(session, RECOVER) == Resume(RECOVER):
        count += 1
    assert 0 < count < COMMANDS_BURST // 4


def test_flood_ends_it() -> None:
    session = live()
    answers = [give(session, COMMAND) for _ in range(COMMANDS_BURST + COMMANDS_REFUSED_MAX)]
    assert answers[-1] == Shut(FLOOD)
    assert Shut(FLOOD) not in answers[:-1]
    assert give(session, COMMAND) is None


def test_a_steady_hand_is_never_refused() -> None:
    session = live()
    assert all(give(session, COMMAND, i / 20) == Do(COMMAND) for i in range(2000))


@given(st.lists(st.floats(0, 10), max_size=60), st.floats(0.1, 100), st.integers(1, 50))
def test_bucket_never_grants_more_than_its_rate(gaps: list[float], rate: float, burst: int) -> None:
    now_s, granted = 0.0, 0
    bucket = Bucket(rate, burst, now_s)
    for gap in gaps:
        now_s += gap
        wait_s = bucket.take(1, now_s)
        assert wait_s >= 0
        granted += wait_s == 0
        assert granted <= burst + now_s * rate + 1e-6
