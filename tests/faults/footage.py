"""Real video for real receivers: a few seconds of VP8, encoded once in three sizes and played in a loop.

A camera that encodes while it films would need more of a small machine than the network that is tried. A keyframe is
only at the beginning of the loop, so a layer that is asked for one begins again there.
"""

import random
import struct
from collections.abc import Iterable
from fractions import Fraction
from functools import cache

import av

from loadtests.media.client import PAYLOAD_TYPES, RID_ID
from loadtests.media.source import FRAMES_PER_S

SIZES = ((160, 90), (320, 180), (640, 360))
BITS_PER_S = (100_000, 300_000, 1_000_000)
LOOP_S = 2
_PAYLOAD_BYTES = 1100


@cache
def loops() -> tuple[tuple[bytes, ...], ...]:
    """The pictures of each layer, lowest first."""
    return tuple(_encoded(size, bits_per_s) for size, bits_per_s in zip(SIZES, BITS_PER_S, strict=True))


def _encoded(size: tuple[int, int], bits_per_s: int) -> tuple[bytes, ...]:
    width, height = size
    encoder = av.CodecContext.create("libvpx", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FRAMES_PER_S), Fraction(FRAMES_PER_S)
    encoder.bit_rate, encoder.gop_size = bits_per_s, 10_000
    encoder.options = {
        "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "default", "qmax": "63",
        "minrate": str(bits_per_s), "maxrate": str(bits_per_s), "bufsize": str(bits_per_s // 2),
    }  # fmt: skip
    chance = random.Random(width)
    found = []
    for number in range(LOOP_S * FRAMES_PER_S):
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane, scale in zip(frame.planes, (1, 2, 2), strict=True):
            rows = height // scale
            # Noise that moves down a plain picture: there is always something to encode.
            top = number * rows // (LOOP_S * FRAMES_PER_S)
            grey = bytearray(b"\x60" * plane.buffer_size)
            band = chance.randbytes(rows // 12 * plane.line_size)
            start = top * plane.line_size
            grey[start : start + len(band)] = band[: len(grey) - start]
            plane.update(bytes(grey))
        frame.pts = number
        found += [bytes(packet) for packet in encoder.encode(frame)]
    found += [bytes(packet) for packet in encoder.encode(None)]
    assert len(found) == LOOP_S * FRAMES_PER_S, "every picture was encoded"
    assert not found[0][0] & 1 and all(picture[0] & 1 for picture in found[1:]), "the only keyframe is the first"
    return tuple(found)


class _Layer:
    def __init__(self, index: int, rid: str) -> None:
        self.rid = rid
        self.ssrc = 1111 + 1000 * index
        self.sequence = 1000 * index
        self.position = 0
        self.picture_id = 100 * index


class Footage:
    """A source of packets like `loadtests.media.source.Source`, without sound. One RID, "": the best layer alone."""

    def __init__(self, rids: tuple[str, ...]) -> None:
        self._loops = loops()[-len(rids) :]
        self._layers = [_Layer(index, rid) for index, rid in enumerate(rids)]
        self._number = 0

    def asked(self, ssrcs: Iterable[int]) -> None:
        """Begin these layers' loops again."""
        wanted = frozenset(ssrcs)
        for layer in self._layers:
            if layer.ssrc in wanted:
                layer.position = 0

    def frame(self) -> list[bytes]:
        """The packets of the next picture, in all layers."""
        packets = [
            packet
            for layer, loop in zip(self._layers, self._loops, strict=True)
            for packet in self._picture(layer, loop)
        ]
        self._number += 1
        return packets

    def _picture(self, layer: _Layer, loop: tuple[bytes, ...]) -> list[bytes]:
        picture = loop[layer.position % len(loop)]
        parts = [picture[at : at + _PAYLOAD_BYTES] for at in range(0, len(picture), _PAYLOAD_BYTES)]
        timestamp = self._number * (90_000 // FRAMES_PER_S) + layer.ssrc * 1000
        packets = []
        for index, part in enumerate(parts):
            kind = PAYLOAD_TYPES["vp8"] | (0x80 if index == len(parts) - 1 else 0)
            first = 0x90 if layer.rid else 0x80
            head = struct.pack("!BBHII", first, kind, layer.sequence & 0xFFFF, timestamp & 0xFFFFFFFF, layer.ssrc)
            if layer.rid:
                element = (bytes((RID_ID << 4 | len(layer.rid) - 1,)) + layer.rid.encode()).ljust(4, b"\0")
                head += struct.pack("!HH", 0xBEDE, 1) + element
            descriptor = struct.pack("!BBH", 0x90 if index == 0 else 0x80, 0x80, 0x8000 | layer.picture_id & 0x7FFF)
            packets.append(head + descriptor + part)
            layer.sequence += 1
        layer.position += 1
        layer.picture_id += 1
        return packets
