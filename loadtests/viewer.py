"""One quiet viewer of the swarm: a socket, a position, and as little work per frame as Python allows.

What arrives was mostly seen before, at another viewer: see `shelf.py`. A frame then takes 0.2 µs of Python; parsing it
and looking up each event took 1.9 µs. The rest, some 5 µs, is the kernel's `recv` with its acknowledgement, and uvloop.
"""

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Protocol, cast

from live.core.codec import Encoding, Malformed, encode
from live.core.position import Position
from live.realtime.protocol import Command, Connect, Recover
from loadtests.frames import BINARY, CLOSE, PING, PONG, TEXT, BadFrame, FrameReader, client_frame, close_code
from loadtests.sequence import Sequence, Verdict
from loadtests.shelf import COUNTED_TOGETHER, NEVER_US, Probe, Shelf
from loadtests.wire import Bye, Connected, Event, Here, Message, Refused, Reply

HEAD_BYTES_MAX = 16 * 1024
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 20.0
CUT = "cut"  # by the generator
_MASK = COUNTED_TOGETHER - 1


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

    def messages(self, payload: bytes) -> Iterable[Message]:
        """What a payload holds; raises `Malformed`."""

    def received(self, frames: int, size_bytes: int) -> None:
        """Frames came that are not counted by the shelf."""

    def joined(self, viewer: "Viewer", at_us: int, recovered: bool) -> None:
        """A viewer is connected, for the first time or again."""

    def left(self, viewer: "Viewer", code: str, *, was_open: bool, retry_s: float | None) -> None:
        """A viewer's socket is gone; `retry_s` None: it does not come back."""

    def probe(self, event: Event) -> Probe | None:
        """The probe that an event carries."""

    def replaced(self, snapshot: bytes) -> None:
        """A viewer who knew the show was given all of it anew."""

    def gap(self) -> None:
        """A viewer missed something and asks to recover."""

    def delivered(self, viewer: "Viewer", probe: Probe | None, at_us: int) -> None:
        """An event was applied."""

    def answered(self, reply: Reply | Refused, at_us: int) -> None:
        """A command was done or refused."""


