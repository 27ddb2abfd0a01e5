"""What a relay reads of a video payload, and the two numbers of VP8 that it rewrites. Nothing is decoded.

A relay needs three things of a codec: where a decodable picture begins (joins, layer switches), how large the picture
is (which layer is the better one), and, for VP8, the picture id and TL0PICIDX, which count pictures beside the
sequence number and must go on when a viewer gets another layer.

    VP8 descriptor (RFC 7741, 4.2)               VP9 descriptor (RFC 9628, 4.2)
    |X|R|N|S|R| PID |   first byte               |I|P|L|F|B|E|V|Z|  first byte
    |I|L|T|K| RSV   |   when X                   |M| picture id    |  when I: 7 bits, or 15 when M
    |M| picture id  |   when I: 7 bits, 15 if M  | TID |U| SID |D|   when L; then TL0PICIDX unless F
    |   TL0PICIDX   |   when L                   | P_DIFF    |N|     when F and P, up to three
    |TID|Y| KEYIDX  |   when T or K              | N_S |Y|G|-|-|-|   when V: sizes, picture group

    AV1 aggregation header: |Z|Y| W |N|-|-|-|, then OBUs, each with its length in front (all but the last when W > 0).

H.264: RFC 6184. AV1: RTP Payload Format For AV1, section 4. What follows these in a codec's own syntax is read by
`wire.bitstream`. `start` and `end` are where the payload begins and ends in the packet (`wire.rtp.Header`).
Everything here takes what the network gives: nothing raises, and the work is bounded by the packet.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from live.core.limits import PICTURE_SIDE_MAX
from stream.wire import bitstream

Payload: TypeAlias = Callable[[bytes, int, int], bool]
"""Takes the packet and where its payload begins and ends."""

# RFC 6184, section 5.2: NAL unit types.
_NAL_IDR = 5
_NAL_SPS = 7
_NAL_STAP_A = 24
_NAL_FU_A = 28
_OBU_SEQUENCE_HEADER = 1


class Vp8Numbers(NamedTuple):
    """The counters of a VP8 descriptor: `picture_id` of `picture_id_bits` (7, 15; absent: None and 0), `tl0` of 8."""

    picture_id: int | None
    picture_id_bits: int
    tl0: int | None


def opens_keyframe(codec_name: str) -> Payload | None:
    """The function that says whether a payload begins a picture that needs no other; None for another codec."""
    return _OPENS.get(codec_name)


def picture_size(codec_name: str, packet: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Width and height in pixels, where the payload tells; None elsewhere.

    VP8 and VP9 tell in the first packet of a keyframe, H.264 in its SPS, AV1 in its sequence header.
    """
    read = _SIZES.get(codec_name)
    try:
        size = read(packet, start, end) if read is not None else None
    except bitstream.Exhausted:
        return None
    return size if size is not None and 0 < min(size) and max(size) <= PICTURE_SIDE_MAX else None


# --- H.264 ------------------------------------------------------------------------------------------------------


def opens_h264_keyframe(packet: bytes, start: int, end: int) -> bool:
    """Whether an IDR picture or its parameter sets begin here: encoders put the SPS in front of the IDR.

    Of a picture in several slices only the first opens it (first_mb_in_slice is 0, which is coded as a single 1).
    """
    if end - start < 2:
        return False
    unit = packet[start] & 0x1F
    if unit == _NAL_FU_A:
        if packet[start + 1] & 0x80 == 0:  # not the first fragment
            return False
        inner = packet[start + 1] & 0x1F
        return inner == _NAL_SPS or (inner == _NAL_IDR and end - start > 2 and packet[start + 2] & 0x80 != 0)
    if unit == _NAL_STAP_A:
        return any(_opens_unit(packet, at, stop) for at, stop in _aggregated(packet, start, end))
    return _opens_unit(packet, start, end)


def _opens_unit(packet: bytes, start: int, end: int) -> bool:
    unit = packet[start] & 0x1F
    return unit == _NAL_SPS or (unit == _NAL_IDR and end - start > 1 and packet[start + 1] & 0x80 != 0)


