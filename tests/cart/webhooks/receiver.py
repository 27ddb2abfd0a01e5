"""A merchant's server: answers by a script, and keeps what it was sent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True)
class Answer:
    """What comes back. `status` 0: the connection is cut instead. `after`: not before this is set."""

    status: int = 200
    headers: tuple[str, ...] = ()
    body: bytes = b"thank you"
    after: asyncio.Event | None = None
    drips: bool = False  # the body never ends


@dataclass(frozen=True)
class Message:
    """What was sent."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Receiver:
    """`answers` are used up one after the other, then `rest` is the answer; `choose` decides by the message instead."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    rest: Answer = Answer()
    choose: Callable[[Message], Answer] | None = None
    messages: list[Message] = field(default_factory=list)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)
    _serving: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["Receiver"]:
        receiver = cls()
        server = await asyncio.start_server(receiver._accept, "127.0.0.1", 0)
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        try:
            yield receiver
        finally:
            server.close()
            for answer in (receiver.rest, *receiver.answers):
                if answer.after is not None:
                    answer.after.set()  # a test that fails before must not hang here
            for writer in receiver._serving.values():
                writer.transport.abort()
            if receiver._serving:
                await asyncio.wait(receiver._serving)
            await server.wait_closed()

    async def has(self, count: int) -> list[Message]:
        """The messages, once there are so many."""
        async with self.came:  # the test's own time bounds it: a process that sends has to start first
            await self.came.wait_for(lambda: len(self.messages) >= count)
        return self.messages

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            while await self._serve(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            del self._serving[task]
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        headers |= {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in head[1:] if line}
        body = await reader.readexactly(int(headers["content-length"]))
        message = Message(head[0].split(" ")[1], headers, body)
        async with self.came:
            self.messages.append(message)
            self.came.notify_all()
        answer = self.choose(message) if self.choose else self.answers.pop(0) if self.answers else self.rest
        if answer.after is not None:
            await answer.after.wait()
        if not answer.status:
            return False
        length = 10**6 if answer.drips else len(answer.body)
        lines = [f"HTTP/1.1 {answer.status} So", f"content-length: {length}", *answer.headers, "", ""]
        writer.write("\r\n".join(lines).encode() + answer.body)
        await writer.drain()
        return True
