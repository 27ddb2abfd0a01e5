"""Who is on air: made-up pictures on a fixed schedule, over WHIP, and what a host's browser answers to a server."""

import asyncio
import random

from live.core.tasks import end
from loadtests.media.client import Client
from loadtests.media.doors import Doors, RefusedError
from loadtests.media.receiver import stamped
from loadtests.media.source import VIDEO_PACKETS_PER_FRAME, Source
from loadtests.media.tally import Tally
from loadtests.scenario import Media
from loadtests.viewer import BACKOFF_S_MAX, now_us
from stream.transport.peers import Certificate
from stream.wire import rtcp
from stream.wire.rtp import parse

KEYFRAME_FACTOR = 4  # a keyframe has so many times the bytes of another picture
KEPT_PACKETS = 2000  # to be sent again
REPORT_INTERVAL_S = 0.5
KEEP_ALIVE_S = 3.0
SILENCE_S_MAX = 5.0  # of a server that does not answer STUN
_RIDS = ("l", "m", "h")
_NTP_EPOCH_S = 2_208_988_800


def source_of(media: Media) -> Source:
    """The pictures that the scenario asks for."""
    rids = _RIDS[-media.layers :] if media.layers > 1 else ()
    return Source(
        rids=rids, keyframe_packets=KEYFRAME_FACTOR * VIDEO_PACKETS_PER_FRAME, fps=media.fps, kbps=media.bitrate_kbps
    )


class Publisher:
    """One publisher of one show. `live` is set when it is connected."""

    def __init__(self, media: Media, doors: Doors, certificate: Certificate, host: str, tally: Tally) -> None:
        self.live = asyncio.Event()
        self._media = media
        self._source = source_of(media)
        self._doors = doors
        self._certificate = certificate
        self._host = host
        self._tally = tally
        self._client: Client | None = None
        self._kept: dict[tuple[int, int], bytes] = {}
        self._attempt = 0

    async def connect(self) -> None:
        """Until cancelled: be connected, and again when the server has gone."""
        while True:
            client = Client(self._certificate, on_rtcp=self._heard, host=self._host)
            try:
                rids = tuple(layer.rid for layer in self._source.layers if layer.rid)
                await self._doors.enter(client, "whip", rids=rids)
            except (OSError, EOFError, TimeoutError) as error:
                await client.close()
                name = error.name if isinstance(error, RefusedError) else type(error).__name__
                self._tally.refused[f"publisher: {name}"] += 1
                self._attempt += 1
                await asyncio.sleep(random.uniform(0, min(BACKOFF_S_MAX, 0.25 * 2**self._attempt)))
                continue
            except asyncio.CancelledError:
                await client.close()
                raise
            self._client, self._attempt = client, 0
            self._source.keyframe = True
            self.live.set()
            try:
                await self._stay(client)
            finally:
                self._client = None
                await client.close()
            self._tally.republished += 1

    async def _stay(self, client: Client) -> None:
        """Keep the session until the server ends it or is silent."""
        silent_s, answers = 0.0, client.counts["stun"]
        keeping = asyncio.create_task(client.closed.wait())
        try:
            while silent_s <= SILENCE_S_MAX and not keeping.done():
                client.keep_alive()
                await asyncio.wait((keeping,), timeout=KEEP_ALIVE_S / 3)
                silent_s = 0.0 if client.counts["stun"] > answers else silent_s + KEEP_ALIVE_S / 3
                answers = client.counts["stun"]
        finally:
            await end(keeping)

    async def send(self, start_us: int) -> None:
        """Until cancelled: the pictures, each when it is due, or at once when it is late."""
        fps, number, keyframe_us, report_us = self._media.fps, 0, start_us, start_us
        while True:
            due_us = start_us + number * 1_000_000 // fps
            number += 1
            if (wait_us := due_us - now_us()) > 0:
                await asyncio.sleep(wait_us / 1e6)
            client = self._client
            if client is None or client.peer is None:
                self._tally.unsent_pictures += 1
                continue
            if self._media.keyframe_s and due_us - keyframe_us >= self._media.keyframe_s * 1e6:
                keyframe_us, self._source.keyframe = due_us, True
            self._send(client, due_us)
            if due_us - report_us >= REPORT_INTERVAL_S * 1e6:
                report_us = due_us
                self._report(client)

    def _send(self, client: Client, due_us: int) -> None:
        assert client.peer is not None
        packets = [stamped(packet, due_us) for packet in self._source.frame()]
        late_us = now_us() - due_us
        for packet in packets:
            client.peer.send_rtp(packet)
            self._kept[int.from_bytes(packet[8:12]), packet[2] << 8 | packet[3]] = packet
        while len(self._kept) > KEPT_PACKETS:
            del self._kept[next(iter(self._kept))]
        self._tally.send(len(packets), sum(map(len, packets)), late_us)

    def _heard(self, compound: bytes) -> None:
        """What the server wants: packets again, or a keyframe."""
        for packet in rtcp.parse(compound):
            match packet:
                case rtcp.Nack(media=ssrc, sequences=numbers):
                    for number in numbers:
                        again = self._kept.get((ssrc, number))
                        if again is not None and self._client is not None and self._client.peer is not None:
                            self._client.peer.send_rtp(again)
                case rtcp.Pli(media=ssrc):
                    self._tally.keyframes_asked += 1
                    self._source.asked([ssrc])
                case _:
                    pass

    def _report(self, client: Client) -> None:
        """Sender reports of the streams, by the packets that went last."""
        assert client.peer is not None
        ntp = round((now_us() / 1e6 + _NTP_EPOCH_S) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF
        newest = {ssrc: packet for (ssrc, _), packet in self._kept.items()}
        for ssrc, packet in newest.items():
            report = rtcp.SenderReport(ssrc, ntp, parse(packet).timestamp, self._tally.sent_packets & 0xFFFFFFFF, 0)
            client.peer.send_rtcp(rtcp.build((report,)))
