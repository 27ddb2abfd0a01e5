"""A few packets to many viewers, with as little per packet and viewer as Python can spend: one call of libsrtp.

A loop of `protect` and `sendto` costs about 5 µs a packet and viewer. AES-GCM needs 0.5 of them; the rest is two
copies and two objects in pylibsrtp, an address that is parsed for each `sendto`, and a walk through the kernel's whole
network stack for each datagram. A volley pays those once for many:

- The packets are copied once for all viewers of a *round*, into slots that were made once; libsrtp protects them there.
- Packets of one length, and one that is shorter at their end, leave as one message with UDP_SEGMENT (generic
  segmentation offload, Linux 4.18): the stack is walked once, and the message is cut where it leaves, into the very
  datagrams that `sendto` would have made. The packets of a picture have one length but for the last.
- All messages of a round go to the kernel in one `sendmmsg`.

What is in memory, for a round of two viewers (V, W) and three packets, of which the first two have one length:

    slots     V1 V2 V3 W1 W2 W3        plain, then protected in place
    vectors   V1 V2 V3 W1 W2 W3        where a slot begins, and how much of it is sent
    messages  V12 V3 W12 W3            which vectors, to which address, cut or not

Only bytes that change are written: a round costs four copies, however many viewers it has. The messages' structure is
kept, because batches look alike. `docs/decisions/hot-path.md` has the measurements, and what did not pay.
"""

import errno
import socket
import struct
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from cffi import FFI

from live.core.limits import RELAY_STEP_PACKETS, RTP_PROTECT_BYTES_MAX
from stream.transport.srtp import TAG_BYTES_MAX, Keys, protect_in_place

_SLOT_BYTES = 1536  # a multiple of 16: libsrtp wants packets aligned to 32 bits
_NAME_BYTES_MAX = 28  # struct sockaddr_in6
_CONTROL = struct.Struct("=QiiH")  # struct cmsghdr with a uint16_t ...
_CONTROL_BYTES = 24  # ... and the room that it takes (CMSG_SPACE)
_UDP_SEGMENT = 103  # linux/udp.h; Python names it from 3.14 on
_RUN_BYTES_MAX = 65_000  # a message that is cut later is one UDP datagram to the kernel; also at most 64 pieces
_STRUCTURES_KEPT = 64

# No segmentation on this path: a device without checksums or IPsec (EIO), a path narrower than the packets (EINVAL,
# EMSGSIZE: single datagrams may still be fragmented), a kernel that knows no better.
_NOT_SEGMENTED = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP})

assert RTP_PROTECT_BYTES_MAX + TAG_BYTES_MAX <= _SLOT_BYTES
assert RELAY_STEP_PACKETS <= 64, "older kernels cut a message into no more pieces (UDP_MAX_SEGMENTS)"

_ffi = FFI()
_ffi.cdef("""
    struct iovec { void *iov_base; size_t iov_len; };
    struct msghdr {
        void *msg_name; unsigned int msg_namelen;
        struct iovec *msg_iov; size_t msg_iovlen;
        void *msg_control; size_t msg_controllen;
        int msg_flags;
    };
    struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
    int sendmmsg(int sockfd, struct mmsghdr *messages, unsigned int count, int flags);
""")


def _library() -> Any:
    """libc with `sendmmsg`, or None where the layout above does not hold."""
    if sys.platform != "linux" or sys.maxsize < 2**32:  # pragma: no cover
        return None
    library = _ffi.dlopen(None)
    return library if hasattr(library, "sendmmsg") else None


_libc = _library()


def packed(address: tuple[Any, ...]) -> bytes:
    """`address`, as Python's sockets give it, as the kernel wants it: struct sockaddr_in or sockaddr_in6."""
    host, port = address[:2]
    if len(address) == 2:
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)
    flow, scope = address[2:]
    head = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, flow)
    return head + socket.inet_pton(socket.AF_INET6, host.partition("%")[0]) + struct.pack("=I", scope)


