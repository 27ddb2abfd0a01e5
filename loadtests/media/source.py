"""A host's pictures without an encoder: endless frames of RTP packets, H.264 or VP8 in shape only."""

import math
import struct
from collections.abc import Iterable

from loadtests.media.client import PAYLOAD_TYPES, RID_ID

FRAMES_PER_S = 25
VIDEO_PACKETS_PER_FRAME = 6
AUDIO_PACKETS_PER_FRAME = 2
AUDIO_PACKETS_PER_S = FRAMES_PER_S * AUDIO_PACKETS_PER_FRAME
PACKETS_PER_S = FRAMES_PER_S * VIDEO_PACKETS_PER_FRAME + AUDIO_PACKETS_PER_S
VIDEO_BYTES, AUDIO_BYTES = 1100, 90
PACKET_BYTES_MIN = 80  # a header, and what tells a picture's size


class _Layer:
    """One simulcast stream: its RID, SSRC, numbering, size in pixels, packets per frame and bytes per packet."""

    def __init__(
        self, index: int, rid: str, sequence: int, size: tuple[int, int], packets: int, size_bytes: int
    ) -> None:
        self.rid = rid
        self.ssrc = 1111 + 1000 * index
        self.sequence = sequence
        self.size = size
        self.packets = packets
        self.size_bytes = size_bytes
        self.keyframe = True
        self.picture_id = 100 * (index + 1)  # each layer's encoder counts its own pictures
        self.tl0 = 10 * (index + 1)


