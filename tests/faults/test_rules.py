"""The relay's rules as a viewer and a host meet them, each with a script that breaks what the rule is for."""

import asyncio
import itertools

import pytest

from live.core.limits import PLI_INTERVAL_S, RETRANSMISSION_INTERVAL_S_MIN, RETRANSMISSIONS_PER_PACKET_MAX
from loadtests.media.client import PAYLOAD_TYPES, Client
from loadtests.media.source import FRAMES_PER_S, Source
from stream.wire import rtcp
from stream.wire.rtp import parse
from tests.faults.conftest import RIDS, Show
from tests.faults.judging import FREEZE_S_MAX
from tests.stream.conftest import until

pytestmark = pytest.mark.alone  # thirty pictures a second, sent and judged by the clock

VIEWERS = 50
SKEW_S_MAX = 0.02


class Clapper(Source):
    """Every packet ends with the number of its moment: pictures and sounds that belong together can be recognised."""

    def frame(self, active: int | None = None) -> list[bytes]:
        moment = self._number.to_bytes(4)
        return [packet[:-4] + moment for packet in super().frame(active)]


class Ear:
    """Notes when, by the sender reports, each moment's picture and sound were made."""

    def __init__(self, client: Client, show: Show) -> None:
        relay = show.house.media.stages["demo"].relay
        self._kinds = {relay.ssrc("video"): 90_000, relay.ssrc("audio"): 48_000}
        self._tie: dict[int, tuple[float, int]] = {}  # SSRC → seconds of NTP, timestamp
        self.made: dict[int, dict[int, float]] = {90_000: {}, 48_000: {}}
        self._on_rtp, self._on_rtcp = client.on_rtp, client.on_rtcp
        client.on_rtp, client.on_rtcp = self._rtp, self._rtcp

    def _rtp(self, packet: bytes) -> None:
        header = parse(packet)
        rate = self._kinds.get(header.ssrc)
        if rate is not None and header.payload_type in PAYLOAD_TYPES.values() and header.ssrc in self._tie:
            ntp_s, timestamp = self._tie[header.ssrc]
            ahead = (header.timestamp - timestamp + (1 << 31)) % (1 << 32) - (1 << 31)
            # The first of a moment's packets is of its beginning.
            self.made[rate].setdefault(int.from_bytes(packet[-4:]), ntp_s + ahead / rate)
        self._on_rtp(packet)

    def _rtcp(self, compound: bytes) -> None:
        for packet in rtcp.parse(compound):
            if isinstance(packet, rtcp.SenderReport):
                self._tie[packet.ssrc] = (packet.ntp / (1 << 32), packet.timestamp)
        self._on_rtcp(compound)

    def skews_s(self) -> list[float]:
        """How far picture and sound are apart, for each moment that began since the last call."""
        pictures, sounds = self.made[90_000], self.made[48_000]
        self.made = {90_000: {}, 48_000: {}}
        return [abs(pictures[moment] - sounds[moment]) for moment in sorted(pictures.keys() & sounds.keys())[1:]]


async def test_lips_match_and_numbers_go_on_over_layers_and_publishers(show: Show) -> None:
    _, host = await show.camera(rids=RIDS, footage=Clapper(rids=RIDS, keyframe_packets=12))
    screen, viewer = await show.screen()
    ear = Ear(viewer, show)

    async def in_step() -> None:
        await until(lambda: len(ear.made[90_000].keys() & ear.made[48_000].keys()) >= FRAMES_PER_S)
        skews = ear.skews_s()
        assert max(skews) < SKEW_S_MAX, max(skews)

    await in_step()
    began = show.now()
    for height in (180, None):
        wish = await show.house.http.post(f"{show.locations[viewer]}/layer", json={"max_height": height})
        assert wish.status_code == 204
        if height is not None:
            await until(lambda: screen.bits_per_s(show.now() - 0.5, show.now()) < 300_000)
        else:
            await until(lambda: screen.bits_per_s(show.now() - 0.5, show.now()) > 500_000)
        await in_step()
    # At a switch a moment may be seen in both layers.
    assert screen.lost(began, show.now())[0] <= 0, "the old layer goes on until the new one's keyframe"

    await host.close()
    await until(lambda: not show.house.media.on_air("demo"))
    await show.camera(footage=Clapper(7000, rids=RIDS[:2], keyframe_packets=12), rids=RIDS[:2])
    ear.skews_s()
    await in_step()
    assert not viewer.closed.is_set(), "the same session goes on"
    assert screen.nacked == screen.duplicates == 0, "the viewer saw one stream without a gap"


async def test_who_publishes_with_the_same_key_takes_over(show: Show) -> None:
    _, first = await show.camera()
    screen, viewer = await show.screen()
    await until(lambda: len(screen.shown) > 10)
    since = show.now()
    await show.camera()
    await asyncio.wait_for(first.closed.wait(), 5)
    await asyncio.sleep(1.0)
    assert screen.freezes(since, show.now()) <= FREEZE_S_MAX
    assert screen.nacked == screen.duplicates == 0
    assert not viewer.closed.is_set()


async def test_fifty_viewers_who_ask_for_a_keyframe_are_one_to_the_host(show: Show) -> None:
    camera, _ = await show.camera()
    viewers = [client for _, client in [await show.screen() for _ in range(2)]]
    clients = [Client() for _ in range(VIEWERS - len(viewers))]
    try:
        for client in clients:
            await show.house.enter(client, "whep", rtx=True)
        ssrc = show.house.media.stages["demo"].relay.ssrc("video")
        asked, began, rounds = camera.keyframes_asked, show.now(), 0
        while show.now() < began + 4 * PLI_INTERVAL_S:
            rounds += 1
            for client in (*viewers, *clients):
                assert client.peer is not None
                client.peer.send_rtcp(rtcp.build((rtcp.ReceiverReport(1), rtcp.Pli(1, ssrc))))
            await asyncio.sleep(0.1)
        await until(lambda: show.house.media.counts["viewer_pli"] >= rounds * VIEWERS)
        assert 1 <= camera.keyframes_asked - asked <= (show.now() - began) / PLI_INTERVAL_S + 1
    finally:
        for client in clients:
            await client.close()


async def test_a_packet_that_never_arrives_is_repeated_three_times_and_the_picture_goes_on(show: Show) -> None:
    await show.camera()
    link = show.link()
    screen, _ = await show.screen(rtx=False, link=link)
    await until(lambda: len(screen.shown) > 10)
    ssrc = show.house.media.stages["demo"].relay.ssrc("video").to_bytes(4)
    cursed: list[bytes] = []
    told: list[float] = []

    def without_one(datagram: bytes) -> bool:
        if not 128 <= datagram[0] < 192 or datagram[8:12] != ssrc or datagram[1] & 0x7F != PAYLOAD_TYPES["h264"]:
            return True
        if not cursed or cursed[0] == datagram:
            cursed.append(datagram)
            told.append(show.now())
            return False
        return cursed[0][:12] != datagram[:12]

    link.down_filter = without_one
    shown = len(screen.shown)
    await until(lambda: len(screen.shown) > shown + 2 * FRAMES_PER_S)
    assert len(cursed) == 1 + RETRANSMISSIONS_PER_PACKET_MAX, "each one the very same datagram"
    gaps = [later - earlier for earlier, later in itertools.pairwise(told[1:])]
    assert min(gaps) >= RETRANSMISSION_INTERVAL_S_MIN, gaps
