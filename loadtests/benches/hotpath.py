"""Ways to get packets to viewers, and what each costs against a plain loop of `protect` and `sendto`.

All of it in one process over loopback sockets that nobody else uses, CPU time with the kernel's included, rounds of all
ways interleaved and the median taken, so that a noisy neighbour hits all alike. `docs/decisions/hot-path.md` says what
became of each. Loopback hands a datagram to its receiver within the sender's call, which all ways pay for; with a
network card they would not, and it may cut messages in hardware.
"""

import os
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pylibsrtp import _binding

from loadtests.benches.figure import figure
from stream.transport.handshake import Handshake, context, fingerprint, generate
from stream.transport.srtp import PROFILES, Keys, keying_bytes, protect_in_place
from stream.transport.volley import Target, Volley

VIEWERS = 192
ROUNDS = 31
HANDSHAKES = 200
PROFILE = "SRTP_AEAD_AES_128_GCM"
BATCHES = {
    "1": [1100],  # a publisher that paces its packets
    "8": [90, 90, 1100, 1100, 1100, 1100, 1100, 700],  # a picture and its sound
    "16": [1100] * 16,  # a piece of a keyframe
}
_TAG = 16
_SLOT = 1536
_UDP_SEGMENT = 103

Address = tuple[str, int]


class Room:
    """The viewers' sockets, and the server's."""

    def __init__(self) -> None:
        self.sockets = [_bound(receive=1 << 20) for _ in range(VIEWERS)]
        self.addresses: list[Address] = [each.getsockname() for each in self.sockets]
        self.server = _bound(share=True)
        self._buffer = bytearray(2048)

    def drain(self) -> int:
        """Read what has come, so that no buffer is ever full; a full one would be cheap to send to."""
        count = 0
        for each in self.sockets:
            try:
                while True:
                    each.recv_into(self._buffer)
                    count += 1
            except BlockingIOError:
                continue
        return count


def _bound(*, receive: int = 0, share: bool = False, port: int = 0) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    if receive:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    if share:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    opened.bind(("127.0.0.1", port))
    return opened


class Way(ABC):
    """One way to send the same packets to all viewers; each has its own keys."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.send_to = room.server.sendto
        self.keys = [Keys(PROFILE, os.urandom(keying_bytes(PROFILE)), active=False) for _ in range(VIEWERS)]

    @abstractmethod
    def run(self, packets: list[bytes]) -> None: ...


class Floor(Way):
    def run(self, packets: list[bytes]) -> None:
        send_to = self.send_to
        for keys, address in zip(self.keys, self.room.addresses, strict=True):
            protect = keys.protect
            for packet in packets:
                send_to(protect(packet), address)


class Connected(Way):
    """A connected socket for each viewer, all on the server's port."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.sends: list[Callable[[bytes], int]] = []
        for address in room.addresses:
            connected = _bound(share=True, port=room.server.getsockname()[1])
            connected.connect(address)
            self.sends.append(connected.send)

    def run(self, packets: list[bytes]) -> None:
        for keys, send in zip(self.keys, self.sends, strict=True):
            protect = keys.protect
            for packet in packets:
                send(protect(packet))


class Encrypted(Way):
    """SRTP of our own (RFC 7714) over `AESGCM.encrypt_into`."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.ciphers = [AESGCM(os.urandom(16)) for _ in range(VIEWERS)]
        self.salt = int.from_bytes(os.urandom(12))
        self.view = memoryview(bytearray(_SLOT))

    def run(self, packets: list[bytes]) -> None:
        view, salt, send_to = self.view, self.salt, self.send_to
        for cipher, address in zip(self.ciphers, self.room.addresses, strict=True):
            encrypt = cipher.encrypt_into
            for packet in packets:
                size = len(packet) + _TAG
                head = packet[:12]
                iv = salt ^ (int.from_bytes(head[8:]) << 48 | int.from_bytes(head[2:4]))
                view[:12] = head
                encrypt(iv.to_bytes(12), packet[12:], head, view[12:size])
                send_to(view[:size], address)


class InPlace(Way):
    """libsrtp in a buffer that is kept."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.buffer = bytearray(_SLOT)
        self.pointer = _binding.ffi.from_buffer(self.buffer)
        self.length = _binding.ffi.new("int *")

    def run(self, packets: list[bytes]) -> None:
        buffer, pointer, length, send_to = self.buffer, self.pointer, self.length, self.send_to
        view = memoryview(buffer)
        for keys, address in zip(self.keys, self.room.addresses, strict=True):
            handle = keys.handle
            for packet in packets:
                size = len(packet)
                buffer[:size] = packet
                length[0] = size
                assert protect_in_place(handle, pointer, length) == 0
                send_to(view[: size + _TAG], address)


