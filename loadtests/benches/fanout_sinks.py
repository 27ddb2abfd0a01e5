"""The second process of the fan-out benchmark: sockets that only read, and a histogram of when events arrived."""

import asyncio
import multiprocessing
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, cast

import uvloop

SHOW = "bench"
_CONNECTING_MAX = 64
_BUCKET_S = 0.001
_BUCKETS = 10_000
_FRAMES_KEPT = 2000
_STAMP = re.compile(rb'"t":([0-9.]+)')


class _Arrivals:
    """How late events were, counted by the millisecond; a frame is searched once, all sockets get the same bytes."""

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS
        self._stamps: dict[bytes, list[float]] = {}

    def take(self, data: bytes) -> None:
        now_s = time.monotonic()
        stamps = self._stamps.get(data)
        if stamps is None:
            if len(self._stamps) >= _FRAMES_KEPT:
                self._stamps.clear()
            stamps = self._stamps[data] = [float(each) for each in _STAMP.findall(data)]
        for at_s in stamps:
            self.counts[min(int((now_s - at_s) / _BUCKET_S), _BUCKETS - 1)] += 1


class _Sink(asyncio.Protocol):
    """Says `hello` in steps (each after the answer to the one before), then reads and forgets, or tells `arrivals`."""

    def __init__(self, hello: list[bytes], ready: "asyncio.Future[None]", arrivals: _Arrivals | None) -> None:
        self._hello = hello
        self._ready = ready
        self._arrivals = arrivals

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._step()

    def data_received(self, data: bytes) -> None:
        if not self._ready.done():
            self._step()
        elif self._arrivals is not None:
            self._arrivals.take(data)

    def _step(self) -> None:
        if self._hello:
            self._transport.write(self._hello[0])
            self._hello = self._hello[1:]
        else:
            self._ready.set_result(None)


def _handshake(path: str, subprotocol: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    ).encode()


def _masked(text: bytes) -> bytes:
    """A client's text frame of up to 125 bytes, with a mask of zeros."""
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text


_OURS = [_handshake(f"/ws/{SHOW}", "showcart.json.v1"), _masked(b'{"type":"connect","id":"1"}')]
_HELLO: dict[str, list[bytes]] = {
    "raw": [b"x"],
    "ours": _OURS,
    "timed": _OURS,
    "starlette": [_handshake("/plain", "x")],
    "websockets": [_handshake("/", "x")],
    "ws": [_handshake("/", "x")],
    "socket.io": [_handshake("/socket.io/?EIO=4&transport=websocket", "x"), _masked(b"40")],
}


async def _read(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(_CONNECTING_MAX)
    arrivals = _Arrivals()

    async def connect(way: str, port: int) -> None:
        async with gate:
            ready: asyncio.Future[None] = loop.create_future()
            timed = arrivals if way == "timed" else None
            await loop.create_connection(lambda: _Sink(_HELLO[way], ready, timed), "127.0.0.1", port)
            await ready

    while (order := await asyncio.to_thread(pipe.recv)) is not None:
        if order == "arrivals":
            pipe.send(arrivals.counts)
            continue
        way, port, count = order
        await asyncio.gather(*[connect(way, port) for _ in range(count)])
        pipe.send("ready")


def _run(pipe: Connection) -> None:
    uvloop.run(_read(pipe))


class Sinks:
    """The process, as the benchmark sees it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def ask(self, way: str, port: int, count: int) -> None:
        """Let `count` sockets be connected; `ready` waits for them."""
        self._pipe.send((way, port, count))

    async def ready(self) -> None:
        """Wait until all that were asked for are connected and have had their answer."""
        await asyncio.to_thread(self._pipe.recv)

    async def connect(self, way: str, port: int, count: int) -> None:
        """Connect and wait."""
        self.ask(way, port, count)
        await self.ready()

    async def arrivals(self) -> list[int]:
        """How many events came after so many milliseconds, over all sockets of the way `timed`."""
        self._pipe.send("arrivals")
        counts: list[int] = await asyncio.to_thread(self._pipe.recv)
        return counts


@contextmanager
def sinks() -> Iterator[Sinks]:
    """Start the process."""
    ours, theirs = multiprocessing.Pipe()
    process: Any = multiprocessing.get_context("spawn").Process(target=_run, args=(theirs,), daemon=True)
    process.start()
    try:
        yield Sinks(ours)
    finally:
        process.kill()
        process.join(5)
