"""Sizes of pictures: headers written field by field are read, real encoders' too, garbage ends quietly."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import pytest
from av.video.codeccontext import VideoCodecContext
from hypothesis import given
from hypothesis import strategies as st

from stream.wire.bitstream import Bits, Exhausted, av1_size, h264_size, vp8_size, vp9_profile, vp9_size

SIDES = st.integers(1, 1000)


class Writer:
    """Bits, most significant first, as the specifications' syntax tables name them."""

    def __init__(self) -> None:
        self.bits = ""

    def put(self, value: int, bits: int) -> "Writer":
        assert 0 <= value < 1 << bits
        self.bits += f"{value:0{bits}b}"
        return self

    def ue(self, value: int) -> "Writer":
        length = (value + 1).bit_length()
        self.bits += "0" * (length - 1) + f"{value + 1:b}"
        return self

    def se(self, value: int) -> "Writer":
        return self.ue(2 * value - 1 if value > 0 else -2 * value)

    def out(self) -> bytes:
        padded = self.bits + "0" * (-len(self.bits) % 8)
        return int("1" + padded, 2).to_bytes(len(padded) // 8 + 1)[1:]


def escaped(unit: bytes) -> bytes:
    """With emulation prevention (ITU-T H.264, 7.4.1)."""
    out = bytearray()
    for byte in unit:
        if out[-2:] == b"\x00\x00" and byte <= 3:
            out.append(3)
        out.append(byte)
    return bytes(out)


def scaling_list(writer: Writer, size: int, ends_at: int) -> None:
    writer.put(1, 1)
    for index in range(size):
        if index == ends_at:
            writer.se(-8 - index)  # each scale before was one more than the last: back to 0
            return
        writer.se(1)


@given(
    across=st.integers(1, 120),
    down=st.integers(1, 120),
    profile=st.sampled_from([66, 77, 100, 244]),
    chroma=st.integers(0, 3),
    planes=st.booleans(),
    scaling=st.none() | st.lists(st.none() | st.integers(1, 80), min_size=12, max_size=12),
    order=st.integers(0, 2),
    cycle=st.lists(st.integers(-9, 9), max_size=5),
    progressive=st.booleans(),
    crop=st.none() | st.tuples(*[st.integers(0, 3)] * 4),
)
def test_h264_sizes(
    across: int,
    down: int,
    profile: int,
    chroma: int,
    planes: bool,
    scaling: list[int | None] | None,
    order: int,
    cycle: list[int],
    progressive: bool,
    crop: tuple[int, int, int, int] | None,
) -> None:
    writer = Writer().put(profile, 8).put(0, 8).put(31, 8).ue(0)
    if profile < 100:
        chroma, planes = 1, False
    else:
        writer.ue(chroma)
        if chroma == 3:
            writer.put(planes, 1)
        writer.ue(0).ue(0).put(0, 1).put(scaling is not None, 1)
        for index, ends_at in enumerate((scaling or [])[: 12 if chroma == 3 else 8]):
            if ends_at is None:
                writer.put(0, 1)
            else:
                scaling_list(writer, 16 if index < 6 else 64, ends_at)
    writer.ue(4).ue(order)
    if order == 0:
        writer.ue(6)
    elif order == 1:
        writer.put(0, 1).se(-1).se(1).ue(len(cycle))
        for offset in cycle:
            writer.se(offset)
    writer.ue(3).put(0, 1).ue(across - 1).ue(down - 1).put(progressive, 1)
    if not progressive:
        writer.put(1, 1)
    writer.put(1, 1).put(crop is not None, 1)
    for edge in crop or ():
        writer.ue(edge)
    writer.put(1, 1)  # VUI follows; nobody reads it

    fields = 1 if progressive else 2
    left, right, top, bottom = crop or (0, 0, 0, 0)
    sub_across = 2 if chroma in (1, 2) else 1
    sub_down = 2 if chroma == 1 else 1
    if chroma == 3 and planes:
        sub_across = sub_down = 1
    width = 16 * across - sub_across * (left + right)
    height = 16 * down * fields - sub_down * fields * (top + bottom)
    assert h264_size(escaped(writer.out())) == (width, height)


@given(SIDES, SIDES, st.integers(0, 3), st.integers(0, 3))
def test_vp8_sizes(width: int, height: int, scale_across: int, scale_down: int) -> None:
    sides = (width | scale_across << 14).to_bytes(2, "little") + (height | scale_down << 14).to_bytes(2, "little")
    frame = b"\x10\x00\x00\x9d\x01\x2a" + sides
    assert vp8_size(frame + b"more") == (width, height)
    assert vp8_size(frame[:-1]) is None
    assert vp8_size(b"\x11" + frame[1:]) is None  # an inter frame
    assert vp8_size(b"\x10\x00\x00\x9d\x01\x2b" + sides) is None


def vp9(profile: int, *, color: int = 2, again: int = 0, other: int = 0) -> Writer:
    writer = Writer().put(2, 2).put(profile & 1, 1).put(profile >> 1, 1)
    if profile == 3:
        writer.put(0, 1)
    writer.put(again, 1).put(other, 1).put(1, 1).put(0, 1).put(0x498342, 24)
    if profile >= 2:
        writer.put(1, 1)
    writer.put(color, 3)
    if color == 7:
        return writer.put(0, 1) if profile & 1 else writer
    writer.put(0, 1)
    return writer.put(0, 3) if profile & 1 else writer


@given(SIDES, SIDES, st.integers(0, 3), st.sampled_from([1, 2, 7]))
def test_vp9_sizes(width: int, height: int, profile: int, color: int) -> None:
    written = vp9(profile, color=color).put(width - 1, 16).put(height - 1, 16).out()
    assert vp9_size(written) == (width, height)
    assert vp9_profile(Bits(written)) == profile


@pytest.mark.parametrize(
    "written",
    [vp9(0, again=1).out(), vp9(0, other=1).out(), Writer().put(1, 2).put(0, 30).out(),
     Writer().put(2, 2).put(3, 2).put(1, 1).put(0, 27).out()],
)  # fmt: skip
def test_other_vp9_frames_have_no_size(written: bytes) -> None:
    assert vp9_profile(Bits(written)) is None
    assert vp9_size(written) is None


def test_a_vp9_keyframe_without_its_sync_code_has_no_size() -> None:
    assert vp9_size(vp9(0).out()[:1] + bytes(12)) is None


@given(
    width=SIDES,
    height=SIDES,
    reduced=st.booleans(),
    timing=st.booleans(),
    ticks=st.none() | st.integers(0, 1 << 20),
    model=st.none() | st.integers(1, 32),
    delays=st.booleans(),
    points=st.lists(st.tuples(st.integers(0, 31), st.booleans(), st.booleans()), min_size=1, max_size=32),
)
def test_av1_sizes(
    width: int,
    height: int,
    reduced: bool,
    timing: bool,
    ticks: int | None,
    model: int | None,
    delays: bool,
    points: list[tuple[int, bool, bool]],
) -> None:
    writer = Writer().put(0, 3).put(reduced, 1).put(reduced, 1)
    if reduced:
        writer.put(8, 5)
    else:
        model = model if timing else None
        writer.put(timing, 1)
        if timing:
            writer.put(1, 32).put(30, 32).put(ticks is not None, 1)
            if ticks is not None:
                writer.ue(ticks)
            writer.put(model is not None, 1)
            if model is not None:
                writer.put(model - 1, 5).put(1, 32).put(9, 5).put(9, 5)
        writer.put(delays, 1).put(len(points) - 1, 5)
        for level, parameters, delay in points:
            writer.put(0, 12).put(level, 5)
            if level > 7:
                writer.put(0, 1)
            if model is not None:
                writer.put(parameters, 1)
                if parameters:
                    writer.put(0, model).put(0, model).put(1, 1)
            if delays:
                writer.put(delay, 1)
                if delay:
                    writer.put(3, 4)
    writer.put(9, 4).put(11, 4).put(width - 1, 10).put(height - 1, 12)
    assert av1_size(writer.out()) == (width, height)


@given(st.binary(max_size=300), st.sampled_from([h264_size, vp8_size, vp9_size, av1_size]))
def test_garbage_has_a_size_or_ends(garbage: bytes, read: Callable[[bytes], tuple[int, int] | None]) -> None:
    try:
        read(garbage)
    except Exhausted:
        pass


def test_numbers_that_never_end_are_given_up() -> None:
    with pytest.raises(Exhausted):
        Bits(bytes(1000)).golomb()
    with pytest.raises(Exhausted):
        Bits(b"\x00").take(9)
    assert Bits(Writer().se(-5).out()).signed_golomb() == -5
    assert Bits(Writer().ue((1 << 32) - 1).out()).golomb() == (1 << 32) - 1


def encoded(name: str, width: int, height: int, options: dict[str, str]) -> bytes:
    """The first coded picture of a real encoder."""
    encoder: Any = VideoCodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuv420p", Fraction(1, 30)
    encoder.options = options
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return bytes(packets[0])


@pytest.mark.parametrize(("width", "height"), [(322, 182), (640, 360), (1280, 720)])
class TestRealEncoders:
    @pytest.mark.parametrize("profile", ["baseline", "high"])
    def test_h264(self, width: int, height: int, profile: str) -> None:
        stream = encoded("libx264", width, height, {"profile": profile, "preset": "ultrafast"})
        unit = next(unit for unit in stream.replace(b"\x00\x00\x01", b"\n" * 9).split(b"\n" * 9) if unit[:1] == b"\x67")
        assert h264_size(unit[1:]) == (width, height)

    def test_vp8(self, width: int, height: int) -> None:
        assert vp8_size(encoded("libvpx", width, height, {"deadline": "realtime"})) == (width, height)

    def test_vp9(self, width: int, height: int) -> None:
        stream = encoded("libvpx-vp9", width, height, {"deadline": "realtime", "cpu-used": "8"})
        assert vp9_size(stream) == (width, height)
