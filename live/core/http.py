"""Requests that never end: uvicorn's HTTP protocol with bounds on what it reads and how long it waits.

uvicorn keeps all header lines of a request, its parser all bytes of an unfinished line, and neither has a deadline:
a peer could fill the memory with one request, or hold sockets open with a byte now and then (RFC 9112, section 9.5
and RFC 6585, section 5 let a server end both).

    idle ── a. first byte ──> head ── b. empty line ──> body ── c. last byte ──> idle

a. starts the deadline of the head (so does the connection itself, for a peer that says nothing at all),
b. the one of the body, c. ends it. While a response is made nothing is due; between requests uvicorn's own
`timeout_keep_alive` counts. After an upgrade the WebSocket's own deadlines count.

Nor does uvicorn wait in vain for a peer that reads nothing any more: a response that it does not take for
HTTP_STALL_S ends the line. Connections are bounded, all of them and, before their first request has come, those of
one peer: those are what costs a peer nothing (behind a proxy the proxy's own bounds count).
"""

import asyncio
import sys
from enum import Enum, auto
from typing import ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from live.core import codec
from live.core.addresses import network
from live.core.errors import Kind, Problem
from live.core.limits import (
    HTTP_BODY_BYTES_MAX,
    HTTP_BODY_TIMEOUT_S,
    HTTP_CONNECTIONS_MAX,
    HTTP_FEED_BYTES,
    HTTP_HEAD_TIMEOUT_S,
    HTTP_HEADER_BYTES_MAX,
    HTTP_HEADERS_MAX,
    HTTP_PIPELINED_MAX,
    HTTP_STALL_S,
    HTTP_UNFINISHED_MAX,
    RETRY_AFTER_FULL_S,
)


class _Phase(Enum):
    idle = auto()
    head = auto()
    body = auto()


class BoundedProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=…)`. Past a bound the peer is told why, if it can be told, and the line is cut.

    `refused` is of all connections of the process: those that were ended, by the name of the error or by why they
    were cut without a word.
    """

    refused: ClassVar[dict[str, int]] = {}
    unfinished: ClassVar[dict[str, int]] = {}  # connections without a request yet, by address

    connections_max = HTTP_CONNECTIONS_MAX
    unfinished_max = HTTP_UNFINISHED_MAX
    stall_s: float = HTTP_STALL_S
    head_timeout_s: float = HTTP_HEAD_TIMEOUT_S
    body_timeout_s: float = HTTP_BODY_TIMEOUT_S  # for all of a body, or for each HTTP_BODY_BYTES_MAX of a longer one

    _phase = _Phase.idle
    _begun = 0  # requests on this connection
    _head_bytes = 0  # of the present request: its line, its headers, and its trailers
    _head_lines = 0
    _body_bytes = 0  # since the deadline was set
    _stuck_bytes = 0  # fed since the parser last told us anything; it keeps them
    _left_bytes = 0  # of the present read: the piece that is parsed, and what comes after it
    _told = False
    _refusal: Problem | None = None
    _upgraded = False
    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _newcomer: str | None = None  # its address, until its first request has come
    _deadline_of: tuple[int, _Phase] = (0, _Phase.idle)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._newcomer = network(self.client[0]) if self.client else ""
        unfinished = self.unfinished[self._newcomer] = self.unfinished.get(self._newcomer, 0) + 1
        if len(self.connections) > self.connections_max:
            self._refuse(Problem(Kind.overloaded, retry_after_s=RETRY_AFTER_FULL_S))
        elif unfinished > self.unfinished_max:
            self._refuse(Problem(Kind.rate_limited, retry_after_s=RETRY_AFTER_FULL_S))
        else:
            self._expect(self.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        self._settle()
        self._unstall()
        super().connection_lost(exc)
        # The request and we hold each other; cut here, both go at once and are no work for the garbage collector.
        self.pipeline.clear()
        self.cycle = self.scope = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        # In pieces, because a read may bring 256 KB, and a bound is only seen between two pieces.
        for start in range(0, len(data), HTTP_FEED_BYTES):
            piece = data[start : start + HTTP_FEED_BYTES]
            self._left_bytes = len(data) - start
            self._told = False
            super().data_received(piece)
            if self._upgraded or self.transport.is_closing():
                return
            self._stuck_bytes = 0 if self._told else self._stuck_bytes + len(piece)
            if self._head_bytes + self._stuck_bytes > HTTP_HEADER_BYTES_MAX:
                self._refuse(Problem(Kind.headers_too_large))
                return
        present = (self._begun, self._phase)
        if present != self._deadline_of:
            self._deadline_of = present
            self._expect({_Phase.head: self.head_timeout_s, _Phase.body: self.body_timeout_s}.get(self._phase))
        elif self._phase is _Phase.idle and self._deadline is None:
            # Only empty lines, which the parser skips; yet they have ended uvicorn's wait for the next request.
            self._expect(self.head_timeout_s)

    # --- what the parser tells

    def on_message_begin(self) -> None:
        self._told = True
        self._phase = _Phase.head
        self._begun += 1
        self._head_bytes = self._head_lines = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._told = True
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Also called for each trailer; uvicorn keeps those with the headers."""
        self._told = True
        self._head_lines += 1
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._told = True
        if len(self.pipeline) >= HTTP_PIPELINED_MAX:
            self._stop(Problem(Kind.overloaded))
        self._phase = _Phase.body
        self._body_bytes = 0
        self._settle()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._told = True
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._told = True
        self._phase = _Phase.idle
        super().on_message_complete()

    def _count(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > HTTP_HEADER_BYTES_MAX or self._head_lines > HTTP_HEADERS_MAX:
            self._stop(Problem(Kind.headers_too_large))

    def _stop(self, problem: Problem) -> None:
        """Leave the parser from within, which it takes for a malformed request."""
        self._refusal = problem
        raise problem

    # --- deadlines

    def _expect(self, timeout_s: float | None) -> None:
        """Something must have happened in `timeout_s` seconds; None: nothing is due."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if timeout_s is None else self.loop.call_later(timeout_s, self._overdue)

    def _overdue(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._phase is _Phase.body:
            moved, self._body_bytes = self._body_bytes, 0
            # It is not the peer's fault when we do not read.
            if self.flow.read_paused or moved >= HTTP_BODY_BYTES_MAX:
                self._expect(self.body_timeout_s)
                return
        elif self._answering():
            self._expect(self.head_timeout_s)
            return
        self._refuse(Problem(Kind.request_timeout))

    def _settle(self) -> None:
        """The peer's first request has come, or it has gone: it is no newcomer any more."""
        if self._newcomer is not None:
            self.unfinished[self._newcomer] -= 1
            if not self.unfinished[self._newcomer]:
                del self.unfinished[self._newcomer]
            self._newcomer = None

    # --- peers that do not read

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unstall()
        self._stalled = self.loop.call_later(self.stall_s, self._cut, "stalled")

    def resume_writing(self) -> None:
        self._unstall()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Closing waits until all is written, which may be never."""
        if self.transport.get_write_buffer_size():
            self._cut("stalled")
        else:
            super().timeout_keep_alive_handler()

    def _unstall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # --- the end

    def handle_websocket_upgrade(self) -> None:
        if self._answering() or self.transport.get_write_buffer_size():  # an answer would be taken for a frame
            self._cut("upgraded_early")
            return
        self._upgraded = True
        self._expect(None)
        upgrade = sys.exception()  # the parser's, which says how far it has read
        early = isinstance(upgrade, httptools.HttpParserUpgrade) and upgrade.args[0] < self._left_bytes
        if early and not any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
            # Uvicorn would drop it without a word; a client waits for our answer (RFC 6455, 4.1).
            count = getattr(self.ws_protocol_class, "came_early", None)
            if count is not None:
                count()
            self.transport.abort()
            return
        take_over = getattr(self.ws_protocol_class, "take_over", None)
        if take_over is None or take_over(self) is None:
            super().handle_websocket_upgrade()
        # It and we hold each other, which is work for the garbage collector, unless one lets go.
        self.parser = None  # type: ignore[assignment]

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when the parser has given up."""
        self._refuse(self._refusal or Problem(Kind.malformed, msg))

    def _answering(self) -> bool:
        return bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    def _refuse(self, problem: Problem) -> None:
        """Answer, unless that would get into another request's response, and close without reading on."""
        self._expect(None)
        own = self._phase is _Phase.body and not self.pipeline and not self.cycle.response_started
        if (self._answering() and not own) or self.transport.get_write_buffer_size():
            self._cut(problem.kind.name)
            return
        self._note(problem.kind.name)
        if self.cycle is not None:
            self.cycle.disconnected = True  # the application must not answer too
            self.cycle.message_event.set()
        body = codec.encode(problem.body(), "json")
        headers = [
            *self.server_state.default_headers,
            *([] if problem.retry_after_s is None else [(b"retry-after", b"%d" % problem.retry_after_s)]),
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[problem.kind.status] + lines + b"\r\n" + body)
        self.transport.close()

    def _cut(self, reason: str) -> None:
        self._note(reason)
        self.transport.abort()

    def _note(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
