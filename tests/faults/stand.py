"""A shop of real processes that faults happen to: `showcart demo`, its workers, its stores, its log.

What takes minutes by the product's own bounds is hurried: the processes start with other numbers in `live.core.limits`
(`HURRY`), in the same order of size. Nothing else differs from what is shipped.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from live.core.auth import ALL_SHOWS, Principal, Role, Tokens
from live.core.clock import SystemClock
from live.core.database import Database
from live.core.slots import CLUSTER_SCHEMES
from live.core.valkey import _socket_path
from tests.scenarios.conftest import environment

SHOW = "demo"
SKU = "FAULT-1"
STOCK = 100_000
LINEUP = ["fault", "espresso-cup"]
CONVERGE_S = 10.0  # screens are right again this long after a fault's end, at the latest
_PATIENCE_S = 40.0
_ROOT = Path(__file__).parents[2]  # what is tried is what these tests stand beside
_SECRET = "a secret of the tests"

# seconds; the bounds of the bus are as shipped, because the pause of a store is as long as people mean by one
HURRY = {
    "CHANNEL_LINGER_S": 1.0, "PARTED_S": 1.0, "PRESENCE_INTERVAL_S": 0.5, "PRESENCE_TTL_S": 2.0,
    "WS_PING_INTERVAL_S": 2.5, "WS_PING_TIMEOUT_S": 2.5, "WS_CLOSE_TIMEOUT_S": 0.5, "VIEWER_STALL_S_MAX": 0.75,
    "HTTP_HEAD_TIMEOUT_S": 1.5, "ROLL_BEAT_S": 0.5, "ROLL_TTL_S": 1.5, "ROLL_SILENCE_S": 1.0,
}  # fmt: skip
PAUSE_S = 10.0
UNTOLD = "committed, and never told"  # a worker whose chat is to say so hangs right there: after COMMIT

_SITE = """
import json, os
if "SHOWCART_TEST_HURRY" in os.environ:
    from live.core import limits
    for name, value in json.loads(os.environ["SHOWCART_TEST_HURRY"]).items():
        assert type(getattr(limits, name)) is type(value), name
        setattr(limits, name, value)

    from live.realtime.outlet import Outlet

    def tell(self, show, news, told=Outlet.tell):
        if any(one.data.get("text") == os.environ["SHOWCART_TEST_UNTOLD"] for one in news):
            return hang()
        return told(self, show, news)

    async def hang():
        import asyncio, pathlib
        pathlib.Path(os.environ["SHOWCART_TEST_HUNG"]).write_text(str(os.getpid()))
        await asyncio.Event().wait()

    Outlet.tell = tell
