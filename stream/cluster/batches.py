"""How packets travel between workers: a batch of one layer's, as bytes.

    batch    version u8 = 1 | layer i8 (AUDIO is -1) | fence u64 | record …
    record   kind u8 | length u16 | number u64 | payload of that length

    PACKET, KEYFRAME   an RTP packet with its plain header; number is its extended sequence, KEYFRAME opens a keyframe
    RESTARTED          the layer's numbering begins anew; number 0, no payload
    REPORT             a sender report: number is the NTP time, payload the RTP timestamp (u32)

Integers are big-endian. The fence is that of the publisher's lease: what carries an older one is of a publisher who has
been replaced. Per packet that is 11 bytes of 1,200, 0.4 µs to write and 1.2 µs to read.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from live.core.limits import RTP_PROTECT_BYTES_MAX
from stream.feed import AUDIO, Arrival
from stream.wire.rtp import HEADER_BYTES, PacketError

VERSION = 1
PACKET, KEYFRAME, RESTARTED, REPORT = range(4)
_BATCH = struct.Struct("!BbQ")
_RECORD = struct.Struct("!BHQ")
_TIMESTAMP = struct.Struct("!I")


class Record(NamedTuple):
    """One line of a batch; `kind` is one of the above."""

    kind: int
    number: int
    payload: bytes

    def arrival(self, layer: int) -> Arrival:
        """The packet of a PACKET or KEYFRAME."""
        (timestamp,) = _TIMESTAMP.unpack_from(self.payload, 4)
        return Arrival(layer, self.number, timestamp, self.payload, self.kind == KEYFRAME)

    def report(self) -> tuple[int, int]:
        """NTP time and RTP timestamp of a REPORT."""
        (timestamp,) = _TIMESTAMP.unpack(self.payload)
        return self.number, timestamp


def head(layer: int, fence: int) -> bytes:
    """How a batch begins."""
    return _BATCH.pack(VERSION, layer, fence)


def packet(arrival: Arrival) -> bytes:
    """A packet as a record."""
    kind = KEYFRAME if arrival.opens_keyframe else PACKET
    return _RECORD.pack(kind, len(arrival.packet), arrival.sequence) + arrival.packet


def restarted() -> bytes:
    """A new numbering as a record."""
    return _RECORD.pack(RESTARTED, 0, 0)


def report(ntp: int, timestamp: int) -> bytes:
    """A sender report as a record."""
    return _RECORD.pack(REPORT, _TIMESTAMP.size, ntp) + _TIMESTAMP.pack(timestamp)


def opened(batch: bytes) -> tuple[int, int, list[Record]]:
    """Layer, fence and records of a batch. Raises `PacketError` when any of it is not as above."""
    if len(batch) < _BATCH.size:
        raise PacketError("a batch that is too short")
    version, layer, fence = _BATCH.unpack_from(batch)
    if version != VERSION or layer < AUDIO:
        raise PacketError("a batch of another version")
    return layer, fence, list(_records(batch, layer))


def _records(batch: bytes, layer: int) -> Iterator[Record]:
    at, end = _BATCH.size, len(batch)
    while at < end:
        if at + _RECORD.size > end:
            raise PacketError("a batch that is cut")
        kind, length, number = _RECORD.unpack_from(batch, at)
        at += _RECORD.size
        payload = batch[at : at + length]
        at += length
        if at > end:
            raise PacketError("a batch that is cut")
        if kind in (PACKET, KEYFRAME):
            # Version 2, no extension, no CSRC: what is sent on is rewritten in place and must be plain.
            if not HEADER_BYTES <= length <= RTP_PROTECT_BYTES_MAX or payload[0] & 0xDF != 0x80:
                raise PacketError("a packet in a batch that is not plain RTP")
            if kind == KEYFRAME and layer == AUDIO:
                raise PacketError("a keyframe of sound")
        elif length != (_TIMESTAMP.size if kind == REPORT else 0) or kind > REPORT:
            raise PacketError("an unknown record in a batch")
        yield Record(kind, number, payload)
