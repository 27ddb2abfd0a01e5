"""Frames as the `websockets` library reads them, and names as people write them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from live.core.codec import Encoding
from live.core.errors import Kind, Problem
from live.realtime.frames import frame, payload_of, raw, spliced, wrap
from live.realtime.names import clean_name
from live.realtime.protocol import Connected, Pong, Position, Viewer
from live.realtime.protocol import State as StateMessage


def read(octets: bytes) -> Frame:
    client = ClientProtocol(parse_uri("ws://x/"), state=State.OPEN, max_size=None)
    client.receive_data(octets)
    (event,) = client.events_received()
    assert isinstance(event, Frame)
    return event


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_every_length_is_read_back(size: int, encoding: Encoding) -> None:
    payload = b"x" * size
    framed = wrap(payload, encoding)
    event = read(framed)
    assert event.data == payload
    assert event.fin
    assert event.opcode == (Opcode.TEXT if encoding == "json" else Opcode.BINARY)
    assert payload_of(framed) == payload


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_spliced_is_what_plain_would_be(encoding: Encoding) -> None:
    snapshot = {"words": ["ä", "\U0001f600", ""], "n": [1, -1, 1.5, None, True], "deep": {"a": {"b": []}}}
    who = Viewer("v", "V", "viewer")
    connected = Connected("c", who, Position("e", 1), False, 5, snapshot=snapshot)
    state = StateMessage("viewers", {"count": 1})
    embedded = msgspec.structs.replace(connected, snapshot=raw(snapshot, encoding))
    decode = msgspec.json.decode if encoding == "json" else msgspec.msgpack.decode
    plain = decode(payload_of(frame([connected, state], encoding)))
    assert decode(payload_of(spliced([embedded, state], encoding))) == plain
    assert plain[0]["snapshot"] == snapshot
    assert plain[0]["type"] == "connected"


def test_several_messages_travel_as_a_list() -> None:
    assert msgspec.json.decode(payload_of(frame([Pong(1), Pong(2)], "json"))) == [
        {"type": "pong", "time_ms": 1},
        {"type": "pong", "time_ms": 2},
    ]


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("Mia", "Mia"),
        ("  Mia \t\n Z ", "Mia Z"),
        ("M\u202eia\u200b\x00", "Mia"),
        ("\uff2d\uff49\uff41", "Mia"),
        ("Zoë", "Zoë"),
        ("李小龙", "李小龙"),
        ("a" + "\u0335" * 40, "a\u0335\u0335"),
        ("x" * 24, "x" * 24),
    ],
)
def test_names_are_made_readable(given_name: str, kept: str) -> None:
    assert clean_name(given_name) == kept


@pytest.mark.parametrize("bad", ["", "  ", "\u200b\u202e", "x" * 25, "x" * 10_000, "\ud800"])
def test_unreadable_names_are_refused(bad: str) -> None:
    with pytest.raises(Problem) as caught:
        clean_name(bad)
    assert caught.value.kind is Kind.invalid_field
    assert caught.value.field == "name"


@given(st.text(max_size=80))
def test_a_clean_name_stays_as_it_is(given_name: str) -> None:
    try:
        name = clean_name(given_name)
    except Problem:
        return
    assert clean_name(name) == name
    assert name.isprintable() or name.strip()
