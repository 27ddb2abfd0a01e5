"""The heads of coded pictures, as far as they tell a picture's size: H.264, VP8, VP9 and AV1.

Read bit by bit, but once per keyframe. H.264: ITU-T H.264, 7.3.2.1.1 (sequence parameter set). VP8: RFC 6386, 9.1.
VP9: bitstream specification, 6.2 (uncompressed header). AV1: bitstream specification, 5.5 (sequence header).
"""

# The profiles whose SPS describes the chroma (ITU-T H.264, 7.3.2.1.1).
_SPS_WITH_CHROMA = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_SPS_BYTES_MAX = 256  # of which the size is read; real ones have a few dozen
_VP8_START_CODE = b"\x9d\x01\x2a"
_VP9_SYNC_CODE = 0x498342
_VP9_SRGB = 7


class Exhausted(Exception):
    """The bits ended before the field."""


class Bits:
    """Reads fields of bits, most significant first; raises `Exhausted` past the end."""

    def __init__(self, found: bytes) -> None:
        self._value = int.from_bytes(found)
        self._left = 8 * len(found)

    def take(self, bits: int) -> int:
        self._left -= bits
        if self._left < 0:
            raise Exhausted
        return self._value >> self._left & ((1 << bits) - 1)

    def golomb(self) -> int:
        """ue(v) of H.264, uvlc of AV1: as many zeros as there are bits after the first one."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise Exhausted
        return (1 << zeros) - 1 + self.take(zeros)

    def signed_golomb(self) -> int:
        number = self.golomb()
        return (number + 1) // 2 if number & 1 else -(number // 2)


def h264_size(unit: bytes) -> tuple[int, int]:
    """Of a sequence parameter set without its first byte."""
    bits = Bits(unit[:_SPS_BYTES_MAX].replace(b"\x00\x00\x03", b"\x00\x00"))  # without emulation prevention (7.4.1)
    profile = bits.take(8)
    bits.take(16)  # constraints, level
    bits.golomb()  # seq_parameter_set_id
    chroma = 1
    planes = False
    if profile in _SPS_WITH_CHROMA:
        chroma = bits.golomb()
        planes = chroma == 3 and bits.take(1) == 1
        bits.golomb()  # bit depths
        bits.golomb()
        bits.take(1)  # qpprime_y_zero_transform_bypass_flag
        if bits.take(1):
            _skip_scaling(bits, 12 if chroma == 3 else 8)
    bits.golomb()  # log2_max_frame_num_minus4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):  # at most 255; garbage runs out of bits
            bits.golomb()
    bits.golomb()  # max_num_ref_frames
    bits.take(1)
    width, units = bits.golomb() + 1, bits.golomb() + 1
    fields = 1 - bits.take(1)  # of interlaced video each map unit is two rows of macroblocks
    if fields:
        bits.take(1)
    bits.take(1)
    crop = [bits.golomb() for _ in range(4)] if bits.take(1) else [0, 0, 0, 0]
    across = 2 if chroma in (1, 2) and not planes else 1
    down = (2 if chroma == 1 and not planes else 1) * (1 + fields)
    return 16 * width - across * (crop[0] + crop[1]), 16 * units * (1 + fields) - down * (crop[2] + crop[3])


def _skip_scaling(bits: Bits, lists: int) -> None:
    """The scaling lists of an SPS (7.3.2.1.1.1): a list ends early when its next scale is 0."""
    for index in range(lists):
        if not bits.take(1):
            continue
        last = 8
        for _ in range(16 if index < 6 else 64):
            following = (last + bits.signed_golomb()) & 0xFF
            if following == 0:
                break
            last = following


def vp8_size(frame: bytes) -> tuple[int, int] | None:
    """A tag of three bytes, the start code, two sides of 14 bits under two of scaling; None of an inter frame."""
    if len(frame) < 10 or frame[0] & 0x01 or frame[3:6] != _VP8_START_CODE:
        return None
    return (frame[6] | frame[7] << 8) & 0x3FFF, (frame[8] | frame[9] << 8) & 0x3FFF


def vp9_profile(bits: Bits) -> int | None:
    """The profile when the uncompressed header begins that of a shown or hidden keyframe, else None."""
    if bits.take(2) != 2:
        return None
    profile = bits.take(1) | bits.take(1) << 1
    if profile == 3 and bits.take(1):
        return None
    shown_again, other = bits.take(1), bits.take(1)
    return None if shown_again or other else profile


def vp9_size(frame: bytes) -> tuple[int, int] | None:
    """Of a keyframe's uncompressed header; None of another frame's."""
    bits = Bits(frame)
    profile = vp9_profile(bits)
    if profile is None:
        return None
    bits.take(2)  # show_frame, error_resilient_mode
    if bits.take(24) != _VP9_SYNC_CODE:
        return None
    if profile >= 2:
        bits.take(1)  # ten or twelve bits
    if bits.take(3) != _VP9_SRGB:
        bits.take(4 if profile & 1 else 1)
    elif profile & 1:
        bits.take(1)
    return bits.take(16) + 1, bits.take(16) + 1


def av1_size(sequence: bytes) -> tuple[int, int]:
    """The largest frame size of a sequence header OBU (after the header of the OBU)."""
    bits = Bits(sequence)
    bits.take(4)  # seq_profile, still_picture
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)
    else:
        model = 0  # bits of each delay in the operating points
        if bits.take(1):  # timing_info
            bits.take(64)
            if bits.take(1):
                bits.golomb()
            if bits.take(1):  # decoder_model_info
                model = bits.take(5) + 1
                bits.take(42)
        delays = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if model and bits.take(1):
                bits.take(2 * model + 1)
            if delays and bits.take(1):
                bits.take(4)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(wide) + 1, bits.take(high) + 1
