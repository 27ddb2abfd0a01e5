"""What one event to 2,000 viewers costs, against a bare loop of `socket.send` over as many sockets in the same run.

The server is this process, as it is in production: uvicorn, gateway, hub, bus, a real Valkey. The viewers are a
second process that only reads. Beside ours stand the two ways that everybody would try first: `send_bytes` of
Starlette in a loop, and `websockets.broadcast`. All costs are CPU time of this process, kernel included, per event
and viewer; rounds of all ways alternate, and the median of each is taken, so that a noisy neighbour hits all alike.
"""

import asyncio
import gc
import logging
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, cast

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve

from live.core.auth import Principal, Tokens
from live.core.bus import Bus
from live.core.clock import SystemClock
from live.core.settings import Settings
from live.core.valkey import EmbeddedValkey
from live.realtime.commands import Commands
from live.realtime.connections import Connections
from live.realtime.gateway import Gateway
from live.realtime.hub import Hub
from live.realtime.outlet import Outlet
from live.realtime.transport import uvicorn_options
from loadtests.benches.figure import figure

VIEWERS = 2000
FRAME_BYTES = 250
ROUNDS = 9
BUSY_EVENTS_PER_S = 100
BUSY_S = 3.0
SHOW = "bench"
_EMPTY_CART = {"cart": {"lines": [], "total_minor": 0, "currency": ""}}
_PAUSE_S = 0.06  # between rounds: longer than a batch interval, so that each round is one event to a quiet show
_CONNECTING_MAX = 64
_TIMEOUT_S = 55.0


# --- the second process: sockets that only read -----------------------------------------------------------------


class _Sink(asyncio.Protocol):
    """Says `hello` in steps (each after the answer to the one before), then reads and forgets."""

    def __init__(self, hello: list[bytes], ready: "asyncio.Future[None]") -> None:
        self._hello = hello
        self._ready = ready

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._step()

    def data_received(self, data: bytes) -> None:
        if not self._ready.done():
            self._step()

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


_HELLO: dict[str, list[bytes]] = {
    "raw": [b"x"],
    "ours": [_handshake(f"/ws/{SHOW}", "showcart.json.v1"), _masked(b'{"type":"connect","id":"1"}')],
    "starlette": [_handshake("/plain", "x")],
    "websockets": [_handshake("/", "x")],
}


