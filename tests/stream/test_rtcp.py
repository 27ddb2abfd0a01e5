"""RTCP: what we build is what we read, and what others send is read or refused, never a crash."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import NACK_SEQUENCES_MAX
from stream.wire import rtcp
from stream.wire.rtcp import (
    Bye,
    Description,
    Fir,
    Nack,
    Pli,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
    build,
    parse,
)
from stream.wire.rtp import PacketError

u32 = st.integers(0, (1 << 32) - 1)
blocks = st.lists(
    st.builds(ReportBlock, u32, st.integers(0, 255), st.integers(-(1 << 23), (1 << 23) - 1), u32, u32, u32, u32),
    max_size=3,
).map(tuple)
packets = st.one_of(
    st.builds(SenderReport, u32, st.integers(0, (1 << 64) - 1), u32, u32, u32, blocks),
    st.builds(ReceiverReport, u32, blocks),
    st.builds(Pli, u32, u32),
    st.builds(Fir, u32, st.lists(st.tuples(u32, st.integers(0, 255)), max_size=3).map(tuple)),
    st.builds(Bye, st.lists(u32, max_size=3).map(tuple)),
    st.builds(Remb, u32, st.integers(0, (1 << 18) - 1), st.lists(u32, max_size=3).map(tuple)),
)


@given(st.lists(packets, min_size=1, max_size=4))
def test_what_is_built_is_read_again(sent: list[rtcp.Packet]) -> None:
    assert parse(build(sent)) == sent


@given(st.sets(st.integers(0, 400), min_size=1, max_size=60), st.integers(0, 65535))
def test_a_nack_names_every_lost_number_once(offsets: set[int], start: int) -> None:
    lost = tuple((start + offset) & 0xFFFF for offset in sorted(offsets))
    assert parse(build([Nack(1, 2, lost)])) == [Nack(1, 2, lost)]


def test_of_absurd_losses_as_many_are_read_as_anybody_remembers() -> None:
    everything = b"".join(struct.pack("!HH", start & 0xFFFF, 0xFFFF) for start in range(0, 17 * 170, 17))
    nack = struct.pack("!BBHII", 0x81, 205, 2 + len(everything) // 4, 1, 2) + everything
    assert parse(nack + nack + build([Pli(1, 2)])) == [
        Nack(1, 2, tuple(range(NACK_SEQUENCES_MAX))), Nack(1, 2, ()), Pli(1, 2),
    ]  # fmt: skip


@given(st.integers(1, 1 << 40))
def test_remb_is_right_to_17_bits(bitrate: int) -> None:
    (found,) = parse(build([Remb(1, bitrate, (9,))]))
    assert isinstance(found, Remb)
    assert bitrate * (1 - 2**-17) <= found.bitrate <= bitrate


def test_an_absurd_loss_is_clamped_to_its_field() -> None:
    for lost, written in ((1 << 30, (1 << 23) - 1), (-(1 << 30), -(1 << 23))):
        (found,) = parse(build([ReceiverReport(1, (ReportBlock(2, 0, lost, 0, 0),))]))
        assert isinstance(found, ReceiverReport)
        assert found.blocks[0].lost == written


@pytest.mark.parametrize("cname", ["", "a", "abc", "demo", "x" * 255])
def test_a_description_ends_on_a_word_and_is_skipped_when_read(cname: str) -> None:
    compound = build([Description(1, cname), Pli(1, 2)])
    assert parse(compound) == [Pli(1, 2)]
    assert compound[4:8] == (1).to_bytes(4)
    assert cname.encode() in compound


def test_unknown_types_and_formats_are_skipped() -> None:
    transport_cc = bytes.fromhex("8fcd0003" + "00000001" + "00000002" + "00000000")
    other_application = bytes.fromhex("8fce0003" + "00000001" + "00000002") + b"XXXX"
    slice_loss = bytes.fromhex("82ce0002" + "00000001" + "00000002")
    extended = bytes.fromhex("80cf0001" + "00000001")
    assert parse(transport_cc + other_application + slice_loss + extended + build([Pli(3, 4)])) == [Pli(3, 4)]


def test_padding_is_left_out() -> None:
    padded = bytes.fromhex("a1cb0002" + "00000007" + "00000004")
    assert parse(padded) == [Bye((7,))]


@pytest.mark.parametrize(
    "broken",
    ["", "80c9", "40c90000", "80c90001", "80c90000", "81c9000100000001", "80c8000100000001", "81ce000100000001",
     "a0cb000100000009", "8fce00040000000100000000" + b"REMB".hex() + "02040000"],
)  # fmt: skip
def test_wrong_lengths_are_refused(broken: str) -> None:
    with pytest.raises(PacketError):
        parse(bytes.fromhex(broken))


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_the_declared_error(garbage: bytes) -> None:
    try:
        parse(garbage)
    except PacketError:
        pass


@given(st.lists(packets, min_size=1, max_size=3), st.data())
def test_damaged_compounds_raise_nothing_but_the_declared_error(sent: list[rtcp.Packet], data: st.DataObject) -> None:
    compound = bytearray(build(sent))
    compound[data.draw(st.integers(0, len(compound) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse(bytes(compound[: data.draw(st.integers(0, len(compound)))]))
    except PacketError:
        pass


def test_report_blocks_quote_the_middle_of_an_ntp_time() -> None:
    assert rtcp.middle(0x0123456789ABCDEF) == 0x456789AB
