"""What reads the frames and messages of viewers, as functions of bytes: what must hold, whatever the bytes are."""

import math
from collections.abc import Callable
from typing import Any

import msgpack
import msgspec
from websockets.frames import Frame
from websockets.protocol import State
from websockets.server import ServerProtocol

from live.core.addresses import Proxies
from live.core.codec import Encoding, Malformed, decode
from live.core.limits import WS_FRAME_BYTES_MAX, WS_MESSAGE_BYTES_MAX
from live.realtime.protocol import ClientMessage
from live.realtime.session import Answer, Do, Join, Resume, Session, Shut

_ENCODE: dict[Encoding, Callable[[Any], bytes]] = {"json": msgspec.json.encode, "msgpack": msgspec.msgpack.encode}


def read_message(data: bytes) -> None:
    """A message in either encoding: `Malformed`, or one that is the same when it is written and read again."""
    if not data:
        return
    encoding: Encoding = "json" if data[0] % 2 else "msgpack"
    octets = data[1:]
    try:
        message: Any = decode(octets, encoding, ClientMessage)  # type: ignore[arg-type]
    except Malformed:
        return
    if "nan" not in repr(message):  # is not even equal to itself
        assert decode(_ENCODE[encoding](message), encoding, type(message)) == message
    session = Session(encoding, 0.0)
    action = session.receive(octets.decode() if encoding == "json" and _is_text(octets) else octets, 0.0, 0)
    assert isinstance(action, Do | Join | Resume | Answer | Shut)
    assert session.tick(math.inf) is None or isinstance(action, Answer)


def _is_text(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_frames(data: bytes) -> None:
    """Frames: whatever comes out has kept the rules, however the bytes were cut."""
    whole, parts = _parsed([data]), _parsed([data[at : at + 3] for at in range(0, len(data), 3)])
    assert whole == parts
    for fin, opcode, payload in whole[0]:
        assert len(payload) <= (125 if opcode >= 8 else WS_FRAME_BYTES_MAX) and (fin or opcode < 8)
    assert whole[1] in (None, 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014) or (
        whole[1] == 1005 or 3000 <= whole[1] < 5000
    )


def _parsed(pieces: list[bytes]) -> tuple[list[tuple[bool, int, bytes]], int | None]:
    """The frames, and the code that the parser closed with or was told; the server's own parser, as it is set up."""
    protocol = ServerProtocol(max_size=WS_FRAME_BYTES_MAX, state=State.OPEN)
    frames: list[tuple[bool, int, bytes]] = []
    for piece in pieces:
        protocol.receive_data(piece)
        events = [event for event in protocol.events_received() if isinstance(event, Frame)]
        frames += [(event.fin, int(event.opcode), bytes(event.data)) for event in events]
    return frames, int(protocol.close_sent.code) if protocol.close_sent else None


_PROXIES = {name: Proxies(["10.0.0.0/8"], name) for name in ("x-forwarded-for", "forwarded")}


def read_forwarded(data: bytes) -> None:
    """What a client writes before our proxy's word never hides it."""
    written = data.replace(b"\r", b"").replace(b"\n", b"")
    for name, said in (("x-forwarded-for", b"192.0.2.7"), ("forwarded", b"for=192.0.2.7")):
        headers = [(name.encode(), written + b", " + said)]
        assert _PROXIES[name].client("10.0.0.1", headers) == "192.0.2.7"
        _PROXIES[name].client("10.0.0.1", [(name.encode(), written)])


_CONNECT = {"type": "connect", "id": "c", "token": None, "position": {"epoch": "6f2c", "offset": 41}, "name": "Mia"}
_COMMAND = {"type": "command", "id": "x", "name": "cart.add", "data": {"sku": "é", "quantity": 1, "a": [1.5, None]}}
_RECOVER = {"type": "recover", "id": "r", "position": {"epoch": "6f2c", "offset": 2**40}}
_MESSAGES: list[Any] = [_CONNECT, _COMMAND, _RECOVER, {"type": "ping"}]
MASKED = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"  # RFC 6455, section 5.7

TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "message": (
        read_message,
        [b"\x01" + msgspec.json.encode(each) for each in _MESSAGES] + [b"\x00" + msgpack.packb(e) for e in _MESSAGES],
    ),
    "frames": (
        read_frames,
        [
            MASKED * 2,
            b"\x01" + MASKED[1:] + b"\x89\x80abcd" + b"\x80" + MASKED[1:],
            b"\x88\x82\x00\x00\x00\x00\x03\xe8",
            b"\x82\xfe\x00\x7e\x00\x00\x00\x00" + bytes(126),
            b"\x82\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00x",
        ],
    ),
    "forwarded": (
        read_forwarded,
        [b'for="[2001:db8::7]:4711";proto=https, for=10.0.0.2', b"198.51.100.9, unknown, [::1]:80", b'for="x\\"'],
    ),
}

assert all(len(data) <= WS_MESSAGE_BYTES_MAX for _, known in TARGETS.values() for data in known)
