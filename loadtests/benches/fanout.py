"""What one event to 2,000 viewers costs, against a bare loop of `socket.send` over as many sockets in the same run.

The server is this process, as it is in production (`fanout_stage`); the viewers are a second process that only
reads. Beside ours stand the ways that everybody would try first: `send_bytes` of Starlette in a loop and
`websockets.broadcast` in this process, node's `ws` and Socket.IO in theirs. All costs are CPU time of the sending
process, kernel included, per event and viewer; rounds of all ways alternate, and the median of each is taken, so
that a noisy neighbour hits all alike, and drawn side by side. `fanout_crowd` then asks how late events are at 10,000
viewers.

    python -m loadtests.benches.fanout [--picture FILE]
"""

import argparse
import asyncio
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

import uvloop
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve

from loadtests.benches import fanout_crowd
from loadtests.benches.fanout_accept import accept
from loadtests.benches.fanout_rivals import Rival, available, rival
from loadtests.benches.fanout_sinks import SHOW, Sinks, sinks
from loadtests.benches.fanout_stage import TEXT, Stage, stage, until
from loadtests.benches.figure import figure
from loadtests.benches.picture import Bar, draw_bars

VIEWERS = 2000
FRAME_BYTES = 250
ROUNDS = 9
BUSY_EVENTS_PER_S = 100
BUSY_S = 3.0
_PAUSE_S = 0.06  # between rounds: longer than a batch interval, so that each round is one event to a quiet show
_SETTLE_S = 0.005  # what was queued is written when the loop turns
_TIMEOUT_S = 300.0
PICTURE = Path("var/reports/fanout.svg")

Way = Callable[[], Awaitable[float]]  # sends one message to everybody; CPU seconds it took


class _Ways:
    """Every way to send, and the sockets of each."""

    def __init__(self, built: Stage) -> None:
        self.stage = built
        self.raw: list[socket.socket] = []
        self.broadcasting: Server | None = None
        self.rivals: dict[str, Rival] = {}

    def all(self) -> dict[str, Way]:
        async def ours() -> None:
            await self.stage.event(VIEWERS)

        async def floor() -> None:
            payload = b"x" * FRAME_BYTES
            for sock in self.raw:
                sock.send(payload)

        async def starlette() -> None:
            payload = b"x" * FRAME_BYTES
            for websocket in self.stage.plain:
                await websocket.send_bytes(payload)

        async def websockets() -> None:
            assert self.broadcasting is not None
            broadcast(self.broadcasting.connections, b"x" * FRAME_BYTES)

        here = {"floor": floor, "ours": ours, "starlette": starlette, "websockets": websockets}
        return {
            **{name: _measured(way) for name, way in here.items()},
            **{name: _measured_there(each) for name, each in self.rivals.items()},
        }


def _measured(way: Callable[[], Awaitable[None]]) -> Way:
    async def run() -> float:
        before_s = time.process_time()
        await way()
        await asyncio.sleep(_SETTLE_S)
        return time.process_time() - before_s

    return run


def _measured_there(there: Rival) -> Way:
    async def run() -> float:
        before_s = there.cpu_s()
        assert await there.send() == VIEWERS
        await asyncio.sleep(_SETTLE_S)
        return there.cpu_s() - before_s

    return run


async def _cost(way: Way) -> float:
    """CPU seconds per viewer of one event."""
    await asyncio.sleep(_PAUSE_S)
    return await way() / VIEWERS


async def _busy(built: Stage) -> float:
    """CPU seconds per event and viewer at 100 events/s."""
    await asyncio.sleep(_PAUSE_S)
    loop = asyncio.get_running_loop()
    before, start_s, count = time.process_time(), loop.time(), round(BUSY_EVENTS_PER_S * BUSY_S)
    target = built.figures.events + count * VIEWERS
    for number in range(count):
        await asyncio.sleep(start_s + number / BUSY_EVENTS_PER_S - loop.time())
        await built.outlet.event(SHOW, 1000, "chat.message", {"text": TEXT})
    await until(lambda: built.figures.events >= target, 0.005)
    return (time.process_time() - before) / (count * VIEWERS)


