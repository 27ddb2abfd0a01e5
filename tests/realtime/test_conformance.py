"""RFC 6455 case by case, after the chapters of the Autobahn test suite, on the loop that the server runs on.

Autobahn's own cases want an echo; ours has answers of its own, so a case says what is sent and how it ends:
`ANSWERED` with a pong message and open, a close code, or with the peer's own close frame. Violations of the framing
are closed with the RFC's codes; messages that no client of ours sends, with ours (docs/protocol.md). Text is checked
when a message is whole: that a wrong one is found before its end (Autobahn 6.4) is not claimed.
"""

import asyncio
import struct
from collections.abc import Iterator

import msgpack
import pytest

from live.core.limits import WS_FRAGMENTS_MAX, WS_FRAME_BYTES_MAX, WS_MESSAGE_BYTES_MAX
from tests.realtime.conftest import House, housed
from tests.realtime.wire import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Frame,
    closing,
    dialled,
    frame,
    mask,
    request,
    upgraded,
    wide,
)

pytestmark = pytest.mark.timeout(60)
ANSWERED = "answered"
MALFORMED, TOO_BIG = 4502, 4503
Case = tuple[str, list[bytes], str | int]


def opcode(encoding: str) -> int:
    return TEXT if encoding == "json" else BINARY


def message(encoding: str, size: int = 0) -> bytes:
    """A ping message of `size` bytes, or a few."""
    if encoding == "json":
        return b'{"type":"ping"}'.ljust(size)
    bare: bytes = msgpack.packb({"type": "ping"})
    if not size:
        return bare
    rest = size - len(bare) - 2  # a member more: "x", and as many bytes as are left
    head = 2 if rest - 2 < 256 else 3
    padded: bytes = b"\x82" + bare[1:] + msgpack.packb("x") + msgpack.packb(bytes(rest - head))
    assert len(padded) == size
    return padded


def cut(data: bytes, *at: int) -> list[bytes]:
    return [data[start:end] for start, end in zip((0, *at), (*at, None), strict=True)]


def fragments(encoding: str, parts: list[bytes], between: bytes = b"") -> bytes:
    """`parts` as the frames of one message, with `between` before each but the first."""
    frames = [
        frame(CONT if number else opcode(encoding), part, fin=number == len(parts) - 1)
        for number, part in enumerate(parts)
    ]
    return between.join(frames)


def framing(encoding: str) -> Iterator[Case]:
    """1: lengths, however they are written."""
    data = opcode(encoding)
    for size in (125, 126, 127, 128, 1000, WS_MESSAGE_BYTES_MAX):
        yield f"1 {size} bytes", [frame(data, message(encoding, size))], ANSWERED
    yield "1 in single bytes", [bytes((byte,)) for byte in frame(data, message(encoding, 126))], ANSWERED
    yield "1 nothing", [frame(data)], MALFORMED
    small = message(encoding)
    yield "1 length in 2 bytes", [frame(data, small, length=b"\x7e" + struct.pack("!H", len(small)))], ANSWERED
    yield "1 length in 8 bytes", [frame(data, small, length=wide(len(small)))], ANSWERED
    yield "1 length 2^63", [frame(data, length=wide(2**63))], 1009
    yield "1 length 2^64-1", [frame(data, length=wide(2**64 - 1))], 1009
    yield "1 length 2^31", [frame(data, length=wide(2**31))], 1009
    yield "1 not masked", [frame(data, small, masked=False)], 1002
    yield "1 wrong kind", [frame(BINARY if encoding == "json" else TEXT, small)], MALFORMED


