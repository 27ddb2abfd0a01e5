"""A whole realtime server in this process, with real WebSocket clients; and a channel alone, without any socket."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import uvicorn
import uvloop
from msgspec import Struct
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from live.core import rest
from live.core.auth import Principal, Role, Tokens
from live.core.bus import Bus
from live.core.clock import SystemClock
from live.core.errors import Kind, Problem
from live.core.http import BoundedProtocol
from live.core.settings import Settings
from live.core.valkey import EmbeddedValkey
from live.realtime.channel import Channel
from live.realtime.commands import Commands, Context, Replayed
from live.realtime.connections import Connections
from live.realtime.fallback import Fallback
from live.realtime.figures import Figures
from live.realtime.gateway import Gateway, Shortcut
from live.realtime.hub import Hub
from live.realtime.outlet import Outlet
from live.realtime.streams import StreamingProtocol
from live.realtime.transport import uvicorn_options
from live.realtime.turns import Turns
from tests.realtime.scripted import START, Refreshes, Standing

SECRET = "a secret of the tests"
both = pytest.mark.parametrize("encoding", ["json", "msgpack"])


class StillClock(SystemClock):
    """The machine's own clocks as they were when it was made: nothing is refilled, and no token runs out."""

    def __init__(self) -> None:
        self._now_s, self._now_ms = super().monotonic(), super().now_ms()

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._now_s


class Say(Struct, frozen=True):
    text: str
    wait_s: float = 0.0


class Stage:
    """The parts of a worker, and a feature so small that it shows everything: a list of words."""

    def __init__(self, bus: Bus, settings: Settings, *, raw: bool = True) -> None:
        self.clock = SystemClock()
        self.bus = bus
        self.hub = Hub(bus)
        self.outlet = Outlet(bus)
        self.tokens = Tokens(SECRET, self.clock, demo_show="demo")
        self.commands = Commands()
        self.words: dict[str, list[str]] = {"demo": [], "other": []}
        self.said: dict[str, dict[str, Any]] = {}  # by key
        self.builds = 0
        self.broken: Exception | None = None
        self.before_snapshot: Callable[[], Any] = lambda: asyncio.sleep(0)
        self.before_personal: Callable[[], Any] = lambda: asyncio.sleep(0)
        self.carts: dict[str, str] = {}  # of people, by id: what is in it
        self.commands.add("say", Say, self._say)
        self.commands.add("moderate", Say, self._say, role=Role.moderator)
        self.commands.add("fail", Say, self._fail)
        self.connections = Connections(
            self.hub, self.tokens, self.commands, self.clock,
            snapshot=self._snapshot, personal=self._personal, newcomer={"cart": {"of": None}}, settings=settings,
        )  # fmt: skip
        self.gateway = Gateway(self.connections)
        self.fallback = Fallback(self.connections, self.tokens, self.clock, settings)
        self._raw = raw
        self.url = ""

    async def say(self, word: str, show: str = "demo") -> None:
        """What a feature does: keep it, then tell."""
        self.words[show].append(word)
        await self.outlet.event(show, 0, "word", {"index": len(self.words[show]) - 1, "text": word})

    async def lose(self, word: str = "a") -> None:
        """Say a word that the bus keeps but does not hand over: a lost message without a lost connection."""
        lost = asyncio.Event()
        listener = self.bus._listener
        hand_over = listener._hand_over

        def drop(channel: bytes, frame: bytes) -> None:
            if frame[:1] == b"e":
                lost.set()
                listener._hand_over = hand_over  # type: ignore[method-assign]

        listener._hand_over = drop  # type: ignore[method-assign]
        await self.say(word)
        async with asyncio.timeout(10):
            await lost.wait()

    async def _say(self, context: Context, body: Say) -> dict[str, Any] | Replayed:
        if context.key in self.said:
            return Replayed(self.said[context.key])
        await asyncio.sleep(body.wait_s)
        await self.say(body.text, context.show)
        answer = {"by": context.principal.name, "key": context.key}
        if context.key is not None:
            self.said[context.key] = answer
        return answer

    async def _fail(self, context: Context, body: Say) -> dict[str, Any]:
        raise RuntimeError("a bug of ours")

    async def _snapshot(self, show: str) -> dict[str, Any]:
        await self.before_snapshot()
        if self.broken is not None:
            raise self.broken
        if show not in self.words:
            raise Problem(Kind.unknown_show)
        self.builds += 1
        return {"words": list(self.words[show])}

    async def _personal(self, show: str, principal: Principal) -> dict[str, Any]:
        cart = {"of": principal.subject}
        if principal.subject in self.carts:
            cart["holds"] = self.carts[principal.subject]
        await self.before_personal()
        if self.broken is not None:
            raise self.broken
        return {"cart": cart}

    def token(self, role: Role = Role.viewer, *, subject: str = "v1", show: str = "demo", ttl_s: int = 600) -> str:
        return self.tokens.sign(Principal(subject=subject, role=role, show=show, name=subject.title()), ttl_s)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Stage"]:
        """Serve until the context ends."""
        posts = rest.routes(self.fallback.operations, self.tokens)
        routes = [self.gateway.route, self.fallback.route, *posts]
        inner = Starlette(routes=routes, exception_handlers={Problem: rest.on_problem, Exception: rest.on_crash})
        app = Shortcut(inner, self.gateway, self.fallback, ["127.0.0.1"])
        options = uvicorn_options()
        options["http"] = StreamingProtocol if self._raw else BoundedProtocol
        if not self._raw:
            options["ws"] = "websockets-sansio"
        config = uvicorn.Config(app, port=0, log_level="error", lifespan="off", **options)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self.hub.start()
        self.connections.start()
        task = asyncio.create_task(server._serve())
        try:
            async with asyncio.timeout(10):
                while not server.started:
                    await asyncio.sleep(0.005)
            port = server.servers[0].sockets[0].getsockname()[1]
            self.url = f"ws://127.0.0.1:{port}"
            yield self
        finally:
            await self.connections.drain()
            server.should_exit = True
            await task
            await self.connections.close()
            await self.hub.close()
            await self.outlet.close()


