"""A drop: 500 shoppers on their sockets click on one SKU, each again as soon as it is answered, 5,000 times in all.

The server is a real one in a process of its own, on SQLite and, where it is installed, on PostgreSQL. Afterwards every
cart is read back: what was acknowledged and is not there is lost, what is in carts beyond the stock is oversold.
Beside it the same with one transaction an add, and what an add costs the server when only thirty come in a second.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

import httpx
import orjson
import psutil
import uvloop

from live.core.auth import ALL_SHOWS, Principal, Role, Tokens
from live.core.clock import SystemClock
from loadtests.benches.figure import figure
from loadtests.benches.sockets import Socket
from loadtests.frames import TEXT, client_frame
from loadtests.ports import free_port
from loadtests.server import ready, stop

SHOPPERS = 500
ADDS_EACH = 10
UNITS = 500
RUSHES = 5
ALONE_EACH = 2  # one transaction an add: it takes long enough
ALONE_UNITS = 100
CALM_PER_S = 30
CALM_S = 8.0
ACKS_PER_S = {"sqlite": 6000, "postgresql": 4000}
P99_MS = 300
LANE_GAIN = 10
_SHOW = "demo"
_START_S = 60.0
_ANSWER_S = 60.0
_STOP_S = 20.0
_SECRET = secrets.token_hex(16)
_LAUNCH = "import sys, live.core.limits as l; l.LANE_BATCH_MAX = int(sys.argv.pop(1)); import app; app.main()"


class Server:
    """A demo in a process of its own; `batch_max`: adds a transaction."""

    def __init__(self, folder: Path, database_url: str, batch_max: int) -> None:
        port = free_port()
        self.address = ("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SHOWCART_")}
        environ |= {
            "SHOWCART_PORT": str(port),
            "SHOWCART_DATA_DIR": str(folder / "server"),
            "SHOWCART_DATABASE_URL": database_url,
            "SHOWCART_LOG_LEVEL": "warning",
            "SHOWCART_SECRET": _SECRET,
            "SHOWCART_SOCKETS_PER_ADDRESS": "0",
        }
        with (folder / "server.log").open("ab") as log:
            command = [sys.executable, "-c", _LAUNCH, str(batch_max), "demo"]
            self.process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._usage = psutil.Process(self.process.pid)

    def cpu_s(self) -> float:
        """What the worker has used of the processor, its Valkey not counted."""
        times = self._usage.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def serving(database_url: str = "", *, batch_max: int = 128) -> Iterator[Server]:
    """A server with an empty data folder that answers."""
    with tempfile.TemporaryDirectory(prefix="showcart-bench-") as name:
        server = Server(Path(name), database_url, batch_max)
        try:
            end = time.monotonic() + _START_S
            while not ready(server.url):
                if time.monotonic() > end or server.process.poll() is not None:
                    raise RuntimeError((Path(name) / "server.log").read_text())
                time.sleep(0.1)
            yield server
        finally:
            stop(server.process, _STOP_S)


class Shopper(Socket):
    """One viewer's socket; one command at a time, as a hand clicks."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number
        self._sent = 0
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self.granted = 0

    def upgraded(self, head: bytes) -> None:
        self._waiting.pop("handshake").set_result({"head": head})

    def read(self, payload: bytes) -> None:
        for message in orjson.loads(payload):
            if waiting := self._waiting.pop(message.get("id", ""), None):
                waiting.set_result(message)

    def closed(self, payload: bytes) -> None:
        self._fail(ConnectionError(f"closed: {payload!r}"))

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionError("the socket is gone"))

    async def join(self, address: tuple[str, int], token: str | None = None) -> None:
        """Open the socket and join the show; `token` None: as a guest."""
        await asyncio.get_running_loop().create_connection(lambda: self, *address)
        self.write(
            f"GET /ws/{_SHOW} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: showcart.json.v1\r\n\r\n".encode()
        )
        upgraded = self._waiting["handshake"] = asyncio.get_running_loop().create_future()
        head: bytes = (await upgraded)["head"]
        assert head.startswith(b"HTTP/1.1 101"), head
        answer = await self.ask({"type": "connect"} | ({} if token is None else {"token": token}))
        assert answer["type"] == "connected", answer

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and wait for its answer; raises when it does not come in time."""
        self._sent += 1
        id_ = str(self._sent)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = answer
        self.write(client_frame(TEXT, orjson.dumps(message | {"id": id_})))
        async with asyncio.timeout(_ANSWER_S):
            return await answer

    async def add(self, sku: str) -> str:
        """Click; "reply", or the name of the refusal."""
        key = f"{self._number}-{self._sent}"
        answer = await self.ask({"type": "command", "name": "cart.add", "data": {"sku": sku}, "key": key})
        if answer["type"] == "reply":
            self.granted += 1
            return "reply"
        return str(answer["error"]["name"])

    async def in_cart(self, sku: str) -> int:
        """How many the cart holds, as the server says."""
        answer = await self.ask({"type": "command", "name": "cart.get", "data": {}})
        return sum(line["quantity"] for line in answer["data"]["cart"]["lines"] if line["sku"] == sku)

    def leave(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)
        self._waiting.clear()


class Rush(NamedTuple):
    """What came of a stampede."""

    acks_per_s: float
    p99_ms: float
    cpu_ms: float  # of the server, an add
    oversold: int
    lost: int
    outcomes: Counter[str]


async def stock(server: Server, sku: str, units: int) -> None:
    """Put a product with so many units on the shelf, and into the show's lineup."""
    tokens = Tokens(_SECRET, SystemClock())
    token = tokens.sign(Principal(subject="bench", role=Role.ops, show=ALL_SHOWS, name="Bench"), 3600)
    product = {
        "id": sku.lower(),
        "title": "Cup",
        "currency": "EUR",
        "variants": [{"sku": sku, "price_minor": 1000, "stock": units}],
    }
    async with httpx.AsyncClient(base_url=server.url, headers={"authorization": f"Bearer {token}"}) as http:
        body = json.dumps([product])
        answer = await http.post("/api/products/import", content=body, headers={"content-type": "application/json"})
        answer.raise_for_status()
        answer = await http.put(f"/api/shows/{_SHOW}/lineup", json={"product_ids": [product["id"]]})
        answer.raise_for_status()


