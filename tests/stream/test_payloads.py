"""Payloads of H.264, VP8, VP9 and AV1: where pictures begin, how large they are, and VP8's counters rewritten."""

from fractions import Fraction
from typing import Any

import av
import pytest
from av.video.codeccontext import VideoCodecContext
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import PICTURE_SIDE_MAX
from stream.wire.payloads import Vp8Numbers, opens_keyframe, picture_size, vp8_numbers, with_vp8_numbers

CODECS = ("h264", "vp8", "vp9", "av1")
HEAD = b"\xff" * 12
SPS_640_360 = "6742c01e" + "da0280bfe5c044000003000400000300f03c58ba80"  # x264, baseline, with emulation prevention


def opens(codec: str, payload: str | bytes) -> bool:
    """Asked within a packet, so that nothing outside the payload is looked at."""
    body = bytes.fromhex(payload) if isinstance(payload, str) else payload
    test = opens_keyframe(codec)
    assert test is not None
    return test(HEAD + body + b"\xff" * 8, 12, 12 + len(body))


def size(codec: str, payload: str | bytes) -> tuple[int, int] | None:
    body = bytes.fromhex(payload) if isinstance(payload, str) else payload
    return picture_size(codec, HEAD + body + b"\xff" * 8, 12, 12 + len(body))


def test_other_codecs_are_not_looked_into() -> None:
    assert opens_keyframe("opus") is None
    assert picture_size("opus", b"", 0, 0) is None


@given(st.sampled_from(CODECS), st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_nothing_fails(codec: str, packet: bytes, start: int, end: int) -> None:
    start, end = min(start, len(packet)), min(end, len(packet))
    test = opens_keyframe(codec)
    assert test is not None
    assert test(packet, start, end) in (True, False)
    assert picture_size(codec, packet, start, end) is None or test(packet, start, end) or codec == "h264"
    vp8_numbers(packet, start, end)


class TestH264:
    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            ("", False),
            ("65", False),  # too short to say
            ("6580", True),  # IDR, first slice
            ("6540", False),  # a later slice of it
            ("6700", True),  # SPS
            ("4180", False),
            ("7c8580", True),  # FU-A, first fragment of an IDR
            ("7c8540", False),
            ("7c85", False),
            ("7c87", True),  # an SPS in fragments
            ("7c0580", False),  # a later fragment
            ("7c8180", False),
            ("780002674200026842", True),  # STAP-A with SPS and PPS
            ("7800024180", False),
            ("7800014100026580", True),
            ("7800014100026540", False),
            ("7800000000000167", True),  # units without bytes are passed over
            ("78ffff6580", True),  # a unit that is longer than the packet
            ("78000165", False),
            ("78", False),
            ("7800", False),
        ],
    )
    def test_keyframes(self, payload: str, expected: bool) -> None:
        assert opens("h264", payload) is expected

    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            ("", None),
            ("6580", None),
            (SPS_640_360, (640, 360)),
            (SPS_640_360[:12], None),  # cut off
            (f"78{len(SPS_640_360) // 2:04x}{SPS_640_360}000468ce0fc8", (640, 360)),
            ("780004" + "68ce0fc8" + f"{len(SPS_640_360) // 2:04x}{SPS_640_360}", (640, 360)),
            ("78000468ce0fc8", None),
        ],
    )
    def test_sizes(self, payload: str, expected: tuple[int, int] | None) -> None:
        assert size("h264", payload) == expected


class TestVp8:
    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            ("10", False),
            ("1000", True),
            ("1001", False),  # inter frame
            ("0000", False),  # not the start of a partition
            ("1100", False),  # second partition
            ("90800100", True),  # short picture id
            ("9080810100", True),  # long picture id
            ("9080810101", False),
            ("90e0812200aa00", True),  # picture id, TL0PICIDX, TID
            ("9040aa00", True),
            ("9020aa00", True),
            ("9010aa00", True),
            ("9000", False),
            ("9080", False),
        ],
    )
    def test_keyframes(self, payload: str, expected: bool) -> None:
        assert opens("vp8", payload) is expected

    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            ("10" + "100000" + "9d012a" + "8002" + "6801", (640, 360)),
            ("9080810110" + "0000" + "9d012a" + "8042" + "68c1", (640, 360)),  # scaling is not ours
            ("10" + "100000" + "9d012a" + "8002" + "68", None),
            ("10" + "100000" + "9d012a" + "8002" + "0000", None),  # no height
            ("10" + "110000" + "9d012a" + "8002" + "6801", None),
            ("00" + "100000" + "9d012a" + "8002" + "6801", None),
        ],
    )
    def test_sizes(self, payload: str, expected: tuple[int, int] | None) -> None:
        assert size("vp8", payload) == expected

    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            ("1000", None),  # no extension
            ("900000", None),  # an empty one
            ("902000", None),  # only a temporal layer
            ("9080", None),  # cut off
            ("908005", Vp8Numbers(5, 7, None)),
            ("908081", None),
            ("90808105", Vp8Numbers(0x105, 15, None)),
            ("904007", Vp8Numbers(None, 0, 7)),
            ("90c00507", Vp8Numbers(5, 7, 7)),
            ("90c08105", None),
            ("90c0810507", Vp8Numbers(0x105, 15, 7)),
            ("90f0ffff0760", Vp8Numbers(0x7FFF, 15, 7)),
        ],
    )
    def test_numbers(self, payload: str, expected: Vp8Numbers | None) -> None:
        body = bytes.fromhex(payload)
        assert vp8_numbers(HEAD + body + b"\x01\x02", 12, 12 + len(body)) == expected

    @given(
        bits=st.sampled_from([0, 7, 15]),
        layer=st.booleans(),
        tail=st.booleans(),
        before=st.tuples(st.integers(0, 0x7FFF), st.integers(0, 255)),
        after=st.tuples(st.none() | st.integers(0, 1 << 20), st.none() | st.integers(0, 1 << 20)),
    )
    def test_numbers_are_changed_in_their_own_width_and_nothing_else(
        self,
        bits: int,
        layer: bool,
        tail: bool,
        before: tuple[int, int],
        after: tuple[int | None, int | None],
    ) -> None:
        def payload(picture_id: int, tl0: int) -> bytes:
            body = bytes((0x90, (bits > 0) << 7 | layer << 6 | tail << 5))
            if bits:
                body += (0x8000 | picture_id & 0x7FFF).to_bytes(2) if bits == 15 else bytes((picture_id & 0x7F,))
            body += bytes((tl0 & 0xFF,)) if layer else b""
            return HEAD + body + (b"\x41" if tail else b"") + b"picture"

        packet = payload(*before)
        wanted = (before[0] if after[0] is None else after[0], before[1] if after[1] is None else after[1])
        if bits or layer:
            assert with_vp8_numbers(packet, 12, picture_id=after[0], tl0=after[1]) == payload(*wanted)
        else:
            assert vp8_numbers(packet, 12, len(packet)) is None