class Client:
    """A viewer's end of the wire that speaks one of the subprotocols."""

    def __init__(self, socket: ClientConnection, encoding: str) -> None:
        self.socket = socket
        self.encoding = encoding
        self._waiting: list[dict[str, Any]] = []

    async def send(self, **message: Any) -> None:
        payload: str | bytes = json.dumps(message) if self.encoding == "json" else msgpack.packb(message)
        await self.socket.send(payload)

    async def next(self) -> dict[str, Any]:
        """The next message, whatever it is."""
        while not self._waiting:
            async with asyncio.timeout(10):
                frame = await self.socket.recv()
            assert isinstance(frame, str) == (self.encoding == "json")
            messages = json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)
            assert isinstance(messages, list)
            self._waiting = messages
        return self._waiting.pop(0)

    async def until(self, type_: str, **members: Any) -> dict[str, Any]:
        """The next message of a type with these members; others are passed over."""
        while True:
            message = await self.next()
            if message["type"] == type_ and all(message[name] == value for name, value in members.items()):
                return message

    async def join(self, **members: Any) -> dict[str, Any]:
        await self.send(type="connect", id="c", **members)
        return await self.until("connected")

    async def command(self, name: str, /, key: str | None = None, **data: Any) -> dict[str, Any]:
        await self.send(type="command", id="x", name=name, data=data, key=key)
        while True:
            message = await self.next()
            if message["type"] in ("reply", "refused"):
                return message

    async def closed(self) -> int:
        """The code that the socket is closed with; what comes before is passed over."""
        try:
            while True:
                async with asyncio.timeout(15):
                    await self.socket.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code


class Audience:
    """Makes clients and closes them at the end of the test."""

    def __init__(self, stage: Stage, stack: AsyncExitStack) -> None:
        self._stage = stage
        self._stack = stack

    async def __call__(self, encoding: str = "json", show: str = "demo", **options: Any) -> Client:
        options.setdefault("subprotocols", [Subprotocol(f"showcart.{encoding}.v1")])
        options.setdefault("max_size", None)
        options.setdefault("close_timeout", 0.5)
        opening = connect(f"{self._stage.url}/ws/{show}", compression=None, **options)
        return Client(await self._stack.enter_async_context(opening), encoding)


async def still_serves(stage: Stage, client: Audience) -> None:
    """Somebody else's show goes on."""
    viewer = await client()
    await viewer.join()
    await stage.say("still here")
    while (await viewer.until("event"))["data"]["text"] != "still here":
        continue  # what somebody else said before


async def raw_handshake(stage: Stage, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket that speaks WebSocket no further than the handshake."""
    host, _, port = stage.url.removeprefix("ws://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), **options)
    writer.write(
        f"GET /ws/demo HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: showcart.json.v1\r\n\r\n".encode()
    )
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, secret=SECRET, origins=("https://shop.example",))


@pytest.fixture
async def stage(bus: Bus, settings: Settings) -> AsyncIterator[Stage]:
    async with Stage(bus, settings).running() as running:
        yield running


class House:
    """A server for a whole module, on the loop that it runs on in production: tests `run` their coroutines there."""

    def __init__(self, runner: asyncio.Runner, stage: Stage) -> None:
        self.run = runner.run
        self.stage = stage


def housed(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine function that takes `house`, and run it there."""

    @functools.wraps(test)
    def run(house: House, **fixtures: Any) -> None:
        house.run(test(house, **fixtures))

    return run


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    valkey = EmbeddedValkey(folder)
    stack = AsyncExitStack()

    async def opened() -> Stage:
        stack.push_async_callback(valkey.stop)
        bus = await Bus.open(await valkey.start())
        stack.push_async_callback(bus.close)
        return await stack.enter_async_context(Stage(bus, Settings(data_dir=folder, secret=SECRET)).running())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield House(runner, runner.run(opened()))
        runner.run(stack.aclose())


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[Audience]:
    async with AsyncExitStack() as stack:
        yield Audience(stage, stack)


@pytest.fixture
async def refreshes() -> Refreshes:
    return Refreshes()


@pytest.fixture
async def channel(refreshes: Refreshes, monkeypatch: pytest.MonkeyPatch) -> Channel:
    """A channel alone, on a loop whose clock goes on when the test says so."""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", Standing(loop.time()))
    return Channel("demo", START, refreshes, Turns(Figures(), loop.time))