async def stampede(server: Server, shoppers: list[Shopper], sku: str, units: int, each: int) -> Rush:
    """Everybody clicks `each` times."""
    await stock(server, sku, units)
    for shopper in shoppers:
        shopper.granted = 0
    outcomes: Counter[str] = Counter()
    waits_ms: list[float] = []

    async def clicks(shopper: Shopper) -> None:
        for _ in range(each):
            start = time.perf_counter()
            outcomes[await shopper.add(sku)] += 1
            waits_ms.append((time.perf_counter() - start) * 1000)

    cpu_s, start_s = server.cpu_s(), time.perf_counter()
    await asyncio.gather(*map(clicks, shoppers))
    took_s, cpu_s = time.perf_counter() - start_s, server.cpu_s() - cpu_s
    carts = await asyncio.gather(*(shopper.in_cart(sku) for shopper in shoppers))
    lost = sum(abs(held - shopper.granted) for held, shopper in zip(carts, shoppers, strict=True))
    answered = outcomes["reply"] + outcomes["sold_out"]
    oversold = max(0, sum(carts) - units)
    return Rush(
        answered / took_s, quantiles(waits_ms, n=100)[98], 1000 * cpu_s / len(waits_ms), oversold, lost, outcomes
    )


async def calm(server: Server, shoppers: list[Shopper], sku: str) -> float:
    """What an add costs the server, in ms of CPU, when few come, less what the server costs without any."""
    await stock(server, sku, 100_000)
    before_s = server.cpu_s()
    await asyncio.sleep(CALM_S)
    idle_s = server.cpu_s() - before_s
    before_s, start_s = server.cpu_s(), time.perf_counter()
    count = round(CALM_S * CALM_PER_S)
    adds: list[asyncio.Task[str]] = []
    for number in range(count):
        await asyncio.sleep(max(0.0, start_s + number / CALM_PER_S - time.perf_counter()))
        adds.append(asyncio.create_task(shoppers[number % len(shoppers)].add(sku)))
    assert set(await asyncio.gather(*adds)) == {"reply"}
    return 1000 * (server.cpu_s() - before_s - idle_s) / count


async def joined(server: Server) -> list[Shopper]:
    """The shoppers, in the show."""
    shoppers = [Shopper(number) for number in range(SHOPPERS)]
    for start in range(0, SHOPPERS, 50):
        await asyncio.gather(*(shopper.join(server.address) for shopper in shoppers[start : start + 50]))
    return shoppers


class Worst(NamedTuple):
    """What must hold whatever the database is."""

    oversold: int
    lost: int
    p99_ms: float
    lane_gain: float


