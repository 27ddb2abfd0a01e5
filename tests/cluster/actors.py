"""A host who sends frames for as long as he is there, and a viewer who remembers when what came."""

import asyncio
import contextlib
import struct
import time
from itertools import pairwise
from typing import Any

from live.core.tasks import end
from loadtests.media.client import PAYLOAD_TYPES, Client
from loadtests.media.source import FRAMES_PER_S, Source
from stream.wire import rtcp
from stream.wire.rtp import parse
from tests.stalls import Stalls
from tests.stream.conftest import BACKUP_KEY, KEY, House

_STAMP = struct.Struct("!Id")
VIDEO = {name: PAYLOAD_TYPES[name] for name in ("h264", "vp8")}


class Host:
    """Publishes to a house; each packet ends with the host's `number` and the time it left."""

    def __init__(self, number: int, rids: tuple[str, ...] = (), codec: str = "h264") -> None:
        self.number = number
        self.plis = 0
        self.sending = True
        self.rids = rids
        self.codec = codec
        self.source = Source(rids=rids, codec=codec)
        self.client = Client(on_rtcp=self._rtcp)
        self._task: asyncio.Task[None] | None = None
        self.address = ""

    async def publish(self, house: House, *, backup: bool = False) -> None:
        """Connect, and send from then on."""
        options: dict[str, Any] = {"rids": self.rids} if self.rids else {}
        offer = self.client.offer("sendonly", (self.codec, "opus"), **options)
        key = BACKUP_KEY if backup else KEY
        answer = await house.post("whip", offer, authorization=f"Bearer {key}")
        assert answer.status_code == 201, answer.text
        self.address = answer.headers["location"]
        await self.connect(answer.text)

    async def connect(self, answer: str) -> None:
        """Do as the server answered, and send from then on."""
        await self.client.connect(answer)
        self._task = asyncio.create_task(self._send())

    async def leave(self) -> None:
        """Stop without a word."""
        await end(self._task)
        await self.client.close()

    def _rtcp(self, data: bytes) -> None:
        for packet in rtcp.parse(data):
            if isinstance(packet, rtcp.Pli):
                self.plis += 1
                self.source.asked((packet.media,))

    async def _send(self) -> None:
        while True:
            peer = self.client.peer
            if self.sending and peer is not None:
                for packet in self.source.frame():
                    stamped = packet[: -_STAMP.size] + _STAMP.pack(self.number, time.monotonic())
                    peer.send_rtp(stamped)
            await asyncio.sleep(1 / FRAMES_PER_S)


class Viewer:
    """Watches in a house. `seen`: for each video packet the host's number, when it left, and when it came."""

    def __init__(self, codec: str = "h264") -> None:
        self.codec = codec
        self.packets: list[bytes] = []
        self.seen: list[tuple[int, float, float]] = []
        self.client = Client(on_rtp=self._rtp)
        self.address = ""
        self._stalls = Stalls()
        self._watching_time = asyncio.create_task(self._stalls.watch())

    async def watch(self, house: House) -> None:
        """Connect."""
        self.address = await house.enter(self.client, "whep", (self.codec, "opus"))

    async def leave(self) -> None:
        """Stop without a word."""
        await end(self._watching_time)
        await self.client.close()

    def _rtp(self, packet: bytes) -> None:
        if packet[1] & 0x7F == VIDEO[self.codec]:
            number, left = _STAMP.unpack(packet[-_STAMP.size :])
            self.packets.append(packet)
            self.seen.append((number, left, time.monotonic()))

    def ask_for_keyframe(self) -> None:
        assert self.client.peer is not None
        self.client.peer.send_rtcp(rtcp.build((rtcp.ReceiverReport(5), rtcp.Pli(5, parse(self.packets[-1]).ssrc))))

    def sees(self, number: int, *, since: float = 0.0) -> bool:
        """Whether the newest packet is of host `number`, and came after `since`."""
        return bool(self.seen) and self.seen[-1][0] == number and self.seen[-1][2] > since

    @property
    def unbroken(self) -> bool:
        """Whether all was one stream: one SSRC, and numbers without a hole; timestamps never go back."""
        headers = [parse(packet) for packet in self.packets]
        return len({header.ssrc for header in headers}) == 1 and all(
            (b.sequence - a.sequence) & 0xFFFF == 1 and (b.timestamp - a.timestamp) & 0xFFFFFFFF < 1 << 31
            for a, b in pairwise(headers)
        )

    def pause_s(self) -> float:
        """The longest time without a packet; that in which this process stood still is not of it."""
        return longest_s([came for _, _, came in self.seen], self._stalls)


def longest_s(times: list[float], stalls: Stalls) -> float:
    """The longest time between two of `times`, which are in order; 0: there are no two."""
    return max((b - a - stalls.stood_s(a, b) for a, b in pairwise(times)), default=0.0)


@contextlib.asynccontextmanager
async def leaving(*actors: Host | Viewer) -> Any:
    """They leave when the block ends."""
    try:
        yield
    finally:
        for actor in actors:
            await actor.leave()
