"""A tiny show on a real socket that keeps the wire's rules, except where a test tells it not to."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve, unix_serve
from websockets.exceptions import ConnectionClosed

from live.core.codec import decode, encode
from live.core.position import Position
from live.realtime.protocol import (
    SUBPROTOCOLS,
    ClientMessage,
    Command,
    Connect,
    Connected,
    Event,
    Recover,
    Refused,
    Reply,
    Viewer,
)

EPOCH = "first"
_CLIENT_MESSAGE: Any = ClientMessage


class ScriptedShow:
    """Numbers chat messages and sends them to everybody.

    `fate(viewer, offset)` says how often viewer number `viewer` is sent the event (1: as it should be). With
    `recovers` False, requests to recover are left without an answer.
    """

    def __init__(self, fate: Callable[[int, int], int] = lambda viewer, offset: 1, *, recovers: bool = True) -> None:
        self.url = ""
        self.offset = 0
        self.recovers = recovers
        self.close_after: int | None = None  # close every socket after this event, once
        self.refuse_commands = False
        self.silent_for = 0  # the first so many commands are done when they come a second time
        self.sampled_from: int | None = None  # from this message on they are stored and not shown
        self.forget_at: int | None = None  # this event is sent to nobody; all are given a snapshot of a new epoch
        self.epoch = EPOCH
        self.silent: set[str | None] = set()
        self._fate = fate
        self._events: list[Event] = []
        self._viewers: dict[ServerConnection, int] = {}
        self._came = 0

    @contextlib.asynccontextmanager
    async def on_air(self, door: Path | None = None) -> AsyncIterator["ScriptedShow"]:
        """`door`: a Unix socket to be found at; None: a port of this machine's."""
        options: dict[str, Any] = {"subprotocols": list(SUBPROTOCOLS), "compression": None}
        if door is not None:
            async with unix_serve(self._serve, door, **options):
                self.url = "http://127.0.0.1"
                yield self
            return
        async with serve(self._serve, "127.0.0.1", 0, **options) as server:
            self.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            yield self

    async def _serve(self, socket: ServerConnection) -> None:
        try:
            async for frame in socket:
                data = frame.encode() if isinstance(frame, str) else frame
                await self._answer(socket, decode(data, SUBPROTOCOLS[str(socket.subprotocol)], _CLIENT_MESSAGE))
        except ConnectionClosed:
            pass
        finally:
            self._viewers.pop(socket, None)

    async def _answer(self, socket: ServerConnection, message: Any) -> None:
        if isinstance(message, Connect):
            number, self._came = self._came, self._came + 1
            self._viewers[socket] = number
            await self._send(socket, self._connected(message.id, message.position))
        elif isinstance(message, Recover) and self.recovers:
            await self._send(socket, self._connected(message.id, message.position))
        elif isinstance(message, Command):
            await self._command(socket, message)

    async def _command(self, socket: ServerConnection, command: Command) -> None:
        if self.refuse_commands:
            return await self._send(socket, Refused(id=command.id, error={"name": "slow_mode"}))
        if len(self.silent) < self.silent_for and command.key not in self.silent:
            self.silent.add(command.key)
            return None
        if self.sampled_from is not None and self.offset + 1 >= self.sampled_from:
            return await self._send(socket, Reply(id=command.id, data={"shown": False}))
        self.offset += 1
        event = Event(offset=self.offset, at_ms=0, name="chat.message", data={"text": command.data.get("text", "")})
        self._events.append(event)
        await self._send(socket, Reply(id=command.id, data={}))
        if self.forget_at == self.offset:
            self.epoch = "second"
            for viewer in list(self._viewers):
                await self._send(viewer, self._connected("", None))
            return None
        closing = self.close_after == self.offset
        for viewer, number in list(self._viewers.items()):
            for _ in range(self._fate(number, self.offset)):
                with contextlib.suppress(ConnectionClosed):
                    await self._send(viewer, event)
            if closing:
                await viewer.close(4000, "server is going away")
        return None

    def _connected(self, id_: str, position: Position | None) -> Connected:
        known = position is not None and position.epoch == self.epoch
        return Connected(
            id=id_,
            viewer=Viewer("v", "Guest", "viewer"),
            position=Position(self.epoch, self.offset),
            recovered=known,
            time_ms=0,
            events=self._events[position.offset :] if known and position else [],
            snapshot=None if known else {"chat": [event.data["text"] for event in self._events]},
            token=None if known else "token",
        )

    async def _send(self, socket: ServerConnection, message: msgspec.Struct) -> None:
        encoding = SUBPROTOCOLS[str(socket.subprotocol)]
        data = encode([message], encoding)
        await socket.send(data.decode() if encoding == "json" else data)
