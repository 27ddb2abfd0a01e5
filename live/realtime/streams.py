"""Frames written as server-sent events (WHATWG HTML, 9.2): the `Socket` of viewers whose network breaks WebSockets.

    data: [{"type":"event", …}, …]      one event for each frame; JSON holds no line breaks, so it is one line
    :                                   a comment, when nothing else was written for a while
    event: close                        the last one: why the stream ends, by the numbers of a socket's close codes
    data: {"code":4000,"reason":"…"}

As with WebSockets, a `send` of ASGI for each viewer would cost several times the write. So our HTTP protocol lends the
connection of a response that has begun (the scope's extension `showcart.stream`), and chunks (RFC 9112, 7.1) are
written to its transport; a frame becomes a chunk once, whoever gets it. On other ASGI servers it goes by `send`.

Half-open lines are found by the kernel: a comment that is not acknowledged for STREAM_SILENT_S ends the connection.
"""

import asyncio
import contextlib
import socket as sockets
from collections.abc import MutableMapping
from typing import Any, Protocol

from starlette.types import Receive, Send

from live.core.codec import encode
from live.core.errors import Close
from live.core.http import BoundedProtocol
from live.core.limits import STREAM_SILENT_S, VIEWER_BACKLOG_BYTES_MAX, VIEWER_RESUME_BYTES, WS_CLOSE_TIMEOUT_S
from live.realtime import closes
from live.realtime.frames import payload_of, wrap
from live.realtime.transport import OrdinarySocket, Socket, Watcher

EXTENSION = "showcart.stream"
_PATH_END = b"/stream"
_NOTHING = wrap(b"", "json")
_COMMENT = b":\n\n"


def event(payload: bytes) -> bytes:
    """`payload`, a list of messages as JSON, as an event; a comment when it is empty."""
    return b"data: %b\n\n" % payload if payload else _COMMENT


def closing(close: Close) -> bytes:
    """The last event of a stream."""
    return b"event: close\ndata: %b\n\n" % encode({"code": close.code, "reason": close.reason}, "json")


def chunk(body: bytes) -> bytes:
    """`body` in the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(body), body)


class Chunks:
    """The newest frame as a chunk: all viewers of a show are written the same one, one after the other."""

    __slots__ = ("made", "of")

    def __init__(self) -> None:
        self.of = b""
        self.made = b""

    def make(self, frame: bytes) -> None:
        self.made = chunk(event(payload_of(frame)))
        self.of = frame


class Stream(Socket, Protocol):
    """A socket that nothing can be heard from."""

    def beat(self) -> None:
        """Show that somebody is there, unless there is more to read already."""

    async def ended(self) -> None:
        """Wait until the response is over, from whichever side."""


class RawStream:
    """A response that has begun, written to its transport. See the module."""

    __slots__ = ("_chunks", "_cut", "_gone", "_over", "_transport", "watcher")

    def __init__(self, transport: asyncio.Transport, chunks: Chunks) -> None:
        self.watcher: Watcher | None = None
        self._transport = transport
        self._chunks = chunks
        self._over = False
        self._gone = asyncio.Event()
        self._cut: asyncio.TimerHandle | None = None
        transport.set_write_buffer_limits(high=VIEWER_BACKLOG_BYTES_MAX, low=VIEWER_RESUME_BYTES)
        option = getattr(sockets, "TCP_USER_TIMEOUT", None)  # elsewhere the system's own patience counts
        line = transport.get_extra_info("socket")
        if option is not None and line is not None:
            with contextlib.suppress(OSError):  # not TCP
                line.setsockopt(sockets.IPPROTO_TCP, option, int(STREAM_SILENT_S * 1000))

    @property
    def open(self) -> bool:
        return not (self._over or self._transport.is_closing())

    def write(self, frame: bytes) -> None:
        chunks = self._chunks
        if frame is not chunks.of:
            chunks.make(frame)
        self._transport.write(chunks.made)

    def backlog(self) -> int:
        return self._transport.get_write_buffer_size()

    def slim(self) -> None:
        """Nothing is kept that could be forgotten."""

    def beat(self) -> None:
        if self.open and not self.backlog():
            self._transport.write(chunk(_COMMENT))

    def shut(self, close: Close) -> None:
        if not self.open:
            return
        closes.sent[close.code] += 1
        self._over = True
        self._transport.write(chunk(closing(close)) + b"0\r\n\r\n")
        self._transport.close()  # when all is written, which may be never
        self._cut = asyncio.get_running_loop().call_later(WS_CLOSE_TIMEOUT_S, self._transport.abort)

    async def ended(self) -> None:
        await self._gone.wait()

    def lost(self) -> None:
        """The connection is no more."""
        self._over = True
        self._gone.set()
        if self._cut is not None:
            self._cut.cancel()
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            watcher.lost()


class StreamingProtocol(BoundedProtocol):
    """For `uvicorn.Config(http=…)`: lends its connection to a stream, and tells it how the peer keeps up."""

    _stream: RawStream | None = None
    _lost = False

    def on_headers_complete(self) -> None:
        if self.url.endswith(_PATH_END):
            self.scope["extensions"] = {EXTENSION: {"lend": self._lend, "followed": self._followed}}
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        if self._stream is None:
            super().data_received(data)
        else:  # uvicorn would keep the request, and would not notice any more when the peer goes
            self._cut("behind_stream")

    def _followed(self) -> bool:
        """Whether another request has come already; then there can be no stream."""
        return bool(self.pipeline)

    def _lend(self, chunks: Chunks) -> RawStream:
        """The connection of the response that has begun, till its end: no other response comes after it."""
        self._stream = RawStream(self.transport, chunks)
        if self._lost:
            self._stream.lost()
        return self._stream

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stream is not None and self._stream.watcher is not None:
            self._stream.watcher.stalled()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stream is not None and self._stream.watcher is not None:
            self._stream.watcher.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if (scope := self.scope) is not None and "extensions" in scope:
            scope["extensions"] = {}  # our own methods: a ring of references as long as somebody has the scope
        try:
            super().connection_lost(exc)
        finally:
            if self._stream is not None:
                self._stream.lost()


class OrdinaryStream(OrdinarySocket):
    """A stream over `http.response.body`, for ASGI servers without the extension."""

    def __init__(self, receive: Receive, send: Send) -> None:
        async def carry(message: MutableMapping[str, Any]) -> None:
            ends = message["type"] == "websocket.close"
            body = closing(Close(message["code"], message["reason"])) if ends else event(message["text"].encode())
            await send({"type": "http.response.body", "body": body, "more_body": not ends})

        super().__init__(carry)
        self._receive = receive

    def beat(self) -> None:
        if self.open and not self.backlog():
            self.write(_NOTHING)

    async def ended(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue  # an empty rest of the body
