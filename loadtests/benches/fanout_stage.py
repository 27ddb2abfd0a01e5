"""The server of the fan-out benchmark, in its process: uvicorn, gateway, hub, bus, Valkey; and plain Starlette."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from live.core.auth import Principal, Tokens
from live.core.bus import Bus
from live.core.clock import SystemClock
from live.core.http import BoundedProtocol
from live.core.settings import Settings
from live.core.valkey import EmbeddedValkey
from live.realtime.commands import Commands
from live.realtime.connections import Connections
from live.realtime.figures import Figures
from live.realtime.gateway import Gateway, Shortcut
from live.realtime.hub import Hub
from live.realtime.outlet import Outlet
from live.realtime.transport import uvicorn_options
from loadtests.benches.fanout_sinks import SHOW

_EMPTY_CART = {"cart": {"lines": [], "total_minor": 0, "currency": ""}}
TEXT = "x" * 160


class Stage:
    """See the module. `plain` are the sockets of Starlette's own way."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        clock = SystemClock()
        self.outlet = Outlet(bus)
        self.hub = Hub(bus)
        self.connections = Connections(
            self.hub, Tokens("a secret of the bench", clock), Commands(), clock,
            snapshot=_snapshot, personal=_personal, newcomer=_EMPTY_CART,
            settings=Settings(data_dir=folder, secret="a secret of the bench", sockets_per_address=0),
        )  # fmt: skip
        self.gateway = Gateway(self.connections)
        self.plain: list[WebSocket] = []
        self.port = 0

    @property
    def figures(self) -> Figures:
        """What the fan-out has done."""
        return self.hub.figures

    async def serve_plain(self, websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="x")
        self.plain.append(websocket)
        # Their sinks wait for the first message, as ours do.
        await websocket.send_bytes(b"hello")
        try:
            await websocket.receive()
        except WebSocketDisconnect:
            return

    async def event(self, viewers: int) -> None:
        """One event the way a feature tells it, until it has been written to everybody."""
        target = self.figures.events + viewers
        await self.outlet.event(SHOW, 1000, "chat.message", {"text": TEXT})
        await until(lambda: self.figures.events >= target, 0.001)


async def _snapshot(show: str) -> dict[str, Any]:
    return {"lineup": [{"id": f"p{i}", "title": "x" * 40, "variants": [{"sku": "x" * 12}]} for i in range(8)]}


async def _personal(show: str, principal: Principal) -> dict[str, Any]:
    return _EMPTY_CART


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Start the server."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        valkey = EmbeddedValkey(folder)
        bus = await Bus.open(await valkey.start())
        stack.push_async_callback(valkey.stop)
        stack.push_async_callback(bus.close)
        built = Stage(bus, folder)
        routed = Starlette(routes=[built.gateway.route, WebSocketRoute("/plain", built.serve_plain)])
        app = Shortcut(routed, built.gateway, routed)  # as app.py builds it
        options = {**uvicorn_options(), "ws_ping_interval": None}
        options |= {"http": BoundedProtocol, "log_level": "error", "lifespan": "off"}
        config = uvicorn.Config(app, port=0, backlog=4096, **options)
        server = uvicorn.Server(config)
        built.hub.start()
        built.connections.start()
        task = asyncio.create_task(server._serve())
        await until(lambda: server.started, 0.01)
        built.port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield built
        finally:
            server.should_exit = server.force_exit = True
            await built.connections.close()
            await built.hub.close()
            await task


async def until(done: Callable[[], bool], every_s: float) -> None:
    """Wait for something that takes less than ten seconds."""
    for _ in range(round(10 / every_s)):
        if done():
            return
        await asyncio.sleep(every_s)
    raise TimeoutError
