"""The inner loop over real sockets and keys: whole rounds as volleys, and the way back when somebody is in trouble."""

import errno
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from live.core.limits import RTP_PROTECT_BYTES_MAX
from stream.downstream.fanout import Job, Sender
from stream.downstream.subscribers import Subscriber
from stream.transport import volley
from stream.transport.ice import IcePort
from stream.transport.peers import Peer
from stream.transport.srtp import Keys, keying_bytes
from stream.transport.volley import Target, Volley

PROFILE = "SRTP_AEAD_AES_128_GCM"
VIDEO, AUDIO = 102, 111
pytestmark = pytest.mark.skipif(not Volley.available, reason="needs sendmmsg")


def rtp(number: int, size: int = 700, payload_type: int = VIDEO, *, marker: bool = False) -> bytes:
    second = payload_type | (0x80 if marker else 0)
    return struct.pack("!BBHII", 0x80, second, number, 90_000, payload_type) + bytes(size - 12)


class Viewer:
    """A subscriber whose far end is here too."""

    def __init__(self) -> None:
        material = os.urandom(keying_bytes(PROFILE))
        keys, self._far = (Keys(PROFILE, material, active=active) for active in (False, True))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", 0))
        address = self.socket.getsockname()
        peer = SimpleNamespace(keys=keys, protect=keys.protect, address=address, target=Target(keys, address))
        self.subscriber = Subscriber(cast(Peer, peer), {})

    def received(self) -> list[bytes]:
        found = []
        try:
            while True:
                found.append(self._far.unprotect(self.socket.recv(2048)))
        except BlockingIOError:
            return found


class Room:
    """Viewers, and a sender on a real socket."""

    def __init__(self, raw: socket.socket, viewers: int) -> None:
        self.counts: Counter[str] = Counter()
        self.viewers = [Viewer() for _ in range(viewers)]
        self.subscribers = [viewer.subscriber for viewer in self.viewers]
        self.sender = Sender(cast(IcePort, SimpleNamespace(raw=raw)), self.counts, lambda: 0.0)

    def send(self, *jobs: Job) -> int:
        """Returns in how many rounds."""
        return len(list(self.sender.to_all(jobs)))

    def received(self) -> list[list[bytes]]:
        return [viewer.received() for viewer in self.viewers]


@pytest.fixture
def room(raw: socket.socket) -> Iterator[Room]:
    made = Room(raw, 20)
    yield made
    for viewer in made.viewers:
        viewer.socket.close()


class Kernel:
    """Counts calls of `sendmmsg`; the first ones fail as told."""

    def __init__(self, *failures: int) -> None:
        self.failures = list(failures)
        self.calls = 0
        self._real = volley._libc

    def sendmmsg(self, *arguments: Any) -> int:
        self.calls += 1
        if self.failures:
            volley._ffi.errno = self.failures.pop(0)
            return -1
        return int(self._real.sendmmsg(*arguments))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(volley, "_libc", made)
    return made


def test_groups_whose_packets_have_the_same_sizes_share_rounds(room: Room, kernel: Kernel) -> None:
    ours, theirs = [rtp(1), rtp(2)], [rtp(901), rtp(902)]
    other = [rtp(1, 80, AUDIO)]
    jobs: list[Job] = [(room.subscribers[:6], ours, VIDEO)]
    jobs += [([subscriber], theirs, VIDEO) for subscriber in room.subscribers[6:12]]
    jobs += [(room.subscribers[12:], other, None)]
    assert room.send(*jobs) == 2
    assert kernel.calls == 2
    assert room.received() == [ours] * 6 + [theirs] * 6 + [other] * 8
    assert room.counts == {"sent": 32}


def test_many_packets_take_many_rounds(room: Room, kernel: Kernel) -> None:
    packets = [rtp(number) for number in range(16)]
    assert room.send((room.subscribers, packets, VIDEO)) == 5
    assert kernel.calls == 5
    assert room.received() == [packets] * 20


def test_few_packets_go_one_by_one(room: Room, kernel: Kernel) -> None:
    room.send((room.subscribers[:3], [rtp(1)], VIDEO))
    room.sender.to_one(room.subscribers[4], [rtp(2), rtp(3)], VIDEO)
    assert kernel.calls == 0
    assert [len(found) for found in room.received()[:5]] == [1, 1, 1, 0, 2]
    assert room.counts == {"sent": 5}


def test_a_walk_goes_together(room: Room, kernel: Kernel) -> None:
    packets = [rtp(number) for number in range(16)]
    room.sender.to_one(room.subscribers[0], packets, VIDEO)
    room.sender.to_one(room.subscribers[1], [], VIDEO)
    assert kernel.calls == 1
    assert room.received()[:2] == [packets, []]


def test_a_full_buffer_costs_one_viewer_its_frame(
    room: Room, monkeypatch: pytest.MonkeyPatch, raw: socket.socket
) -> None:
    class Full:
        """A socket that takes nothing more from those who send one by one."""

        def sendto(self, datagram: bytes, address: object) -> None:
            raise BlockingIOError

    packets = [rtp(1), rtp(2), rtp(3, marker=True)]
    monkeypatch.setattr(volley, "_libc", Kernel(errno.EAGAIN))
    room.send((room.subscribers[:2], packets, VIDEO))  # opens the volley on the real socket
    assert [len(found) for found in room.received()[:2]] == [3, 3], "tried again at once, and taken"
    monkeypatch.setattr(volley, "_libc", Kernel(errno.EAGAIN))
    room.sender._port = cast(IcePort, SimpleNamespace(raw=Full()))
    packets = [rtp(4), rtp(5), rtp(6)]
    room.send((room.subscribers[:2], packets, VIDEO))
    assert room.received()[:2] == [[], packets]
    assert room.subscribers[0].skipping
    assert not room.subscribers[1].troubled
    assert room.counts == {"sent": 9, "send_full": 1, "frame_dropped": 2}


def test_a_path_that_takes_no_segments_loses_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    packets = [rtp(1), rtp(2), rtp(3)]
    monkeypatch.setattr(volley, "_libc", Kernel(errno.EIO))
    room.send((room.subscribers, packets, VIDEO))
    assert room.received() == [packets] * 20
    assert room.counts == {"sent": 60}


def test_viewers_in_trouble_and_without_an_address_are_served_apart(room: Room, kernel: Kernel) -> None:
    packets = [rtp(1), rtp(2, marker=True), rtp(3)]
    room.subscribers[0].troubled = room.subscribers[0].skipping = True
    room.viewers[1].subscriber.peer.target = None
    room.send((room.subscribers, packets, VIDEO))
    assert room.received() == [[packets[2]], *[packets] * 19]
    assert kernel.calls == 1
    assert room.counts == {"sent": 58, "frame_dropped": 2}


def test_a_packet_that_is_too_long_costs_nobody_anything_else(room: Room, kernel: Kernel) -> None:
    packets = [rtp(1), rtp(2, RTP_PROTECT_BYTES_MAX + 1), rtp(3)]
    room.send((room.subscribers, packets, VIDEO))
    assert room.received() == [[packets[0], packets[2]]] * 20
    assert kernel.calls == 0
    assert room.counts == {"sent": 40, "protect_refused": 20}
