"""kill -9 in the middle of a stampede, again and again: what was acknowledged is there, and no unit is sold twice.

Each time the server is a real process, which dies when its shoppers have heard a seeded number of answers, with clicks
on the wire, in its lane and in its transactions; the next one opens the same data. Who did not hear an answer clicks
again under the same key. What a process starts with is imported once: each server is a fork of one that has done so.
"""

import asyncio
import os
import random
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from cart import store
from cart.catalogue import VariantEntry
from cart.service import Shop
from live.core.auth import ALL_SHOWS, Principal, Role, Tokens
from live.core.clock import SystemClock
from live.core.database import Database
from live.service import Shows
from live.shows import ShowState
from loadtests.benches.stampede import Shopper
from tests.cart.conftest import Screens, product, stock
from tests.scenarios.conftest import environment

SKU = "RUSH"
SHOPPERS = 40
KILLS = {"sqlite": 10, "postgresql": 4}
ACKS_MAX = 160  # that a server lives for
STOCK = 1300  # more than all of them can sell
_SECRET = "a secret of the tests, long enough"
_PATIENCE_S = 30
_ROOT = Path(__file__).parents[2]
_NURSERY = """
import os, sys
import aiosqlite, alembic.command, asyncpg, uvloop
import app
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        sys.argv = ["showcart", "serve"]
        app.main()
    print("pid", child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


class Servers:
    """One server after the other, over the same data."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._pid = 0
        self.port = 0

    async def _said(self, pattern: str) -> str:
        assert self._process.stdout is not None
        lines = []
        async with asyncio.timeout(_PATIENCE_S):
            while line := (await self._process.stdout.readline()).decode():
                lines.append(line)
                if found := re.search(pattern, line):
                    return found[1]
        raise AssertionError("".join(lines))

    async def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        await self._process.stdin.drain()
        self._pid = int(await self._said(r"^pid (\d+)"))
        self.port = int(await self._said(r'"port": (\d+).*"event": "ready"'))

    def kill(self) -> None:
        """SIGKILL; at once, and once."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = 0

    async def gone(self) -> None:
        await self._said(r"^(gone)")


@asynccontextmanager
async def nursery(folder: Path, **variables: str) -> AsyncIterator[Servers]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _NURSERY, cwd=_ROOT, env=environment(folder, **variables),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    servers = Servers(process)
    try:
        yield servers
    finally:
        servers.kill()
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


class Crowd:
    """Shoppers who click until the server is gone, or nothing is left."""

    def __init__(self) -> None:
        self.tokens = [
            Tokens(_SECRET, SystemClock()).sign(Principal(f"s{number}", Role.viewer, ALL_SHOWS, f"S{number}"), 3600)
            for number in range(SHOPPERS)
        ]
        self.acked: dict[str, str] = {}  # key → hold
        self.open: dict[int, str] = {}  # shopper → key of a click whose answer was not heard
        self.made = 0

    async def rush(self, servers: Servers, after: int | None) -> None:
        """Kill the server after so many answers; None: until it is sold out."""
        shoppers = [Shopper(number) for number in range(SHOPPERS)]
        await asyncio.gather(
            *(one.join(("127.0.0.1", servers.port), token) for one, token in zip(shoppers, self.tokens, strict=True))
        )
        self._left = after
        await asyncio.gather(*(self._click(servers, number, one) for number, one in enumerate(shoppers)))
        for one in shoppers:
            one.leave()

    async def _click(self, servers: Servers, number: int, shopper: Shopper) -> None:
        while True:
            if number not in self.open:
                self.made += 1
                self.open[number] = f"{number}-{self.made}"
            key = self.open[number]
            ask = {"type": "command", "name": "cart.add", "data": {"sku": SKU}, "key": key}
            try:
                answer = await shopper.ask(ask)
            except ConnectionError:
                return
            del self.open[number]
            if answer["type"] != "reply":
                assert answer["error"]["name"] == "sold_out", answer
                return
            self.acked[key] = answer["data"]["hold"]["hold_id"]
            if self._left is not None:
                self._left -= 1
                if self._left == 0:
                    servers.kill()


async def _books(database: Database) -> tuple[dict[str, int], Any, list[Any]]:
    """Units by hold, the level, and what the reconciler would say."""
    async with database.read() as connection:
        holds = await connection.execute(text("SELECT id, quantity FROM hold WHERE state = 'active'"))
        levels = await connection.execute(text("SELECT * FROM stock_level"))
        return {id_: units for id_, units in holds}, levels.one(), await connection.run_sync(store.drift)


@pytest.mark.timeout(120)
async def test_kill_9_in_the_middle_of_a_stampede(database_url: str, valkey_url: str, tmp_path: Path) -> None:
    clock = SystemClock()
    database = await Database.open(database_url, clock)
    shows = Shows(database, Screens(), clock)
    Shop(database, shows, clock).attach()
    await stock(shows, product("rush", VariantEntry(sku=SKU, price_minor=1000, stock=STOCK)))
    await shows.create("demo", "Demo")
    await shows.transition("demo", ShowState.live)
    await shows.close()
    moments, crowd = random.Random(5), Crowd()
    variables = {
        "SHOWCART_DATABASE_URL": database_url, "SHOWCART_REDIS_URL": valkey_url, "SHOWCART_SECRET": _SECRET,
        "SHOWCART_SOCKETS_PER_ADDRESS": "0", "SHOWCART_LOG_LEVEL": "info", "SHOWCART_LOG_FORMAT": "json",
    }  # fmt: skip
    async with nursery(tmp_path, **variables) as servers:
        for _ in range(KILLS[database.dialect]):
            await servers.start()
            await crowd.rush(servers, moments.randint(1, ACKS_MAX))
            await servers.gone()
            holds, level, drift = await _books(database)
            for hold_id, units in Counter(crowd.acked.values()).items():
                assert holds[hold_id] >= units, "an acknowledged unit is lost"
            assert sum(holds.values()) == level.held <= level.on_hand == STOCK
            assert sum(holds.values()) <= len(crowd.acked) + len(crowd.open)
            assert drift == []
        await servers.start()
        await crowd.rush(servers, None)
    holds, level, drift = await _books(database)
    assert holds == Counter(crowd.acked.values()), "lost, or done twice"
    assert (level.held, level.on_hand, level.allocated) == (STOCK, STOCK, 0)
    assert drift == []
    await database.close()