def controls(encoding: str) -> Iterator[Case]:
    """2: pings and pongs."""
    after = frame(opcode(encoding), message(encoding))
    for payload in (b"", b"hello", bytes(range(0, 250, 2)), b"\xff\xfe\x00"):
        yield f"2 ping of {len(payload)}", [frame(PING, payload), after], ANSWERED
    yield "2 ping of 126", [frame(PING, bytes(126))], 1002
    yield "2 pong of 126", [frame(PONG, bytes(126))], 1002
    yield "2 ping in single bytes", [bytes((byte,)) for byte in frame(PING, bytes(125))] + [after], ANSWERED
    yield "2 pong that nobody asked for", [frame(PONG), frame(PONG, b"hello"), after], ANSWERED
    yield "2 ten pings", [frame(PING, b"%d" % number) for number in range(10)] + [after], ANSWERED
    yield "2 ping not masked", [frame(PING, masked=False)], 1002
    yield "2 ping with a long length", [frame(PING, b"hello", length=b"\x7e\x00\x05"), after], ANSWERED
    yield "2 ping of 2^63", [frame(PING, length=wide(2**63))], 1009


def reserved(encoding: str) -> Iterator[Case]:
    """3 and 4: bits and opcodes that mean nothing; 12 and 13: compression, which is never agreed on."""
    data = opcode(encoding)
    before = frame(data, message(encoding))
    for rsv in range(1, 8):
        yield f"3 bits {rsv}", [before, frame(data, message(encoding), rsv=rsv)], 1002
        yield f"3 bits {rsv} of a ping", [before, frame(PING, b"x", rsv=rsv)], 1002
    yield "3 bits of a fragment", [frame(data, b"x", fin=False), frame(CONT, b"x", rsv=4)], 1002
    for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield f"4 opcode {code}", [before, frame(code, b"x")], 1002
        yield f"4 opcode {code} within a message", [frame(data, b"x", fin=False), frame(code), frame(CONT, b"x")], 1002


def fragmentation(encoding: str) -> Iterator[Case]:
    """5: messages in pieces."""
    data, small = opcode(encoding), message(encoding)
    parts = cut(small, 3, 3, 7)
    yield "5 ping in pieces", [frame(PING, b"x", fin=False), frame(CONT, b"y")], 1002
    yield "5 pong in pieces", [frame(PONG, b"x", fin=False), frame(CONT, b"y")], 1002
    yield "5 close in pieces", [frame(CLOSE, struct.pack("!H", 1000), fin=False)], 1002
    yield "5 pieces", [fragments(encoding, parts)], ANSWERED
    yield "5 pieces one by one", [bytes((byte,)) for byte in fragments(encoding, parts)], ANSWERED
    yield "5 pings between pieces", [fragments(encoding, parts, frame(PING, b"x"))], ANSWERED
    yield "5 empty pieces", [fragments(encoding, [b"", small, b""])], ANSWERED
    yield "5 as many as may be", [fragments(encoding, [small, *[b""] * (WS_FRAGMENTS_MAX - 1)])], ANSWERED
    yield "5 one more", [fragments(encoding, [small, *[b""] * WS_FRAGMENTS_MAX])], MALFORMED
    yield "5 a piece of nothing", [frame(CONT, small)], 1002
    yield "5 pieces of nothing", [frame(CONT, small, fin=False), frame(CONT)], 1002
    yield "5 after the last", [fragments(encoding, parts) + frame(CONT, b"x")], 1002
    yield "5 a message within a message", [frame(data, b"x", fin=False) + frame(data, small)], 1002
    yield "5 it begins twice", [frame(data, b"x", fin=False) * 2], 1002


def text(encoding: str) -> Iterator[Case]:
    """6: UTF-8 in text frames and in MessagePack's strings (the examples are Markus Kuhn's)."""

    def say(value: bytes) -> bytes:
        if encoding == "json":
            return b'{"type":"ping","x":"%s"}' % value
        return b"\x82" + message(encoding)[1:] + b"\xa1x\xd9" + bytes((len(value),)) + value

    right = ("κόσμε", "\u0080", "\u0800", "\U00010000", "\x7f", "\u07ff", "\uffff", "\ufdd0", "\ufffe", "\U0010ffff")
    for each in right:
        yield f"6 {each!a}", [frame(opcode(encoding), say(each.encode()))], ANSWERED
        whole = say(each.encode())
        yield f"6 {each!a} in pieces", [fragments(encoding, [whole[at : at + 1] for at in range(len(whole))])], ANSWERED
    wrong = (
        "80", "bf", "c0", "e0a0", "f09f98", "f8888080", "fc8480808080", "fe", "ff", "c0af", "e080af", "f08080af",
        "c1bf", "e09fbf", "f08fbfbf", "eda080", "edbfbf", "eda080edb080", "f4908080", "c328", "e28228", "ce",
    )  # fmt: skip
    for each in wrong:
        # Members that nobody knows are skipped by the MessagePack decoder, also their text; see the members' own test.
        if encoding == "json":
            yield f"6 {each}", [frame(TEXT, say(bytes.fromhex(each)))], MALFORMED