async def _measure(dialect: str, url: str, alone_url: str) -> Worst:
    with serving(url) as server:
        shoppers = await joined(server)
        await stampede(server, shoppers, "WARM", 1000, 1)
        rushes = [await stampede(server, shoppers, f"CUP-{n}", UNITS, ADDS_EACH) for n in range(RUSHES)]
        all_granted = await stampede(server, shoppers, "MUG", SHOPPERS * ADDS_EACH, ADDS_EACH)
        calm_ms = await calm(server, shoppers, "CALM")
        for shopper in shoppers:
            shopper.leave()
    with serving(alone_url, batch_max=1) as server:
        shoppers = await joined(server)
        alone = await stampede(server, shoppers, "CUP", ALONE_UNITS, ALONE_EACH)
        for shopper in shoppers:
            shopper.leave()
    of = f"on {dialect}"
    clicks = SHOPPERS * ADDS_EACH
    rush = sorted(rushes, key=lambda rush: rush.acks_per_s)[RUSHES // 2]  # each takes but a second of a shared machine
    oversold, lost = sum(rush.oversold for rush in rushes), sum(rush.lost for rush in (*rushes, all_granted))
    refused = sum(rush.outcomes.total() - rush.outcomes["reply"] - rush.outcomes["sold_out"] for rush in rushes)
    figure(f"stampede_{dialect}_oversold", oversold, f"units {of}, {RUSHES} times {clicks} adds to {UNITS} units", 0)
    figure(f"stampede_{dialect}_lost", lost, f"acknowledged units that no cart holds {of}", 0)
    figure(f"stampede_{dialect}_refused", refused, f"adds neither granted nor sold out {of}", 0)
    figure(
        f"stampede_{dialect}_acks_per_s",
        rush.acks_per_s,
        f"a second {of}, median of {RUSHES}",
        ACKS_PER_S[dialect],
        least=True,
    )
    figure(f"stampede_{dialect}_p99_ms", rush.p99_ms, f"ms from click to answer {of}, {SHOPPERS} at once", P99_MS)
    figure(f"stampede_{dialect}_cpu_ms", rush.cpu_ms, f"ms CPU of the server an add {of}")
    figure(f"stampede_{dialect}_granted_per_s", all_granted.acks_per_s, f"a second {of}, when there is enough for all")
    figure(f"stampede_{dialect}_alone_acks_per_s", alone.acks_per_s, f"a second {of}, one transaction an add")
    gain = rush.acks_per_s / alone.acks_per_s
    figure(f"stampede_{dialect}_lane_gain", gain, "times as many as alone", LANE_GAIN, least=True)
    figure(f"stampede_{dialect}_calm_cpu_ms", calm_ms, f"ms CPU of the server an add {of}, {CALM_PER_S} a second")
    return Worst(oversold, lost, rush.p99_ms, gain)


def _overall(found: list[Worst]) -> None:
    on = f"on the worse of {len(found)} databases"
    figure("stampede_oversold", sum(one.oversold for one in found), "units, on all databases", 0)
    figure("stampede_lost", sum(one.lost for one in found), "acknowledged units, on all databases", 0)
    figure("stampede_p99_ms", max(one.p99_ms for one in found), f"ms from click to answer {on}", P99_MS)
    gain = min(one.lane_gain for one in found)
    figure("lane_gain", gain, f"times as many as alone {on}", LANE_GAIN, least=True)


@contextlib.contextmanager
def _postgresql() -> Iterator[str | None]:
    """The socket folder of a private PostgreSQL that writes to disk as in production; None: it is not installed."""
    found = shutil.which("initdb") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[-1:]), None)
    if found is None:
        yield None
        return
    binaries = Path(found).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="showcart-pg-"))
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if user:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        command = [str(binaries / program), *arguments]
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "showcart", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", f"-k {folder} -c listen_addresses=''", "start")
    try:
        for name in ("lanes", "alone"):
            run("createdb", "-h", str(folder), "-U", "showcart", name)
        yield str(folder)
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def main() -> None:
    found = [uvloop.run(_measure("sqlite", "", ""))]
    with _postgresql() as folder:
        if folder is None:
            print(json.dumps({"skipped": "PostgreSQL is not installed"}), flush=True)
        else:
            urls = [f"postgresql://showcart@/{name}?host={folder}" for name in ("lanes", "alone")]
            found.append(uvloop.run(_measure("postgresql", *urls)))
    _overall(found)


if __name__ == "__main__":
    main()
