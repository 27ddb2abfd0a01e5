"""A live price on its way: from the host's click to the last of 1,000 screens, while the chat goes on.

The server is a real one with two workers; the host starts and ends the price as the studio does, over HTTP. The floor
is a chat message of the host's in the same minute: it is committed and told like a price, and has nothing to reckon.
As soon as a click is answered each worker is asked what the product costs: a quote of before is a stale one.
"""

import asyncio
import math
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import orjson
import psutil
import uvloop

from live.core.tasks import running
from loadtests.benches.figure import figure
from loadtests.benches.sockets import Socket
from loadtests.frames import TEXT, client_frame
from loadtests.host import Host
from loadtests.server import DemoServer

SCREENS = 1000
CLICKS = 100  # starts and stops by turns
CHAT_PER_S = 10
P99_MS = 300
WAITED_PCT_MAX = 10
WORKERS = 2
_SHOW, _TOKEN = "demo", "demo"
_OFF_BP = (1000, 2000, 3000)
_PAUSE_S = 0.1
_TIMEOUT_S = 20.0
_JOINING = 100  # sockets at a time
_HEAD = (
    f"GET /ws/{_SHOW} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: showcart.json.v1\r\n\r\n"
).encode()
_IDS = count()


class Wave:
    """One event on its way to all screens; `it` tells it by its name and what it carries."""

    def __init__(self, name: str, it: Callable[[dict[str, Any]], bool]) -> None:
        self.needle = f'"{name}"'.encode()
        self._name = name
        self._it = it
        self._missing = SCREENS
        self._start_s = time.monotonic()
        self._over: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def reached(self, payload: bytes) -> bool:
        """Whether a frame holds it: then one more screen has it."""
        if not any(one["type"] == "event" and one["name"] == self._name and self._it(one["data"])
                   for one in orjson.loads(payload)):  # fmt: skip
            return False
        self._missing -= 1
        if not self._missing:
            self._over.set_result(time.monotonic() - self._start_s)
        return True

    async def took_s(self) -> float:
        """From its making to the last screen; raises `TimeoutError`."""
        async with asyncio.timeout(_TIMEOUT_S):
            return await self._over


