"""What a hostile peer may try with a WebSocket, and what bounds it; under `transport.RawProtocol`.

websockets' parser is strict about frames (RFC 6455, section 5), but takes as many as come: a read of 256 KB holds
40,000 empty ones, which take it half a second, and uvicorn queues them all. So a read is parsed in pieces:

    handshake   anything but a request that can be upgraded ends the line; frames before our answer do, too
    messages    when one has been read, the rest waits unparsed until the application has done it, and the peer waits
                in its own TCP connection
    fragments   WS_FRAGMENTS_MAX of a message, and WS_FRAME_BYTES_MAX of them all together
    controls    WS_CONTROLS_MAX pings and pongs between two pings of ours; no pong to who does not read
    the end     after our close frame so many bytes are parsed to find the peer's; the line is cut in any case after
                WS_CLOSE_TIMEOUT_S, also when the peer does not read and bytes for it are left

Each of them ends its own connection only. `ended` counts them by reason.
"""

from asyncio import TimerHandle
from http import HTTPStatus
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State as WireState

from live.core.errors import FLOOD, MALFORMED_FRAME, SILENT, Close
from live.core.limits import (
    VIEWER_BACKLOG_BYTES_MAX,
    WS_CLOSE_TIMEOUT_S,
    WS_CLOSING_BYTES_MAX,
    WS_CONTROLS_MAX,
    WS_FEED_BYTES,
    WS_FRAGMENTS_MAX,
)
from live.realtime import closes
from live.realtime.pulse import Member, Pulse

_PULSES: WeakKeyDictionary[ServerState, Pulse] = WeakKeyDictionary()
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_PARSER_REASONS = {1002: "protocol", 1007: "utf8", 1009: "too_big"}  # codes that the parser closes with


