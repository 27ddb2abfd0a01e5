"""RTCP: reports and feedback, parsed from and built as raw bytes.

Compound layout (RFC 3550, section 6.1): each packet is `V=2 P count | type | length in words - 1 | ...`. Feedback
(RFC 4585, 5104) puts a format where the count is. Reduced-size compounds (RFC 5506) are read; what we write always
begins with a report, because we never know whether the far end took up reduced size. Types we do not use are skipped.

REMB (draft-alvestrand-rmcat-remb-03) is a feedback packet of format 15 that starts with the four letters.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from live.core.limits import NACK_SEQUENCES_MAX
from stream.wire.rtp import PacketError

_SR, _RR, _SDES, _BYE, _RTPFB, _PSFB = 200, 201, 202, 203, 205, 206
_NACK, _PLI, _FIR, _APPLICATION = 1, 1, 4, 15
_SENDER = struct.Struct("!IQIII")
_BLOCK = struct.Struct("!IB3sIIII")
_FEEDBACK = struct.Struct("!II")


class ReportBlock(NamedTuple):
    """How one stream arrives (RFC 3550, section 6.4.1). `fraction_lost` is in 1/256, `jitter` in timestamp units."""

    ssrc: int
    fraction_lost: int
    lost: int
    highest: int
    jitter: int
    last_report: int = 0  # the middle 32 bits of the NTP time of the last sender report
    delay: int = 0  # since it arrived, in 1/65536 s


@dataclass(frozen=True, slots=True)
class SenderReport:
    """Ties an RTP timestamp to a wall clock (`ntp`, 64 bits: seconds since 1900 and their fraction)."""

    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """The CNAME, which tells a viewer that two streams share a clock (RFC 3550, section 6.5.1)."""

    ssrc: int
    cname: str


@dataclass(frozen=True, slots=True)
class Nack:
    """Sequence numbers that did not arrive (RFC 4585, section 6.2.1)."""

    sender: int
    media: int
    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pli:
    """The decoder needs a keyframe (RFC 4585, section 6.3.1)."""

    sender: int
    media: int


@dataclass(frozen=True, slots=True)
class Fir:
    """The same wish in its older form (RFC 5104, section 4.3.1): pairs of SSRC and request number."""

    sender: int
    requests: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Remb:
    """What a receiver believes the path carries, in bits per second."""

    sender: int
    bitrate: int
    ssrcs: tuple[int, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Bye:
    ssrcs: tuple[int, ...]


Packet: TypeAlias = SenderReport | ReceiverReport | Description | Nack | Pli | Fir | Remb | Bye


def middle(ntp: int) -> int:
    """The middle 32 bits of an NTP time, as report blocks quote it: seconds in 16.16."""
    return ntp >> 16 & 0xFFFFFFFF


# --- reading ----------------------------------------------------------------------------------------------------


def parse(compound: bytes) -> list[Packet]:
    """The packets of a compound in order, without those of unknown types. Raises `PacketError` on wrong lengths.

    Lost numbers beyond NACK_SEQUENCES_MAX are left out: whoever misses that much needs a keyframe.
    """
    found: list[Packet] = []
    room = NACK_SEQUENCES_MAX
    for kind, count, body in _split(compound):
        try:
            packet = _READERS[kind](count, body) if kind in _READERS else None
        except (struct.error, IndexError) as error:
            raise PacketError(f"RTCP packet of type {kind} is cut off") from error
        if isinstance(packet, Nack):
            if len(packet.sequences) > room:
                packet = Nack(packet.sender, packet.media, packet.sequences[:room])
            room -= len(packet.sequences)
        if packet is not None:
            found.append(packet)
    return found


def _split(compound: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    if not compound:
        raise PacketError("an empty RTCP compound")
    while at < len(compound):
        if len(compound) - at < 4:
            raise PacketError("cut off in an RTCP header")
        first, kind, words = struct.unpack_from("!BBH", compound, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2 or end > len(compound):
            raise PacketError("not RTCP version 2, or longer than the datagram")
        padding = compound[end - 1] if first & 0x20 else 0
        if padding > 4 * words:
            raise PacketError("RTCP padding longer than the packet")
        yield kind, first & 0x1F, compound[at + 4 : end - padding]
        at = end


def _blocks(body: bytes, at: int, count: int) -> tuple[ReportBlock, ...]:
    found = []
    for index in range(count):
        ssrc, fraction, lost, *rest = _BLOCK.unpack_from(body, at + index * _BLOCK.size)
        found.append(ReportBlock(ssrc, fraction, int.from_bytes(lost, signed=True), *rest))
    return tuple(found)


def _read_sender_report(count: int, body: bytes) -> Packet:
    ssrc, ntp, timestamp, packets, octets = _SENDER.unpack_from(body)
    return SenderReport(ssrc, ntp, timestamp, packets, octets, _blocks(body, _SENDER.size, count))


def _read_receiver_report(count: int, body: bytes) -> Packet:
    return ReceiverReport(int.from_bytes(_exactly(body, 4)), _blocks(body, 4, count))


def _read_bye(count: int, body: bytes) -> Packet:
    return Bye(struct.unpack_from(f"!{count}I", body))


def _read_transport_feedback(format_: int, body: bytes) -> Packet | None:
    sender, media = _FEEDBACK.unpack_from(body)
    if format_ != _NACK:
        return None
    lost: list[int] = []
    for at in range(8, len(body) - 3, 4):
        first, following = struct.unpack_from("!HH", body, at)
        lost.append(first)
        lost += [(first + 1 + bit) & 0xFFFF for bit in range(16) if following >> bit & 1]
    return Nack(sender, media, tuple(lost))


def _read_payload_feedback(format_: int, body: bytes) -> Packet | None:
    sender, media = _FEEDBACK.unpack_from(body)
    if format_ == _PLI:
        return Pli(sender, media)
    if format_ == _FIR:
        entries = struct.iter_unpack("!IB3x", body[8 : len(body) // 8 * 8])
        return Fir(sender, tuple((ssrc, number) for ssrc, number in entries))
    if format_ == _APPLICATION and body[8:12] == b"REMB":
        count, high, low = struct.unpack_from("!BBH", body, 12)
        mantissa = (high & 0x03) << 16 | low
        return Remb(sender, mantissa << (high >> 2), struct.unpack_from(f"!{count}I", body, 16))
    return None


def _exactly(body: bytes, size: int) -> bytes:
    if len(body) < size:
        raise IndexError(size)
    return body[:size]


_READERS = {
    _SR: _read_sender_report,
    _RR: _read_receiver_report,
    _BYE: _read_bye,
    _RTPFB: _read_transport_feedback,
    _PSFB: _read_payload_feedback,
}


# --- writing ----------------------------------------------------------------------------------------------------


def build(packets: Iterable[Packet]) -> bytes:
    """The packets as one compound; the caller puts a report first (RFC 3550, section 6.1)."""
    return b"".join(map(_encode, packets))


def _frame(kind: int, count: int, body: bytes) -> bytes:
    assert len(body) % 4 == 0 and count < 32, "RTCP is made of 32-bit words, and of at most 31 blocks"
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def _encode_block(block: ReportBlock) -> bytes:
    lost = max(-(1 << 23), min(block.lost, (1 << 23) - 1)).to_bytes(3, signed=True)
    return _BLOCK.pack(block.ssrc, block.fraction_lost, lost, *block[3:])


def _encode(packet: Packet) -> bytes:
    match packet:
        case SenderReport(ssrc, ntp, timestamp, packets, octets, blocks):
            totals = _SENDER.pack(ssrc, ntp, timestamp, packets & 0xFFFFFFFF, octets & 0xFFFFFFFF)
            return _frame(_SR, len(blocks), totals + b"".join(map(_encode_block, blocks)))
        case ReceiverReport(ssrc, blocks):
            return _frame(_RR, len(blocks), ssrc.to_bytes(4) + b"".join(map(_encode_block, blocks)))
        case Description(ssrc, cname):
            name = cname.encode()
            chunk = ssrc.to_bytes(4) + bytes((1, len(name))) + name
            return _frame(_SDES, 1, chunk + bytes(4 - len(chunk) % 4))  # at least one null ends the list
        case Nack(sender, media, sequences):
            return _frame(_RTPFB, _NACK, _FEEDBACK.pack(sender, media) + _encode_lost(sequences))
        case Pli(sender, media):
            return _frame(_PSFB, _PLI, _FEEDBACK.pack(sender, media))
        case Fir(sender, requests):
            entries = b"".join(struct.pack("!IB3x", *request) for request in requests)
            return _frame(_PSFB, _FIR, _FEEDBACK.pack(sender, 0) + entries)
        case Remb(sender, bitrate, ssrcs):
            exponent = max(0, bitrate.bit_length() - 18)
            high, low = divmod(bitrate >> exponent, 1 << 16)
            head = b"REMB" + struct.pack("!BBH", len(ssrcs), exponent << 2 | high, low)
            targets = struct.pack(f"!{len(ssrcs)}I", *ssrcs)
            return _frame(_PSFB, _APPLICATION, _FEEDBACK.pack(sender, 0) + head + targets)
        case _:
            ssrcs = packet.ssrcs
            return _frame(_BYE, len(ssrcs), struct.pack(f"!{len(ssrcs)}I", *ssrcs))


def _encode_lost(sequences: Iterable[int]) -> bytes:
    """Pairs of a sequence number and a bit map of the sixteen after it; `sequences` are in sending order."""
    pairs: list[list[int]] = []
    for sequence in sequences:
        distance = (sequence - pairs[-1][0]) & 0xFFFF if pairs else 0
        if pairs and 1 <= distance <= 16:
            pairs[-1][1] |= 1 << (distance - 1)
        else:
            pairs.append([sequence, 0])
    return b"".join(struct.pack("!HH", *pair) for pair in pairs)
