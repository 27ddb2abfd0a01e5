"""One quiet viewer of the swarm: a socket, a position, and as little work per frame as Python allows.

All viewers of a show receive the same bytes, so the audience remembers what a payload holds: it is decoded at the
first viewer, and every other viewer only compares the numbers of the events with its own position. That way *every*
screen is checked for gaps and duplicates, while nearly no frame is decoded twice.
"""

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Protocol, cast

from live.core.codec import Encoding, Malformed, encode
from live.core.position import Position
from live.realtime.protocol import (
    Bye,
    Command,
    Connect,
    Connected,
    Event,
    Here,
    Recover,
    Refused,
    Reply,
    ServerMessage,
)
from loadtests.frames import BINARY, CLOSE, PING, PONG, TEXT, BadFrame, FrameReader, client_frame, close_code
from loadtests.sequence import Sequence, Verdict

HEAD_BYTES_MAX = 16 * 1024
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 20.0

Probe = tuple[int, int]  # number, and when it was due
Item = tuple[int, Probe | None] | ServerMessage  # an event's offset and the probe it carries; or another message


def now_us() -> int:
    """Microseconds on the clock that all processes of this machine share."""
    return time.monotonic_ns() // 1000


def comes_back(code: int) -> bool:
    """Whether a browser reconnects after this close code; 3500 to 3999 and 4500 to 4999 are final."""
    return not (3000 <= code <= 4999) or code % 1000 < 500


class Audience(Protocol):
    """What a viewer needs from the swarm it belongs to."""

    encoding: Encoding
    handshake: bytes
    stopping: bool

    def items(self, payload: bytes) -> Iterable[Item]:
        """What a payload holds; raises `Malformed`."""

    def received(self, size_bytes: int) -> None:
        """A frame came."""

    def joined(self, viewer: "Viewer", after_us: int | None) -> None:
        """A viewer is connected; `after_us` is None when it had been before."""

    def left(self, viewer: "Viewer", code: str, *, was_open: bool, retry_s: float | None) -> None:
        """A viewer's socket is gone; `retry_s` None: it does not come back."""

    def probe(self, event: Event) -> Probe | None:
        """The probe that an event carries."""

    def delivered(self, viewer: "Viewer", probe: Probe | None, at_us: int) -> None:
        """An event was applied."""

    def answered(self, command: str, error: str | None, at_us: int) -> None:
        """A command was done, or refused with the problem `error`."""


class Viewer(asyncio.Protocol):
    """A viewer's sockets, one after the other. `due_us`: when it was to come."""

    __slots__ = (
        "_audience", "_code", "_head", "_ids", "_reader", "_transport", "attempt", "been", "due_us", "index",
        "open", "sequence", "token", "within_s",
    )  # fmt: skip

    def __init__(self, audience: Audience, index: int) -> None:
        self._audience = audience
        self.index = index
        self.sequence = Sequence()
        self.token: str | None = None
        self.open = False
        self.been = False
        self.due_us = 0
        self.attempt = 0
        self.within_s: float | None = None
        self._ids = 0
        self._code: str | None = None
        self._head: bytes | None = None
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._head = b""
        self._code = None
        self._reader = FrameReader()
        self._transport.write(self._audience.handshake)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            data = self._upgrade(data)
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode == TEXT or opcode == BINARY:
                    self._audience.received(len(payload))
                    self._receive(payload)
                elif opcode == PING:
                    self._write(client_frame(PONG, payload))
                elif opcode == CLOSE:
                    self._end(str(close_code(payload)), client_frame(CLOSE, payload[:2]))
        except (BadFrame, Malformed):
            self._end("malformed")

    def connection_lost(self, error: Exception | None) -> None:
        was_open, self.open, self._transport = self.open, False, None
        self.sequence.disconnected()
        code = self._code or "1006"
        self._audience.left(self, code, was_open=was_open, retry_s=self._retry_s(code))

    # --- for the swarm

    def command(self, name: str, data: dict[str, str], id_: str) -> None:
        """Send a command; its answer comes to `Audience.answered` under `id_`."""
        self._send(Command(id=id_, name=name, data=data))

    def leave(self) -> None:
        """Close the socket as a browser does."""
        self._end("1001", client_frame(CLOSE, (1001).to_bytes(2, "big")))

    def give_up(self) -> None:
        """Drop the socket when the server does not close it."""
        if self._transport is not None:
            self._transport.abort()

    # --- inside

    def _upgrade(self, data: bytes) -> bytes:
        """Read the answer to the handshake; what follows it are frames."""
        assert self._head is not None
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > HEAD_BYTES_MAX:
                self._end("malformed")
            return b""
        self._head = None
        status = head[9:12].decode("ascii", "replace")
        if status != "101":
            self._end(f"http {status}")
            return b""
        position = Position(self.sequence.epoch, self.sequence.offset) if self.sequence.epoch else None
        self._send(Connect(id="connect", token=self.token, position=position))
        return rest

    def _receive(self, payload: bytes) -> None:
        at_us = now_us()
        for item in self._audience.items(payload):
            if type(item) is tuple:
                offset, probe = item
                verdict = self.sequence.event(offset)
                if verdict is Verdict.applied:
                    self._audience.delivered(self, probe, at_us)
                elif verdict is Verdict.gap:
                    self._recover()
            else:
                self._other(item, at_us)

    def _other(self, message: object, at_us: int) -> None:
        if isinstance(message, Connected):
            self._connected(message, at_us)
        elif isinstance(message, Here):
            if self.sequence.here(message.position.epoch, message.position.offset):
                self._recover()
        elif isinstance(message, Reply):
            self._audience.answered(message.id, None, at_us)
        elif isinstance(message, Refused):
            self._audience.answered(message.id, str(message.error.get("name", "unknown")), at_us)
        elif isinstance(message, Bye):
            self.within_s = message.within_s

    def _connected(self, message: Connected, at_us: int) -> None:
        position, before = message.position, self.sequence.offset
        if message.recovered:
            self.sequence.restored(position.epoch, position.offset, [event.offset for event in message.events])
            for event in message.events:
                if event.offset > before:
                    self._audience.delivered(self, self._audience.probe(event), at_us)
        else:
            self.sequence.connected(position.epoch, position.offset)
        if message.token:
            self.token = message.token
        if not self.open:
            self.open, self.attempt, self.within_s = True, 0, None
            self._audience.joined(self, None if self.been else at_us - self.due_us)
            self.been = True

    def _recover(self) -> None:
        self._ids += 1
        position = Position(self.sequence.epoch, self.sequence.offset)
        self._send(Recover(id=f"recover-{self._ids}", position=position))

    def _send(self, message: Connect | Command | Recover) -> None:
        encoding = self._audience.encoding
        self._write(client_frame(TEXT if encoding == "json" else BINARY, encode(message, encoding)))

    def _write(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def _end(self, code: str, last: bytes = b"") -> None:
        self._code = self._code or code
        if self._transport is not None:
            self._transport.write(last)
            self._transport.close()

    def _retry_s(self, code: str) -> float | None:
        if self._audience.stopping or (code.isdigit() and not comes_back(int(code))):
            return None
        self.attempt += 1
        if self.within_s is not None:
            return random.uniform(0, self.within_s)
        return random.uniform(0, min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2**self.attempt))