class Hall:
    """All screens, and what they wait for (None: nothing)."""

    def __init__(self) -> None:
        self.wave: Wave | None = None
        self.screens: list[Screen] = []

    def begin(self, name: str, it: Callable[[dict[str, Any]], bool]) -> Wave:
        self.wave = Wave(name, it)
        return self.wave

    async def fill(self, port: int) -> None:
        """Let the screens in."""
        loop = asyncio.get_running_loop()
        for _ in range(SCREENS // _JOINING):
            some = [Screen(self) for _ in range(_JOINING)]
            self.screens += some
            await asyncio.gather(*(loop.create_connection(lambda it=it: it, "127.0.0.1", port) for it in some))  # type: ignore[misc]
            async with asyncio.timeout(_TIMEOUT_S):
                await asyncio.gather(*(screen.joined for screen in some))

    async def chat(self) -> None:
        """Guests speak by turns, until cancelled."""
        start_s = time.monotonic()
        for number in count():
            await asyncio.sleep(max(0.0, start_s + number / CHAT_PER_S - time.monotonic()))
            screen = self.screens[number % SCREENS]
            screen.say(f"message {number}")

    def leave(self) -> None:
        for screen in self.screens:
            screen.leave()


class Screen(Socket):
    """A viewer's socket, which looks for what the hall waits for; `token` None: a guest."""

    def __init__(self, hall: Hall, token: str | None = None) -> None:
        super().__init__()
        self._hall = hall
        self._token = token
        self._seen: Wave | None = None
        self.refused = 0
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.write(_HEAD)

    def upgraded(self, head: bytes) -> None:
        self._send({"type": "connect", "id": "c"} | ({"token": self._token} if self._token else {}))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.joined.done():
            self.joined.set_exception(error or ConnectionError("the socket is gone"))

    def read(self, payload: bytes) -> None:
        wave = self._hall.wave
        if wave is not None and self._token is None and self._seen is not wave and wave.needle in payload:
            self._seen = wave if wave.reached(payload) else self._seen
        if not self.joined.done() and b'"connected"' in payload:
            self.joined.set_result(None)
        self.refused += b'"refused"' in payload

    def say(self, text: str) -> None:
        key = f"bench-{next(_IDS)}"
        self._send({"type": "command", "id": key, "name": "chat.post", "data": {"text": text}, "key": key})

    def leave(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def _send(self, message: dict[str, Any]) -> None:
        self.write(client_frame(TEXT, orjson.dumps(message)))


class Studio:
    """The host's: a connection to each worker, and what is pinned."""

    def __init__(self, hall: Hall, host: Screen, workers: list[httpx.AsyncClient], variants: list[Any]) -> None:
        self._hall = hall
        self._host = host
        self._workers = workers
        self._sku: str = variants[0]["sku"]
        self._list_minor: int = variants[0]["price_minor"]
        self.stale = 0

    async def click(self, number: int) -> float:
        """Start the price, or end it, at one of the workers; how long the last screen had to wait, seconds."""
        off_bp = 0 if number % 2 else _OFF_BP[number // 2 % len(_OFF_BP)]
        price_minor = round(self._list_minor * (10_000 - off_bp) / 10_000)
        worker, url = self._workers[number // 2 % WORKERS], f"/api/shows/{_SHOW}/live-price"
        wave = self._hall.begin(
            "product.price", lambda data: data["sku"] == self._sku and data["price_minor"] == price_minor
        )
        answer = await (worker.post(url, json={"off_bp": off_bp}) if off_bp else worker.delete(url))
        answer.raise_for_status()
        for one in self._workers:
            quoted = await one.post(f"/api/shows/{_SHOW}/quotes", json={"lines": [{"sku": self._sku}]})
            self.stale += quoted.json()["quotes"][0]["unit_minor"] != price_minor
        return await wave.took_s()

    async def word(self, number: int) -> float:
        """Write in the chat; how long the last screen had to wait, seconds."""
        text = f"word {number}"
        wave = self._hall.begin("chat.message", lambda data: data["text"] == text)
        self._host.say(text)
        return await wave.took_s()


@asynccontextmanager
async def _connections(url: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """One to each worker; the kernel chooses, so it takes several tries."""
    async with AsyncExitStack() as stack:
        found: dict[str, httpx.AsyncClient] = {}
        headers = {"authorization": f"Bearer {_TOKEN}"}
        while len(found) < WORKERS:
            limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
            client = httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=_TIMEOUT_S)
            await stack.enter_async_context(client)
            text = (await client.get("/metrics?worker=self")).text
            found[text.partition('showcart_worker_info{worker="')[2][:1]] = client
        yield [found[name] for name in sorted(found)]


async def _measure(server: DemoServer, variants: list[Any]) -> None:
    hall = Hall()
    port = int(server.url.rpartition(":")[2])
    await hall.fill(port)
    host = Screen(hall, _TOKEN)
    await asyncio.get_running_loop().create_connection(lambda: host, "127.0.0.1", port)
    await host.joined
    clicks: list[float] = []
    words: list[float] = []
    async with _connections(server.url) as workers, running(hall.chat()):
        studio = Studio(hall, host, workers, variants)
        for number in (0, 1):  # the first of each costs more
            await studio.click(number)
        waited_s, start_s = _waited_s(server), time.monotonic()
        for number in range(CLICKS):
            clicks.append(await studio.click(number))
            await asyncio.sleep(_PAUSE_S)
            if number % 2:
                words.append(await studio.word(number))
                await asyncio.sleep(_PAUSE_S)
        waited_pct = 100 * (_waited_s(server) - waited_s) / (time.monotonic() - start_s)
    hall.leave()
    what = f"ms from the click to the last of {SCREENS} screens, {CLICKS} starts and stops, chat at {CHAT_PER_S}/s"
    figure("live_price_p50_ms", 1000 * median(clicks), what)
    # Workers that do not get a core are late whatever they do: then the figure is for information.
    figure("live_price_p99_ms", 1000 * _p99(clicks), what, P99_MS if waited_pct <= WAITED_PCT_MAX else None)
    floor = f"ms from the host's word in the chat to the last of {SCREENS} screens, {len(words)} words (floor)"
    figure("live_price_floor_p50_ms", 1000 * median(words), floor)
    figure("live_price_floor_p99_ms", 1000 * _p99(words), floor)
    figure("live_price_waited_pct", waited_pct, "% of the time a worker waited for a core that others had")
    figure(
        "live_price_stale", studio.stale, f"quotes of before, asked of {WORKERS} workers when a click was answered", 0
    )
    figure("live_price_refused", sum(screen.refused for screen in hall.screens), "words of guests that were refused", 0)


def _waited_s(server: DemoServer) -> float:
    """How long a worker was ready to run and others had the cores, on average; 0 where Linux does not say."""
    pids = [child.pid for child in psutil.Process(server.pid).children() if "worker" in child.cmdline()]
    try:
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) for pid in pids) / 1e9 / len(pids)
    except FileNotFoundError:
        return 0.0


def _p99(waits: list[float]) -> float:
    return sorted(waits)[math.ceil(0.99 * len(waits)) - 1]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="showcart-bench-") as folder:
        with DemoServer(Path(folder), workers=WORKERS) as server:
            host = Host(server.url, _SHOW, _TOKEN)
            product = host.go_live()["lineup"][0]
            host.pin(product["id"])
            uvloop.run(_measure(server, product["variants"]))


if __name__ == "__main__":
    main()
