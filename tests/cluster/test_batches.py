"""What crosses between workers comes out as it went in, and anything else is refused."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.cluster import batches, signals
from stream.feed import AUDIO, Arrival, LayerState
from stream.wire.rtp import PacketError
from tests.cluster.conftest import CODECS, arrival

NUMBERS = st.integers(0, 2**64 - 1)
PACKETS = st.builds(
    lambda flags, rest: bytes((0x80 | flags,)) + rest, st.sampled_from((0, 0x20)), st.binary(min_size=11, max_size=1355)
)


@given(st.integers(-1, 2), NUMBERS, st.lists(st.tuples(PACKETS, NUMBERS, st.booleans()), max_size=8))
def test_packets_come_out_as_they_went_in(layer: int, fence: int, packets: list[tuple[bytes, int, bool]]) -> None:
    sent = [
        Arrival(layer, number, int.from_bytes(packet[4:8], "big"), packet, key and layer != AUDIO)
        for packet, number, key in packets
    ]
    batch = batches.head(layer, fence) + b"".join(batches.packet(each) for each in sent)
    got_layer, got_fence, records = batches.opened(batch)
    assert (got_layer, got_fence) == (layer, fence)
    assert [record.arrival(layer) for record in records] == sent


@given(NUMBERS, st.integers(0, 2**32 - 1))
def test_reports_and_restarts_keep_their_place(ntp: int, timestamp: int) -> None:
    parts = [batches.packet(arrival(0, 1)), batches.restarted(), batches.report(ntp, timestamp)]
    _, _, (packet, restarted, report) = batches.opened(batches.head(0, 5) + b"".join(parts))
    assert packet.arrival(0) == arrival(0, 1)
    assert restarted == batches.Record(batches.RESTARTED, 0, b"")
    assert (report.kind, report.report()) == (batches.REPORT, (ntp, timestamp))


@given(st.binary(max_size=200))
@example(batches.head(0, 1) + struct.pack("!BHQ", 0, 12, 1) + bytes(12))
def test_noise_is_refused_or_taken_and_never_raises_anything_else(noise: bytes) -> None:
    for hear in (batches.opened, signals.heard_down, signals.heard_up):
        try:
            hear(noise)
        except PacketError:
            continue


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        batches.head(0, 1)[:-1],
        b"\x02" + batches.head(0, 1)[1:],
        batches.head(-2, 1),
        batches.head(0, 1) + b"\0",
        batches.head(0, 1) + batches.packet(arrival(0, 1))[:-1],
        batches.head(0, 1) + struct.pack("!BHQ", 0, 11, 1) + b"\x80" + bytes(10),  # too short for RTP
        batches.head(0, 1) + struct.pack("!BHQ", 0, 1357, 1) + b"\x80" + bytes(1356),  # too long to protect
        batches.head(0, 1) + struct.pack("!BHQ", 0, 12, 1) + b"\x40" + bytes(11),  # another version of RTP
        batches.head(0, 1) + struct.pack("!BHQ", 0, 12, 1) + b"\x90" + bytes(11),  # with an extension
        batches.head(0, 1) + struct.pack("!BHQ", 0, 16, 1) + b"\x81" + bytes(15),  # with a CSRC
        batches.head(AUDIO, 1) + batches.packet(arrival(0, 1, key=True)),  # sound has no keyframes
        batches.head(0, 1) + struct.pack("!BHQ", 2, 1, 0) + b"x",
        batches.head(0, 1) + struct.pack("!BHQ", 3, 3, 0) + bytes(3),
        batches.head(0, 1) + struct.pack("!BHQ", 4, 0, 0),
    ],
)
def test_what_is_not_a_batch_is_refused(batch: bytes) -> None:
    with pytest.raises(PacketError):
        batches.opened(batch)


def test_signals_come_out_as_they_went_in() -> None:
    announced = signals.Announced(
        2**53, "w", 1, CODECS, ("q", "f"), (LayerState(1, 2, 3), LayerState(0, 0, 0)), ((-1, 2**64 - 1, 7),), 1200
    )
    assert signals.heard_down(signals.packed(announced)) == announced
    assert (announced.feed.codecs, announced.feed.rids) == (CODECS, ("q", "f"))
    assert signals.heard_down(signals.packed(signals.Ended(7))) == signals.Ended(7)
    for said in (signals.Demanded("e", (-1, 2)), signals.Wished(1), signals.Taken(9)):
        assert signals.heard_up(signals.packed(said)) == said
        with pytest.raises(PacketError):
            signals.heard_down(signals.packed(said))


def test_channels_of_a_show_are_told_apart() -> None:
    names = [signals.up("s"), signals.down("s"), *(signals.media("s", layer) for layer in (AUDIO, 0, 1))]
    assert len(set(names)) == 5
