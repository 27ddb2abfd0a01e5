"""A host that encodes nothing: pictures in their rhythm, keyframes when asked, lost packets again.

Layers of `loadtests.media.source.Source`; retransmissions go out in the stream itself or, with `rtx`, wrapped.
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from loadtests.media.client import RTX_PAYLOAD_TYPES, Client
from loadtests.media.source import FRAMES_PER_S
from stream.wire import rtcp
from stream.wire.rtp import parse, wrap_rtx

_KEPT = 2000  # packets, for retransmission
_REPORT_FRAMES = 12
_NTP_EPOCH = 2_208_988_800


class Source(Protocol):
    """What is in front of the lens."""

    def frame(self) -> list[bytes]:
        """The packets of the next moment."""

    def asked(self, ssrcs: Iterable[int]) -> None:
        """Keyframes of these streams are wanted."""


class Camera:
    """`client` is connected and its `on_rtcp` is `take_rtcp`."""

    def __init__(self, client: Client, source: Source, *, rtx: bool = False, codec: str = "h264") -> None:
        self.frames = 0
        self.keyframes_asked = self.resent = 0
        self.remb: int | None = None
        self.silent = False  # the encoder runs on, and nothing leaves the machine
        self._client = client
        self._source = source
        self._rtx = RTX_PAYLOAD_TYPES[codec] if rtx else None
        self._kept: dict[tuple[int, int], bytes] = {}
        self._rtx_numbers: dict[int, int] = {}
        self._loop = asyncio.get_running_loop()

    async def shoot(self) -> None:
        """Send until cancelled."""
        start = self._loop.time()
        while True:
            await asyncio.sleep(max(0.0, start + self.frames / FRAMES_PER_S - self._loop.time()))
            packets = self._source.frame()
            self.frames += 1
            for packet in packets:
                header = parse(packet)
                self._kept[header.ssrc, header.sequence] = packet
                self._send(packet)
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
            if self.frames % _REPORT_FRAMES == 1:
                self._report(packets)

    def take_rtcp(self, compound: bytes) -> None:
        for packet in rtcp.parse(compound):
            match packet:
                case rtcp.Nack(media=ssrc, sequences=numbers):
                    for number in numbers:
                        self._again(ssrc, number)
                case rtcp.Pli(media=ssrc):
                    self.keyframes_asked += 1
                    self._source.asked([ssrc])
                case rtcp.Remb(bitrate=bitrate):
                    self.remb = bitrate
                case _:
                    pass

    def _again(self, ssrc: int, number: int) -> None:
        packet = self._kept.get((ssrc, number))
        if packet is None:
            return
        self.resent += 1
        if self._rtx is None:
            self._send(packet)
            return
        count = self._rtx_numbers[ssrc] = self._rtx_numbers.get(ssrc, 100) + 1
        self._send(wrap_rtx(packet, payload_type=self._rtx, sequence=count, ssrc=ssrc + 500))

    def _report(self, packets: list[bytes]) -> None:
        """One sender report for each stream: the timestamp of its first packet of this moment, now."""
        ntp = round((self._loop.time() + _NTP_EPOCH) * (1 << 32))
        for header in {header.ssrc: header for header in map(parse, reversed(packets))}.values():
            report = rtcp.SenderReport(header.ssrc, ntp, header.timestamp, self.frames, 0)
            if not self.silent and self._client.peer is not None:
                self._client.peer.send_rtcp(rtcp.build((report,)))

    def _send(self, packet: bytes) -> None:
        if not self.silent and self._client.peer is not None:
            self._client.peer.send_rtp(packet)
