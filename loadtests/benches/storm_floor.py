"""The least that any server does in a join storm: `python -m loadtests.benches.storm_floor` prints its port and serves.

It answers each handshake and each first message with constant bytes, as many as ours, and looks at nothing. What joins
take there the machine takes, and whoever makes the storm on it.
"""

import asyncio
import sys
from typing import cast

import uvloop

_BACKLOG = 4096
_SNAPSHOT = b"[" + b" " * 5426 + b"]"  # as large as that of the demo's show
_ANSWERS = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: showcart.json.v1\r\n\r\n",
    bytes((0x81, 126)) + len(_SNAPSHOT).to_bytes(2) + _SNAPSHOT,
)


class _Bare(asyncio.Protocol):
    _answers: tuple[bytes, ...] = _ANSWERS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answers:
            self._transport.write(self._answers[0])
            self._answers = self._answers[1:]


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Bare, "127.0.0.1", 0, backlog=_BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(uvloop.run(_serve()))
