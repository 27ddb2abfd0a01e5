"""RTP on raw bytes: headers in, headers out, keyframes found, numbers unwrapped; garbage refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.rtp import (
    HEADER_BYTES,
    Header,
    PacketError,
    Unwrapper,
    is_rtcp,
    opens_h264_keyframe,
    opens_vp8_keyframe,
    parse,
    rewrite,
    with_payload_type,
)


def packet(
    payload: bytes = b"payload",
    *,
    first: int = 0x80,
    second: int = 0x80 | 102,
    csrc: tuple[int, ...] = (),
    extension: bytes | None = None,
) -> bytes:
    head = struct.pack("!BBHII", first | len(csrc), second, 65535, 0xFFFFFFFF, 7)
    head += b"".join(source.to_bytes(4) for source in csrc)
    if extension is not None:
        head = bytes((head[0] | 0x10,)) + head[1:] + struct.pack("!HH", 0xBEDE, len(extension) // 4) + extension
    return head + payload


def test_a_plain_header_is_read() -> None:
    assert parse(packet()) == Header(102, True, 65535, 0xFFFFFFFF, 7, 12, 19)


def test_sources_and_extensions_are_skipped_and_padding_is_left_out() -> None:
    padded = packet(b"abc\x00\x00\x03", first=0xA0, csrc=(1, 2), extension=b"12345678")
    header = parse(padded)
    assert padded[header.payload : header.end] == b"abc"


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        packet(b"")[:11],
        packet(first=0x40),
        packet(b"", csrc=(1,))[:14],
        packet(b"", extension=b"")[:14],
        packet(b"", extension=b"1234")[:18],
        packet(b"a\x00", first=0xA0),
        packet(b"a\xff", first=0xA0),
        packet(b"\x0d", first=0xA0),
    ],
)
def test_wrong_lengths_are_refused(broken: bytes) -> None:
    with pytest.raises(PacketError):
        parse(broken)


@given(st.binary(max_size=80))
def test_garbage_raises_nothing_but_the_declared_error(garbage: bytes) -> None:
    try:
        header = parse(garbage)
    except PacketError:
        return
    assert HEADER_BYTES <= header.payload <= header.end <= len(garbage)
    rewritten = rewrite(garbage, header, sequence=70000, timestamp=1 << 33, ssrc=5)
    again = parse(rewritten)
    assert again[:2] == header[:2]
    assert (again.sequence, again.timestamp, again.ssrc, again.payload) == (70000 - 65536, 0, 5, 12)
    assert rewritten[again.payload : again.end] == garbage[header.payload : header.end]


@given(st.binary(max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_looking_for_keyframes_never_fails(payload: bytes, start: int, end: int) -> None:
    start, end = min(start, len(payload)), min(end, len(payload))
    assert opens_h264_keyframe(payload, start, end) in (True, False)
    assert opens_vp8_keyframe(payload, start, end) in (True, False)


@pytest.mark.parametrize(
    ("payload", "opens"),
    [
        ("65", False),  # too short to say
        ("6500", True),  # IDR
        ("6700", True),  # SPS
        ("4100", False),
        ("7c85", True),  # FU-A, first fragment of an IDR
        ("7c05", False),  # a later fragment
        ("7c81", False),
        ("780002674200026842", True),  # STAP-A with SPS and PPS
        ("7800024142", False),
        ("78000141000165", True),
        ("78", False),
        ("7800", False),
    ],
)
def test_h264(payload: str, opens: bool) -> None:
    found = bytes.fromhex(payload)
    assert opens_h264_keyframe(b"head" + found, 4, 4 + len(found)) is opens


@pytest.mark.parametrize(
    ("payload", "opens"),
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
def test_vp8(payload: str, opens: bool) -> None:
    found = bytes.fromhex(payload)
    assert opens_vp8_keyframe(b"head" + found, 4, 4 + len(found)) is opens


def test_a_rewritten_header_is_plain() -> None:
    sent = packet(b"abc\x00\x00\x03", first=0xA0, csrc=(1, 2), extension=b"12345678")
    rewritten = rewrite(sent, parse(sent), sequence=65536 + 9, timestamp=(1 << 32) + 8, ssrc=7)
    assert rewritten == struct.pack("!BBHII", 0xA0, 0x80 | 102, 9, 8, 7) + b"abc\x00\x00\x03"


def test_a_viewers_payload_type_keeps_the_marker() -> None:
    changed = with_payload_type(packet(), 45)
    assert changed[1] == 0x80 | 45
    assert changed[2:] == packet()[2:]


def test_rtcp_is_told_from_rtp() -> None:
    assert is_rtcp(b"\x80\xc8")
    assert not is_rtcp(b"\x80\xe6")


@given(st.lists(st.integers(-(1 << 14), 1 << 14), max_size=50))
def test_unwrapping_follows_every_step_that_is_shorter_than_half_a_period(steps: list[int]) -> None:
    unwrapper = Unwrapper()
    true = newest = unwrapper.extend(65000)
    assert true == 65536 + 65000
    for step in steps:
        true = newest + step
        assert unwrapper.extend(true & 0xFFFF) == true
        newest = max(newest, true)
