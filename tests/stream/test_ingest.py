"""A publisher's streams, feedback and figures through an in-memory path, in virtual time; and hostile packets."""

import struct
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import (
    LAYER_SILENT_S,
    REMB_BITS_PER_S_START,
    REMB_HURRY_S,
    RESYNC_PACKETS,
    RTP_PROTECT_BYTES_MAX,
)
from stream.feed import AUDIO, LayerState
from stream.upstream.ingest import Ingest
from stream.wire import rtcp
from stream.wire.rtp import HEADER_BYTES, parse
from tests.faults.path import Conditions
from tests.stream.hosting import FPS, OPUS, RIDS, SIZES, Keeper, World, offer

# --- standing by ------------------------------------------------------------------------------------------------


def test_a_publisher_who_stands_by_gets_all_feedback_and_hands_over_warm() -> None:
    world = World(up=Conditions(loss=0.03, delay_s=0.02))
    world.ingest.attach(())
    world.run(5.0)
    assert not world.keeper.arrivals
    assert world.requests()
    assert len(world.got(rtcp.Remb)) >= 5
    figures = world.ingest.statistics()
    assert figures["bitrate_bps"] > 500_000
    assert {layer["loss_repaired"] for layer in figures["layers"]} == {0.0}
    late = Keeper(lambda: world.now)
    begin = world.now
    world.ingest.attach((late,))
    assert [state.width for state in late.states[0]] == [320, 640, 1280]
    assert all(state.bits_per_s > 0 for state in late.states[0])
    world.run(1.0)
    opened = [next(arrival for arrival in late.of(layer) if arrival.opens_keyframe) for layer in range(3)]
    assert all(late.came[arrival.layer, arrival.sequence] - begin < 0.3 for arrival in opened)


def test_warming_up_asks_for_a_keyframe_of_every_layer() -> None:
    world = World()
    world.run(1.0)
    world.ingest.warm()
    world.run(0.1)
    plis = [packet.media for _, packet in world.got(rtcp.Pli) if isinstance(packet, rtcp.Pli)]
    assert sorted(plis) == [10, 11, 12]


def test_a_second_sink_hears_what_the_first_knows() -> None:
    world = World()
    world.run(1.0)
    report = rtcp.build((rtcp.SenderReport(11, 7 << 32, 1234, 0, 0), rtcp.SenderReport(99, 1, 1, 0, 0)))
    world.ingest.received_rtcp(report)
    assert world.keeper.reports == [(1, 7 << 32, 1234)]
    second = Keeper(lambda: world.now)
    told = len(world.keeper.states)
    world.ingest.attach((world.keeper, second))
    assert second.reports == world.keeper.reports
    assert len(second.states) == 1
    assert (len(world.keeper.states), len(world.keeper.reports)) == (told, 1)
    plis = world.counts["pli_upstream"]
    world.ingest.attach((world.keeper,))
    assert world.counts["pli_upstream"] == plis
    world.ingest.demand(frozenset({0}))


# --- streams ----------------------------------------------------------------------------------------------------


def test_a_new_ssrc_begins_the_layer_anew_and_the_old_one_stays_out() -> None:
    world = World()
    world.run(1.0)
    old = world.packet(1, b"\x10\x01" + bytes(100), 0)
    world.ssrcs[1], world._numbers[1] = 21, 40_000
    world._keyframe_due.add(1)
    world.run(1.0)
    assert world.keeper.restarts == [1]
    assert world.counts["rtp_new_ssrc"] == 1
    world.send(old)
    world.run(0.01)
    assert world.counts["rtp_retired_ssrc"] == 1
    assert world.keeper.restarts == [1]
    assert not world.got(rtcp.Pli)
    world.up.loss = 0.1
    world.run(2.0)
    world.up.loss = 0.0
    world.run(1.0)
    begun = next(index for index, arrival in enumerate(world.keeper.arrivals) if parse(arrival.packet).ssrc == 21)
    numbers = sorted(arrival.sequence for arrival in world.keeper.arrivals[begun:] if arrival.layer == 1)
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_a_publisher_who_jumps_back_in_its_numbers_is_followed() -> None:
    world = World(layers=1)
    world.run(1.0)
    world._numbers[0] -= 20_000
    world.run(1.0)
    assert world.counts["rtp_resync"] == 1
    assert world.counts["rtp_too_late"] == RESYNC_PACKETS - 1
    assert world.keeper.restarts == [0]
    assert world.counts["pli_upstream"] == 1


