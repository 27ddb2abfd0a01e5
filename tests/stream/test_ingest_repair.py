"""What a publisher's path loses, through scripted loss in virtual time: asked for again, or a keyframe instead."""

import struct
from collections import Counter

import pytest

from live.core.limits import (
    LAYER_SILENT_S,
    NACK_ATTEMPTS_MAX,
    NACK_INTERVAL_S_MAX,
    PLI_INTERVAL_S,
)
from stream.feed import AUDIO
from stream.wire import rtcp
from stream.wire.rtp import HEADER_BYTES, parse
from tests.faults.path import Conditions
from tests.stream.hosting import NOTHING, World

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