class Segmented(Way):
    """The same, and a viewer's packets of one length as one message, by Python's own `sendmsg`."""

    def run(self, packets: list[bytes]) -> None:
        slots = bytearray(_SLOT * len(packets))
        base, view = _binding.ffi.from_buffer(slots), memoryview(slots)
        lengths = _binding.ffi.new("int[]", len(packets))
        cells = [(base + index * _SLOT, lengths + index) for index in range(len(packets))]
        plain = b"".join(packet.ljust(_SLOT, b"\0") for packet in packets)
        sizes = [len(packet) for packet in packets]
        calls = self._calls(view, sizes)
        send_to, send = self.send_to, self.room.server.sendmsg
        for keys, address in zip(self.keys, self.room.addresses, strict=True):
            slots[:] = plain
            handle = keys.handle
            for (pointer, length), size in zip(cells, sizes, strict=True):
                length[0] = size
                assert protect_in_place(handle, pointer, length) == 0
            for views, ancillary in calls:
                if ancillary:
                    send(views, ancillary, 0, address)
                else:
                    send_to(views[0], address)

    def _calls(self, view: memoryview, sizes: Sequence[int]) -> list[tuple[list[memoryview], list[Any]]]:
        views = [view[index * _SLOT : index * _SLOT + size + _TAG] for index, size in enumerate(sizes)]
        calls: list[tuple[list[memoryview], list[Any]]] = []
        first = 0
        for index in range(1, len(sizes) + 1):
            if index == len(sizes) or sizes[index] > sizes[first] or sizes[index - 1] < sizes[first]:
                cut = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", sizes[first] + _TAG))]
                calls.append((views[first:index], cut if index - first > 1 else []))
                first = index
        return calls


class Volleys(Way):
    """What the relay does. `segmented` False: `sendmmsg` alone; `own`: each viewer gets packets of its own."""

    def __init__(self, room: Room, *, segmented: bool = True, own: bool = False) -> None:
        super().__init__(room)
        self.targets = [Target(keys, address) for keys, address in zip(self.keys, room.addresses, strict=True)]
        for target in self.targets:
            target.kind = (*target.kind[:2], segmented)
        self.volley = Volley(room.server)
        self.own = own

    def run(self, packets: list[bytes]) -> None:
        room = self.volley.load(packets, VIEWERS)
        for first in range(0, VIEWERS, room):
            targets = self.targets[first : first + room]
            assert not self.volley.send(targets, [packets] * len(targets) if self.own else ())


def _measure(room: Room) -> None:
    ways: dict[str, Way] = {
        "floor": Floor(room),
        "connected": Connected(room),
        "encrypt_into": Encrypted(room),
        "in_place": InPlace(room),
        "segmented": Segmented(room),
        "sendmmsg": Volleys(room, segmented=False),
        "volley": Volleys(room),
        "volley_own": Volleys(room, own=True),
    }
    number = 1000
    for name, sizes in BATCHES.items():
        costs: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            packets = []
            for size in sizes:
                packets.append(struct.pack("!BBHII", 0x80, 102, number & 0xFFFF, 90_000, 1111) + bytes(size - 12))
                number += 1
            for way, sender in ways.items():
                before = time.process_time()
                sender.run(packets)
                costs[way].append((time.process_time() - before) / (len(packets) * VIEWERS))
                assert room.drain() == len(packets) * VIEWERS, f"{way} has lost packets"
        floor = median(costs["floor"])
        figure(f"hotpath_floor_{name}_us", floor * 1e6, f"µs CPU per packet and viewer, batches of {name}")
        for way in list(ways)[1:]:
            figure(f"hotpath_{way}_{name}_ratio", median(costs[way]) / floor, "× floor")


def _handshakes() -> None:
    """What a viewer's handshake costs the server, all steps together, beside making the objects."""
    keying = {name: keying_bytes(name) for name in PROFILES}
    ends = [(context(*pair, list(PROFILES)), fingerprint(pair[1])) for pair in (generate(), generate())]
    costs = []
    for _ in range(HANDSHAKES):
        spent = 0.0

        def timed(call: Callable[[], object]) -> None:
            nonlocal spent
            before = time.perf_counter()
            call()
            spent += time.perf_counter() - before

        server = Handshake(ends[0][0], (("sha-256", ends[1][1]),), keying)
        client = Handshake(ends[1][0], (("sha-256", ends[0][1]),), keying)
        timed(lambda server=server: server.begin(0.0, active=False))  # type: ignore[misc]
        client.begin(0.0, active=True)
        while server.keying is None or client.keying is None:
            for datagram in client.take():
                timed(lambda server=server, datagram=datagram: server.received(datagram, 0.0))  # type: ignore[misc]
            for datagram in server.take():
                client.received(datagram, 0.0)
        timed(lambda server=server: Keys(*server.keying, active=False))  # type: ignore[misc]
        costs.append(spent)
    figure("hotpath_handshake_us", median(costs) * 1e6, "µs of the server for one DTLS handshake")


if __name__ == "__main__":
    _measure(Room())
    _handshakes()
