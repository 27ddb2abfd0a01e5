"""RTP on raw bytes: headers in, headers out, extensions, retransmissions, numbers unwrapped; garbage refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.wire.rtp import (
    HEADER_BYTES,
    Header,
    PacketError,
    Unwrapper,
    extension,
    is_rtcp,
    parse,
    plain,
    unwrap_rtx,
    with_payload_type,
    wrap_rtx,
)


def packet(
    payload: bytes = b"payload",
    *,
    first: int = 0x80,
    second: int = 0x80 | 102,
    csrc: tuple[int, ...] = (),
    extension: bytes | None = None,
    profile: int = 0xBEDE,
) -> bytes:
    head = struct.pack("!BBHII", first | len(csrc), second, 65535, 0xFFFFFFFF, 7)
    head += b"".join(source.to_bytes(4) for source in csrc)
    if extension is not None:
        head = bytes((head[0] | 0x10,)) + head[1:] + struct.pack("!HH", profile, len(extension) // 4) + extension
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
    stripped = plain(garbage, header)
    again = parse(stripped)
    assert again[:5] == header[:5] and again.payload == HEADER_BYTES
    assert stripped[again.payload : again.end] == garbage[header.payload : header.end]


@given(st.binary(min_size=12, max_size=80), st.integers(1, 255))
def test_garbage_has_extensions_within_itself(garbage: bytes, identifier: int) -> None:
    packet = bytes((0x90,)) + garbage[1:]
    try:
        header = parse(packet)
    except PacketError:
        return
    found = extension(packet, header, identifier)
    assert found is None or found in packet[16 : header.payload]


class TestExtensions:
    @pytest.mark.parametrize(
        ("profile", "block", "identifier", "expected"),
        [
            (0xBEDE, "10aa2268656c0000", 1, "aa"),
            (0xBEDE, "10aa2268656c0000", 2, "68656c"),
            (0xBEDE, "10aa2268656c0000", 3, None),
            (0xBEDE, "00000010aa000000", 1, "aa"),  # padding between
            (0xBEDE, "f010aa00", 1, None),  # 15 ends the search
            (0xBEDE, "3faabbcc", 3, None),  # longer than the block
            (0xBEDE, "", 1, None),
            (0x1000, "01000201aa000000", 1, ""),
            (0x1000, "01000201aa000000", 2, "aa"),
            (0x100F, "0000ff02aabb0000", 255, "aabb"),
            (0x1000, "01050201", 1, None),
            (0x1000, "00000001", 1, None),
            (0x1010, "0101aa00", 1, None),  # another profile
        ],
    )
    def test_both_forms(self, profile: int, block: str, identifier: int, expected: str | None) -> None:
        for csrc in ((), (1, 2)):
            found = packet(b"\xaa" * 40, csrc=csrc, extension=bytes.fromhex(block), profile=profile)
            value = None if expected is None else bytes.fromhex(expected)
            assert extension(found, parse(found), identifier) == value

    def test_a_packet_without_any(self) -> None:
        assert extension(packet(), parse(packet()), 1) is None

    @given(st.dictionaries(st.integers(1, 14), st.binary(min_size=1, max_size=16), max_size=5), st.booleans())
    def test_what_is_written_is_found(self, values: dict[int, bytes], wide: bool) -> None:
        if wide:
            block = b"".join(bytes((number, len(value))) + value for number, value in values.items())
        else:
            block = b"".join(bytes((number << 4 | len(value) - 1,)) + value for number, value in values.items())
        found = packet(extension=block + bytes(-len(block) % 4), profile=0x1000 if wide else 0xBEDE)
        header = parse(found)
        assert {number: extension(found, header, number) for number in range(1, 15)} == {
            number: values.get(number) for number in range(1, 15)
        }


def test_a_plain_packet_is_not_copied() -> None:
    sent = packet()
    assert plain(sent, parse(sent)) is sent


def test_a_plain_header_keeps_all_but_sources_and_extensions() -> None:
    sent = packet(b"abc\x00\x00\x03", first=0xA0, csrc=(1, 2), extension=b"12345678")
    assert plain(sent, parse(sent)) == packet(b"abc\x00\x00\x03", first=0xA0)


class TestRetransmission:
    def test_the_original_number_is_in_front(self) -> None:
        wrapped = wrap_rtx(packet(b"abc"), payload_type=97, sequence=65536 + 9, ssrc=8)
        assert wrapped == struct.pack("!BBHIIH", 0x80, 0x80 | 97, 9, 0xFFFFFFFF, 8, 65535) + b"abc"

    def test_padding_is_left_out(self) -> None:
        padded = packet(b"abc\x00\x00\x03", first=0xA0)
        assert wrap_rtx(padded, payload_type=97, sequence=9, ssrc=8) == wrap_rtx(
            packet(b"abc"), payload_type=97, sequence=9, ssrc=8
        )

    @pytest.mark.parametrize("payload", [b"", b"\x01"])
    def test_a_probe_carries_none(self, payload: bytes) -> None:
        probe = packet(payload + b"\x00\x00\x03", first=0xA0, extension=b"1234")
        assert unwrap_rtx(probe, parse(probe), payload_type=102, ssrc=7) is None

    @given(st.binary(max_size=40), st.booleans(), st.integers(0, 20), st.integers(0, 65535))
    def test_there_and_back(self, payload: bytes, marker: bool, padding: int, sequence: int) -> None:
        original = packet(payload, second=marker << 7 | 102)
        wrapped = wrap_rtx(original, payload_type=97, sequence=sequence, ssrc=8)
        if padding:
            wrapped = bytes((wrapped[0] | 0x20,)) + wrapped[1:] + bytes(padding - 1) + bytes((padding,))
        header = parse(wrapped)
        assert (header.payload_type, header.ssrc, header.sequence) == (97, 8, sequence)
        assert unwrap_rtx(wrapped, header, payload_type=102, ssrc=7) == original


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