class Source:
    """Endless frames of RTP packets with picture sizes and keyframes that can be recognised.

    The first frame is a keyframe; `keyframe` makes the next one, `keyframes` those of single layers. `first` numbers
    the first frame; a keyframe has `keyframe_packets` video packets. With `rids` there is a layer for each, the lowest
    first: half the width and height and half the bytes of the next one; its packets carry the RID. `kbps` is the rate
    of the best layer without its keyframes, None: full packets, `VIDEO_PACKETS_PER_FRAME` of them.
    """

    def __init__(
        self,
        first: int = 0,
        *,
        keyframe_packets: int = VIDEO_PACKETS_PER_FRAME,
        rids: tuple[str, ...] = (),
        codec: str = "h264",
        fps: int = FRAMES_PER_S,
        kbps: int | None = None,
    ) -> None:
        self.fps = fps
        self._keyframe_packets = keyframe_packets
        self._number = first
        self._codec = codec
        self._sound = 1000 + first * 8
        top = max(0, len(rids) - 1)
        self.layers = [
            _Layer(
                index,
                rid,
                1000 + first * 8 + 500 * index,
                (1280 >> (top - index), 720 >> (top - index)),
                *_packets(None if kbps is None else kbps / (1 << (top - index)), fps, top - index),
            )
            for index, rid in enumerate(rids or ("",))
        ]

    @property
    def keyframe(self) -> bool:
        """Whether the next frame of any layer is a keyframe."""
        return any(layer.keyframe for layer in self.layers)

    @keyframe.setter
    def keyframe(self, wanted: bool) -> None:
        for layer in self.layers:
            layer.keyframe = wanted

    def asked(self, ssrcs: Iterable[int]) -> None:
        """Make the next frame of the layers with these SSRCs a keyframe: what a host does upon PLI."""
        wanted = frozenset(ssrcs)
        for layer in self.layers:
            layer.keyframe |= layer.ssrc in wanted

    def frame(self, active: int | None = None) -> list[bytes]:
        """The packets of the next frame, and the sound that goes with it; `active` None: of all layers, else so many.

        A host that is short of bandwidth stops its upper layers.
        """
        packets = []
        for layer in self.layers[:active]:
            packets += self._picture(layer)
        before, after = (number * AUDIO_PACKETS_PER_S // self.fps for number in (self._number, self._number + 1))
        for index in range(before, after):
            head = _head(PAYLOAD_TYPES["opus"], self._sound, index * 960, 1112)
            packets.append(head + bytes(AUDIO_BYTES - 12))
            self._sound += 1
        self._number += 1
        return packets

    def _picture(self, layer: _Layer) -> list[bytes]:
        count = layer.packets
        if layer.keyframe:
            count = max(1, self._keyframe_packets * layer.packets // VIDEO_PACKETS_PER_FRAME)
        timestamp = self._number * 90_000 // self.fps + layer.ssrc // 1000 * 90_000
        payload_type, packets = PAYLOAD_TYPES[self._codec], []
        for index in range(count):
            head = _head(payload_type, layer.sequence, timestamp, layer.ssrc, marker=index == count - 1, rid=layer.rid)
            body = _h264(layer, index) if self._codec == "h264" else _vp8(layer, index)
            packets.append(head + body.ljust(layer.size_bytes - len(head), b"\x80"))
            layer.sequence += 1
        layer.keyframe = False
        layer.picture_id += 1
        layer.tl0 += 1
        return packets


def _packets(kbps: float | None, fps: int, halved: int) -> tuple[int, int]:
    """How many packets a picture has that is no keyframe, and the bytes of each."""
    if kbps is None:
        return max(1, VIDEO_PACKETS_PER_FRAME >> halved), VIDEO_BYTES
    picture_bytes = kbps * 1000 / 8 / fps
    count = max(1, math.ceil(picture_bytes / VIDEO_BYTES))
    return count, max(PACKET_BYTES_MIN, round(picture_bytes / count))


def _head(payload_type: int, sequence: int, timestamp: int, ssrc: int, *, marker: bool = False, rid: str = "") -> bytes:
    """A header; with a RID in a one-byte extension (RFC 8285) when there is one."""
    first, second = 0x90 if rid else 0x80, payload_type | (0x80 if marker else 0)
    fixed = struct.pack("!BBHII", first, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    if not rid:
        return fixed
    element = bytes((RID_ID << 4 | len(rid) - 1,)) + rid.encode()
    element += bytes(-len(element) % 4)
    return fixed + struct.pack("!HH", 0xBEDE, len(element) // 4) + element


def _h264(layer: _Layer, index: int) -> bytes:
    return _parameters(*layer.size) if layer.keyframe and index == 0 else b"\x41"


def _vp8(layer: _Layer, index: int) -> bytes:
    """The payload descriptor with a picture id of 15 bits and TL0PICIDX (RFC 7741), then the picture's head."""
    start = 0x10 if index == 0 else 0x00
    numbers = struct.pack("!HBB", 0x8000 | layer.picture_id & 0x7FFF, layer.tl0 & 0xFF, 0x20)
    descriptor = bytes((0x80 | start, 0xE0)) + numbers
    if index:
        return descriptor
    if not layer.keyframe:
        return descriptor + b"\x01\x00\x00"
    return descriptor + b"\x10\x00\x00\x9d\x01\x2a" + struct.pack("<HH", *layer.size)


def _parameters(width: int, height: int) -> bytes:
    """A sequence parameter set of constrained baseline (H.264, 7.3.2.1.1); each side is a multiple of four."""
    columns, rows = -(-width // 16), -(-height // 16)
    right, bottom = (columns * 16 - width) // 2, (rows * 16 - height) // 2
    fields = [_golomb(value) for value in (0, 0, 2, 1)]  # id, frame_num's bits, order by frame, one reference
    fields += ["0", _golomb(columns - 1), _golomb(rows - 1), "11"]  # no gaps; frames only, 8x8 inference
    fields += ["1", _golomb(0), _golomb(right), _golomb(0), _golomb(bottom)] if right or bottom else ["0"]
    bits = "".join((*fields, "0", "1"))  # no VUI; the stop bit
    bits += "0" * (-len(bits) % 8)
    return b"\x67\x42\xe0\x1f" + int(bits, 2).to_bytes(len(bits) // 8)


def _golomb(value: int) -> str:
    code = f"{value + 1:b}"
    return "0" * (len(code) - 1) + code