def _aggregated(packet: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the units of a STAP-A begin and end; one that reaches beyond the packet ends with it."""
    at = start + 1
    while at + 2 < end:
        size = int.from_bytes(packet[at : at + 2])
        if size:
            yield at + 2, min(at + 2 + size, end)
        at += 2 + size


def _size_h264(packet: bytes, start: int, end: int) -> tuple[int, int] | None:
    if start >= end:
        return None
    unit = packet[start] & 0x1F
    if unit == _NAL_SPS:
        return bitstream.h264_size(packet[start + 1 : end])
    if unit == _NAL_STAP_A:
        for at, stop in _aggregated(packet, start, end):
            if packet[at] & 0x1F == _NAL_SPS:
                return bitstream.h264_size(packet[at + 1 : stop])
    return None


# --- VP8 --------------------------------------------------------------------------------------------------------


def _vp8_header(packet: bytes, start: int, end: int) -> int | None:
    """Where the frame's own header begins when it is here; None in other packets of a frame."""
    if end - start < 2:
        return None
    first = packet[start]
    if first & 0x10 == 0 or first & 0x07:  # not the start of partition 0
        return None
    at = start + 1
    if first & 0x80:
        extension = packet[at]
        at += 1
        if extension & 0x80:
            at += 2 if at < end and packet[at] & 0x80 else 1
        at += (extension >> 6 & 1) + (1 if extension & 0x30 else 0)
    return at if at < end else None


def opens_vp8_keyframe(packet: bytes, start: int, end: int) -> bool:
    at = _vp8_header(packet, start, end)
    return at is not None and packet[at] & 0x01 == 0


def _size_vp8(packet: bytes, start: int, end: int) -> tuple[int, int] | None:
    at = _vp8_header(packet, start, end)
    return None if at is None else bitstream.vp8_size(packet[at : min(at + 10, end)])


def vp8_numbers(packet: bytes, start: int, end: int) -> Vp8Numbers | None:
    """The counters of the payload's descriptor; None when it has none of them or is cut off."""
    if end - start < 3 or packet[start] & 0x80 == 0 or packet[start + 1] & 0xC0 == 0:
        return None
    extension = packet[start + 1]
    at = start + 2
    picture_id, bits = None, 0
    if extension & 0x80:
        bits = 15 if packet[at] & 0x80 else 7
        if bits == 15 and at + 1 >= end:
            return None
        picture_id = (packet[at] & 0x7F) << 8 | packet[at + 1] if bits == 15 else packet[at]
        at += 2 if bits == 15 else 1
    if extension & 0x40 == 0:
        return Vp8Numbers(picture_id, bits, None)
    return Vp8Numbers(picture_id, bits, packet[at]) if at < end else None


def with_vp8_numbers(packet: bytes, start: int, *, picture_id: int | None, tl0: int | None) -> bytes:
    """The packet with these counters, each wrapped to the width that the packet has; the length stays.

    Only for a packet of which `vp8_numbers` is not None; a counter that it does not have, or None here, stays out.
    """
    extension = packet[start + 1]
    at = start + 2
    changed = b""
    if extension & 0x80:
        if packet[at] & 0x80:
            number = packet[at : at + 2] if picture_id is None else (0x8000 | picture_id & 0x7FFF).to_bytes(2)
        else:
            number = packet[at : at + 1] if picture_id is None else bytes((picture_id & 0x7F,))
        changed = number
    if extension & 0x40 and tl0 is not None:
        changed += bytes((tl0 & 0xFF,))
    return packet[:at] + changed + packet[at + len(changed) :]


# --- VP9 --------------------------------------------------------------------------------------------------------


def _vp9_header(packet: bytes, start: int, end: int) -> int | None:
    """Where the frame's own header begins, when here begins a frame of the lowest layer that refers to no other."""
    if start >= end or packet[start] & 0x48 != 0x08:  # P: predicted from other pictures; B: begins a frame
        return None
    first = packet[start]
    at = start + 1
    if first & 0x80:
        at += 2 if at < end and packet[at] & 0x80 else 1
    if first & 0x20:
        if at >= end or packet[at] & 0x0E:  # a higher spatial layer
            return None
        at += 1 if first & 0x10 else 2
    if first & 0x02:
        if at >= end:
            return None
        structure = packet[at]
        at += 1 + (4 * ((structure >> 5) + 1) if structure & 0x10 else 0)
        if structure & 0x08 and at < end:
            pictures = packet[at]
            at += 1
            for _ in range(pictures):
                if at >= end:
                    return None
                at += 1 + (packet[at] >> 2 & 0x03)
    return at if at < end else None


def opens_vp9_keyframe(packet: bytes, start: int, end: int) -> bool:
    at = _vp9_header(packet, start, end)
    return at is not None and bitstream.vp9_profile(bitstream.Bits(packet[at : at + 2] + b"\x00")) is not None


def _size_vp9(packet: bytes, start: int, end: int) -> tuple[int, int] | None:
    at = _vp9_header(packet, start, end)
    return None if at is None else bitstream.vp9_size(packet[at : min(at + 16, end)])


# --- AV1 --------------------------------------------------------------------------------------------------------


def opens_av1_keyframe(packet: bytes, start: int, end: int) -> bool:
    """N: the packet is the first of a coded video sequence, which begins with a keyframe; Z: it continues an OBU."""
    return end - start > 1 and packet[start] & 0x88 == 0x08


def _size_av1(packet: bytes, start: int, end: int) -> tuple[int, int] | None:
    if not opens_av1_keyframe(packet, start, end):
        return None
    for at, stop in _elements(packet, start, end):
        if packet[at] >> 3 & 0x0F == _OBU_SEQUENCE_HEADER:
            header = at + 1 + (packet[at] >> 2 & 1)
            if packet[at] & 0x02:
                length = _leb128(packet, header, stop)
                header = length[1] if length is not None else stop
            return bitstream.av1_size(packet[header : min(header + 256, stop)])
    return None


def _elements(packet: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the OBU elements of a payload begin and end, as far as their lengths make sense."""
    count = packet[start] >> 4 & 0x03
    at = start + 1
    index = 0
    while at < end:
        index += 1
        size = end - at
        if index != count:
            length = _leb128(packet, at, end)
            if length is None:
                return
            size, at = length
        if at + size > end:
            return
        if size:
            yield at, at + size
        at += size


def _leb128(packet: bytes, at: int, end: int) -> tuple[int, int] | None:
    """The number at `at` and where it ends; None when it is cut off or longer than AV1 allows (32 bits)."""
    value = 0
    for index in range(min(5, end - at)):
        byte = packet[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte & 0x80 == 0:
            return value, at + index + 1
    return None


_OPENS: dict[str, Payload] = {
    "h264": opens_h264_keyframe,
    "vp8": opens_vp8_keyframe,
    "vp9": opens_vp9_keyframe,
    "av1": opens_av1_keyframe,
}
_SIZES: dict[str, Callable[[bytes, int, int], tuple[int, int] | None]] = {
    "h264": _size_h264,
    "vp8": _size_vp8,
    "vp9": _size_vp9,
    "av1": _size_av1,
}