def test_layers_are_described_when_they_come_change_and_go() -> None:
    world = World()
    assert world.keeper.states == [(LayerState(0, 0, 0),) * 3]
    world.run(0.05)
    assert [(state.width, state.height) for state in world.keeper.states[-1]] == list(SIZES)
    assert all(state.bits_per_s > 100_000 for state in world.keeper.states[-1])
    told = len(world.keeper.states)
    world.run(5.0)
    assert 4 <= len(world.keeper.states) - told <= 6
    for layer, state in enumerate(world.keeper.states[-1]):
        assert state.bits_per_s == pytest.approx(FPS * 4 * (300 << layer) * 8, rel=0.2)
    world.muted = {2}
    world.run(LAYER_SILENT_S + 0.1)
    assert [state.bits_per_s > 0 for state in world.keeper.states[-1]] == [True, True, False]
    assert world.keeper.states[-1][2].width == 1280
    world.muted = set()
    world.run(0.1)
    assert all(state.bits_per_s > 0 for state in world.keeper.states[-1])


def test_a_publisher_without_video_has_no_layers() -> None:
    counts: Counter[str] = Counter()
    sent: list[bytes] = []

    class Host:
        def send_rtcp(self, packet: bytes) -> bool:
            sent.append(packet)
            return True

    ingest = Ingest(Host(), offer({"audio": OPUS}, (), {}), {"audio": OPUS}, counts, lambda: 1.0)
    keeper = Keeper(lambda: 1.0)
    ingest.attach((keeper,))
    ingest.received_rtp(struct.pack("!BBHII", 0x80, 111, 1, 0, 5) + b"opus")
    ingest.poll(3.0)
    assert [arrival.layer for arrival in keeper.arrivals] == [AUDIO]
    assert set(keeper.states) == {()}
    figures = ingest.statistics()
    assert (figures["codec"], figures["layers"], figures["fps"]) == (None, [], 0.0)
    assert ingest.feed.rids == ("",)


# --- feedback ---------------------------------------------------------------------------------------------------


def test_the_host_hears_of_its_bandwidth_with_its_first_packet() -> None:
    world = World(layers=1)
    world.run(0.001)
    (_, remb), *_ = world.got(rtcp.Remb)
    assert isinstance(remb, rtcp.Remb)
    assert remb.bitrate >= REMB_BITS_PER_S_START * 0.99


def test_a_path_that_fills_up_is_told_of_at_once() -> None:
    world = World(up=Conditions(bits_per_s=1_500_000, queue_bytes=10**6))
    world.run(4.0)
    rembs = [(at, packet.bitrate) for at, packet in world.got(rtcp.Remb) if isinstance(packet, rtcp.Remb)]
    assert rembs[-1][1] < 1_500_000
    apart = [after - before for (before, _), (after, _) in pairwise(rembs)]
    assert min(apart) >= REMB_HURRY_S * 0.99
    assert any(gap < 0.9 for gap in apart)


def test_the_round_trip_is_known_without_any_loss() -> None:
    world = World(layers=1, up=Conditions(delay_s=0.03), down=Conditions(delay_s=0.04))
    world.run(0.5)
    assert world.ingest.statistics()["host_rtt_ms"] is None
    sent = 0.03  # the first packet's arrival
    world.answer_clock(world.now - sent - 0.04)
    world.run(0.1)
    assert world.ingest.statistics()["host_rtt_ms"] == pytest.approx(70, abs=1)
    world.answer_clock(99.0)
    world.run(0.1)
    assert world.ingest.statistics()["host_rtt_ms"] == pytest.approx(70, abs=1)


