"""The round trip by extended reports, from answers as libwebrtc writes them, and from nonsense."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.wire import rtcp
from stream.wire.xr import receiver_time, round_trip


def answer(*entries: tuple[int, int, int], before: bytes = b"") -> bytes:
    """An extended report with `before` and one DLRR block."""
    body = b"".join(struct.pack("!III", *entry) for entry in entries)
    blocks = before + struct.pack("!BBH", 5, 0, 3 * len(entries)) + body
    return struct.pack("!BBHI", 0x80, 207, len(blocks) // 4 + 1, 99) + blocks


def told(packet: bytes) -> int:
    """The middle of our clock, as the publisher quotes it."""
    return rtcp.middle(int.from_bytes(packet[-8:]))


def test_our_clock_is_told_in_the_form_of_the_standard() -> None:
    packet = receiver_time(7, 2.5)
    assert packet == struct.pack("!BBHIBBHII", 0x80, 207, 4, 7, 4, 0, 2, 2, 1 << 31)
    assert rtcp.parse(rtcp.build((rtcp.ReceiverReport(7),)) + packet) == [rtcp.ReceiverReport(7)]


@pytest.mark.parametrize("began", [1.0, 65_535.99, 1e6])
def test_the_answer_measures_the_round_trip_also_when_the_clock_wraps(began: float) -> None:
    last = told(receiver_time(7, began))
    compound = rtcp.build((rtcp.SenderReport(99, 1, 1, 1, 1),)) + answer((3, 1, 1), (7, last, 32_768))
    assert round_trip(compound, 7, began + 0.5 + 0.08) == pytest.approx(0.08, abs=1e-4)
    assert round_trip(compound, 7, began + 0.4) == pytest.approx(-0.1, abs=1e-4)


def test_other_blocks_are_passed_over() -> None:
    last = told(receiver_time(7, 5.0))
    compound = answer((7, last, 0), before=receiver_time(1, 1.0)[8:])
    assert round_trip(compound, 7, 5.1) == pytest.approx(0.1, abs=1e-4)


def test_who_does_not_answer_us_measures_nothing() -> None:
    assert round_trip(b"", 7, 5.0) is None
    assert round_trip(rtcp.build((rtcp.SenderReport(99, 1, 1, 1, 1),)), 7, 5.0) is None
    assert round_trip(answer((8, 1, 1)), 7, 5.0) is None
    assert round_trip(answer((7, 0, 0)), 7, 5.0) is None  # it has heard nothing of us yet
    assert round_trip(answer((7, 1, 1))[:-4], 7, 5.0) is None


@given(st.binary(max_size=80))
def test_nonsense_is_no_error(garbage: bytes) -> None:
    for compound in (garbage, b"\x80\xcf" + garbage, struct.pack("!BBHI", 0x80, 207, 18, 99) + garbage):
        trip = round_trip(compound, 7, 5.0)
        assert trip is None or -32_768 <= trip <= 32_768
