"""Layers over real sockets: told apart, chosen, repaired, and in the figures."""

import asyncio
from itertools import pairwise

import pytest

from live.core.limits import PLI_INTERVAL_S
from loadtests.media.client import RTX_PAYLOAD_TYPES
from loadtests.media.source import Source
from stream.wire import rtcp
from stream.wire.payloads import picture_size
from stream.wire.rtp import parse, unwrap_rtx
from tests.stream.conftest import House, Make, until
from tests.stream.watching import VIDEO, Watcher, consecutive

RIDS = ("q", "h", "f")
LAYER_SSRCS = (1111, 2111, 3111)


@pytest.fixture
async def studio(house: House, client: Make) -> Watcher:
    """A publisher of three layers."""
    made = Watcher(client)
    await house.enter(made.client, "whip", rids=RIDS, rtx=True)
    await until(lambda: house.told)
    return made


def heights(packets: list[bytes]) -> list[int]:
    """Of the keyframes among H.264 packets."""
    found = (picture_size("h264", packet, 12, len(packet)) for packet in packets)
    return [size[1] for size in found if size is not None]


async def on_air(house: House, studio: Watcher, source: Source, frames: int = 4) -> None:
    """Send in the rhythm of a show until the layers' rates are known; `frames` at least."""

    def known() -> bool:
        return len([s for s in house.media.stages["demo"].relay._audience.states if s.bits_per_s]) == 3

    async with asyncio.timeout(10):
        while frames > 0 or not known():
            studio.send(*source.frame())
            frames -= 1
            await asyncio.sleep(0.04)


async def test_layers_are_told_apart_and_a_viewer_follows_its_wish(house: House, client: Make, studio: Watcher) -> None:
    source = Source(rids=RIDS)
    await on_air(house, studio, source)
    made = Watcher(client)
    address = await house.enter(made.client, "whep", rtx=True)
    session = address.rpartition("/")[2]

    async def play(height: int) -> None:
        async with asyncio.timeout(10):
            while not heights(made.of(VIDEO)) or heights(made.of(VIDEO))[-1] != height:
                asked = [item.media for item in studio.got(rtcp.Pli) if isinstance(item, rtcp.Pli)]
                studio.control.clear()
                source.asked(asked)
                studio.send(*source.frame())
                await asyncio.sleep(0.01)

    house.media.limit("demo", session, 180, video=True)
    await play(180)
    house.media.limit("demo", session, None, video=True)
    await play(360)  # one step at a time
    numbers = sorted(made.numbers())
    assert consecutive(numbers)
    stamps = [parse(packet).timestamp for packet in sorted(made.of(VIDEO), key=lambda packet: packet[2:4])]
    assert all((after - before) & 0xFFFFFFFF < 90_000 for before, after in pairwise(stamps))


async def test_a_lost_packet_comes_back_in_a_stream_of_its_own(house: House, client: Make, studio: Watcher) -> None:
    source = Source(rids=RIDS)
    made = Watcher(client)
    await house.enter(made.client, "whep", rtx=True)
    await on_air(house, studio, source)
    await until(lambda: made.of(VIDEO))
    relay = house.media.stages["demo"].relay
    number = made.numbers()[0]
    made.report(rtcp.Nack(5, relay.ssrc("video"), (number,)))
    await until(lambda: made.of(RTX_PAYLOAD_TYPES["h264"]))
    (again,) = made.of(RTX_PAYLOAD_TYPES["h264"])
    header = parse(again)
    assert header.ssrc == relay.rtx_ssrc
    assert unwrap_rtx(again, header, payload_type=VIDEO, ssrc=relay.ssrc("video")) == made.of(VIDEO)[0]


async def test_a_keyframe_is_asked_of_the_layer_that_the_viewer_gets(
    house: House, client: Make, studio: Watcher
) -> None:
    source = Source(rids=RIDS)
    await on_air(house, studio, source)
    made = Watcher(client)
    await house.enter(made.client, "whep")
    await until(lambda: made.of(VIDEO))
    (viewer,) = house.media.stages["demo"].relay.subscribers
    await asyncio.sleep(PLI_INTERVAL_S)
    studio.control.clear()
    made.report(rtcp.Pli(5, 1))
    await until(lambda: studio.got(rtcp.Pli))
    assert viewer.layer is not None
    assert [item.media for item in studio.got(rtcp.Pli) if isinstance(item, rtcp.Pli)] == [LAYER_SSRCS[viewer.layer]]


async def test_the_figures_tell_of_layers_and_viewers(house: House, client: Make, studio: Watcher) -> None:
    source = Source(rids=RIDS)
    await on_air(house, studio, source)
    made = Watcher(client)
    await house.enter(made.client, "whep")
    await until(lambda: house.figures and house.figures[-1]["subscribers"] == 1)
    figures = house.figures[-1]
    assert [layer["rid"] for layer in figures["layers"]] == list(RIDS)
    assert sum(figures["audience"]["layers"].values()) == 1
    (rid,) = (rid for rid, number in figures["audience"]["layers"].items() if number)
    read = house.registry.get_sample_value
    assert read("showcart_media_viewers", {"show": "demo", "rid": rid}) == 1
    told = house.media.bulletins.local["demo"]["remb_bps"]
    assert read("showcart_media_ingest_allowed_bits_per_second", {"show": "demo"}) == told
    assert read("showcart_media_viewer_nacks_total", {"show": "demo"}) == 0
    assert read("showcart_media_viewer_loss_ratio", {"show": "demo"}) is None
    await studio.client.close()
    await until(lambda: read("showcart_media_viewers", {"show": "demo", "rid": rid}) is None)