def runs(sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Cut `sizes` into runs (first, count) of equal ones, of which the last may be smaller."""
    found: list[tuple[int, int]] = []
    first = 0
    for index in range(1, len(sizes) + 1):
        full = (index - first + 1) * (sizes[first] + TAG_BYTES_MAX) > _RUN_BYTES_MAX
        if index == len(sizes) or sizes[index] > sizes[first] or sizes[index - 1] < sizes[first] or full:
            found.append((first, index - first))
            first = index
    return tuple(found)


def can_segment(raw: socket.socket) -> bool:
    """Whether the kernel cuts messages into datagrams. Where it does not know how, it may send them whole."""
    try:
        return raw.getsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT) >= 0
    except OSError:
        return False


class Target:
    """Where a volley goes: the keys and the address of one viewer."""

    __slots__ = ("_keys", "handle", "kind", "name")

    def __init__(self, keys: Keys, address: tuple[Any, ...]) -> None:
        self.handle = keys.handle
        self._keys = keys  # the handle lives as long as they do
        self.name = packed(address)
        self.kind = (keys.tag, len(self.name), True)
        """Bytes of tag, bytes of address, and whether the path is believed to cut messages."""


_Runs = tuple[tuple[int, int], ...]
_Kind = tuple[int, int, bool]


class Volley:
    """Up to RELAY_STEP_PACKETS packets for many viewers: `load` them, then `send` them to some viewers a time."""

    available = _libc is not None

    def __init__(self, raw: socket.socket) -> None:
        """`raw` is the bound socket that everything leaves through."""
        self._raw = raw
        self._segmenting = can_segment(raw)
        count = RELAY_STEP_PACKETS
        self._slots = bytearray(_SLOT_BYTES * count)
        self._lengths = bytearray(4 * count)
        self._names = bytearray(_NAME_BYTES_MAX * count)
        self._controls = bytearray(_CONTROL_BYTES * count)
        # Exported buffers cannot be resized: these addresses stay valid as long as the exports are kept.
        self._exports = [
            _ffi.from_buffer(buffer) for buffer in (self._slots, self._lengths, self._names, self._controls)
        ]
        slots, lengths = self._exports[0], _ffi.cast("int *", self._exports[1])
        self._cells = [(slots + index * _SLOT_BYTES, lengths + index) for index in range(count)]
        self._vectors = _ffi.new("struct iovec[]", count)
        for index in range(count):
            self._vectors[index].iov_base = slots + index * _SLOT_BYTES
        self._vector_lengths = memoryview(_ffi.buffer(self._vectors)).cast("B").cast("L")[1::2]
        self._structures: dict[tuple[_Runs, int], Any] = {}
        # What is loaded:
        self._packets: Sequence[bytes] = ()
        self._sizes: list[int] = []
        self._plain = self._plain_lengths = memoryview(b"")
        self._rounds: list[list[tuple[Any, Any]]] = []
        # ... and for which kind of viewer the vectors and messages are made:
        self._kind: _Kind | None = None
        self._runs: _Runs = ()
        self._messages: Any = None

    def load(self, packets: Sequence[bytes], viewers: int) -> int:
        """Take `packets` (RTP) for so many viewers; returns for how many there is room in one `send`.

        0, when packets are too many or too long. Loading the same list again, which must not change, costs nothing.
        """
        size = len(packets)
        if packets is self._packets and viewers <= len(self._rounds):
            return len(self._rounds)
        self._packets = ()
        self._sizes = [len(packet) for packet in packets]
        if not 0 < size <= RELAY_STEP_PACKETS or max(self._sizes) > RTP_PROTECT_BYTES_MAX:
            return 0
        room = min(RELAY_STEP_PACKETS // size, viewers)
        self._packets = packets
        self._plain = memoryview(b"".join([packet.ljust(_SLOT_BYTES, b"\0") for packet in packets]) * room)
        self._plain_lengths = memoryview(array("i", self._sizes).tobytes() * room)
        self._rounds = [self._cells[first : first + size] for first in range(0, room * size, size)]
        self._kind = None
        return room

    def send(self, targets: Sequence[Target], own: Sequence[Sequence[bytes] | None] = ()) -> list[tuple[int, int]]:
        """Protect and send what is loaded to at most `room` viewers.

        `own` has, for each viewer, packets that it gets instead (None: those that are loaded), each as long as the
        loaded one in its place: viewers who have changed layers have numbers of their own.

        Returns (index of the viewer, index of the packet) for each who did not get everything; that packet is the first
        one that has not left. The caller sends the rest packet by packet and sees why it was refused: a packet that is
        protected a second time comes out the same.
        """
        refused: list[tuple[int, int]] = []
        done = 0
        while done < len(targets):
            kind = targets[done].kind
            alike = targets[done:] if done else targets
            for index, target in enumerate(alike):
                if target.kind != kind:
                    alike = alike[:index]
                    break
            if kind != self._kind:
                self._prepare(kind)
            self._copy(len(alike), own[done : done + len(alike)])
            done += self._round(alike, done, refused)
        return refused

    def _copy(self, viewers: int, own: Sequence[Sequence[bytes] | None]) -> None:
        """Fill the slots of so many viewers."""
        count = len(self._sizes) * viewers
        self._slots[: count * _SLOT_BYTES] = self._plain[: count * _SLOT_BYTES]
        self._lengths[: count * 4] = self._plain_lengths[: count * 4]
        slots, at = self._slots, 0
        for packets in own:
            if packets is None:
                at += _SLOT_BYTES * len(self._sizes)
                continue
            for packet, size in zip(packets, self._sizes, strict=True):
                slots[at : at + size] = packet  # raises BufferError when it is not as long
                at += _SLOT_BYTES

    def _round(self, targets: Sequence[Target], offset: int, refused: list[tuple[int, int]]) -> int:
        """One round for viewers of one kind; returns how many of them are dealt with."""
        names = b"".join([target.name for target in targets])
        self._names[: len(names)] = names
        protect = protect_in_place
        protected = 0
        for target, cells in zip(targets, self._rounds, strict=False):
            handle = target.handle
            for packet, length in cells:
                if protect(handle, packet, length):
                    break  # what is not protected must never leave
            else:
                protected += 1
                continue
            break
        self._transmit(targets, protected * len(self._runs), offset, refused)
        if protected < len(targets):
            refused.append((offset + protected, 0))
            return protected + 1
        return protected

    def _transmit(self, targets: Sequence[Target], count: int, offset: int, refused: list[tuple[int, int]]) -> None:
        """Hand the first `count` messages to the kernel."""
        descriptor, messages, runs_ = self._raw.fileno(), self._messages, self._runs
        at = 0
        while at < count:
            sent = _libc.sendmmsg(descriptor, messages + at, count - at, 0)
            if sent > 0:
                at += sent
                continue
            viewer, run = divmod(at, len(runs_))
            first, length = runs_[run]
            target = targets[viewer]
            if length > 1 and _ffi.errno in _NOT_SEGMENTED:
                target.kind = (*target.kind[:2], False)
            refused.append((offset + viewer, first))
            at = (viewer + 1) * len(runs_)

    def _prepare(self, kind: _Kind) -> None:
        """Make vectors and messages for viewers of `kind`."""
        tag, name_bytes, segmented = kind
        sent = [size + tag for size in self._sizes]
        lengths = memoryview(array("L", sent * len(self._rounds)))
        self._vector_lengths[: len(lengths)] = lengths
        singles = tuple((index, 1) for index in range(len(sent)))
        self._runs = runs(self._sizes) if segmented and self._segmenting else singles
        for index, (first, count) in enumerate(self._runs):
            if count > 1:
                content = (_CONTROL.size, socket.IPPROTO_UDP, _UDP_SEGMENT, sent[first])
                _CONTROL.pack_into(self._controls, index * _CONTROL_BYTES, *content)
        self._messages = self._structures.get((self._runs, name_bytes)) or self._structure(name_bytes)
        self._kind = kind

    def _structure(self, name_bytes: int) -> Any:
        """The messages of a full round of batches with these runs; made once for all that look alike."""
        if len(self._structures) >= _STRUCTURES_KEPT:
            self._structures.clear()
        rooms = RELAY_STEP_PACKETS // len(self._sizes)
        messages = _ffi.new("struct mmsghdr[]", rooms * len(self._runs))
        names, controls = self._exports[2], self._exports[3]
        for index in range(len(messages)):
            viewer, run = divmod(index, len(self._runs))
            first, count = self._runs[run]
            header = messages[index].msg_hdr
            header.msg_name = names + viewer * name_bytes
            header.msg_namelen = name_bytes
            header.msg_iov = self._vectors + viewer * len(self._sizes) + first
            header.msg_iovlen = count
            if count > 1:
                header.msg_control = controls + run * _CONTROL_BYTES
                header.msg_controllen = _CONTROL_BYTES
        self._structures[self._runs, name_bytes] = messages
        return messages
