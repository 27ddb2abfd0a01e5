"""A scripted server of a cluster: it speaks RESP2 and answers what it is told to, over TLS as well."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

Answer = Any
Answers = Callable[["Node", int, list[bytes]], Answer]


class Refusal(str):
    """An error reply."""


class Node:
    """Answers CLUSTER INFO and CLUSTER SLOTS from `epoch` and `slots`, and everything else by `answers`.

    `heard` has the connection's number and the command, for each.
    """

    def __init__(self, answers: Answers = lambda node, connection, command: b"OK", *, epoch: int = 1) -> None:
        self.answers = answers
        self.epoch = epoch
        self.slots: list[Any] = []
        self.heard: list[tuple[int, list[bytes]]] = []
        self.port = 0
        self._connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, tls: ssl.SSLContext | None = None) -> "Node":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    def commands(self, name: bytes) -> list[list[bytes]]:
        return [command for _, command in self.heard if command[0] == name]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        connection = self._connections
        self._writers.add(writer)
        try:
            while head := await reader.readline():
                command = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    command.append((await reader.readexactly(size + 2))[:-2])
                self.heard.append((connection, command))
                answer = self._answer(connection, command)
                if answer is None:
                    continue  # it says nothing
                writer.write(encoded(answer))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, connection: int, command: list[bytes]) -> Answer:
        if command[:2] == [b"CLUSTER", b"INFO"]:
            return f"cluster_state:ok\r\ncluster_current_epoch:{self.epoch}\r\n".encode()
        if command[:2] == [b"CLUSTER", b"SLOTS"]:
            return self.slots
        return self.answers(self, connection, command)


def encoded(answer: Answer) -> bytes:
    """RESP2."""
    if isinstance(answer, Refusal):
        return f"-{answer}\r\n".encode()
    if isinstance(answer, bytes):
        return b"$%d\r\n%s\r\n" % (len(answer), answer)
    if isinstance(answer, int):
        return b":%d\r\n" % answer
    assert isinstance(answer, list)
    return b"*%d\r\n%s" % (len(answer), b"".join(map(encoded, answer)))
