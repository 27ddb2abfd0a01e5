"""Server frames as bytes (RFC 6455, section 5.2): built once per encoding, written to any number of sockets.

byte 0   FIN and the opcode: 0x81 text (JSON), 0x82 binary (MessagePack)
byte 1   the length up to 125; 126: two more bytes hold it; 127: eight more bytes hold it. No mask: a server's.
"""

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from live.core.codec import Encoding, encode
from live.realtime.protocol import ServerMessage

_OPCODES: dict[Encoding, int] = {"json": 0x81, "msgpack": 0x82}
_JSON = msgspec.json.Encoder()
_MSGPACK = msgspec.msgpack.Encoder()


def wrap(payload: bytes, encoding: Encoding) -> bytes:
    """`payload` as one unfragmented frame."""
    size = len(payload)
    if size < 126:
        return bytes((_OPCODES[encoding], size)) + payload
    if size < 65536:
        return struct.pack("!BBH", _OPCODES[encoding], 126, size) + payload
    return struct.pack("!BBQ", _OPCODES[encoding], 127, size) + payload


def payload_of(frame: bytes) -> bytes:
    """What `wrap` was given."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def frame(messages: Sequence[ServerMessage], encoding: Encoding) -> bytes:
    """One frame with `messages` in their order; they may hold `raw` members (a snapshot encoded for many viewers)."""
    # Not by way of plain dicts, as `encode`: of a refusal that took four times as long.
    return wrap(_JSON.encode(messages) if encoding == "json" else _MSGPACK.encode(messages), encoding)


def encoded(message: ServerMessage, encoding: Encoding) -> bytes:
    """`message` alone, as `joined` takes it."""
    return encode(message, encoding)


def joined(messages: Sequence[bytes], encoding: Encoding) -> bytes:
    """Like `frame`, of messages that are encoded already."""
    if encoding == "json":
        return wrap(b"[" + b",".join(messages) + b"]", encoding)
    count = len(messages)
    head = bytes((0x90 | count,)) if count < 16 else struct.pack("!BH", 0xDC, count)  # fixarray, array 16
    return wrap(head + b"".join(messages), encoding)


def raw(value: Any, encoding: Encoding) -> msgspec.Raw:
    """`value` encoded, to be spliced into messages."""
    return msgspec.Raw(encode(value, encoding))