"""


def workers_of(pid: int) -> list[psutil.Process]:
    """The workers that `pid` supervises; one that has just died has no command line any more."""
    found = []
    for each in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            if "worker" in each.cmdline():
                found.append(each)
    return found


class Stand:
    """One service; `prefix` is a command that runs it, e.g. in a namespace."""

    def __init__(self, folder: Path, *, workers: int = 2, prefix: tuple[str, ...] = (), **variables: str) -> None:
        self.folder = folder
        self.workers = workers
        self.data = folder / "var"
        self.port = 0
        self.variables = variables
        self._prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; answers when all workers do, and the product is on the shelf."""
        (self.folder / "site").mkdir(parents=True, exist_ok=True)
        (self.folder / "site" / "sitecustomize.py").write_text(_SITE)
        variables = {
            "PYTHONPATH": f"{self.folder / 'site'}{os.pathsep}{_ROOT}",
            "SHOWCART_TEST_HURRY": json.dumps(HURRY),
            "SHOWCART_TEST_UNTOLD": UNTOLD, "SHOWCART_TEST_HUNG": str(self.folder / "hung"),
            "SHOWCART_SECRET": _SECRET, "SHOWCART_LOG_LEVEL": "info", "SHOWCART_LOG_FORMAT": "json",
        } | self.variables  # fmt: skip
        with (self.folder / "out").open("wb") as out, (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*self._prefix, sys.executable, "-c", "import app; app.main()", "demo", "--workers", str(self.workers)],
                env=environment(self.folder, **variables), stdin=subprocess.DEVNULL, stdout=out, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + _PATIENCE_S
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/whip/", (self.folder / "out").read_text())):
            assert self._process.poll() is None and time.monotonic() < until, self.log()
            time.sleep(0.02)
        self.port = int(found[1])
        product = {
            "id": "fault", "title": "Fault", "currency": "EUR",
            "variants": [{"sku": SKU, "title": "One", "price_minor": 100, "stock": STOCK}],
        }  # fmt: skip
        self.ask("POST", "/api/products/import", [product])
        self.ask("PUT", f"/api/shows/{SHOW}/lineup", {"product_ids": LINEUP})

    def stop(self) -> None:
        """End it in good order. It has logged no mistake of its own."""
        if self._process is None:
            return
        process, self._process = self._process, None
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(_PATIENCE_S)
        finally:
            for each in psutil.wait_procs(family, 5)[1]:
                each.kill()
        assert code == 0, self.log()
        assert "Exception in ASGI application" not in self.log(), self.log()
        assert "never retrieved" not in self.log(), self.log()

    def _seen(self, path: Path) -> Path:
        """Where this process finds what a service in a namespace calls `path`."""
        return Path(f"/proc/{self.pid}/root") / path.relative_to("/") if self._prefix else path

    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, role: Role) -> str:
        principal = Principal(subject=f"a-{role.value}", role=role, show=ALL_SHOWS, name=role.value)
        return Tokens(_SECRET, SystemClock()).sign(principal, 3600)

    def subject(self, token: str) -> str:
        """Whose it is."""
        return Tokens(_SECRET, SystemClock()).verify(token).subject

    def ask(self, method: str, path: str, body: Any) -> None:
        headers = {"authorization": f"Bearer {self.token(Role.ops)}"}
        answer = httpx.request(method, self.base + path, json=body, headers=headers, timeout=20)
        assert answer.is_success, answer.text

    # --- who runs

    def worker_processes(self) -> list[psutil.Process]:
        """Those of a service with several."""
        return workers_of(self.pid)

    def valkey_process(self) -> psutil.Process:
        """The private Valkey."""
        children = psutil.Process(self.pid).children(recursive=True)
        return next(each for each in children if "valkey" in each.name() and each.status() != psutil.STATUS_ZOMBIE)

    async def hung(self) -> psutil.Process:
        """The worker that has committed UNTOLD."""
        file = self._seen(self.folder / "hung")
        async with asyncio.timeout(_PATIENCE_S):
            while not file.exists() or not (pid := file.read_text()):
                await asyncio.sleep(0.02)
        file.unlink()
        return psutil.Process(int(pid))

    # --- what they count

    async def totals(self, *names: str) -> dict[str, float]:
        """What all workers count together, by the metrics' names."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                try:
                    async with httpx.AsyncClient(base_url=self.base, timeout=5) as client:
                        told = (await client.get("/metrics")).text
                except httpx.TransportError:
                    told = ""  # a worker that has just died
                if len(re.findall(r"^showcart_worker_up{.*} 1", told, re.M)) == self.workers:
                    break
                await asyncio.sleep(0.05)
        return {name: sum(map(float, re.findall(rf"^{name}(?:{{.*}})? (.*)", told, re.M))) for name in names}

    async def settled(self) -> None:
        """Wait until nothing of an audience that has left is counted any more."""
        until = time.monotonic() + CONVERGE_S
        while left := await self._left():
            assert time.monotonic() < until, left
            await asyncio.sleep(0.1)

    async def _left(self) -> dict[str, Any]:
        told = await self.totals(
            "showcart_sockets", "showcart_subscriptions", "showcart_channels", "showcart_slow_viewers"
        )
        left: dict[str, Any] = {name: total for name, total in told.items() if total}
        bus = await self._bus_left()
        return left | ({"bus": bus} if bus else {})

    async def _bus_left(self) -> list[bytes]:
        """Subscriptions to the show, and who is said to watch it."""
        left = []
        for redis in self._servers():
            async with redis:
                channels = await redis.execute_command(  # type: ignore[no-untyped-call]
                    "PUBSUB", "SHARDCHANNELS", f"*{{{SHOW}}}*"
                )
                # what a worker listens to for the show's video is not of an audience
                left += [name for name in channels if name == f"showcart:{{{SHOW}}}".encode()]
                if (await redis.role())[0] == b"master":
                    left += await redis.keys(f"showcart:{{{SHOW}}}:presence")
        return left

    def _servers(self) -> list[Redis]:
        url = self.variables.get("SHOWCART_REDIS_URL", "")
        scheme, _, hosts = url.partition("://")
        if scheme in CLUSTER_SCHEMES:
            return [Redis.from_url(f"redis://{host}") for host in hosts.split(",") if _listens(host)]
        return [Redis(unix_socket_path=str(self._seen(_socket_path(self.data.resolve()))))]

    # --- what SQL says

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        url = self.variables.get("SHOWCART_DATABASE_URL") or f"sqlite:///{self.data / 'showcart.db'}"
        database = await Database.open(url, SystemClock())
        try:
            async with database.read() as connection:
                return [tuple(row) for row in await connection.execute(text(query))]
        finally:
            await database.close()


def _listens(host: str) -> bool:
    name, _, port = host.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((name, int(port))) == 0


def killed(process: psutil.Process) -> None:
    """SIGKILL it."""
    os.kill(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def stand() -> Iterator[Stand]:
    """Two workers over SQLite and a private Valkey, for all faults that leave a service as it was."""
    with tempfile.TemporaryDirectory(prefix="showcart-stand-") as folder:
        made = Stand(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.stop()
