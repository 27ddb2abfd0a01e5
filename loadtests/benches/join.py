"""How long a viewer waits: from the WHEP POST to the last packet of its first keyframe, over loopback.

The publisher behaves like a browser: one keyframe at the beginning, then only when it is asked. The floor is the same
way without video: POST, STUN and the DTLS handshake.

Then a rush: 200 viewers a second join while 300 watch, and the event loop must not notice.
"""

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from statistics import median, quantiles

import httpx
import uvloop

from loadtests.benches.audience import audience
from loadtests.benches.figure import figure
from loadtests.benches.relay import Lags, waited_s, window
from loadtests.benches.stage import join, send, stage, told
from loadtests.media.client import PAYLOAD_TYPES, Client
from loadtests.media.source import FRAMES_PER_S, Source
from stream.transport.peers import Certificate
from stream.wire import rtcp

JOINS = 50
KEYFRAME_PACKETS = 40
RUSH_VIEWERS = 300
RUSH_PER_S = 200
RUSH_S = 5.0
_PAUSE_S = 0.1
_TIMEOUT_S = 55.0


class _FirstPicture:
    """Notices when a keyframe is complete: an SPS, every number up to the marker."""

    def __init__(self) -> None:
        self.seen = asyncio.Event()
        self._frames: dict[bytes, dict[int, bytes]] = {}

    def received(self, packet: bytes) -> None:
        if packet[1] & 0x7F != PAYLOAD_TYPES["h264"]:
            return
        frame = self._frames.setdefault(packet[4:8], {})
        frame[int.from_bytes(packet[2:4])] = packet
        first = next((number for number, part in frame.items() if part[12] & 0x1F == 7), None)
        last = next((number for number, part in frame.items() if part[1] & 0x80), None)
        if first is not None and last is not None and len(frame) == (last - first) % 65536 + 1:
            self.seen.set()


async def _measure(http_port: int, pipe: Connection) -> None:
    certificate = Certificate.generate()
    source = Source(keyframe_packets=KEYFRAME_PACKETS)

    def asked(packet: bytes) -> None:
        source.keyframe |= any(isinstance(item, rtcp.Pli) for item in rtcp.parse(packet))

    publisher = Client(certificate, on_rtcp=asked)
    waits: list[tuple[float, float]] = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{http_port}", timeout=20) as http:
        await join(http, publisher, "whip")
        sending = asyncio.create_task(send(publisher, source, 3600 * FRAMES_PER_S))
        await asyncio.sleep(1.0)
        for _ in range(JOINS):
            picture = _FirstPicture()
            viewer = Client(certificate, on_rtp=picture.received)
            start = time.perf_counter()
            address = await join(http, viewer, "whep")
            connected = time.perf_counter() - start
            await picture.seen.wait()
            waits.append((time.perf_counter() - start, connected))
            publisher.keep_alive()
            await http.delete(address)
            await viewer.close()
            await asyncio.sleep(_PAUSE_S)
        sending.cancel()
    await publisher.close()
    pipe.send(("waits", waits))


def _run(http_port: int, pipe: Connection) -> None:
    uvloop.run(_measure(http_port, pipe))


async def _alone() -> None:
    ours, theirs = multiprocessing.Pipe()
    async with asyncio.timeout(_TIMEOUT_S), stage() as (_, http_port):
        process = multiprocessing.get_context("spawn").Process(target=_run, args=(http_port, theirs))
        process.start()
        try:
            _, waits = await told(ours)
        finally:
            process.join(5)
            process.kill()
    pictures, handshakes = zip(*waits, strict=True)
    figure("join_connected_p95_ms", quantiles(handshakes, n=20)[18] * 1000, f"ms of {JOINS}: POST, STUN, DTLS (floor)")
    figure("join_p50_ms", median(pictures) * 1000, f"ms of {JOINS}, keyframe of {KEYFRAME_PACKETS} packets")
    figure("join_p95_ms", quantiles(pictures, n=20)[18] * 1000, f"ms of {JOINS}", 300)


async def _rush() -> None:
    async with asyncio.timeout(_TIMEOUT_S), stage() as (media, http_port):
        with audience(http_port) as orders:
            await orders.give("grow", RUSH_VIEWERS)
            still = await window(media, orders, RUSH_S)
            lags = Lags()
            observer = asyncio.create_task(lags.measure())
            sent = media.counts["sent"]
            cpu, wall, waited = time.process_time(), time.perf_counter(), waited_s()
            waits_s = await orders.give("rush", (round(RUSH_S * RUSH_PER_S), RUSH_PER_S))
            cpu, wall, waited = time.process_time() - cpu, time.perf_counter() - wall, waited_s() - waited
            observer.cancel()
            watching = (media.counts["sent"] - sent) * still.cost_s
    joined = [wait_s for wait_s in waits_s if wait_s != float("inf")]
    figure(
        "rush_joins_per_s", len(joined) / RUSH_S, f"viewers a second of {RUSH_PER_S}, beside {RUSH_VIEWERS} who watch"
    )
    figure("rush_connected_p95_ms", quantiles(joined, n=20)[18] * 1000, "ms: POST, STUN, DTLS")
    figure("rush_cpu_ms", (cpu - watching) / len(joined) * 1000, "ms CPU of the server for one who joins and leaves")
    lags.figures("rush")
    figure("rush_waited_pct", 100 * waited / wall, "% of the time ready to run while others had the cores")


async def _main() -> None:
    await _alone()
    await _rush()


if __name__ == "__main__":
    uvloop.run(_main())
