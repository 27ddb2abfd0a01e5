"""The WebSocket endpoint `/ws/{show}`: carries connections over the sockets of browsers.

One task per socket reads and does one message after the other, so a client that sends faster than it is served
waits in its own TCP connection.
"""

from collections.abc import Awaitable, Sequence

from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from live.core.codec import encode
from live.core.errors import BAD_SUBPROTOCOL, GOING_AWAY, Problem
from live.realtime import closes
from live.realtime.connections import Connections
from live.realtime.protocol import SUBPROTOCOLS
from live.realtime.transport import EXTENSION, OrdinarySocket, Socket

_PATH = "/ws/"
_STREAM_PATH = ("/api/shows/", "/stream")


class Gateway:
    """See the module."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.route = WebSocketRoute("/ws/{show}", self, name="ws")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        await receive()  # websocket.connect
        address = scope["client"][0] if scope.get("client") else ""
        if problem := self._connections.refuse(scope["headers"], address):
            await _reject(scope, send, problem)
            return
        try:
            await self._serve(scope, receive, send, address)
        finally:
            self._connections.released(address)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, address: str) -> None:
        subprotocol = next((name for name in scope["subprotocols"] if name in SUBPROTOCOLS), None)
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        if subprotocol is None:
            closes.sent[BAD_SUBPROTOCOL.code] += 1
            # After the handshake, because a page cannot read the status of one that fails.
            await send({"type": "websocket.close", "code": BAD_SUBPROTOCOL.code, "reason": BAD_SUBPROTOCOL.reason})
            return
        extension = scope["extensions"].get(EXTENSION) if scope.get("extensions") else None
        socket: Socket = extension["socket"] if extension else OrdinarySocket(send)
        show: str = scope["path_params"]["show"]
        connection = self._connections.open(socket, SUBPROTOCOLS[subprotocol], show, address)
        socket.slim()
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                text = message.get("text")
                await self._connections.receive(connection, message["bytes"] if text is None else text)
        finally:
            self._connections.closed(connection)
            if isinstance(socket, OrdinarySocket):
                await socket.aclose()


class Shortcut:
    """ASGI: viewers' sockets straight to the gateway, their streams to `fallback`, everything else to `app`, which has
    the routes of both, too.

    Starlette's middleware and the routes before ours cost each viewer time, and frames that stay as long as the viewer.
    `hosts` None: every Host is good; with another one than these, `app` says no.

    Not a coroutine function: a frame less for each of them.
    """

    def __init__(self, app: ASGIApp, gateway: Gateway, fallback: ASGIApp, hosts: Sequence[str] | None = None) -> None:
        self._app = app
        self._gateway = gateway
        self._fallback = fallback
        self._hosts = None if hosts is None else frozenset(host.encode() for host in hosts)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "websocket":
            found = self._to(self._gateway, scope, _PATH, "")
        else:
            found = self._to(self._fallback, scope, *_STREAM_PATH) if scope.get("method") == "POST" else None
        return (found or self._app)(scope, receive, send)

    def _to(self, app: ASGIApp, scope: Scope, before: str, after: str) -> ASGIApp | None:
        """`app` when the path is a show between `before` and `after`; None when it is not its to answer."""
        path: str = scope["path"]
        if not (path.startswith(before) and path.endswith(after)):
            return None
        show = path[len(before) : len(path) - len(after)]
        if not show or "/" in show or not self._knows(scope):
            return None
        scope["path_params"] = {"show": show}
        return app

    def _knows(self, scope: Scope) -> bool:
        if self._hosts is None:
            return True
        named = [value.partition(b":")[0] for name, value in scope["headers"] if name == b"host"]
        return len(named) == 1 and named[0] in self._hosts


async def _reject(scope: Scope, send: Send, problem: Problem) -> None:
    """Refuse the handshake with problem+json; without the extension of ASGI for it, with a bare 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": GOING_AWAY.code})
        return
    headers = [(b"content-type", b"application/problem+json")]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(problem.retry_after_s).encode()))
    await send({"type": "websocket.http.response.start", "status": problem.kind.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": encode(problem.body(), "json")})
