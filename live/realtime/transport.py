"""Frames written straight to the transport: uvicorn's WebSocket protocol with an ASGI extension.

An ASGI `websocket.send` per viewer costs five times a plain `socket.send` (a task switch, a dict, a frame built
again). So the scope's extension `showcart.raw` hands the application a `Socket`, which takes ready frames. On other
ASGI servers `OrdinarySocket` does the same through `websocket.send`, slower, with the same bounds.

Both tell the watcher when the peer reads too slowly (`stalled`: more than VIEWER_BACKLOG_BYTES_MAX wait), when it
has caught up (`drained`), and when it is gone (`lost`).
"""

import asyncio
from asyncio import BaseTransport
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, Self, cast
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState
from websockets.http11 import Request

from live.core.errors import Close
from live.core.limits import (
    VIEWER_BACKLOG_BYTES_MAX,
    VIEWER_RESUME_BYTES,
    WS_FRAME_BYTES_MAX,
    WS_PING_INTERVAL_S,
    WS_PING_TIMEOUT_S,
)
from live.core.tasks import end
from live.realtime import closes
from live.realtime.frames import payload_of
from live.realtime.guard import GuardedProtocol
from live.realtime.handshake import Plain, plain, refusing, switching
from live.realtime.mould import Mould

EXTENSION = "showcart.raw"
_MOULDS: WeakKeyDictionary[ServerState, Mould] = WeakKeyDictionary()


class Watcher(Protocol):
    """Who is told how the peer keeps up."""

    def stalled(self) -> None: ...
    def drained(self) -> None: ...
    def lost(self) -> None: ...


class Socket(Protocol):
    """A connected viewer's socket. `write` takes a whole frame and must not be called after `shut` or `lost`."""

    watcher: Watcher | None

    @property
    def write(self) -> Callable[[bytes], object]: ...
    @property
    def open(self) -> bool: ...
    def shut(self, close: Close) -> None: ...
    def backlog(self) -> int: ...
    def slim(self) -> None: ...


class _Mailbox:
    """What uvicorn has for its application, which is one task: an `asyncio.Queue` does the same with 2 KB a viewer."""

    __slots__ = ("_events", "_news")

    def __init__(self) -> None:
        self._events: list[Any] = []
        self._news: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        return not self._events

    def qsize(self) -> int:
        return len(self._events)

    def put_nowait(self, event: Any) -> None:
        self._events.append(event)
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def get(self) -> Any:
        while not self._events:
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        return self._events.pop(0)