class TestVp9:
    """The payload after the descriptor begins with 0x82: frame marker, profile 0, a shown keyframe; 0x86: inter."""

    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            ("", False),
            ("08", False),
            ("0882", True),
            ("0886", False),  # an intra-only or inter frame
            ("0802", False),  # no frame marker
            ("4882", False),  # predicted
            ("0082", False),  # not the beginning of the frame
            ("880182", True),  # short picture id
            ("8881ff82", True),  # long picture id
            ("88", False),
            ("28000082", True),  # layer indices and TL0PICIDX
            ("280082", False),
            ("380082", True),  # flexible mode: no TL0PICIDX
            ("28020082", False),  # second spatial layer
            ("28", False),
            ("0a0082", True),  # a scalability structure without sizes
            ("0a" + "10" + "02800168" + "82", True),  # with one size
            ("0a" + "30" + "0140" + "00b4" + "0280" + "0168" + "82", True),  # with two
            ("0a" + "08" + "02" + "00" + "0401" + "82", True),  # with a picture group
            ("0a" + "08" + "02" + "04", False),
            ("0a08", False),
            ("0a" + "18" + "02800168", False),
            ("0a", False),
        ],
    )
    def test_keyframes(self, payload: str, expected: bool) -> None:
        assert opens("vp9", payload) is expected

    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            ("08" + "82498342" + "2027f01670", (640, 360)),
            ("08" + "82498342" + "2027f016", None),
            ("08" + "86498342" + "2027f01670", None),
            ("4882498342" + "2027f01670", None),
            ("08" + "82498342" + "2ffffffff0", None),  # 65,536 pixels wide
        ],
    )
    def test_sizes(self, payload: str, expected: tuple[int, int] | None) -> None:
        assert size("vp9", payload) == expected


class TestAv1:
    @pytest.mark.parametrize(
        ("payload", "expected"),
        [("", False), ("08", False), ("0800", True), ("0000", False), ("8800", False), ("1812", True), ("7812", True)],
    )
    def test_keyframes(self, payload: str, expected: bool) -> None:
        assert opens("av1", payload) is expected

    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            ("00" + "0108", None),  # not the first of a sequence
            ("08", None),
            ("08" + "ffffffffff01", None),  # a length of more than five bytes
            ("08" + "ff", None),
            ("08" + "05" + "0800", None),  # longer than the packet
            ("08" + "00" + "01" + "12", None),  # an empty element, a temporal delimiter
            ("18" + "0a80", None),  # the size field of the OBU is cut off
            ("18" + "0a05" + "0000", None),  # the OBU is
            ("18" + "12", None),
        ],
    )
    def test_what_has_no_size(self, payload: str, expected: None) -> None:
        assert size("av1", payload) == expected

    @pytest.mark.parametrize(("width", "height"), [(322, 182), (1280, 720)])
    def test_a_real_encoders_sequence_header(self, width: int, height: int) -> None:
        encoder: Any = VideoCodecContext.create("libsvtav1", "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuv420p", Fraction(1, 30)
        encoder.options = {"preset": "12", "svtav1-params": "lp=1"}
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        unit = bytes(next(iter([*encoder.encode(frame), *encoder.encode(None)])))
        units = []  # OBUs with their size fields (low-overhead format): header, size of one or two bytes, content
        while unit:
            at, length = 1, unit[1] & 0x7F
            if unit[1] & 0x80:
                at, length = 2, length | unit[2] << 7
            units.append((unit[: at + 1], unit[at + 1 : at + 1 + length]))
            unit = unit[at + 1 + length :]
        header, content = next(pair for pair in units if pair[0][0] >> 3 & 0x0F == 1)
        bare = bytes((header[0] & ~0x02,)) + content
        extended = bytes((header[0] & ~0x02 | 0x04, 0)) + content
        assert size("av1", b"\x18" + header + content) == (width, height)  # W = 1: no length in front
        assert size("av1", b"\x18" + bare) == (width, height)
        assert size("av1", b"\x28" + bytes((len(extended),)) + extended + b"\x32") == (width, height)
        assert size("av1", b"\x08\x01\x12" + bytes((len(bare),)) + bare) == (width, height)


@given(st.sampled_from(CODECS), st.binary(max_size=400))
def test_sizes_are_within_bounds(codec: str, garbage: bytes) -> None:
    for prefix in ("67", "10", "0882498342", "180a"):
        found = size(codec, bytes.fromhex(prefix) + garbage)
        assert found is None or all(0 < side <= PICTURE_SIDE_MAX for side in found)
