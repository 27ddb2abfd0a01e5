"""The second process of the video benches: one publisher and any number of viewers, over real handshakes.

Viewers count what comes and forget it. Once a second each says how its path is, as browsers do (receiver report and
REMB), and every few seconds renews its consent; that is work for the server and part of what is measured.
"""

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from loadtests.benches.stage import SHOW, send, told
from loadtests.media.client import PAYLOAD_TYPES, Client
from loadtests.media.doors import Doors
from loadtests.media.source import FRAMES_PER_S, Source
from stream.transport.peers import Certificate
from stream.wire import rtcp

JOINING_MAX = 16  # viewers that shake hands at a time
_DRAIN_INTERVAL_S = 0.05
_REPORT_INTERVAL_S = 1.0
_KEEP_ALIVE_S = 3.0
_SETTLE_S = 0.5
_ENDLESS_FRAMES = 3600 * FRAMES_PER_S
_REMB_BITS_PER_S = 8_000_000
_STAMP_BYTES = 8


class Probe:
    """A viewer that notes when each picture's packet came, by the stamp in it."""

    def __init__(self, certificate: Certificate) -> None:
        self.client = Client(certificate, on_rtp=self._came)
        self.seen: dict[bytes, float] = {}

    def _came(self, packet: bytes) -> None:
        if packet[1] & 0x7F == PAYLOAD_TYPES["h264"]:
            self.seen[packet[-_STAMP_BYTES:]] = time.perf_counter()


class Ear:
    """A viewer whose datagrams are counted in the packets' own headers, which are not encrypted."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.count = 0
        self._video = 0
        self._ssrc: int | None = None
        self._first = self._highest = 0

    def drain(self, buffer: bytearray) -> None:
        """Count what has come; the socket's buffer holds seconds of it."""
        receive, video, head = self.client.socket.recv_into, 0, b""
        try:
            while True:
                receive(buffer)
                if buffer[0] >= 128 and not 192 <= buffer[1] <= 223:  # RTP, not RTCP
                    self.count += 1
                    if buffer[1] & 0x7F == PAYLOAD_TYPES["h264"]:
                        video += 1
                        head = bytes(buffer[2:12])
        except BlockingIOError:
            pass
        if head:
            self._highest = int.from_bytes(head[:2])  # one run of the benches is shorter than a period of 16 bits
            if self._ssrc is None:
                self._ssrc, self._first = int.from_bytes(head[6:]), self._highest - video + 1
            self._video += video

    def report(self) -> None:
        """Tell the server what a browser would."""
        if self._ssrc is None or self.client.peer is None:
            return
        lost = self._highest - self._first + 1 - self._video
        block = rtcp.ReportBlock(self._ssrc, 0, lost, self._highest, 0)
        remb = rtcp.Remb(1, _REMB_BITS_PER_S, (self._ssrc,))
        self.client.peer.send_rtcp(rtcp.build((rtcp.ReceiverReport(1, (block,)), remb)))