def test_reports_tell_what_was_lost_on_the_way_though_it_was_repaired() -> None:
    world = World(up=Conditions(loss=0.1))
    world.run(5.0)
    blocks = [block for _, packet in world.got(rtcp.ReceiverReport) for block in packet.blocks]  # type: ignore[union-attr]
    fractions = [block.fraction_lost / 256 for block in blocks if block.ssrc != world.ssrcs[AUDIO]]
    assert 0.05 < sum(fractions) / len(fractions) < 0.15
    figures = world.ingest.statistics()
    assert 0.02 < figures["loss"] < 0.2
    assert {layer["loss_repaired"] for layer in figures["layers"]} == {0.0}


def test_statistics() -> None:
    world = World(up=Conditions(delay_s=0.01))
    assert world.ingest.statistics()["fps"] == 0.0
    world.run(3.0)
    figures = world.ingest.statistics()
    layers = figures.pop("layers")
    assert figures.pop("bitrate_bps") == pytest.approx(sum(FPS * 4 * (300 << layer) * 8 for layer in range(3)), rel=0.2)
    assert figures.pop("remb_bps") > REMB_BITS_PER_S_START
    assert figures.pop("jitter_ms") < 20
    assert figures.pop("fps") == pytest.approx(FPS, abs=1)
    assert figures == {
        "loss": 0.0, "loss_repaired": 0.0, "codec": "vp8", "host_rtt_ms": None, "nacks": 0, "plis": 0,
    }  # fmt: skip
    assert [layer["rid"] for layer in layers] == list(RIDS)
    assert [(layer["width"], layer["height"]) for layer in layers] == list(SIZES)
    assert all(layer["fps"] == pytest.approx(FPS, abs=1) for layer in layers)
    assert {(layer["loss"], layer["loss_repaired"]) for layer in layers} == {(0.0, 0.0)}
    assert layers[0]["bitrate_bps"] < layers[1]["bitrate_bps"] < layers[2]["bitrate_bps"]
    assert world.ingest.last_packet_at is not None
    assert 3.0 - world.ingest.last_packet_at < 0.03


# --- hostile ----------------------------------------------------------------------------------------------------


def test_everything_refused_is_counted() -> None:
    world = World()
    world.run(0.5)
    world.ingest.received_rtp(b"\x80\x60")
    world.ingest.received_rtp(struct.pack("!BBHII", 0x80, 50, 1, 0, 5) + b"payload")
    world.ingest.received_rtp(struct.pack("!BBHII", 0x80, 96, 1, 0, 77) + b"payload")
    world.ingest.received_rtp(struct.pack("!BBHII", 0x80, 111, 65_000, 0, 5) + bytes(RTP_PROTECT_BYTES_MAX))
    world.ingest.received_rtcp(b"\x80")
    expected = (
        "rtp_malformed", "rtp_unknown_payload_type", "rtp_unknown_ssrc", "rtp_too_late", "rtcp_malformed",
    )  # fmt: skip
    assert [world.counts[name] for name in expected] == [1] * 5
    large = world.packet(AUDIO, bytes(RTP_PROTECT_BYTES_MAX - HEADER_BYTES + 1), 0)
    fits = world.packet(AUDIO, bytes(RTP_PROTECT_BYTES_MAX - HEADER_BYTES), 0)
    world.ingest.received_rtp(large)
    world.ingest.received_rtp(fits)
    assert world.counts["rtp_too_large"] == 1
    assert world.keeper.arrivals[-1].packet == fits


@given(st.lists(st.one_of(st.binary(max_size=60), st.tuples(st.sampled_from((96, 97, 111)), st.binary(max_size=40)))))
def test_no_bytes_raise_or_are_handed_on_twice(packets: list[bytes | tuple[int, bytes]]) -> None:
    world = World(sound=True)
    for packet in packets:
        raw = packet if isinstance(packet, bytes) else bytes((0x90, packet[0])) + packet[1]
        world.ingest.received_rtp(raw)
        world.ingest.received_rtcp(raw)
        world.now += 0.01
    world.ingest.poll(world.now)
    world.ingest.statistics()
