"""The same promises over a real Valkey that is killed and stands still: two workers, real sockets."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import pytest

from live.core.bus import Bus
from live.core.limits import BUS_TIMEOUT_S
from live.core.settings import Settings
from live.core.valkey import EmbeddedValkey
from tests.realtime.conftest import SECRET, Audience, Stage
from tests.realtime.page import Page

pytestmark = pytest.mark.timeout(110)


@pytest.fixture
async def stages(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Stage]]:
    """The realtime parts of two workers, over what stands for one database."""
    monkeypatch.setattr("live.realtime.outlet.BUS_CONFIRM_S", 1.0)
    async with AsyncExitStack() as stack:
        made: list[Stage] = []
        for _ in range(2):
            bus = await Bus.open(valkey_url)
            stack.push_async_callback(bus.close)
            stage = Stage(bus, Settings(secret=SECRET))
            stage.words = made[0].words if made else stage.words
            made.append(await stack.enter_async_context(stage.running()))
        yield made


@contextmanager
def hasty(stages: list[Stage]) -> Iterator[None]:
    """The server is given up after half a second, for as long as the context lasts.

    Not for longer: on a busy machine one that is well may take as long, and then viewers do take snapshots.
    """

    def wait(seconds: float) -> None:
        for stage in stages:
            servers: Any = stage.bus._servers
            pool = servers._server._pool
            pool.connection_kwargs["socket_timeout"] = seconds
            for connection in (*pool._available_connections, *pool._in_use_connections):
                connection.socket_timeout = seconds

    wait(0.5)
    try:
        yield
    finally:
        wait(BUS_TIMEOUT_S)


async def test_screens_come_right_after_everything(stages: list[Stage], valkey: EmbeddedValkey) -> None:
    async with AsyncExitStack() as stack:
        clients = [Audience(stage, stack) for stage in stages]
        pages = [Page(await clients[index % 2]()) for index in range(4)]
        for page in pages:
            await page.join()

        async def say(count: int) -> None:
            for _ in range(count):
                await stages[0].say(f"word {len(stages[0].words['demo'])}")

        async def seen() -> None:
            async with asyncio.timeout(20):
                await asyncio.gather(*[page.shows(stages[0].words["demo"]) for page in pages])

        await say(5)
        await seen()
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGKILL)
        await say(3)  # nobody hears it, until everybody looks at the database
        await seen()
        # It stands still longer than it is waited for: what was given up is done all the same when it goes on.
        pid = valkey.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            with hasty(stages):
                await say(2)
        finally:
            os.kill(pid, signal.SIGCONT)
        await seen()
        await pages[0].client.socket.close()
        await stages[0].bus.rotate("demo")
        await say(2)
        pages[0].client = await clients[1]()
        await pages[0].join()
        await seen()
        # An ordinary show again: all that was published is confirmed, and costs nobody a snapshot.
        async with asyncio.timeout(20):
            while any(stage.outlet._published or stage.outlet._behind for stage in stages):
                await asyncio.sleep(0.05)
        await say(1)
        await seen()
        snapshots = [page.snapshots for page in pages]
        await say(5)
        await seen()
        assert snapshots == [page.snapshots for page in pages]
