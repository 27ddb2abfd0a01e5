"""A real Valkey of its own for each test, and buses on it as two workers have them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from live.core.bus import Bus, Message
from live.core.valkey import EmbeddedValkey


class Ear:
    """A handler that remembers; `until` waits for something to be heard."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self._news = asyncio.Event()

    def __call__(self, message: Message) -> None:
        self.heard.append(message)
        self._news.set()

    async def until(self, done: Callable[[list[Message]], bool]) -> list[Message]:
        async with asyncio.timeout(15):
            while not done(self.heard):
                self._news.clear()
                await self._news.wait()
        return self.heard


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path)
    yield server
    await server.stop()


@pytest.fixture
async def url(valkey: EmbeddedValkey) -> str:
    return await valkey.start()


@pytest.fixture
async def bus(url: str) -> AsyncIterator[Bus]:
    opened = await Bus.open(url)
    yield opened
    await opened.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[Bus]:
    """A second worker's bus on the same server."""
    opened = await Bus.open(url)
    yield opened
    await opened.close()
