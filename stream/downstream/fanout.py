"""The inner loop: packets to many viewers, in slices that let the event loop breathe.

A loop of `protect` and `sendto` costs about 5 µs for each packet and viewer. Here it is half of that or less, because
everything but the encryption itself is paid once for many:

- Viewers who get the same bytes form a *group*: they call the codecs alike and have the same `Translation`, which all
  have who were never switched to another layer. A header is rewritten once per group.
- A *round* is a whole batch for as many viewers as RELAY_STEP_PACKETS allow, of all groups whose packets have the same
  sizes: those of one layer. It goes out as one volley (`transport.volley`).
- A batch to 500 viewers takes milliseconds, so the loop is a generator of rounds; the `Pump` gives the event loop back
  after RELAY_SLICE_S and goes on in the loop's next turn.

When the kernel takes no more (EAGAIN, ENOBUFS), a viewer's video is dropped to the end of the frame (its NACKs fetch
the rest) and its sound is offered again for SOUND_GRACE_S.
"""

import asyncio
import errno
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from live.core.limits import (
    RELAY_SLICE_S,
    RELAY_STEP_PACKETS,
    SOUND_GRACE_PACKETS_MAX,
    SOUND_GRACE_S,
)
from stream.downstream.subscribers import Subscriber
from stream.transport.ice import IcePort
from stream.transport.peers import ProtectError
from stream.transport.volley import Target, Volley

Job = tuple[Sequence[Subscriber], list[bytes], int | None]
"""Who gets which packets, and the payload type whose packets are dropped up to the end of a frame (None: no video)."""

_Part = tuple[Subscriber, list[bytes], int | None]
_VOLLEY_PACKETS_MIN = 4  # fewer are faster one by one
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

    def later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call `callback` then, outside of anybody's turn."""
        return asyncio.get_running_loop().call_later(delay_s, callback)

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


class Sender:
    """Sends through one port and counts what it did. `now` gives monotonic seconds."""

    def __init__(self, port: IcePort, counts: Counter[str], now: Callable[[], float]) -> None:
        self._port = port
        self._counts = counts
        self._now = now
        self._late: dict[Subscriber, None] = {}
        self._volley: Volley | None = None  # there from the first round on, where the platform has what it takes

    def to_all(self, jobs: Iterable[Job]) -> Iterator[None]:
        """The inner loop: all packets of each job to all its viewers, in rounds."""
        open_rounds: dict[tuple[int, ...], list[_Part]] = {}
        for subscribers, packets, video in jobs:
            waiting = open_rounds.setdefault(tuple(map(len, packets)), [])
            room = max(1, RELAY_STEP_PACKETS // len(packets))
            for subscriber in subscribers:
                waiting.append((subscriber, packets, video))
                if len(waiting) >= room:
                    self._round(waiting)
                    waiting.clear()
                    yield
        for waiting in open_rounds.values():
            if waiting:
                self._round(waiting)
                yield

    def _round(self, parts: list[_Part]) -> None:
        """All packets to all of these viewers; everybody's have the same sizes."""
        packets = parts[0][1]
        self._counts["sent"] += len(parts) * len(packets)
        volley = self._loaded(packets, len(parts))
        if volley is None:
            for part in parts:
                self._one_by_one(*part)
            return
        targets: list[Target] = []
        own: list[list[bytes] | None] = []
        served: list[_Part] = []
        for part in parts:
            subscriber, his, _ = part
            target = subscriber.peer.target
            if target is None or subscriber.troubled:
                self._one_by_one(*part)
            else:
                targets.append(target)
                own.append(None if his is packets else his)
                served.append(part)
        for index, first in volley.send(targets, own):
            subscriber, his, video = served[index]
            self._carefully(subscriber, his[first:], video)

    def _loaded(self, packets: list[bytes], viewers: int) -> Volley | None:
        """The volley with `packets` in it; None: send them one by one."""
        if viewers * len(packets) < _VOLLEY_PACKETS_MIN:
            return None
        if self._volley is None:
            raw = self._port.raw
            if not Volley.available or not isinstance(raw, socket.socket):
                return None
            self._volley = Volley(raw)
        return self._volley if self._volley.load(packets, viewers) else None

    def _one_by_one(self, subscriber: Subscriber, packets: list[bytes], video: int | None) -> None:
        if subscriber.troubled:
            self._carefully(subscriber, packets, video)
            return
        send, protect, address = self._port.raw.sendto, subscriber.protect, subscriber.peer.address
        # An iterator remembers where an exception struck, so that the loop itself needs no book-keeping.
        remaining = iter(packets)
        try:
            for packet in remaining:
                send(protect(packet), address)  # type: ignore[arg-type]
        except _SEND_ERRORS as error:
            self._refused(subscriber, packet, video, error)
            self._carefully(subscriber, remaining, video)

    def to_one(self, subscriber: Subscriber, packets: list[bytes], video: int | None) -> None:
        """The same for one viewer."""
        if subscriber.troubled or self._loaded(packets, 1) is None:
            self._counts["sent"] += len(packets)
            self._carefully(subscriber, packets, video)
        else:
            self._round([(subscriber, packets, video)])

    def offer_again(self) -> None:
        """Send the sound that the kernel did not take; to be called every MEDIA_TICK_S."""
        for subscriber in tuple(self._late):
            self._offer_again(subscriber)

    def forget(self, subscriber: Subscriber) -> None:
        """The viewer is gone; nothing is sent to it any more."""
        self._late.pop(subscriber, None)

    def _carefully(self, subscriber: Subscriber, packets: Iterable[bytes], video: int | None) -> None:
        """Packet by packet, for a viewer in trouble."""
        if subscriber.late:
            self._offer_again(subscriber)
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
        subscriber.troubled = subscriber.skipping or bool(subscriber.late)

    def _refused(self, subscriber: Subscriber, packet: bytes, video: int | None, error: Exception) -> None:
        self._counts["sent"] -= 1
        if _full(error):
            self._counts["send_full"] += 1
            if packet[1] & 0x7F == video:
                subscriber.skipping = packet[1] < 0x80  # the marker: this was the frame's last packet
            elif len(subscriber.late) < SOUND_GRACE_PACKETS_MAX:
                # Sound is worth a second try: it is small, and a gap in it is heard. It is protected anew each time,
                # which gives the same bytes.
                subscriber.late.append((self._now() + SOUND_GRACE_S, packet))
                self._late[subscriber] = None
                return
            else:
                self._counts["sound_dropped"] += 1
        else:
            self._counts["send_failed" if isinstance(error, OSError) else "protect_refused"] += 1
        subscriber.dropped += 1

    def _offer_again(self, subscriber: Subscriber) -> None:
        late, now = subscriber.late, self._now()
        while late:
            until, packet = late[0]
            if now > until:
                self._counts["sound_dropped"] += 1
                subscriber.dropped += 1
            else:
                try:
                    self._port.raw.sendto(subscriber.protect(packet), subscriber.peer.address)  # type: ignore[arg-type]
                except _SEND_ERRORS as error:
                    if _full(error):
                        return
                    self._counts["send_failed"] += 1
                    subscriber.dropped += 1
                else:
                    self._counts["sent"] += 1
            late.popleft()
        self._late.pop(subscriber, None)
        subscriber.troubled = subscriber.skipping


def _full(error: Exception) -> bool:
    """Whether the kernel would have taken the packet a moment later."""
    return isinstance(error, BlockingIOError) or (isinstance(error, OSError) and error.errno == errno.ENOBUFS)
