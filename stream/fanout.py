"""The inner loop: packets to many viewers, in slices that let the event loop breathe.

A packet costs each viewer one `protect` and one `sendto`, about 5 µs together; everything else is arranged so that it
is paid once per packet, per group or per batch, never per viewer:

- Viewers who number the codecs alike form a *group*; a header is rewritten once per group.
- A viewer gets a whole batch before the next viewer's turn, from an iterator that remembers where an error struck.
- A batch to 500 viewers takes milliseconds, so the loop is a generator of small steps; the `Pump` gives the event loop
  back after RELAY_SLICE_S and goes on in the loop's next turn.

When the kernel takes no more (EAGAIN), a viewer's video is dropped to the end of the frame; its NACKs fetch the rest.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from live.core.limits import (
    RELAY_SLICE_S,
    RELAY_STEP_PACKETS,
    RETRANSMISSIONS_BURST,
    RETRANSMISSIONS_PER_S,
)
from stream.ice import IcePort
from stream.peers import Peer, ProtectError
from stream.rtp import with_payload_type
from stream.sdp import Codec

_SEND_ERRORS = (OSError, *ProtectError)


class Work(Protocol):
    """Something that the pump runs."""

    def run(self, expired: Callable[[], bool]) -> bool:
        """Work until `expired` or nothing is left; returns whether something is left."""


class Pump:
    """Runs work in slices; between two slices the event loop serves everybody else."""

    def __init__(self, *, slice_s: float = RELAY_SLICE_S, now: Callable[[], float] = time.perf_counter) -> None:
        self._slice_s = slice_s
        self._now = now
        self._ready: deque[Work] = deque()
        self._handle: asyncio.Handle | None = None

    def wake(self, work: Work) -> None:
        """Run `work` in the loop's next turn, until it has nothing left."""
        if work not in self._ready:
            self._ready.append(work)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def close(self) -> None:
        """Leave undone what is waiting."""
        self._ready.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _turn(self) -> None:
        deadline = self._now() + self._slice_s
        self._handle = None
        try:
            while self._ready and self._now() < deadline:
                work = self._ready.popleft()
                if work.run(lambda: self._now() >= deadline):
                    # Round robin: a show with many viewers must not starve the others.
                    self._ready.append(work)
        finally:
            if self._ready and self._handle is None:
                self._handle = asyncio.get_running_loop().call_soon(self._turn)


@dataclass(slots=True)
class Entry:
    """One rewritten packet on its way."""

    video: bool
    sequence: int
    timestamp: int
    packet: bytes
    opens_keyframe: bool


class Subscriber:
    """One viewer of a show: its payload types, and how far it has come in joining."""

    def __init__(self, peer: Peer, codecs: dict[str, tuple[Codec, ...]]) -> None:
        self.peer = peer
        self.protect = peer.protect
        self.codecs = codecs
        self.group: Group | None = None
        self.cursor: int | None = None  # the next packet of the walk; None: waits for a keyframe
        self.joined_at = 0.0
        self.first: int | None = None  # nothing before this may be sent again: SRTP's counter began here
        self.skipping = False  # video up to the end of the frame
        self.loss = 0.0
        self.rtt_s: float | None = None
        self.dropped = 0
        self._tokens = float(RETRANSMISSIONS_BURST)
        self._tokens_at = 0.0

    def may_retransmit(self, count: int, now: float) -> int:
        """How many of `count` packets may be sent again now; takes them from the viewer's allowance."""
        refill = (now - self._tokens_at) * RETRANSMISSIONS_PER_S
        self._tokens = min(self._tokens + refill, float(RETRANSMISSIONS_BURST))
        self._tokens_at = now
        granted = min(count, int(self._tokens))
        self._tokens -= granted
        return granted


class Group:
    """Viewers with the same payload types. The lists are replaced, never changed: a running batch keeps its own."""

    def __init__(self, video: int | None, audio: int | None) -> None:
        self.payload_types = {True: video, False: audio}
        self.live: list[Subscriber] = []
        self.joining: list[Subscriber] = []

    def translate(self, entries: Iterable[Entry], *, video: bool = True) -> list[bytes]:
        """The packets of `entries` for this group; without the video if so asked."""
        packets = []
        for entry in entries:
            payload_type = self.payload_types[entry.video]
            if payload_type is None or (entry.video and not video):
                continue
            same = entry.packet[1] & 0x7F == payload_type
            packets.append(entry.packet if same else with_payload_type(entry.packet, payload_type))
        return packets


class Sender:
    """Sends through one port and counts what it did."""

    def __init__(self, port: IcePort, counts: Counter[str]) -> None:
        self._port = port
        self._counts = counts

    def to_all(self, subscribers: Sequence[Subscriber], packets: list[bytes], video: int | None) -> Iterator[None]:
        """The inner loop. `video` is the payload type whose packets are dropped up to the end of a frame."""
        send = self._port.raw.sendto
        step = max(1, RELAY_STEP_PACKETS // len(packets))
        for start in range(0, len(subscribers), step):
            chunk = subscribers[start : start + step]
            for subscriber in chunk:
                if subscriber.skipping:
                    self.to_one(subscriber, packets, video)
                    continue
                protect, address = subscriber.protect, subscriber.peer.address
                # An iterator remembers where an exception struck, so that the loop itself needs no book-keeping.
                remaining = iter(packets)
                try:
                    for packet in remaining:
                        send(protect(packet), address)  # type: ignore[arg-type]
                except _SEND_ERRORS as error:
                    self._refused(subscriber, packet, video, error)
                    self.to_one(subscriber, remaining, video)
            self._counts["sent"] += len(chunk) * len(packets)
            yield

    def to_one(self, subscriber: Subscriber, packets: Iterable[bytes], video: int | None) -> None:
        """The same for a viewer in trouble, packet by packet."""
        for packet in packets:
            if subscriber.skipping and packet[1] & 0x7F == video:
                subscriber.skipping = packet[1] < 0x80
                subscriber.dropped += 1
                self._counts["sent"] -= 1
                self._counts["frame_dropped"] += 1
                continue
            try:
                self._port.raw.sendto(subscriber.protect(packet), subscriber.peer.address)  # type: ignore[arg-type]
            except _SEND_ERRORS as error:
                self._refused(subscriber, packet, video, error)

    def _refused(self, subscriber: Subscriber, packet: bytes, video: int | None, error: Exception) -> None:
        self._counts["sent"] -= 1
        subscriber.dropped += 1
        if isinstance(error, BlockingIOError):
            self._counts["send_full"] += 1
            if packet[1] & 0x7F == video:
                subscriber.skipping = packet[1] < 0x80  # the marker: this was the frame's last packet
        else:
            self._counts["send_failed" if isinstance(error, OSError) else "protect_refused"] += 1
