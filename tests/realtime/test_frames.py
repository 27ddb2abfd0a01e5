"""Frames as the `websockets` library reads them."""

import msgspec
import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from live.core.codec import Encoding
from live.realtime.frames import frame, payload_of, raw, wrap
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
def test_what_is_spliced_in_is_what_plain_would_be(encoding: Encoding) -> None:
    snapshot = {"words": ["ä", "\U0001f600", ""], "n": [1, -1, 1.5, None, True], "deep": {"a": {"b": []}}}
    who = Viewer("v", "V", "viewer")
    connected = Connected("c", who, Position("e", 1), False, 5, snapshot=snapshot)
    state = StateMessage("viewers", {"count": 1})
    embedded = msgspec.structs.replace(connected, snapshot=raw(snapshot, encoding))
    decode = msgspec.json.decode if encoding == "json" else msgspec.msgpack.decode
    plain = decode(payload_of(frame([connected, state], encoding)))
    assert decode(payload_of(frame([embedded, state], encoding))) == plain
    assert plain[0]["snapshot"] == snapshot
    assert plain[0]["type"] == "connected"


def test_several_messages_travel_as_a_list() -> None:
    assert msgspec.json.decode(payload_of(frame([Pong(1), Pong(2)], "json"))) == [
        {"type": "pong", "time_ms": 1},
        {"type": "pong", "time_ms": 2},
    ]
