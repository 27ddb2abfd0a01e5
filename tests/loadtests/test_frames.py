"""Frames against the `websockets` library, whole, in pieces and broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol

from loadtests.frames import BINARY, CLOSE, TEXT, BadFrame, FrameReader, client_frame, close_code

payloads = st.one_of(st.binary(max_size=200), st.sampled_from([b"x" * 125, b"x" * 126, b"x" * 65535, b"x" * 65536]))


@given(st.lists(st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), payloads), max_size=6), st.data())
def test_frames_come_out_as_they_went_in(sent: list[tuple[Opcode, bytes]], data: st.DataObject) -> None:
    octets = b"".join(Frame(opcode, payload).serialize(mask=False) for opcode, payload in sent)
    reader, received = FrameReader(), []
    while octets:
        cut = data.draw(st.integers(1, len(octets)))
        received += reader.feed(octets[:cut])
        octets = octets[cut:]
    assert received == [(int(opcode), payload) for opcode, payload in sent]


@given(st.sampled_from([TEXT, BINARY]), payloads)
def test_a_server_reads_what_a_viewer_sends(opcode: int, payload: bytes) -> None:
    server = Protocol(SERVER, max_size=None)
    server.receive_data(client_frame(opcode, payload))
    (frame,) = server.events_received()
    assert isinstance(frame, Frame)
    assert (int(frame.opcode), frame.data) == (opcode, payload)


@pytest.mark.parametrize(
    "octets",
    [b"\x01\x00", b"\x80\x00", b"\xc1\x00", b"\x81\x80\x00\x00\x00\x00", b"\x82\x7f\x00\x00\x00\x00\x7f\x00\x00\x00"],
    ids=["fragment", "continuation", "compressed", "masked", "too large"],
)
def test_what_a_server_must_not_send(octets: bytes) -> None:
    with pytest.raises(BadFrame):
        FrameReader().feed(octets + b"\x00" * 200)


def test_close_codes() -> None:
    assert close_code(b"\x0f\xa0bye") == 4000
    assert close_code(b"") == 1005
    assert client_frame(CLOSE, b"\x03\xe8")[:2] == b"\x88\x82"
