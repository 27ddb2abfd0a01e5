"""A client that sends whatever bytes it likes: frames are built by hand here, right and wrong ones (RFC 6455, 5.2)."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgpack

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"
PATIENCE_S = 15.0


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: bytes | None = None,
) -> bytes:
    """A client's frame. `length` None: as long as the payload; else the bytes that say how long it is."""
    size = len(payload)
    if length is None:
        length = bytes((size,)) if size < 126 else b"\x7e" + struct.pack("!H", size) if size < 65536 else wide(size)
    head = bytes((fin << 7 | rsv << 4 | opcode, length[0] | masked << 7)) + length[1:]
    return head + (MASK + mask(payload) if masked else payload)


def wide(size: int) -> bytes:
    """A length in eight bytes, whether it needs them or not."""
    return b"\x7f" + struct.pack("!Q", size)


def mask(payload: bytes) -> bytes:
    """`payload` masked with `MASK`."""
    keys = int.from_bytes((MASK * (len(payload) // 4 + 1))[: len(payload)])
    return (int.from_bytes(payload) ^ keys).to_bytes(len(payload))


def closing(code: int, reason: bytes = b"") -> bytes:
    """A close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason)


class Frame(NamedTuple):
    """A frame of the server's."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """Of a close frame; None: it says none."""
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None

    def messages(self) -> list[dict[str, Any]]:
        """What a data frame holds."""
        found: list[dict[str, Any]] = json.loads(self.payload) if self.opcode == TEXT else msgpack.unpackb(self.payload)
        return found


class Wire:
    """A TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *content: bytes) -> None:
        self.writer.write(b"".join(content))

    async def flood(self, content: bytes, times: int = 1) -> None:
        """Send as fast as the other end takes it, until it takes no more because it has hung up."""
        try:
            for _ in range(times):
                self.writer.write(content)
                await self.writer.drain()
        except OSError:
            return

    async def head(self) -> bytes:
        """The head of the answer to the handshake."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def frame(self) -> Frame | None:
        """The next frame; None: the line is at its end."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                first, size = await self.reader.readexactly(2)
                assert first & 0x80 and not first & 0x70, "the server neither fragments nor extends"
                assert not size & 0x80, "a server does not mask"
                if size >= 126:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
                return Frame(first & 15, await self.reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def rest(self, *, polite: bool = True) -> list[Frame]:
        """All frames until the line ends; `polite`: a close frame is answered."""
        frames = []
        while (found := await self.frame()) is not None:
            frames.append(found)
            if found.opcode == CLOSE and polite:
                self.send(frame(CLOSE, found.payload))
        return frames

    async def ended(self) -> int | None:
        """The code of the close frame that the line ends with; None: it was cut without one."""
        frames = await self.rest()
        closes = [each for each in frames if each.opcode == CLOSE]
        assert len(closes) <= 1, "a close frame is the last one"
        assert not closes or frames[-1] is closes[0]
        return closes[0].code if closes else None


def request(encoding: str = "json", *lines: str, show: str = "demo", method: str = "GET") -> bytes:
    """A handshake; `lines` are further headers."""
    text = (
        f"{method} /ws/{show} HTTP/1.1", "Host: shop.test", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: showcart.{encoding}.v1", *lines,
    )  # fmt: skip
    return "\r\n".join(text).encode("latin-1") + b"\r\n\r\n"


@asynccontextmanager
async def dialled(url: str, **options: Any) -> AsyncIterator[Wire]:
    """A connection that has said nothing yet."""
    host, _, port = url.removeprefix("ws://").partition(":")
    where: dict[str, Any] = {} if "sock" in options else {"host": host, "port": int(port)}
    reader, writer = await asyncio.open_connection(**where, **options)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def upgraded(url: str, encoding: str = "json", *lines: str, **options: Any) -> AsyncIterator[Wire]:
    """A connection after its handshake."""
    async with dialled(url, **options) as wire:
        wire.send(request(encoding, *lines))
        assert b" 101 " in await wire.head()
        yield wire
