"""A viewer's WebSocket as the benches need it: bytes in, messages out, as little work as can be."""

import asyncio
from typing import cast

from loadtests.frames import CLOSE, PING, PONG, TEXT, FrameReader, client_frame


class Socket(asyncio.Protocol):
    """Who opens it writes the handshake; the answer's head, every message and the server's close are handed over."""

    def __init__(self) -> None:
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._head: bytes | None = b""

    def upgraded(self, head: bytes) -> None:
        """The server has answered the handshake."""

    def read(self, payload: bytes) -> None:
        """A text frame came."""

    def closed(self, payload: bytes) -> None:
        """The server says that it closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._head = None
            self.upgraded(head)
        for opcode, payload in self._reader.feed(data):
            if opcode == TEXT:
                self.read(payload)
            elif opcode == PING:
                self.write(client_frame(PONG, payload))
            elif opcode == CLOSE:
                self.closed(payload)

    def write(self, data: bytes) -> None:
        """Send what is framed already."""
        assert self._transport is not None, "it is connected"
        self._transport.write(data)