class Viewer(asyncio.Protocol):
    """A viewer's sockets, one after the other.

    `due_us`: when it was to come. `timed_from_us`: probes that were due before are not timed on this screen, because
    it was not there, or because the generator kept it from reading. `lost_us`: when its last socket was lost.
    """

    __slots__ = (
        "_audience", "_code", "_head", "_ids", "_reader", "_shelf", "_transport", "attempt", "been", "due_us", "gone",
        "held", "index", "lost_us", "open", "sequence", "slow", "timed_from_us", "token", "within_s",
    )  # fmt: skip

    def __init__(self, audience: Audience, shelf: Shelf, index: int) -> None:
        self._audience = audience
        self._shelf = shelf
        self.index = index
        self.sequence = Sequence()
        self.token: str | None = None
        self.open = self.been = self.slow = self.held = False
        self.gone = False  # it has left for good
        self.due_us = self.timed_from_us = self.lost_us = 0
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
        if self.slow:
            asyncio.get_running_loop().call_soon(self._stop_reading)  # it does not read yet

    def data_received(self, data: bytes) -> None:
        shelf = self._shelf
        chunk = shelf.latest
        if chunk.octets != data:  # nearly always they are the same, and comparing is cheaper than hashing
            chunk = shelf.find(data) or chunk
        sequence = self.sequence
        if (
            chunk.octets == data
            and (chunk.first == sequence.offset + 1 or not chunk.first)
            and not sequence.recovering
            and not self._reader.rest
            and self.timed_from_us <= chunk.due_us
            and (chunk.here is None or sequence.reaches(chunk.here, chunk.last))
        ):
            if chunk.first:
                sequence.offset = chunk.last
                sequence.received += chunk.events
            chunk.count += 1
            if chunk.count & _MASK == 1:
                shelf.count(chunk)
            return
        self._parse(data)

    def connection_lost(self, error: Exception | None) -> None:
        was_open, self.open, self._transport = self.open, False, None
        self.sequence.disconnected()
        self.lost_us = now_us()
        code = self._code or "1006"
        self._audience.left(self, code, was_open=was_open, retry_s=self._retry_s(code))

    # --- for the swarm

    def command(self, name: str, data: dict[str, str], id_: str, key: str) -> None:
        """Send a command; its answer comes to `Audience.answered` under `id_`."""
        self._send(Command(id=id_, name=name, data=data, key=key))

    def leave(self) -> None:
        """Close the socket as a browser does."""
        self.gone = True
        self._end("1001", client_frame(CLOSE, (1001).to_bytes(2, "big")))

    def give_up(self) -> None:
        """Drop the socket when the server does not close it."""
        if self._transport is not None:
            self._transport.abort()

    def cut(self) -> None:
        """Lose the socket without a word, as when a network fails; the viewer comes back."""
        if self._transport is not None:
            self._code = CUT
            self.timed_from_us = NEVER_US
            self._transport.abort()

    def stop_reading(self) -> None:
        """Read nothing until `read_on`; this screen is not timed any more, for nobody knows when it has caught up."""
        self.slow = self.held = True
        self.timed_from_us = NEVER_US
        self._stop_reading()

    def read_on(self) -> None:
        """Read again what has come meanwhile."""
        self.slow = False
        if self._transport is not None:
            self._transport.resume_reading()

    # --- inside

    def _stop_reading(self) -> None:
        if self.slow and self._transport is not None:
            self._transport.pause_reading()

    def _parse(self, data: bytes) -> None:
        if self._head is not None:
            data = self._upgrade(data)
        rest = self._reader.rest
        found: list[Message] = []
        try:
            frames = self._reader.feed(data)
            self._audience.received(len(frames), len(data))
            for opcode, payload in frames:
                if opcode == TEXT or opcode == BINARY:
                    found += (held := list(self._audience.messages(payload)))
                    self._receive(held)
                elif opcode == PING:
                    self._write(client_frame(PONG, payload))
                elif opcode == CLOSE:
                    self._end(str(close_code(payload)), client_frame(CLOSE, payload[:2]))
        except (BadFrame, Malformed):
            self._end("malformed")
            return
        if found and not rest and not self._reader.rest and all(opcode in (TEXT, BINARY) for opcode, _ in frames):
            self._shelf.keep(data, len(frames), found)

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

    def _receive(self, messages: Iterable[Message]) -> None:
        at_us = now_us()
        for message in messages:
            if isinstance(message, Event):
                verdict = self.sequence.event(message.offset)
                if verdict is Verdict.applied:
                    self._audience.delivered(self, self._audience.probe(message), at_us)
                elif verdict is Verdict.gap:
                    self._recover()
            elif isinstance(message, Connected):
                self._connected(message, at_us)
            elif isinstance(message, Here):
                if self.sequence.here(message.position.epoch, message.position.offset):
                    self._recover()
            elif isinstance(message, Reply | Refused):
                self._audience.answered(message, at_us)
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
            if self.been:
                self._audience.replaced(bytes(message.snapshot))
        if message.token:
            self.token = message.token
        if not self.open:
            if self.timed_from_us == NEVER_US and not self.held:
                self.timed_from_us = at_us
            self.open, self.attempt, self.within_s = True, 0, None
            self._audience.joined(self, at_us, message.recovered)
            self.been = True

    def _recover(self) -> None:
        self._audience.gap()
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
        """How long until the next attempt: full jitter, or as the server asked; None: it does not come back."""
        if self.gone or self._audience.stopping or (code.isdigit() and not comes_back(int(code))):
            return None
        self.attempt += 1
        if self.within_s is not None:
            return random.uniform(0, self.within_s)
        return random.uniform(0, min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2**self.attempt))
