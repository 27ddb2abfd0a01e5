"""The relay's own streams: each layer, and the sound, as one endless line of packets, whoever publishes.

An `Outgoing` is all that viewers know as one stream (one SSRC): the sound, or the picture in all its layers. Each layer
is a `Line`: continuous numbers, and a cache of what was sent. Packets get their numbers here once (`Outgoing.take`);
what differs from viewer to viewer is a `Translation`, and `translated` applies it.
"""

import secrets
import struct

from live.core.limits import GOP_PACKETS_MAX, SIMULCAST_LAYERS_MAX, SOUND_PACKETS_KEPT
from stream.downstream.cache import Entry, PacketCache
from stream.downstream.layers import Alignment, Mark, Translation
from stream.feed import AUDIO, Arrival
from stream.wire.codecs import Codec
from stream.wire.payloads import Vp8Numbers, vp8_numbers, with_vp8_numbers
from stream.wire.rtp import HEADER_BYTES

_HEADER = struct.Struct("!BBHII")
_START = struct.Struct("!BBHI")  # of a header, up to the SSRC
_CLOCK_RATES = {"video": 90_000, "audio": 48_000}


class Line:
    """One layer of a stream, or the sound."""

    def __init__(self, layer: int) -> None:
        self.layer = layer
        self.cache = PacketCache(SOUND_PACKETS_KEPT if layer == AUDIO else GOP_PACKETS_MAX)
        self.awaiting_keyframe = layer != AUDIO  # what refers to pictures that nobody has would only be drawn wrong
        self.overloaded = False  # dropped to the end of the frame
        self.newest: Mark | None = None  # of what went to the viewers, the highest number
        self.packets = 0
        self.octets = 0

    def put(self, entry: Entry, now: float) -> bool:
        """Keep what goes to the viewers now; returns whether it begins a new group of pictures."""
        if self.newest is None or entry.mark.sequence > self.newest.sequence:
            self.newest = entry.mark
        self.packets += 1
        self.octets += len(entry.packet) - HEADER_BYTES
        return self.cache.put(entry, now)

    def restart(self) -> None:
        """What follows does not continue what was before."""
        self.awaiting_keyframe = self.layer != AUDIO
        self.cache.forget_gop()


class Outgoing:
    """One RTP stream as the viewers of a show see it. `kind` is "video" or "audio"."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.ssrc = secrets.randbits(32) | 1
        layers = range(SIMULCAST_LAYERS_MAX) if kind == "video" else (AUDIO,)
        self.lines = {layer: Line(layer) for layer in layers}
        # The first number is small, so that no viewer joins just before the first wrap (RFC 3711, section 3.3.1). Later
        # `Numbering` sees to it; sound has no numbers of a viewer's own, and who joins before a wrap of it and loses
        # all up to there hears nothing until the next session: of 2^16 packets (21 min), some tens are such a moment.
        first = tuple(secrets.randbelow(1 << 14) + (1 << 16) for _ in layers)
        self._alignment = Alignment(first, secrets.randbits(32), _CLOCK_RATES[kind])
        self.codec: Codec | None = None
        self.report: tuple[int, int] | None = None  # the last sender report: NTP time and outgoing timestamp

    def begin(self, codec: Codec | None) -> None:
        """Another publisher sends from now on; `codec` None: nothing of this kind."""
        self.codec = codec
        self.report = None
        self._alignment.begin()
        for line in self.lines.values():
            line.restart()
            line.overloaded = False
            # Nothing of the last publisher may be sent again under this one's payload types: the same sequence number
            # with another header would use SRTP's key stream twice.
            line.cache.clear()

    def end(self) -> None:
        """The publisher is gone."""
        self.codec = None
        for line in self.lines.values():
            line.cache.forget_gop()

    def restarted(self, layer: int) -> None:
        """The publisher started this layer anew."""
        self._alignment.restarted(max(layer, 0))
        self.lines[layer].restart()

    def take(self, arrival: Arrival, now: float) -> Entry | None:
        """The packet in the relay's numbers; None for what precedes the first packet of its run."""
        packet, vp8 = arrival.packet, None
        if self.codec is not None and self.codec.name == "vp8":
            vp8 = vp8_numbers(packet, HEADER_BYTES, len(packet))
        mark = self._alignment.map(
            max(arrival.layer, 0),
            arrival.sequence,
            arrival.timestamp,
            now,
            opens_keyframe=arrival.opens_keyframe,
            vp8=vp8,
        )
        if mark is None:
            return None
        packet = _counted(packet, vp8, mark.vp8)
        return Entry(arrival.layer, mark, _numbered(packet, packet[1], mark, self.ssrc), arrival.opens_keyframe)

    def sender_report(self, layer: int, ntp: int, timestamp: int, now: float) -> bool:
        """Take the host's report; returns whether it is one for the viewers, `report` then."""
        line_timestamp = self._alignment.sender_report(max(layer, 0), ntp, timestamp, now)
        if line_timestamp is None:
            return False
        self.report = (ntp, line_timestamp)
        return True


def translated(entry: Entry, translation: Translation, payload_type: int) -> bytes:
    """The packet as viewers of `translation` get it, who call its codec `payload_type`.

    The same entry and translation always give the same bytes: what is sent again is what was sent.
    """
    packet = entry.packet
    kind = packet[1] & 0x80 | payload_type
    if translation.sequence == translation.timestamp == translation.picture_id == translation.tl0 == 0:
        return packet if packet[1] == kind else packet[:1] + bytes((kind,)) + packet[2:]
    mark = entry.mark
    if mark.vp8 is not None:
        packet = _counted(packet, mark.vp8, translation.apply(mark).vp8)
    # Not by `apply`: without its tuples this takes half as long, and switched viewers may each need their own.
    sequence, timestamp = mark.sequence + translation.sequence, mark.timestamp + translation.timestamp
    return _START.pack(packet[0], kind, sequence & 0xFFFF, timestamp & 0xFFFFFFFF) + packet[_START.size :]


def _counted(packet: bytes, before: Vp8Numbers | None, after: Vp8Numbers | None) -> bytes:
    """The packet with these VP8 counters."""
    if after is None or after == before:
        return packet
    return with_vp8_numbers(packet, HEADER_BYTES, picture_id=after.picture_id, tl0=after.tl0)


def _numbered(packet: bytes, kind: int, mark: Mark, ssrc: int) -> bytes:
    fixed = _HEADER.pack(packet[0], kind, mark.sequence & 0xFFFF, mark.timestamp, ssrc)
    return fixed + packet[HEADER_BYTES:]
