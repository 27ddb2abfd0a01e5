"""Sockets that do what the test says, and short words for what a channel is asked for."""

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from live.core.auth import Principal, Role
from live.core.codec import Encoding
from live.core.errors import Close
from live.core.position import Position
from live.realtime.channel import Channel, Viewer
from live.realtime.frames import payload_of
from live.realtime.payloads import PublishedEvent
from live.realtime.transport import Watcher


class ScriptedSocket:
    """Remembers what is written; stalls when it is told to, by bytes or at once."""

    def __init__(self) -> None:
        self.watcher: Watcher | None = None
        self.frames: list[bytes] = []
        self.open = True
        self.closed: Close | None = None
        self.stall_at_next_write = False

    @property
    def write(self) -> Callable[[bytes], object]:
        return self._write

    def _write(self, frame: bytes) -> None:
        assert self.open, "nothing is written to a closed socket"
        self.frames.append(frame)
        if self.stall_at_next_write:
            self.stall_at_next_write = False
            assert self.watcher is not None
            self.watcher.stalled()

    def backlog(self) -> int:
        return 0

    def slim(self) -> None: ...

    def shut(self, close: Close) -> None:
        self.open = False
        self.closed = close

    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for frame in self.frames:
            payload = payload_of(frame)
            found += msgspec.json.decode(payload) if frame[0] == 0x81 else msgspec.msgpack.decode(payload)
        return found

    def offsets(self) -> list[int]:
        return [message["offset"] for message in self.messages() if message["type"] == "event"]


class Refreshes:
    def __init__(self) -> None:
        self.asked: list[Viewer] = []

    def __call__(self, channel: Channel, viewers: Iterable[Viewer]) -> None:
        self.asked += list(viewers)


START = Position("e", 10)


def publish(channel: Channel, count: int = 1, size_bytes: int = 100) -> None:
    for _ in range(count):
        offset = channel.received + 1
        channel.event(offset, PublishedEvent(offset, "word", {"n": offset}), size_bytes)


def add(
    channel: Channel, *, encoding: Encoding = "json", role: Role = Role.viewer, subject: str = "v"
) -> tuple[Viewer, ScriptedSocket]:
    socket = ScriptedSocket()
    viewer = Viewer(socket, encoding, Principal(subject=subject, role=role, show="*", name="V"), channel)
    socket.watcher = viewer
    assert channel.join(viewer, channel.position) == []
    channel.enter(viewer)
    return viewer, socket


async def flush() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


class Standing:
    """A loop's clock that stands still until `wait` moves it: what is due when depends on no machine."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


async def wait(seconds: float) -> None:
    """Let time pass on a loop with a `Standing` clock, a millisecond after the other."""
    clock = asyncio.get_running_loop().time
    assert isinstance(clock, Standing)
    for _ in range(math.ceil(seconds * 1000)):
        clock.now_s += 0.001
        await flush()
    await flush()
