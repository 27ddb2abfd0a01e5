"""The WebSocket endpoint `/ws/{show}`: carries connections over the sockets of browsers.

One task per socket reads and does one message after the other, so a client that sends faster than it is served
waits in its own TCP connection.
"""

from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from live.core.codec import Encoding, encode
from live.core.errors import BAD_SUBPROTOCOL, GOING_AWAY, Problem
from live.realtime.connections import Connections
from live.realtime.protocol import SUBPROTOCOLS
from live.realtime.transport import EXTENSION, OrdinarySocket, Socket


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
        subprotocol = next((name for name in scope["subprotocols"] if name in SUBPROTOCOLS), None)
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        if subprotocol is None:
            # After the handshake, because a page cannot read the status of one that fails.
            await send({"type": "websocket.close", "code": BAD_SUBPROTOCOL.code, "reason": BAD_SUBPROTOCOL.reason})
            return
        await self._serve(scope, receive, send, SUBPROTOCOLS[subprotocol], address)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, encoding: Encoding, address: str) -> None:
        extension = scope["extensions"].get(EXTENSION) if scope.get("extensions") else None
        socket: Socket = extension["socket"] if extension else OrdinarySocket(send)
        connection = self._connections.open(socket, encoding, scope["path_params"]["show"], address)
        socket.slim()
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                text = message.get("text")
                await self._connections.receive(connection, message["bytes"] if text is None else text)
        finally:
            self._connections.closed(connection)
            if isinstance(socket, OrdinarySocket):
                await socket.aclose()


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
