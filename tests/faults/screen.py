"""A viewer that behaves like a browser and decodes nothing: it asks again for losses, reports, and counts pictures.

A picture is shown when all its packets have come and the picture before it was shown, or when it is a keyframe. What
a browser's receiver does with REMB (delay-based estimate from the arrival of frames) is aiortc's implementation of the
same algorithm. Packets are H.264 in shape: the first payload byte says whether a keyframe begins.
"""

import asyncio
import itertools
from collections.abc import Iterable

from aiortc.rate import RemoteBitrateEstimator

from loadtests.media.client import Client
from loadtests.media.source import FRAMES_PER_S
from stream.upstream.reception import Reception
from stream.wire import rtcp
from stream.wire.payloads import opens_h264_keyframe
from stream.wire.rtp import Unwrapper, parse, unwrap_rtx
from tests.stalls import Stalls

_NACK_INTERVAL_S = 0.1  # Chromium asks again after a round trip, 100 ms before it knows one
_NACK_ATTEMPTS_MAX = 10
_REPORT_INTERVAL_S = 0.5
_OLD_PACKETS = 600
_PICTURE_TICKS = 90_000 // FRAMES_PER_S


class Screen:
    """`client` is connected; give `take_rtp` and `take_rtcp` to it as its callbacks."""

    def __init__(self, client: Client, *, video: int, rtx: int | None = None) -> None:
        """`video` and `rtx` are payload types; `rtx` None: retransmissions come in the stream itself."""
        self.shown: list[float] = []  # when each picture was shown ...
        self.pictures: list[int] = []  # ... and its timestamp
        self.sizes: list[tuple[float, int]] = []  # arrival and bytes of each video packet
        self.duplicates = self.nacked = self.recovered = 0
        self.remb: int | None = None
        self._stalls = Stalls()
        self._client = client
        self._video, self._rtx = video, rtx
        self._loop = asyncio.get_running_loop()
        self._unwrapper = Unwrapper()
        self._packets: dict[int, tuple[int, bool, bool]] = {}  # timestamp, marker, opens a keyframe
        self._next: int | None = None  # the first packet that has not been shown
        self._highest = -1
        self._missing: dict[int, tuple[float, int]] = {}
        self._ssrc = 0
        self._estimator = RemoteBitrateEstimator()
        self._reception: Reception | None = None

    async def watch(self) -> None:
        """Ask and report until cancelled."""
        reported = self._loop.time()
        while True:
            now = await self._stalls.tick()
            self._ask(now)
            if now - reported >= _REPORT_INTERVAL_S:
                reported = now
                self._report(now)

    def take_rtp(self, packet: bytes) -> None:
        header = parse(packet)
        if header.payload_type == self._rtx:
            original = unwrap_rtx(packet, header, payload_type=self._video, ssrc=self._ssrc)
            if original is None:
                return
            packet, header = original, parse(original)
        elif header.payload_type != self._video:
            return
        now = self._loop.time()
        self._ssrc = header.ssrc
        sequence = self._unwrapper.extend(header.sequence)
        if self._reception is None:
            self._reception = Reception(header.ssrc, 90_000)
        self.sizes.append((now, len(packet)))
        again = sequence in self._packets or (self._next is not None and sequence < self._next)
        if again:
            self.duplicates += 1
            return
        self._reception.received(sequence, header.timestamp, now)
        sent_at = header.timestamp * (1 << 18) // 90_000 & 0xFFFFFF
        if estimate := self._estimator.add(
            arrival_time_ms=round(now * 1000), abs_send_time=sent_at, payload_size=len(packet), ssrc=header.ssrc
        ):
            self.remb = estimate[0]
        self._note(sequence, now)
        opens = opens_h264_keyframe(packet, header.payload, header.end)
        self._packets[sequence] = (header.timestamp, header.marker, opens)
        self._show(now)

    def take_rtcp(self, compound: bytes) -> None:
        for packet in rtcp.parse(compound):
            if isinstance(packet, rtcp.SenderReport) and self._reception is not None and packet.ssrc == self._ssrc:
                self._reception.sender_report(packet.ntp, self._loop.time())

    def lost(self, since: float, until: float) -> tuple[int, int]:
        """How many pictures were never shown, and how many should have been, between two times of the loop."""
        within = [picture for at, picture in zip(self.shown, self.pictures, strict=True) if since <= at <= until]
        due = round(((within[-1] - within[0]) & 0xFFFFFFFF) / _PICTURE_TICKS) + 1 if within else 0
        return due - len(within), due

    def freezes(self, since: float, until: float) -> float:
        """The longest time without a new picture, in seconds.

        The time in which this process wanted to go on and did not get a processor is not counted: camera, server,
        network and screen stood still together then. The time in which it worked is.
        """
        times = [since, *(at for at in self.shown if since <= at <= until), until]
        return max(
            later - earlier - self._stalls.stood_s(earlier, later) for earlier, later in itertools.pairwise(times)
        )

    def bits_per_s(self, since: float, until: float) -> float:
        """The video's rate between two times of the loop."""
        return sum(size for at, size in self.sizes if since <= at < until) * 8 / (until - since)

    def _note(self, sequence: int, now: float) -> None:
        if self._missing.pop(sequence, None) is not None:
            self.recovered += 1
        if self._highest >= 0:
            for lost in range(max(self._highest + 1, sequence - _OLD_PACKETS), sequence):
                self._missing[lost] = (now, 0)
        self._highest = max(self._highest, sequence)

    def _show(self, now: float) -> None:
        """Show every picture that is complete and follows the one before, else begin at a complete keyframe."""
        while True:
            end = None if self._next is None else self._end_of_picture(self._next)
            if self._next is None or end is None:
                before = self._next
                self._jump()
                if self._next == before:
                    return
                continue
            self.shown.append(now)
            self.pictures.append(self._packets[self._next][0])
            for sequence in range(self._next, end + 1):
                del self._packets[sequence]
            self._next = end + 1

    def _end_of_picture(self, start: int) -> int | None:
        sequence = start
        while (found := self._packets.get(sequence)) is not None:
            if found[1]:
                return sequence
            sequence += 1
        return None

    def _jump(self) -> None:
        """Go on at the newest complete keyframe; what lies before it is never shown."""
        for sequence in sorted((number for number, packet in self._packets.items() if packet[2]), reverse=True):
            if self._end_of_picture(sequence) is not None:
                self._next = sequence
                self._drop(range(min(self._packets), sequence))
                self._missing = {lost: state for lost, state in self._missing.items() if lost >= sequence}
                return

    def _drop(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._packets.pop(number, None)

    def _ask(self, now: float) -> None:
        due = [lost for lost, (at, _) in self._missing.items() if now >= at]
        given_up = [lost for lost in due if self._missing[lost][1] >= _NACK_ATTEMPTS_MAX]
        for lost in given_up:
            del self._missing[lost]
        asked = tuple(lost for lost in due if lost in self._missing)
        for lost in asked:
            self._missing[lost] = (now + _NACK_INTERVAL_S, self._missing[lost][1] + 1)
        if asked:
            self.nacked += len(asked)
            self._send(rtcp.Nack(1, self._ssrc, tuple(lost & 0xFFFF for lost in sorted(asked))))
        if given_up:
            self._next = None
            self._jump()
            self._send(rtcp.Pli(1, self._ssrc))

    def _report(self, now: float) -> None:
        if self._reception is None:
            return
        packets: list[rtcp.Packet] = [rtcp.ReceiverReport(1, (self._reception.report(now),))]
        if self.remb is not None:
            packets.append(rtcp.Remb(1, self.remb, (self._ssrc,)))
        assert self._client.peer is not None
        self._client.peer.send_rtcp(rtcp.build(packets))

    def _send(self, packet: rtcp.Packet) -> None:
        assert self._client.peer is not None
        self._client.peer.send_rtcp(rtcp.build((rtcp.ReceiverReport(1), packet)))