def closes(encoding: str) -> Iterator[Case]:
    """7: close frames. The peer's own comes back."""
    data, small = opcode(encoding), message(encoding)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield f"7 code {code}", [closing(code)], code
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        yield f"7 code {code}", [closing(code)], 1002
    yield "7 half a code", [frame(CLOSE, b"\x03")], 1002
    yield "7 a reason", [closing(1000, "schön".encode())], 1000
    yield "7 a long reason", [closing(1000, b"x" * 123)], 1000
    yield "7 a reason too long", [closing(1000, b"x" * 124)], 1002
    yield "7 a reason that is no text", [closing(1000, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80")], 1007
    yield "7 not masked", [frame(CLOSE, struct.pack("!H", 1000), masked=False)], 1002
    yield "7 within a message", [frame(data, b"x", fin=False), closing(1000)], 1002
    yield "7 twice", [closing(1000), closing(1001)], 1000
    yield "7 a ping after it", [closing(1000), frame(PING)], 1000
    yield "7 a message after it", [closing(1000), frame(data, small)], 1000
    yield "7 rubbish after it", [closing(1000), b"\xff" * 1000], 1000
    yield "7 256 KB after it", [closing(1000) + frame(data, bytes(65_000)) * 4], 1000


def limits(encoding: str) -> Iterator[Case]:
    """9: messages that are too long, whole and in pieces."""
    data = opcode(encoding)
    filler = b" " if encoding == "json" else b"\x00"
    yield "9 a byte too long", [frame(data, message(encoding, WS_MESSAGE_BYTES_MAX + 1))], TOO_BIG
    yield "9 as long as a frame may be", [frame(data, filler * WS_FRAME_BYTES_MAX)], TOO_BIG
    yield "9 longer", [frame(data, filler * (WS_FRAME_BYTES_MAX + 1))], 1009
    parts = [filler * 1024] * 17
    yield "9 too long in pieces", [fragments(encoding, parts)], TOO_BIG
    yield "9 longer in pieces", [fragments(encoding, [filler * 8192] * 9)], 1009


CASES = [
    pytest.param(encoding, sent, end, id=f"{encoding} {name}")
    for encoding in ("json", "msgpack")
    for chapter in (framing, controls, reserved, fragmentation, text, closes, limits)
    for name, sent, end in chapter(encoding)
]


@pytest.mark.parametrize(("encoding", "sent", "end"), CASES)
@housed
async def test_case(house: House, encoding: str, sent: list[bytes], end: str | int) -> None:
    async with upgraded(house.stage.url, encoding) as wire:
        for piece in sent:
            wire.send(piece)
            if len(sent) > 1:
                await asyncio.sleep(0)
        if end != ANSWERED:
            assert await wire.ended() == end
            return
        expected = [payload for opcode, payload in _controls(b"".join(sent)) if opcode == PING]
        seen: list[Frame] = []
        while not seen or seen[-1].opcode != opcode(encoding):
            found = await wire.frame()
            assert found is not None
            seen.append(found)
        assert [(each.opcode, each.payload) for each in seen[:-1]] == [(PONG, payload) for payload in expected]
        assert seen[-1].messages()[0]["type"] == "pong"
        wire.send(closing(1000, b"bye"))
        assert [each.payload for each in await wire.rest()] == [struct.pack("!H", 1000) + b"bye"]


def _controls(sent: bytes) -> Iterator[tuple[int, bytes]]:
    """The control frames among what a case sends."""
    while sent:
        size, head = sent[1] & 0x7F, 2
        if size >= 126:
            head = 4 if size == 126 else 10
            size = int.from_bytes(sent[2:head])
        payload = sent[head + 4 : head + 4 + size]
        if sent[0] & 8:
            yield sent[0] & 15, mask(payload)  # masking twice is not masking
        sent = sent[head + 4 + size :]


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@housed
async def test_the_peer_says_nothing_when_it_closes(house: House, encoding: str) -> None:
    async with upgraded(house.stage.url, encoding) as wire:
        wire.send(frame(CLOSE))
        assert await wire.rest() == [Frame(CLOSE, b"")]


@housed
async def test_half_a_close(house: House) -> None:
    """A peer that ends its half of the line has left."""
    for sent in (b"", b"\x81", frame(TEXT, b'{"type":', fin=False)):
        async with upgraded(house.stage.url) as wire:
            wire.send(sent)
            wire.writer.write_eof()
            assert await wire.rest() == []


@housed
async def test_compression_is_not_agreed_on(house: House) -> None:
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"
    async with dialled(house.stage.url) as wire:
        wire.send(request("json", offer))
        head = await wire.head()
        assert b" 101 " in head and b"extensions" not in head.lower()
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455, section 1.3
        wire.send(frame(TEXT, b"\xabV*\xa9,HU\xb2R*\xc8\xccKW\xaa\x05\x00", rsv=4))
        assert await wire.ended() == 1002


KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request().replace(KEY, b""), 400),
        (request().replace(KEY, b"Sec-WebSocket-Key: c2hvcnQ=\r\n"), 400),
        (request().replace(KEY, b"Sec-WebSocket-Key: ?\r\n"), 400),
        (request().replace(KEY, KEY * 2), 400),
        (request().replace(b"Version: 13", b"Version: 12"), 426),
        (request().replace(b"Sec-WebSocket-Version: 13\r\n", b""), 426),
        (request("json", "Sec-WebSocket-Version: 8"), 426),
        (request("json", "Sec-WebSocket-Extensions: ;;;"), 101),
        (request(method="POST"), 405),
        (request(method="OPTIONS"), 405),
        (request("json", "Content-Length: 5") + b"hello", 400),
        (request("json", f"Cookie: {'x' * 9000}"), 431),
        (request(show="x" * 9000), 414),
        (request("json", "X: \xff"), 101),
        (request("json", "Origin: null"), 403),
        (request("json", "Origin: https://evil.example"), 403),
        (request("json", "Origin: http://[::1"), 403),
    ],
)
@housed
async def test_handshakes(house: House, caplog: pytest.LogCaptureFixture, sent: bytes, status: int) -> None:
    async with dialled(house.stage.url) as wire:
        wire.send(sent)
        head = await wire.head()
        assert int(head.split(b" ", 2)[1]) == status, head
        if status == 426:
            assert b"sec-websocket-version: 13" in head.lower()
        if status != 101:
            async with asyncio.timeout(10):
                await wire.reader.read()
    assert caplog.records == []


@pytest.mark.parametrize("early", [frame(PING), b"\xff" * 100, frame(TEXT, b'{"type":"ping"}')])
@housed
async def test_frames_before_the_answer_end_the_line(
    house: House, caplog: pytest.LogCaptureFixture, early: bytes
) -> None:
    """RFC 6455, section 4.1: a client waits. What comes with the request is taken for a body that nobody reads."""
    async with dialled(house.stage.url) as wire:
        wire.send(request())
        await asyncio.sleep(0)
        wire.send(early)
        async with asyncio.timeout(10):
            await wire.reader.read(1)
    assert caplog.records == []


@housed
async def test_nothing_of_all_this_is_left(house: House) -> None:
    async with asyncio.timeout(10):
        while len(house.stage.connections):
            await asyncio.sleep(0.01)