async def _read(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(_CONNECTING_MAX)

    async def connect(way: str, port: int) -> None:
        async with gate:
            ready: asyncio.Future[None] = loop.create_future()
            await loop.create_connection(lambda: _Sink(_HELLO[way], ready), "127.0.0.1", port)
            await ready

    while (order := await asyncio.to_thread(pipe.recv)) is not None:
        await asyncio.gather(*[connect(*order) for _ in range(VIEWERS)])
        pipe.send("ready")


def _run_sinks(pipe: Connection) -> None:
    uvloop.run(_read(pipe))


# --- this process: the server -----------------------------------------------------------------------------------


class _Bench:
    def __init__(self, bus: Bus, folder: Path) -> None:
        clock = SystemClock()
        self.outlet = Outlet(bus)
        self.hub = Hub(bus)
        self.connections = Connections(
            self.hub, Tokens("a secret of the bench", clock), Commands(), clock,
            snapshot=_snapshot, personal=_personal, newcomer=_EMPTY_CART,
            settings=Settings(data_dir=folder, secret="a secret of the bench"),
        )  # fmt: skip
        self.gateway = Gateway(self.connections)
        self.plain: list[WebSocket] = []
        self.raw: list[socket.socket] = []
        self.broadcasting: Server | None = None
        self.port = 0
        self._event = {"text": "x" * 160}

    async def serve_plain(self, websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="x")
        self.plain.append(websocket)
        # Their sinks wait for the first message, as ours do.
        await websocket.send_bytes(b"hello")
        try:
            await websocket.receive()
        except WebSocketDisconnect:
            return

    async def event(self) -> None:
        """One event the way a feature tells it, until it has been written to everybody."""
        (channel,) = self.hub.channels()
        target = channel.delivered + VIEWERS
        await self.outlet.event(SHOW, 1000, "chat.message", self._event)
        await _until(lambda: channel.delivered >= target, 0.001)

    async def by_floor(self) -> None:
        payload = b"x" * FRAME_BYTES
        for sock in self.raw:
            sock.send(payload)

    async def by_starlette(self) -> None:
        payload = b"x" * FRAME_BYTES
        for websocket in self.plain:
            await websocket.send_bytes(payload)

    async def by_broadcast(self) -> None:
        assert self.broadcasting is not None
        broadcast(self.broadcasting.connections, b"x" * FRAME_BYTES)


async def _snapshot(show: str) -> dict[str, Any]:
    return {"lineup": [{"id": f"p{i}", "title": "x" * 40, "variants": [{"sku": "x" * 12}]} for i in range(8)]}


async def _personal(show: str, principal: Principal) -> dict[str, Any]:
    return _EMPTY_CART


@asynccontextmanager
async def _bench() -> AsyncIterator[_Bench]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        valkey = EmbeddedValkey(folder)
        bus = await Bus.open(await valkey.start())
        stack.push_async_callback(valkey.stop)
        stack.push_async_callback(bus.close)
        bench = _Bench(bus, folder)
        app = Starlette(routes=[bench.gateway.route, WebSocketRoute("/plain", bench.serve_plain)])
        options = {**uvicorn_options(), "ws_ping_interval": None}
        config = uvicorn.Config(app, port=0, log_level="error", lifespan="off", backlog=4096, **options)
        server = uvicorn.Server(config)
        bench.hub.start()
        bench.connections.start()
        task = asyncio.create_task(server._serve())
        await _until(lambda: server.started, 0.01)
        bench.port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield bench
        finally:
            server.should_exit = server.force_exit = True
            await bench.connections.close()
            await bench.hub.close()
            await task


async def _told(pipe: Connection) -> None:
    await asyncio.to_thread(pipe.recv)


async def _until(done: Callable[[], bool], every_s: float) -> None:
    for _ in range(round(10 / every_s)):
        if done():
            return
        await asyncio.sleep(every_s)
    raise TimeoutError


async def _cost(way: Callable[[], Awaitable[None]]) -> float:
    """CPU seconds per viewer of one event."""
    await asyncio.sleep(_PAUSE_S)
    before = time.process_time()
    await way()
    await asyncio.sleep(0.005)  # what was queued is written when the loop turns
    return (time.process_time() - before) / VIEWERS


async def _busy(bench: _Bench) -> float:
    """CPU seconds per event and viewer at 100 events/s."""
    (channel,) = bench.hub.channels()
    await asyncio.sleep(_PAUSE_S)
    loop = asyncio.get_running_loop()
    before, start_s, count = time.process_time(), loop.time(), round(BUSY_EVENTS_PER_S * BUSY_S)
    target = channel.delivered_events + count * VIEWERS
    for number in range(count):
        await asyncio.sleep(start_s + number / BUSY_EVENTS_PER_S - loop.time())
        await bench.outlet.event(SHOW, 1000, "chat.message", {"text": "x" * 160})
    await _until(lambda: channel.delivered_events >= target, 0.005)
    return (time.process_time() - before) / (count * VIEWERS)


def _resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where /proc does not say."""
    gc.collect()
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


async def _connect(bench: _Bench, pipe: Connection, way: str, port: int) -> None:
    pipe.send((way, port))
    await _told(pipe)


async def _measure(bench: _Bench, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        listener.setblocking(False)
        pipe.send(("raw", listener.getsockname()[1]))
        for _ in range(VIEWERS):
            sock, _ = await loop.sock_accept(listener)
            await loop.sock_sendall(sock, b"hello")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            bench.raw.append(sock)
        await _told(pipe)

    before_bytes, before_s = _resident_bytes(), time.process_time()
    await _connect(bench, pipe, "ours", bench.port)
    accept_s = (time.process_time() - before_s) / VIEWERS
    viewer_bytes = (_resident_bytes() - before_bytes) / VIEWERS

    await _connect(bench, pipe, "starlette", bench.port)

    async def keep(connection: ServerConnection) -> None:
        await connection.send("hello")
        await connection.wait_closed()

    async with serve(
        keep, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=4096, close_timeout=0,
        select_subprotocol=lambda connection, offered: offered[0], logger=_quiet(),
    ) as bench.broadcasting:  # fmt: skip
        await _connect(bench, pipe, "websockets", next(iter(bench.broadcasting.sockets)).getsockname()[1])
        ways = {
            "floor": bench.by_floor, "ours": bench.event,
            "starlette": bench.by_starlette, "websockets": bench.by_broadcast,
        }  # fmt: skip
        gc.freeze()  # as a server with many old objects would have it
        costs: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                costs[name].append(await _cost(way))
        busy_s = await _busy(bench)
        for _ in range(ROUNDS // 2):
            costs["floor"].append(await _cost(bench.by_floor))
        for connection in bench.broadcasting.connections:
            connection.transport.abort()
    _tell({name: median(values) for name, values in costs.items()}, busy_s, accept_s, viewer_bytes)


def _tell(cost: dict[str, float], busy_s: float, accept_s: float, viewer_bytes: float) -> None:
    floor_s = cost["floor"]
    each = f"µs CPU per delivery to {VIEWERS} viewers"
    figure("fanout_floor_us", floor_s * 1e6, f"{each}, socket.send in a loop")
    figure("fanout_us", cost["ours"] * 1e6, f"{each}, everything included")
    figure("fanout_ratio", cost["ours"] / floor_s, "× floor", 1.4)
    figure("fanout_busy_ratio", busy_s / floor_s, "× floor per event and viewer, at 100 events/s", 0.35)
    figure("fanout_broadcast_ratio", cost["websockets"] / floor_s, "× floor, websockets.broadcast")
    figure("fanout_starlette_ratio", cost["starlette"] / floor_s, "× floor, Starlette's send_bytes in a loop")
    figure("accept_us", accept_s * 1e6, "µs CPU per viewer: handshake, token, snapshot", 300)
    # 300 µs where a send costs 3 µs: a busy or slow machine shows in both.
    figure("accept_ratio", accept_s / floor_s, "× floor of one delivery", 100)
    if viewer_bytes > 0:
        figure("viewer_memory_kb", viewer_bytes / 1024, "KB of the worker's RSS per idle viewer", 28)


def _quiet() -> logging.Logger:
    logger = logging.getLogger("fanout bench")
    logger.setLevel(logging.CRITICAL)
    return logger


async def _main() -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run_sinks, args=(theirs,), daemon=True)
    process.start()
    try:
        async with asyncio.timeout(_TIMEOUT_S), _bench() as bench:
            try:
                await _measure(bench, ours)
            finally:
                process.kill()
                for sock in bench.raw:
                    sock.close()
    finally:
        process.kill()
        process.join(5)


if __name__ == "__main__":
    sys.exit(uvloop.run(_main()))