class Audience:
    """The publisher, and viewers whose sockets are only counted once they have joined.

    The publisher goes to the worker behind `origin_port`, the viewers to the one behind `http_port`.
    """

    def __init__(self, http_port: int, origin_port: int) -> None:
        self.certificate = Certificate.generate()
        self.source = Source()
        self.publisher = Client(self.certificate, on_rtcp=self._asked)
        self.viewers: list[Ear] = []
        self.doors, self.origin_doors = (
            Doors(f"http://127.0.0.1:{port}", SHOW, "bench", keep=True) for port in (http_port, origin_port)
        )
        self._buffer = bytearray(2048)

    def _asked(self, compound: bytes) -> None:
        """Answer a PLI with a keyframe, of as many packets as any other picture."""
        self.source.keyframe |= any(isinstance(item, rtcp.Pli) for item in rtcp.parse(compound))

    async def publish(self) -> None:
        await self.origin_doors.enter(self.publisher, "whip")
        await send(self.publisher, self.source, 2)

    async def grow(self, size: int) -> int:
        """Let viewers join until there are so many; returns how many could not."""
        fresh = [Client(self.certificate) for _ in range(size - len(self.viewers))]
        gate = asyncio.Semaphore(JOINING_MAX)

        async def enter(viewer: Client) -> None:
            async with gate:
                await self.doors.enter(viewer, "whep")
                viewer.stop_reading()

        # The publisher goes on meanwhile and for a moment longer: whoever has joined is live when this returns.
        sending = asyncio.create_task(send(self.publisher, self.source, _ENDLESS_FRAMES))
        results = await asyncio.gather(*map(enter, fresh), return_exceptions=True)
        await asyncio.sleep(_SETTLE_S)
        sending.cancel()
        joined = [Ear(viewer) for viewer, result in zip(fresh, results, strict=True) if result is None]
        self.viewers += joined
        return len(fresh) - len(joined)

    async def stream(self, seconds: float) -> tuple[int, int]:
        """Publish for so long; returns how many packets were sent to each viewer, and how many never came, of all."""
        await asyncio.sleep(_SETTLE_S)
        self.drain()
        before = [viewer.count for viewer in self.viewers]
        sent = await send(self.publisher, self.source, round(seconds * FRAMES_PER_S), stamp=_stamped)
        await asyncio.sleep(_SETTLE_S)
        self.drain()
        return sent, sum(sent - viewer.count + count for viewer, count in zip(self.viewers, before, strict=True))

    async def probe(self, seconds: float) -> list[float]:
        """How much later each packet came to a viewer of the viewers' worker than to one of the publisher's, seconds.

        Both sit in this process, so that its own delays cancel out.
        """
        near, far = Probe(self.certificate), Probe(self.certificate)
        await self.origin_doors.enter(near.client, "whep")
        await self.doors.enter(far.client, "whep")
        await self.stream(seconds)
        await near.client.close()
        await far.client.close()
        return [far.seen[stamp] - at for stamp, at in near.seen.items() if stamp in far.seen]

    def drain(self) -> None:
        for viewer in self.viewers:
            viewer.drain(self._buffer)

    async def keep_draining(self) -> None:
        while True:
            self.drain()
            await asyncio.sleep(_DRAIN_INTERVAL_S)

    async def keep_reporting(self) -> None:
        """Receiver reports and REMB of all viewers, spread over each second."""
        while True:
            start = time.monotonic()
            for index, viewer in enumerate(tuple(self.viewers)):
                if index % 10 == 0:
                    await asyncio.sleep(0.8 * _REPORT_INTERVAL_S / (len(self.viewers) / 10 + 1))
                viewer.report()
            await asyncio.sleep(max(0.01, start + _REPORT_INTERVAL_S - time.monotonic()))

    async def keep_alive(self) -> None:
        while True:
            everybody = (self.publisher, *(viewer.client for viewer in self.viewers))
            for client in everybody:
                client.keep_alive()
                await asyncio.sleep(_KEEP_ALIVE_S / len(everybody))


_numbers = itertools.count()


def _stamped(packet: bytes) -> bytes:
    """The packet with a number of its own at the end, where no relay changes anything."""
    return packet[:-_STAMP_BYTES] + next(_numbers).to_bytes(_STAMP_BYTES)


async def _obey(http_port: int, origin_port: int, pipe: Connection) -> None:
    audience = Audience(http_port, origin_port)
    await audience.publish()
    jobs = [asyncio.create_task(work()) for work in (audience.keep_draining, audience.keep_reporting)]
    jobs.append(asyncio.create_task(audience.keep_alive()))
    while True:
        order, argument = await told(pipe)
        if order == "grow":
            pipe.send(("joined", await audience.grow(argument)))
        elif order == "stream":
            pipe.send(("streamed", await audience.stream(argument)))
        elif order == "rush":
            pipe.send(("rushed", await rush(audience, *argument)))
        elif order == "probe":
            pipe.send(("probed", await audience.probe(argument)))
        else:
            break
    for job in jobs:
        job.cancel()
    audience.doors.close()
    audience.origin_doors.close()


async def rush(audience: Audience, joins: int, per_s: float) -> list[float]:
    """While the publisher goes on, viewers join at this rate, whether those before them have arrived or not.

    Returns how long each took from its POST to its keys; for who could not it is infinite.
    """
    seconds = joins / per_s
    streaming = asyncio.create_task(send(audience.publisher, audience.source, round((seconds + 1) * FRAMES_PER_S)))
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def enter(index: int) -> float:
        viewer = Client(audience.certificate)
        await asyncio.sleep(max(0.0, start + index / per_s - loop.time()))
        before = loop.time()
        try:
            await audience.doors.enter(viewer, "whep")
        except (ConnectionError, EOFError, TimeoutError):
            return float("inf")
        took = loop.time() - before
        await viewer.close()  # which tells the server
        return took

    waits = await asyncio.gather(*map(enter, range(joins)))
    await streaming
    return list(waits)


def _run(http_port: int, origin_port: int, pipe: Connection) -> None:
    uvloop.run(_obey(http_port, origin_port, pipe))


class Orders:
    """The first process's end of the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def give(self, order: str, argument: Any = None) -> Any:
        """Give an order and wait for what came of it."""
        self._pipe.send((order, argument))
        return (await told(self._pipe))[1]


@contextmanager
def audience(http_port: int, origin_port: int | None = None) -> Iterator[Orders]:
    """Start the second process; it has published when it answers the first order. `origin_port` None: the same."""
    ours, theirs = multiprocessing.Pipe()
    ports = (http_port, http_port if origin_port is None else origin_port)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(*ports, theirs))
    process.start()
    try:
        yield Orders(ours)
        ours.send(("stop", None))
        process.join(10)
    finally:
        process.kill()
