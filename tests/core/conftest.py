"""A second worker beside the one that every test has, and an ear for what a bus says."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from live.core.bus import Bus, Message


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
async def other(valkey_url: str) -> AsyncIterator[Bus]:
    """A second worker's bus on the same server."""
    opened = await Bus.open(valkey_url)
    yield opened
    await opened.close()
