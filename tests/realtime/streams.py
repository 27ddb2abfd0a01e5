"""A viewer without WebSockets: events come down one POST, and commands go up by others."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Self

import httpx
import pytest

from tests.realtime.conftest import Stage
from tests.realtime.slow_reader import small_socket

PATIENCE_S = 10.0


class StreamClient:
    """Like `conftest.Client`. `opening` is what the stream was answered with; commands go to `posts`."""

    def __init__(self, url: str, stack: AsyncExitStack, posts: str = "", **options: Any) -> None:
        self.url = url
        self.posts = posts or url
        self._stack = stack
        self._http = httpx.AsyncClient(timeout=PATIENCE_S, **options)
        self._lines: AsyncIterator[str] | None = None
        self._waiting: list[dict[str, Any]] = []
        self.token: str | None = None
        self.answer: httpx.Response | None = None
        self.comments = 0

    async def open(self, message: dict[str, Any], **headers: str) -> httpx.Response:
        """Ask for a stream; the answer, of which nothing but the head was read."""
        await self._stack.enter_async_context(self._http)
        self.token = message.get("token")
        asked = self._http.stream("POST", f"{self.url}/stream", json=message, headers=headers)
        self.answer = await self._stack.enter_async_context(asked)
        self._lines = self.answer.aiter_lines()
        return self.answer

    async def event(self) -> tuple[str, Any]:
        """The name and data of the next event; ("end", None) at the end."""
        assert self._lines is not None
        name, data = "message", None
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._lines:
                if line == "" and data is not None:
                    return name, data
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    data = json.loads(line[6:])
                else:
                    self.comments += line == ":"
        return "end", None

    async def next(self) -> dict[str, Any]:
        while not self._waiting:
            name, data = await self.event()
            assert name == "message", (name, data)
            self._waiting = data
        return self._waiting.pop(0)

    async def until(self, type_: str) -> dict[str, Any]:
        while (message := await self.next())["type"] != type_:
            continue
        return message

    async def join(self, **members: Any) -> dict[str, Any]:
        await self.open({"type": "connect", "id": "c", **members})
        connected = await self.until("connected")
        self.token = connected["token"] or self.token
        return connected

    async def post(self, *commands: dict[str, Any], token: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {token or self.token}"}
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            return await http.post(f"{self.posts}/commands", json={"commands": commands}, headers=headers)

    async def command(self, name: str, /, key: str | None = None, **data: Any) -> dict[str, Any]:
        answer = await self.post({"type": "command", "id": "x", "name": name, "data": data, "key": key})
        assert answer.status_code == 200, answer.text
        (message,) = answer.json()["messages"]
        found: dict[str, Any] = message
        return found

    async def closed(self) -> int:
        """The code that the stream ends with."""
        while True:
            name, data = await self.event()
            if name == "close":
                assert await self.event() == ("end", None)
                code: int = data["code"]
                return code
            assert name == "message", "cut without a word"


class Streams:
    """Makes clients, and closes them at the end of the test."""

    def __init__(self, stage: Stage, stack: AsyncExitStack) -> None:
        self.stage = stage
        self._stack = stack

    def __call__(
        self, show: str = "demo", stage: Stage | None = None, up: Stage | None = None, **options: Any
    ) -> StreamClient:
        down = stage or self.stage
        return StreamClient(_address(down, show), self._stack, _address(up or down, show), **options)

    async def joined(self, **members: Any) -> StreamClient:
        client = self()
        await client.join(**members)
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def _address(stage: Stage, show: str) -> str:
    return f"{stage.url.replace('ws:', 'http:')}/api/shows/{show}"


@pytest.fixture
async def streams(stage: Stage) -> AsyncIterator[Streams]:
    async with Streams(stage, AsyncExitStack()) as made:
        yield made


class SlowStream:
    """A stream over a socket with hardly any buffer, of which nothing is read until its `messages` are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, stage: Stage) -> Self:
        reader, writer = await asyncio.open_connection(sock=small_socket(stage), limit=4096)
        body = json.dumps({"type": "connect", "id": "c"})
        head = "POST /api/shows/demo/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        """Name and data of each event, until the line ends."""
        rest = b""
        while True:
            async with asyncio.timeout(PATIENCE_S):
                size = int((await self._reader.readline()).strip() or b"0", 16)
                if not size:
                    return
                rest += (await self._reader.readexactly(size + 2))[:-2]
            *whole, rest = rest.split(b"\n\n")
            for each in whole:
                lines = dict(line.split(b": ", 1) for line in each.split(b"\n") if not line.startswith(b":"))
                if b"data" in lines:
                    yield lines.get(b"event", b"message").decode(), json.loads(lines[b"data"])

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Each message; the last one is the close event. The line is closed then."""
        async for name, data in self.events():
            for message in data if name == "message" else ({"type": name, **data},):
                yield message