class GuardedProtocol(WebSocketsSansIOProtocol):
    """See the module. `ended` is of all connections of the process: frames that were refused, by reason."""

    ended: ClassVar[dict[str, int]] = dict.fromkeys(
        ("handshake", "early", "protocol", "utf8", "too_big", "fragments", "controls", "silent", "cut"), 0
    )
    pongs_skipped: ClassVar[int] = 0

    close_timer: TimerHandle | None
    _unread = b""  # of the present read; not parsed yet
    _controls = 0  # pings and pongs since our last ping
    _closing_bytes = 0
    _unanswered = 0  # rounds of pings since the one that waits for its answer
    slot: set[Member] | None = None  # of the server's `Pulse`

    def __init__(self, config: Config, server_state: ServerState, *arguments: Any, **options: Any) -> None:
        super().__init__(config, server_state, *arguments, **options)
        interval_s, timeout_s = config.ws_ping_interval, config.ws_ping_timeout
        self._pulse = _PULSES.get(server_state)  # None: this server pings nobody
        if self._pulse is None and interval_s and timeout_s:
            self._pulse = _PULSES[server_state] = Pulse(interval_s, timeout_s, self.loop)

    @property
    def open(self) -> bool:
        return not (self.close_sent or self.disconnected or self.transport.is_closing())

    def shut(self, close: Close) -> None:
        """Send a close frame, and cut the line when the peer does not answer in time."""
        if not self.open or self.conn.state is not WireState.OPEN:
            return
        closes.sent[close.code] += 1
        self._part()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.conn.send_close(close.code, close.reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()
        # abort, not close: closing waits until all is written, and a stuck peer never reads.
        self.close_timer = self.loop.call_later(WS_CLOSE_TIMEOUT_S, self._cut)
        if self.read_paused:  # else the peer's answer would never be read
            self._read_on()

    # --- reading

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            self._begin(data)
        elif not self.handshake_complete:  # a client must wait for our answer (RFC 6455, section 4.1)
            self.came_early()
            self.transport.abort()
        else:
            self._feed(data)

    async def receive(self) -> Any:
        """The application's next event; what waits is read only when it has none."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty() and not self.disconnected:
            self._read_on()
        return message

    def _begin(self, request: bytes) -> None:
        """The request, which the HTTP protocol hands over. What it let pass the WebSocket's own parser may not: not a
        GET, lines that are too long. uvicorn would leave such a peer connected for ever, and without an answer."""
        super().data_received(request)
        if not self.handshake_initiated and not self.transport.is_closing():
            self._count("handshake")
            self.handshake_complete = self.close_sent = True
            answer = b"".join(self.conn.data_to_send())
            self.transport.write(answer or _BAD_REQUEST)
            self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """Who speaks another version is told ours (RFC 6455, section 4.4)."""
        if event.headers.get_all("Sec-WebSocket-Version") == ["13"]:
            super().handle_connect(event)
            return
        self.close_sent = True
        response = self.conn.reject(HTTPStatus.UPGRADE_REQUIRED, "This server speaks version 13 (RFC 6455).\n")
        response.headers["Sec-WebSocket-Version"] = "13"
        self.conn.send_response(response)

    def _feed(self, data: bytes) -> None:
        for start in range(0, len(data), WS_FEED_BYTES):
            if self.read_paused:
                self._unread = data[start:]
                return
            piece = data[start : start + WS_FEED_BYTES]
            if self.close_sent:
                self._closing_bytes += len(piece)
                if self._closing_bytes > WS_CLOSING_BYTES_MAX:
                    return
            super().data_received(piece)
            if self.transport.is_closing():
                return

    def _read_on(self) -> None:
        """Parse what waits, and read more when it holds no message."""
        self.read_paused = False
        unread, self._unread = self._unread, b""
        self._feed(unread)
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    # --- frames

    def handle_ping(self) -> None:
        """A peer that pings without reading must not fill our memory with pongs (RFC 6455, 5.5.3 lets us skip)."""
        if self._controlled():
            return
        if self.close_sent or self.transport.get_write_buffer_size() > VIEWER_BACKLOG_BYTES_MAX:
            GuardedProtocol.pongs_skipped += 1
            self.conn.data_to_send()
            return
        super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if not self._controlled() and event.data == self.pending_ping_payload:
            self.pending_ping_payload = None

    def handle_cont(self, event: Frame) -> None:
        """Endless empty fragments never reach the size limit."""
        if len(self.frames) >= WS_FRAGMENTS_MAX:
            self._refuse("fragments", MALFORMED_FRAME)
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Text that is no UTF-8 closes the socket; uvicorn would log a traceback for each."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._refuse("utf8", MALFORMED_FRAME)
                return
        super().send_receive_event_to_app()

    def _controlled(self) -> bool:
        """Whether a ping or pong is one too many."""
        self._controls += 1
        if self._controls <= WS_CONTROLS_MAX:
            return False
        self.conn.data_to_send()
        self._refuse("controls", FLOOD)
        return True

    # --- pings

    def start_keepalive(self) -> None:
        if self._pulse is not None:
            self._pulse.join(self)

    def stop_keepalive(self) -> None:
        if self._pulse is not None:
            self._pulse.leave(self)

    def pulse(self, payload: bytes, frame: bytes) -> None:
        """Our turn to be pinged, or to be given up when the last one was not answered."""
        if not self.open:
            return
        if self.pending_ping_payload is not None:
            self._unanswered += 1
            if self._pulse is None or self._unanswered >= self._pulse.patience:
                self._refuse("silent", SILENT)
            return
        self._controls = 0
        if self._unanswered:
            self._unanswered = 0
        self.pending_ping_payload = payload
        self.transport.write(frame)

    # --- the end

    def _part(self) -> None:
        """Nothing may follow a close frame (RFC 6455, 5.5.1): whoever writes to this socket is told."""

    def handle_close(self, event: Frame) -> None:
        self._part()
        super().handle_close(event)
        self._let_end()

    def handle_parser_exception(self) -> None:
        """The parser has sent a close frame with the RFC's own code, and reads nothing more."""
        assert self.conn.close_sent is not None
        code = self.conn.close_sent.code
        if not self.close_sent:
            closes.sent[code] += 1
            if code in _PARSER_REASONS:
                self._count(_PARSER_REASONS[code])
        self._part()
        super().handle_parser_exception()
        self._let_end()

    def eof_received(self) -> None:
        """The peer has ended its half; the transport closes as soon as it has written what is left."""
        self._let_end()

    def _let_end(self) -> None:
        """The line closes when all is written; a peer that reads nothing must not keep it open."""
        if self.close_timer is None and self.transport.get_write_buffer_size():
            self.stop_keepalive()
            self.close_timer = self.loop.call_later(WS_CLOSE_TIMEOUT_S, self._cut)

    def _cut(self) -> None:
        self._count("cut")
        self.transport.abort()

    def _refuse(self, reason: str, close: Close) -> None:
        self.frames = []
        if self.open:
            self._count(reason)
            self.shut(close)

    @classmethod
    def came_early(cls) -> None:
        """Count a line on which frames came before our answer."""
        cls._count("early")

    @classmethod
    def _count(cls, reason: str) -> None:
        GuardedProtocol.ended[reason] += 1
