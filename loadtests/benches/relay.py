"""What forwarding costs: 500 viewers of one show at 200 packets/s, against a bare loop of `protect` and `sendto`.

The server is this process. Publisher and viewers are a second one: real DTLS handshakes, then sockets that are only
counted. The floor is measured with the same viewers' keys and sockets, right after, by a plain Python loop.
"""

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles

import httpx
import uvloop

from loadtests.benches.client import Client
from loadtests.benches.figure import figure
from loadtests.benches.stage import FRAMES_PER_S, SHOW, Source, join, send, stage, told
from stream.fanout import Subscriber
from stream.peers import Certificate
from stream.service import Media

VIEWERS = 500
WINDOW_S = 10
FLOOR_FRAMES = 5
FLOOR_ROUNDS = 5
_DRAIN_INTERVAL_S = 0.05
_KEEP_ALIVE_S = 3.0
_LAG_INTERVAL_S = 0.005
_TIMEOUT_S = 55.0


# --- the second process: publisher and viewers ------------------------------------------------------------------


class _Audience:
    def __init__(self) -> None:
        certificate = Certificate.generateCertificate()
        self.publisher = Client(certificate)
        self.viewers = [Client(certificate) for _ in range(VIEWERS)]
        self.counts = [0] * VIEWERS
        self.failed = 0
        self._buffer = bytearray(2048)

    async def join(self, http_port: int) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{http_port}", timeout=20) as http:
            await join(http, self.publisher, "whip")
            self.source = Source()
            await send(self.publisher, self.source, 2)
            gate = asyncio.Semaphore(16)

            async def enter(viewer: Client) -> None:
                async with gate:
                    await join(http, viewer, "whep")

            results = await asyncio.gather(*map(enter, self.viewers), return_exceptions=True)
            self.failed = sum(isinstance(result, BaseException) for result in results)
        for viewer in self.viewers:
            viewer.stop_reading()

    def drain(self) -> None:
        """Count what has come; the sockets' buffers hold seconds of it."""
        buffer = self._buffer
        for index, viewer in enumerate(self.viewers):
            receive = viewer.socket.recv_into
            try:
                while True:
                    receive(buffer)
                    if buffer[0] >= 128 and not 192 <= buffer[1] <= 223:  # RTP, not RTCP
                        self.counts[index] += 1
            except BlockingIOError:
                pass

    async def keep_draining(self) -> None:
        while True:
            self.drain()
            await asyncio.sleep(_DRAIN_INTERVAL_S)

    async def keep_alive(self) -> None:
        while True:
            for client in (self.publisher, *self.viewers):
                client.keep_alive()
                await asyncio.sleep(_KEEP_ALIVE_S / (VIEWERS + 1))


async def _audience(http_port: int, pipe: Connection) -> None:
    audience = _Audience()
    await audience.join(http_port)
    jobs = [asyncio.create_task(audience.keep_draining()), asyncio.create_task(audience.keep_alive())]
    await asyncio.sleep(0.5)
    audience.drain()
    audience.counts = [0] * VIEWERS
    pipe.send(("begin", audience.failed))
    sent = await send(audience.publisher, audience.source, WINDOW_S * FRAMES_PER_S)
    await asyncio.sleep(0.5)
    pipe.send(("end", sent))
    await asyncio.sleep(0.5)
    audience.drain()
    pipe.send(("lost", sum(sent - count for count in audience.counts)))
    # Go on reading while the floor is measured: a full socket would make sending cheaper than it is.
    await told(pipe)
    for job in jobs:
        job.cancel()


def _run_audience(http_port: int, pipe: Connection) -> None:
    uvloop.run(_audience(http_port, pipe))


# --- this process: the server -----------------------------------------------------------------------------------


async def _measure_lag(lags: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(_LAG_INTERVAL_S)
        lags.append(time.perf_counter() - before - _LAG_INTERVAL_S)


def _waited_s() -> float:
    """Seconds that this process was ready to run while others had the cores (Linux; elsewhere 0)."""
    path = Path("/proc/self/schedstat")
    return int(path.read_text().split()[1]) / 1e9 if path.exists() else 0.0


def _subscribers(media: Media) -> list[Subscriber]:
    return media.stages[SHOW].relay.subscribers


def _floor(media: Media) -> float:
    """CPU seconds per packet and viewer of a loop that does nothing but protect and send."""
    subscribers = _subscribers(media)
    send_to, source = media.port.raw.sendto, Source(20_000)
    rounds = []
    for _ in range(FLOOR_ROUNDS):
        packets = [packet for _ in range(FLOOR_FRAMES) for packet in source.frame()]
        before = time.process_time()
        for packet in packets:
            for subscriber in subscribers:
                send_to(subscriber.peer.protect(packet), subscriber.peer.address)  # type: ignore[arg-type]
        rounds.append((time.process_time() - before) / (len(packets) * len(subscribers)))
        time.sleep(_DRAIN_INTERVAL_S * 2)
    return median(rounds)


async def _main() -> None:
    ours, theirs = multiprocessing.Pipe()
    async with asyncio.timeout(_TIMEOUT_S), stage() as (media, http_port):
        process = multiprocessing.get_context("spawn").Process(target=_run_audience, args=(http_port, theirs))
        process.start()
        try:
            _, failed = await told(ours)
            lags: list[float] = []
            observer = asyncio.create_task(_measure_lag(lags))
            before = media.counts["sent"]
            cpu, wall, waited = time.process_time(), time.perf_counter(), _waited_s()
            _, sent = await told(ours)
            cpu, wall, waited = time.process_time() - cpu, time.perf_counter() - wall, _waited_s() - waited
            forwarded = media.counts["sent"] - before
            observer.cancel()
            _, lost = await told(ours)
            cost, floor = cpu / forwarded, _floor(media)
        finally:
            ours.send("stop")
            process.join(10)
            process.kill()
    figure("relay_floor_us", floor * 1e6, "µs CPU per packet and viewer, protect + sendto in a loop")
    figure("relay_cost_us", cost * 1e6, "µs CPU per packet and viewer, everything included")
    figure("relay_ratio", cost / floor, "× floor", 1.5)
    figure("relay_500_lost", lost + failed * sent, f"packets of {sent * VIEWERS}", 0)
    figure("relay_500_core_share", cpu / wall, "of a core", 0.7)
    figure("relay_waited_share", waited / wall, "of the time ready to run while others had the cores")
    figure("relay_lag_p99_ms", quantiles(lags, n=100)[98] * 1000, "ms, event loop", 10)


if __name__ == "__main__":
    uvloop.run(_main())