class RawProtocol(GuardedProtocol):
    """uvicorn's protocol, which is itself the `Socket`: an object less per viewer. For `uvicorn.Config(ws=…)`."""

    watcher: Watcher | None = None
    _refusal: Any = None  # the beginning of our answer when a plain handshake is refused
    _accept = ""  # what a plain handshake is to be answered; "" when it came the long way

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.queue = cast(Any, _Mailbox())

    @classmethod
    def take_over(cls, http: HttpToolsProtocol) -> Self | None:
        """Go on with the connection of a request for a WebSocket; None when it must go uvicorn's way. See `handshake`.

        Called by the HTTP protocol, which then is done with.
        """
        found = plain(http.parser.get_method(), http.parser.get_http_version(), http.url, http.headers)
        if found is None:
            return None
        mould = _MOULDS.get(http.server_state)
        if mould is None:
            made = cls(http.config, http.server_state, http.app_state)
            mould = _MOULDS[http.server_state] = Mould(made, made.conn)
        taken: Self = mould.protocol()
        taken.queue = cast(Any, _Mailbox())
        taken.conn = mould.parser()
        taken.default_headers = http.server_state.default_headers
        # What `connection_made` does, but without asking the kernel for both addresses again.
        taken.transport = http.transport
        taken.server, taken.client, taken.scheme = http.server, http.client, "wss" if http.scheme == "https" else "ws"
        taken.connections.discard(http)
        taken.connections.add(taken)
        taken._bound()
        taken._hand_over(found, http.url, http.headers)
        taken.transport.set_protocol(taken)
        return taken

    def _hand_over(self, found: Plain, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Hand a plain handshake to the application, as `handle_connect` does."""
        self._accept = found.accept
        self.handshake_initiated = True
        raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("ascii")
        self.scope = {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": self.root_path,
            "path": self.root_path + (unquote(path) if "%" in path else path),
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": query,
            "headers": headers,
            "subprotocols": found.subprotocols,
            "state": self.app_state.copy(),
            "extensions": {"websocket.http.response": {}, EXTENSION: {"socket": self}},
        }
        self.queue.put_nowait({"type": "websocket.connect"})
        task = self.loop.create_task(self.run_asgi())
        task.add_done_callback(self.on_task_complete)
        self.tasks.add(task)

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._bound()

    def _bound(self) -> None:
        self.transport.set_write_buffer_limits(high=VIEWER_BACKLOG_BYTES_MAX, low=VIEWER_RESUME_BYTES)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # the handshake was accepted; the application's task has not begun yet
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = {"socket": self}

    async def send(self, message: Any) -> None:
        type_ = message["type"]
        if self._accept and not self.disconnected:
            if type_ == "websocket.accept":
                extra = [*self.default_headers, *message.get("headers", ())]
                self.transport.write(switching(self._accept, message.get("subprotocol"), extra))
                self._accept = ""
                self.handshake_complete = True
                self.start_keepalive()
                return
            if type_ == "websocket.http.response.start":
                self._refusal = message
                return
            if type_ == "websocket.http.response.body" and self._refusal is not None:
                self._turn_away(self._refusal, message["body"])
                return
        await super().send(message)
        if type_ == "websocket.http.response.body":
            # A refusal is a complete answer; uvicorn would log an error for each, which floods the log for strangers.
            self.handshake_complete = True

    def _turn_away(self, start: Any, body: bytes) -> None:
        """Answer a plain handshake with `body`, all of it, without the objects `websockets` would make for each of a
        crowd."""
        self._accept, self._refusal = "", None
        headers = [*self.default_headers, *start.get("headers", ())]
        self.transport.write(refusing(start["status"], headers, body))
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.handshake_complete = self.close_sent = True
        self.transport.close()

    # --- Socket

    @property
    def write(self) -> Callable[[bytes], object]:
        return self.transport.write

    def backlog(self) -> int:
        return self.transport.get_write_buffer_size()

    def slim(self) -> None:
        """Forget the handshake, which is needed no more: about 4 KB a viewer."""
        forgotten: Any = None
        self.request = self.response = forgotten
        self.scope["headers"] = []

    # --- how the peer keeps up

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.watcher is not None:
            self.watcher.stalled()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.watcher is not None:
            self.watcher.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        watcher, self.watcher = self.watcher, None
        try:
            super().connection_lost(exc)
            self._let_go()
        finally:  # whatever failed: a viewer whose line is gone must not be written to
            if watcher is not None:
                watcher.lost()

    def _part(self) -> None:
        if self.watcher is not None:
            self.watcher.lost()

    def _let_go(self) -> None:
        """Break the rings of references, so that all of this goes with its last user and is no work for the garbage
        collector: after a show with 10,000 viewers that would be 270,000 objects to search at once."""
        nothing: Any = None
        if scope := getattr(self, "scope", nothing):
            scope["extensions"] = {}
        self._unread = b""
        self.conn.parser.close()
        self.conn.parser = nothing


def uvicorn_options() -> dict[str, Any]:
    """What `uvicorn.Config` needs for our sockets.

    No compression (64 KB a connection; batches gain more). `live.realtime.pulse` sends the pings.
    """
    return {
        "interface": "asgi3",  # not guessed: applications may be plain functions that answer an awaitable
        "ws": RawProtocol,
        "ws_max_size": WS_FRAME_BYTES_MAX,
        "ws_per_message_deflate": False,
        "ws_ping_interval": WS_PING_INTERVAL_S,
        "ws_ping_timeout": WS_PING_TIMEOUT_S,
        # uvicorn would believe whatever a peer on this machine says; `live.core.addresses` does it by our settings.
        "proxy_headers": False,
    }


class OrdinarySocket:
    """A `Socket` over `websocket.send`, for ASGI servers without the extension."""

    def __init__(self, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        self.watcher: Watcher | None = None
        self._send = send
        self._waiting: deque[bytes | Close] = deque()
        self._bytes = 0
        self._over = False  # told `stalled`
        self.open = True
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = asyncio.create_task(self._run(), name="ordinary socket")

    def write(self, frame: bytes) -> None:
        self._waiting.append(frame)
        self._bytes += len(frame)
        self._news.set()
        if self._bytes > VIEWER_BACKLOG_BYTES_MAX and not self._over:
            self._over = True
            if self.watcher is not None:
                self.watcher.stalled()

    def backlog(self) -> int:
        return self._bytes

    def slim(self) -> None:
        """Nothing is kept that could be forgotten."""

    def shut(self, close: Close) -> None:
        if self.open:
            closes.sent[close.code] += 1
        self.open = False
        self._waiting.append(close)
        self._news.set()

    async def aclose(self) -> None:
        """Stop writing; called when the connection is over."""
        self.open = False
        watcher, self.watcher = self.watcher, None
        try:
            await end(self._task)
            self._task = None
        finally:
            if watcher is not None:
                watcher.lost()

    async def _run(self) -> None:
        try:
            while True:
                while not self._waiting:
                    self._news.clear()
                    await self._news.wait()
                item = self._waiting.popleft()
                if isinstance(item, Close):
                    await self._send({"type": "websocket.close", "code": item.code, "reason": item.reason})
                    return
                # JSON is text; a frame's first byte says which it is.
                payload = payload_of(item)
                text = item[0] == 0x81
                await self._send(
                    {"type": "websocket.send", "text": payload.decode()}
                    if text
                    else {"type": "websocket.send", "bytes": payload}
                )
                self._bytes -= len(item)
                if self._over and self._bytes <= VIEWER_RESUME_BYTES:
                    self._over = False
                    if self.watcher is not None:
                        self.watcher.drained()
        except (OSError, RuntimeError):
            return  # the peer is gone; the endpoint hears it from `receive`
