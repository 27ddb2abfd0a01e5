"""A second worker beside the one that every test has, and an ear for what a bus says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from live.core.bus import Bus, Message
from live.core.valkey import EmbeddedValkey

Raw = Callable[[str], Redis]


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


@pytest.fixture(params=["alone", "cluster"])
async def anywhere(request: pytest.FixtureRequest, valkey: EmbeddedValkey) -> Any:
    """The URL of each kind of Valkey; a module that imports it as `valkey_url` runs all of its tests on both."""
    if request.param == "cluster":
        return request.getfixturevalue("valkeys").url
    return await valkey.start()


@pytest.fixture
def raw(valkey_url: str, request: pytest.FixtureRequest) -> Raw:
    """The client library's own client of the server that has a show."""
    if "+cluster" not in valkey_url:
        return lambda show: Redis.from_url(valkey_url)
    valkeys = request.getfixturevalue("valkeys")
    return lambda show: Redis(port=valkeys.owner(show).port)
