"""Connections that come and go while what stays is set apart: nothing of them is left behind.

On the loop of production: the transports of asyncio's own are rings of references.
"""

import asyncio
import gc
from typing import cast
from urllib.parse import urlsplit

import pytest

from live.core.garbage import Tidy
from tests.realtime.conftest import House, Stage, housed

_UPGRADE = (
    b"GET /ws/demo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: showcart.json.v1\r\n\r\n"
)
_CONNECT = b'{"type":"connect","id":"1"}'
_FRAME = bytes((0x81, 0x80 | len(_CONNECT), 0, 0, 0, 0)) + _CONNECT
_STREAM = (
    b"POST /api/shows/demo/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_CONNECT), _CONNECT)
)
_REQUEST = b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_EACH = 50
_ROUNDS = 4


class Visitor(asyncio.Protocol):
    """Sends one after the other, each after an answer to the one before; then stays."""

    def __init__(self, says: list[bytes], there: "asyncio.Future[None]") -> None:
        self._says = says
        self._there = there

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._says[0])

    def data_received(self, data: bytes) -> None:
        self._says = self._says[1:]
        if self._says:
            self._transport.write(self._says[0])
        elif not self._there.done():
            self._there.set_result(None)


async def _visit(port: int, says: list[bytes]) -> asyncio.BaseTransport:
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: Visitor(says, there), "127.0.0.1", port)
    await there
    return transport


async def _round(stage: Stage, tidy: Tidy) -> int:
    """Let some come, set them apart, let them go; the objects there are then."""
    port = urlsplit(stage.url).port
    assert port is not None
    ways = [[_UPGRADE, _FRAME], [_STREAM], [_REQUEST]] * _EACH
    transports = await asyncio.gather(*[_visit(port, says) for says in ways])
    tidy.now()
    for transport in transports:
        transport.abort()  # type: ignore[attr-defined]
    del transports, transport
    while len(stage.connections):
        await asyncio.sleep(0.01)
    for _ in range(10):
        await asyncio.sleep(0)
    tidy.now()
    return gc.get_freeze_count() + len(gc.get_objects())


@pytest.mark.timeout(60)
@housed
async def test_connections_that_were_set_apart_leave_nothing_behind(house: House) -> None:
    gc.collect()
    tidy = Tidy()
    try:
        for _ in range(2):
            first = await _round(house.stage, tidy)
        counts = [await _round(house.stage, tidy) for _ in range(_ROUNDS)]
    finally:
        tidy.close()
    # A connection is some twenty objects, and each round has a hundred and fifty.
    assert max(counts) < first + 2 * _EACH, (first, counts)
