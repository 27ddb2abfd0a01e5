"""A publisher's packets through an in-memory path with scripted loss, in virtual time; and hostile ones."""

import struct
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import (
    LAYER_SILENT_S,
    NACK_ATTEMPTS_MAX,
    NACK_INTERVAL_S_MAX,
    PLI_INTERVAL_S,
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
from tests.stream.hosting import FPS, NOTHING, OPUS, RIDS, SIZES, Keeper, World, offer

# --- loss -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rtx", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_tenth_lost_of_three_layers_is_all_there_in_bounded_time(rtx: bool, seed: int) -> None:
    world = World(rtx=rtx, up=Conditions(delay_s=0.03), down=Conditions(delay_s=0.03), seed=seed)
    world.run(0.1)
    world.up.loss = world.down.loss = 0.1
    world.run(10.0)
    world.up.loss = world.down.loss = 0.0
    world.run(2.0)
    for layer in range(3):
        assert world.keeper.complete(layer)
    lost = world._up.dropped
    assert lost > 200
    assert world.counts["nack_upstream"] < 1.6 * lost
    assert max(Counter(world.requests()).values()) <= NACK_ATTEMPTS_MAX
    assert not world.got(rtcp.Pli)
    # From when its successor was there: five requests with 60 ms of round trip.
    lateness = []
    for layer in range(3):
        arrivals = [world.keeper.came[layer, number] for number in sorted(world.keeper.numbers(layer))]
        newest = [min(arrivals[index:]) for index in range(len(arrivals))]
        lateness += [at - soonest for at, soonest in zip(arrivals, newest, strict=True)]
    lateness.sort()
    assert lateness[-1] < 5 * NACK_INTERVAL_S_MAX
    assert lateness[round(len(lateness) * 0.985)] < 0.2
    rtt_ms = world.ingest.statistics()["host_rtt_ms"]
    assert 55 < rtt_ms < 90
    assert (world.counts["rtx_received"] > 0) == rtx


def test_packets_are_handed_on_plain_and_repaired_ones_like_the_others() -> None:
    world = World(up=Conditions(loss=0.05))
    world.run(2.0)
    for arrival in world.keeper.arrivals:
        header = parse(arrival.packet)
        assert header.payload == HEADER_BYTES
        assert header.ssrc == world.ssrcs[arrival.layer]
        assert header.sequence == arrival.sequence & 0xFFFF
        assert header.timestamp == arrival.timestamp
        assert arrival.packet == world._kept[header.ssrc, header.sequence][1]
    assert not any(arrival.opens_keyframe for arrival in world.keeper.of(AUDIO))
    assert world.keeper.of(0)[0].opens_keyframe


def test_packets_that_overtake_each_other_cost_no_request() -> None:
    world = World(up=Conditions(delay_s=0.02, reorder=0.2, reorder_s=0.004), packets_per_frame=16)
    world.run(5.0)
    world.muted = {0, 1, 2}
    world.run(0.1)
    assert not world.got(rtcp.Nack)
    assert world.ingest.statistics()["loss"] == 0.0
    assert all(world.keeper.complete(layer) for layer in (AUDIO, 0, 1, 2))
    assert world.keeper.numbers(2) != sorted(world.keeper.numbers(2))


def test_what_comes_twice_is_handed_on_once() -> None:
    world = World(up=Conditions(duplicate=0.3))
    world.run(3.0)
    assert world.counts["rtp_duplicate"] > 100
    assert all(world.keeper.complete(layer) for layer in (AUDIO, 0, 1, 2))


def test_probes_of_the_path_are_counted_and_nothing_else() -> None:
    world = World()
    world.run(1.0)
    before = len(world.keeper.arrivals)
    world.probe(1)
    world.run(0.001)
    assert world.counts["rtx_empty"] == 1
    assert len(world.keeper.arrivals) - before < 20
    assert world.counts["rtx_received"] == 0
    # A probe made of packets that came long ago.
    world._again(world.ssrcs[1], parse(world.keeper.of(1)[-1].packet).sequence)
    world.run(0.001)
    assert (world.counts["rtx_received"], world.counts["rtp_duplicate"]) == (1, 1)


def test_a_repair_before_its_stream_is_nothing() -> None:
    world = World(layers=1)
    world.muted = {0}
    world.run(0.1)
    world._kept[10, 77] = (0, struct.pack("!BBHII", 0x80, 96, 77, 0, 10) + b"payload")
    world._again(10, 77)
    world.run(0.1)
    assert world.counts["rtx_empty"] == 1
    assert not world.keeper.of(0)


def test_sound_is_not_asked_for_again() -> None:
    world = World(up=Conditions(loss=0.2))
    world.muted = {0, 1, 2}
    world.run(5.0)
    assert not world.requests()
    assert world.ingest.statistics()["loss"] > 0.1


def test_a_picture_that_no_request_brings_back_costs_one_keyframe() -> None:
    world = World(layers=1)
    world.run(1.0)
    world.packet(0, b"never sent", 0)
    world._kept[10, world._numbers[0]] = (0, NOTHING)
    world.run(1.5)
    assert len(world.got(rtcp.Pli)) == 1
    assert list(Counter(world.requests()).values()) == [NACK_ATTEMPTS_MAX]
    assert world.keeper.of(0)[-1].sequence - world.keeper.of(0)[0].sequence == len(world.keeper.of(0))


def test_without_nack_a_loss_is_a_keyframe() -> None:
    world = World(layers=1, rtx=False, nack=False)
    world.run(1.0)
    world.up.loss = 1.0
    world.run(0.04)
    world.up.loss = 0.0
    world.run(1.0)
    assert not world.requests()
    assert len(world.got(rtcp.Pli)) == 1


# --- keyframes --------------------------------------------------------------------------------------------------


def test_many_wishes_are_one_pli_per_layer_and_interval_until_the_keyframe_comes() -> None:
    world = World(sound=False)
    world.run(1.0)
    world.deaf = True
    for _ in range(50):
        world.ingest.want_keyframe(2)
    world.run(PLI_INTERVAL_S - 0.01)
    assert [pli.media for _, pli in world.got(rtcp.Pli) if isinstance(pli, rtcp.Pli)] == [world.ssrcs[2]]
    world.ingest.want_keyframe(0)
    world.run(2 * PLI_INTERVAL_S - 0.05)
    assert world.counts["pli_upstream"] == 3 + 2
    world.deaf = False
    world.run(2.0)
    assert world.counts["pli_upstream"] == 3 + 2 + 2
    assert not any(stream.keyframes.wanted for stream in world.ingest._layers)


def test_wishes_for_what_does_not_exist_are_ignored() -> None:
    world = World()
    world.run(0.1)
    for layer in (AUDIO, -2, 3, 99):
        world.ingest.want_keyframe(layer)
    world.run(0.1)
    assert not world.got(rtcp.Pli)


def test_a_layer_that_is_not_sent_is_not_asked() -> None:
    world = World()
    world.run(1.0)
    world.muted = {2}
    world.run(LAYER_SILENT_S + 0.1)
    world.ingest.want_keyframe(2)
    world.run(1.0)
    assert not world.got(rtcp.Pli)
    world.muted = set()
    world.run(1.0)
    assert [packet.media for _, packet in world.got(rtcp.Pli) if isinstance(packet, rtcp.Pli)] == [world.ssrcs[2]]
    assert not world.ingest._layers[2].keyframes.wanted


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