def _resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where /proc does not say."""
    gc.collect()
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


async def _connect_raw(crowd: Sinks) -> list[socket.socket]:
    loop = asyncio.get_running_loop()
    sockets = []
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        listener.setblocking(False)
        crowd.ask("raw", listener.getsockname()[1], VIEWERS)
        for _ in range(VIEWERS):
            sock, _ = await loop.sock_accept(listener)
            await loop.sock_sendall(sock, b"hello")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets.append(sock)
        await crowd.ready()
    return sockets


@asynccontextmanager
async def _broadcasting(crowd: Sinks) -> AsyncIterator[Server]:
    """The server of the `websockets` library, with its audience."""

    async def keep(connection: ServerConnection) -> None:
        await connection.send("hello")
        await connection.wait_closed()

    logger = logging.getLogger("fanout bench")
    logger.setLevel(logging.CRITICAL)
    async with serve(
        keep, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=4096, close_timeout=0,
        select_subprotocol=lambda connection, offered: offered[0], logger=logger,
    ) as server:  # fmt: skip
        await crowd.connect("websockets", next(iter(server.sockets)).getsockname()[1], VIEWERS)
        yield server
        for connection in server.connections:
            connection.transport.abort()


async def _compare(picture: Path) -> None:
    async with AsyncExitStack() as stack:
        crowd = stack.enter_context(sinks())
        ways = _Ways(await stack.enter_async_context(stage()))
        ways.raw = await _connect_raw(crowd)
        for sock in ways.raw:
            stack.callback(sock.close)

        before_bytes = _resident_bytes()
        accepting = await accept(ways.stage, crowd, VIEWERS)
        viewer_bytes = (_resident_bytes() - before_bytes) / VIEWERS

        await crowd.connect("starlette", ways.stage.port, VIEWERS)
        ways.broadcasting = await stack.enter_async_context(_broadcasting(crowd))
        for name in await asyncio.to_thread(available):
            ways.rivals[name] = await stack.enter_async_context(rival(name, FRAME_BYTES))
            await crowd.connect(name, ways.rivals[name].port, VIEWERS)
        gc.freeze()  # as a server with many old objects would have it
        every = ways.all()
        costs: dict[str, list[float]] = {name: [] for name in every}
        for _ in range(ROUNDS):
            for name, way in every.items():
                costs[name].append(await _cost(way))
        busy_s = await _busy(ways.stage)
        for _ in range(ROUNDS // 2):
            costs["floor"].append(await _cost(every["floor"]))
    cost = {name: median(values) for name, values in costs.items()}
    _tell(cost, busy_s, accepting, viewer_bytes)
    picture.parent.mkdir(parents=True, exist_ok=True)
    _draw(picture, cost, busy_s)
    print(f"Drawn side by side: {picture}", file=sys.stderr)


def _tell(cost: dict[str, float], busy_s: float, accepting: tuple[float, float], viewer_bytes: float) -> None:
    floor_s = cost["floor"]
    accept_s, accept_floor_s = accepting
    each = f"µs CPU per delivery to {VIEWERS} viewers"
    figure("fanout_floor_us", floor_s * 1e6, f"{each}, socket.send in a loop")
    figure("fanout_us", cost["ours"] * 1e6, f"{each}, everything included")
    figure("fanout_ratio", cost["ours"] / floor_s, "× floor", 1.4)
    figure("fanout_busy_ratio", busy_s / floor_s, "× floor per event and viewer, at 100 events/s", 0.35)
    figure("fanout_broadcast_ratio", cost["websockets"] / floor_s, "× floor, websockets.broadcast")
    figure("fanout_starlette_ratio", cost["starlette"] / floor_s, "× floor, Starlette's send_bytes in a loop")
    if "ws" in cost:
        figure("fanout_node_ws_ratio", cost["ws"] / floor_s, "× floor, node's ws")
        figure("fanout_socket_io_ratio", cost["socket.io"] / floor_s, "× floor, Socket.IO")
    figure("accept_us", accept_s * 1e6, "µs CPU per viewer: handshake, token, snapshot", 300)
    figure("accept_floor_us", accept_floor_s * 1e6, "µs CPU per viewer: a bare protocol that answers with constants")
    figure("accept_ratio_floor", accept_s / accept_floor_s, "× that floor")
    # 300 µs where a send costs 3 µs: a busy or slow machine shows in both.
    figure("accept_ratio", accept_s / floor_s, "× floor of one delivery", 100)
    if viewer_bytes > 0:
        figure("viewer_memory_kb", viewer_bytes / 1024, "KB of the worker's RSS per idle viewer", 28)


def _draw(path: Path, cost: dict[str, float], busy_s: float) -> None:
    names = {
        "starlette": "Starlette, send_bytes in a loop", "socket.io": "Socket.IO (node)", "ws": "ws (node)",
        "websockets": "websockets.broadcast", "ours": "Showcart", "floor": "socket.send in a loop",
    }  # fmt: skip
    bars = [Bar(text, cost[name] * 1e6, ours=name == "ours") for name, text in names.items() if name in cost]
    bars.append(Bar("Showcart at 100 events/s", busy_s * 1e6, ours=True))
    bars.sort(key=lambda bar: -bar.value)
    title = f"One event to {VIEWERS:,} viewers, CPU of the server"
    draw_bars(path, bars, unit="µs per event and viewer", title=title)


async def _main(picture: Path) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        await _compare(picture)
        await fanout_crowd.measure()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.benches.fanout")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", default=PICTURE, help=f"the ways side by side ({PICTURE})"
    )
    uvloop.run(_main(parser.parse_args(arguments).picture))


if __name__ == "__main__":
    main()
