"""RTP packets as raw bytes: a parsed packet object costs 2.3 µs, a rewritten header 0.3 µs.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---+-+-+-------+-+-------------+-------------------------------+
    |V=2|P|X|  CC   |M|     PT      |        sequence number        |
    +---+-+-+-------+-+-------------+-------------------------------+
    |                           timestamp                           |
    +---------------------------------------------------------------+
    |                             SSRC                              |
    +---------------------------------------------------------------+
    |  CC × CSRC, then (X) an extension: profile, length in words, …|

RFC 3550 sections 5.1 and A.1; header extensions: RFC 8285; retransmission: RFC 4588; demultiplexing from RTCP: RFC
5761. A retransmission is a stream of its own: the payload begins with the original sequence number, two bytes.
"""

import struct
from typing import NamedTuple

HEADER_BYTES = 12
_EXTENSION = 0x10
_PADDING = 0x20
_HEADER = struct.Struct("!BBHII")
_RTX_HEADER = struct.Struct("!BBH4sI2s")
_ONE_BYTE = 0xBEDE  # the profile of extensions with headers of one byte; 0x1000 to 0x100F: of two


class PacketError(ValueError):
    """The bytes are not a well-formed RTP or RTCP packet."""


class Header(NamedTuple):
    """The fields of a fixed header and where the payload begins and ends (offsets in bytes, padding left out)."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: int
    end: int


def is_rtcp(datagram: bytes) -> bool:
    """Whether the second byte says RTCP (RFC 5761, section 4); the datagram has at least two bytes."""
    return 192 <= datagram[1] <= 223


def parse(packet: bytes) -> Header:
    """The header of an RTP packet. Raises `PacketError` when lengths do not add up."""
    size = len(packet)
    if size < HEADER_BYTES:
        raise PacketError("shorter than an RTP header")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(packet)
    if first >> 6 != 2:
        raise PacketError("not RTP version 2")
    payload = HEADER_BYTES + 4 * (first & 0x0F)
    if first & _EXTENSION:
        if size < payload + 4:
            raise PacketError("cut off in the header extension")
        payload += 4 + 4 * int.from_bytes(packet[payload + 2 : payload + 4])
    end = size
    if first & _PADDING:
        if not 0 < packet[-1] <= size:
            raise PacketError("padding longer than the packet")
        end -= packet[-1]
    if payload > end:
        raise PacketError("cut off before the payload")
    return Header(second & 0x7F, second >= 0x80, sequence, timestamp, ssrc, payload, end)


def plain(packet: bytes, header: Header) -> bytes:
    """The packet with a plain twelve-byte header: no CSRC, no extensions; all else, padding too, stays."""
    if header.payload == HEADER_BYTES:
        return packet
    return bytes((packet[0] & 0xE0,)) + packet[1:HEADER_BYTES] + packet[header.payload :]


def extension(packet: bytes, header: Header, identifier: int) -> bytes | None:
    """What the header extension of this identifier carries; None when there is none (RFC 8285, section 4).

    `identifier` is 1 to 14, or to 255 in the form of two bytes. Elements that do not fit end the search.
    """
    if packet[0] & _EXTENSION == 0:
        return None
    at = HEADER_BYTES + 4 * (packet[0] & 0x0F) + 4
    end = header.payload
    profile = packet[at - 4] << 8 | packet[at - 3]
    if profile == _ONE_BYTE:
        while at < end:
            first = packet[at]
            if first == 0:  # padding
                at += 1
                continue
            stop = at + 2 + (first & 0x0F)
            if first >> 4 == 15 or stop > end:
                return None
            if first >> 4 == identifier:
                return packet[at + 1 : stop]
            at = stop
    elif profile >> 4 == 0x100:
        while at + 1 < end:
            if packet[at] == 0:
                at += 1
                continue
            stop = at + 2 + packet[at + 1]
            if stop > end:
                return None
            if packet[at] == identifier:
                return packet[at + 2 : stop]
            at = stop
    return None


def wrap_rtx(packet: bytes, *, payload_type: int, sequence: int, ssrc: int) -> bytes:
    """A packet with a plain header as one of a retransmission stream (RFC 4588, section 4): two bytes longer.

    Padding is left out, as the RFC demands; `sequence` may exceed its field and is wrapped.
    """
    first = packet[0]
    payload = packet[HEADER_BYTES:]
    if first & _PADDING:
        first ^= _PADDING
        payload = packet[HEADER_BYTES : len(packet) - packet[-1]]
    kind = packet[1] & 0x80 | payload_type
    return _RTX_HEADER.pack(first, kind, sequence & 0xFFFF, packet[4:8], ssrc, packet[2:4]) + payload


def unwrap_rtx(packet: bytes, header: Header, *, payload_type: int, ssrc: int) -> bytes | None:
    """The original of a retransmission, with a plain header and no padding; None when it carries none (a probe).

    `payload_type` and `ssrc` are those of the original's stream.
    """
    if header.end - header.payload < 2:
        return None
    body = header.payload + 2
    kind = packet[1] & 0x80 | payload_type
    original = packet[header.payload] << 8 | packet[header.payload + 1]
    return _HEADER.pack(0x80, kind, original, header.timestamp, ssrc) + packet[body : header.end]


def with_payload_type(packet: bytes, payload_type: int) -> bytes:
    """The packet for a viewer who numbers the codec differently."""
    return packet[:1] + bytes(((packet[1] & 0x80) | payload_type,)) + packet[2:]


class Unwrapper:
    """Extends numbers of `bits` bits to ones that never wrap (RFC 3550, section A.1); late ones map backwards.

    The first number starts one period up, so that what was sent just before it stays positive.
    """

    def __init__(self, bits: int = 16) -> None:
        self._period = 1 << bits
        self._newest: int | None = None

    def extend(self, number: int) -> int:
        """The extended form of `number` that is nearest to the newest one."""
        if self._newest is None:
            self._newest = self._period + number
            return self._newest
        distance = (number - self._newest) % self._period
        if distance >= self._period // 2:
            return self._newest + distance - self._period
        self._newest += distance
        return self._newest
