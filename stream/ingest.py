"""One publisher's packets: checked, counted, stripped and handed to the relay; feedback goes back to the host.

Feedback matters as much as the packets: without receiver reports and REMB a browser stays at its lowest bitrate, and
without NACK and PLI one lost packet freezes every viewer until the host's next keyframe, which may be minutes away.
"""

import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

from live.core.limits import MEDIA_REPORT_INTERVAL_S, REORDER_WINDOW_PACKETS, RTP_PROTECT_BYTES_MAX
from stream import rtcp
from stream.peers import Peer
from stream.reception import KeyframeRequests, LossTracker, RateControl, Reception
from stream.relay import Relay
from stream.rtp import (
    HEADER_BYTES,
    PacketError,
    Unwrapper,
    opens_h264_keyframe,
    opens_vp8_keyframe,
    parse,
)
from stream.sdp import Codec

_OPENS_KEYFRAME: dict[str, Callable[[bytes, int, int], bool]] = {
    "h264": opens_h264_keyframe,
    "vp8": opens_vp8_keyframe,
}


class _Track:
    """One stream of the publisher; its numbering begins anew when the SSRC changes."""

    def __init__(self, kind: str, codec: Codec) -> None:
        self.kind = kind
        self.codec = codec
        self.video = kind == "video"
        self.opens_keyframe = _OPENS_KEYFRAME.get(codec.name)
        self.restart(0)

    def restart(self, ssrc: int) -> None:
        self.unwrapper = Unwrapper()
        self.losses = LossTracker()
        self.reception = Reception(ssrc, self.codec.clock_rate)
        self.highest: int | None = None
        self.reported = (0, 0)  # octets and frames at the last statistics


class Ingest:
    """The publisher's side of a show. `now` gives monotonic seconds."""

    def __init__(
        self, peer: Peer, codecs: dict[str, Codec], relay: Relay, counts: Counter[str], now: Callable[[], float]
    ) -> None:
        self._peer = peer
        self._relay = relay
        self._counts = counts
        self._now = now
        self._ssrc = secrets.randbits(32)
        self._tracks = {codec.payload_type: _Track(kind, codec) for kind, codec in codecs.items()}
        self._keyframes = KeyframeRequests()
        self._rate = RateControl()
        self._report_at = float("-inf")
        self._reported_octets = (0, self._now())
        self._statistics_at = self._now()
        self._loss = 0.0

    def received_rtp(self, packet: bytes) -> None:
        """Take one authenticated RTP packet of the publisher."""
        try:
            header = parse(packet)
        except PacketError:
            self._counts["rtp_malformed"] += 1
            return
        track = self._tracks.get(header.payload_type)
        if track is None:
            self._counts["rtp_unknown_payload_type"] += 1
            return
        now = self._now()
        if header.ssrc != track.reception.ssrc or track.highest is None:
            self._restart(track, header.ssrc)
        sequence = track.unwrapper.extend(header.sequence)
        if track.highest is not None and sequence < track.highest - REORDER_WINDOW_PACKETS:
            self._counts["rtp_too_late"] += 1
            return
        track.highest = sequence if track.highest is None else max(sequence, track.highest)
        track.reception.received(sequence, header.timestamp, len(packet), frame_end=header.marker, now=now)
        opens_keyframe = False
        if track.video:
            if not track.losses.received(sequence, now):
                self.want_keyframe()
            if track.opens_keyframe is not None and track.opens_keyframe(packet, header.payload, header.end):
                opens_keyframe = True
                self._keyframes.arrived()
        if HEADER_BYTES + len(packet) - header.payload > RTP_PROTECT_BYTES_MAX:
            self._counts["rtp_too_large"] += 1
            return
        self._relay.push(track.kind, sequence, header, packet, opens_keyframe)
        if now >= self._report_at:
            # With the first packet at once: a browser jumps to the first REMB's rate instead of creeping up to it.
            self._report(now)

    def _restart(self, track: _Track, ssrc: int) -> None:
        if track.highest is not None:
            self._counts["rtp_new_ssrc"] += 1
            self._relay.new_ssrc(track.kind)
        track.restart(ssrc)
        if track.video:
            self.want_keyframe()

    def received_rtcp(self, packet: bytes) -> None:
        """Take one authenticated RTCP compound of the publisher."""
        try:
            packets = rtcp.parse(packet)
        except PacketError:
            self._counts["rtcp_malformed"] += 1
            return
        for report in packets:
            if isinstance(report, rtcp.SenderReport):
                for track in self._tracks.values():
                    if track.reception.ssrc == report.ssrc:
                        track.reception.sender_report(report.ntp, self._now())
                        self._relay.sender_report(track.kind, report.ntp, report.timestamp)

    def want_keyframe(self) -> None:
        """A viewer, or a loss, needs a new keyframe; the host hears of it at most once per PLI interval."""
        self._keyframes.want()
        self._ask_for_keyframe(self._now())

    def poll(self, now: float) -> None:
        """Send the feedback that is due; to be called every MEDIA_TICK_S."""
        self._ask_for_keyframe(now)
        for track in self._tracks.values():
            if track.losses.pending:
                lost, given_up = track.losses.due(now)
                if lost:
                    self._counts["nack_upstream"] += len(lost)
                    numbers = tuple(sequence & 0xFFFF for sequence in lost)
                    self._send(rtcp.Nack(self._ssrc, track.reception.ssrc, numbers))
                if given_up:
                    self.want_keyframe()
        if now >= self._report_at:
            self._report(now)

    def _ask_for_keyframe(self, now: float) -> None:
        for track in self._tracks.values():
            # Before the first packet we know no SSRC to name; the first picture is a keyframe anyway.
            if track.video and track.highest is not None and self._keyframes.due(now):
                self._counts["pli_upstream"] += 1
                self._send(rtcp.Pli(self._ssrc, track.reception.ssrc))

    def _report(self, now: float) -> None:
        receptions = [track.reception for track in self._tracks.values() if track.highest is not None]
        if not receptions:
            return
        self._report_at = now + MEDIA_REPORT_INTERVAL_S
        blocks = tuple(reception.report(now) for reception in receptions)
        octets, (before, since) = sum(reception.octets for reception in receptions), self._reported_octets
        self._reported_octets = (octets, now)
        received = (octets - before) * 8 / max(now - since, MEDIA_REPORT_INTERVAL_S / 2)
        self._loss = max(block.fraction_lost for block in blocks) / 256
        bitrate = self._rate.update(self._loss, received)
        remb = rtcp.Remb(self._ssrc, bitrate, tuple(reception.ssrc for reception in receptions))
        self._peer.send_rtcp(rtcp.build((rtcp.ReceiverReport(self._ssrc, blocks), remb)))

    def _send(self, packet: rtcp.Packet) -> None:
        self._peer.send_rtcp(rtcp.build((rtcp.ReceiverReport(self._ssrc), packet)))

    def statistics(self) -> dict[str, Any]:
        """What arrived since the last call: `bitrate_bps`, `fps`, `loss` (0 to 1) and the video's `codec` (or None)."""
        now = self._now()
        elapsed = max(now - self._statistics_at, 0.001)
        self._statistics_at = now
        octets, frames, codec = 0, 0, None
        for track in self._tracks.values():
            before = track.reported
            track.reported = (track.reception.octets, track.reception.frames)
            octets += track.reported[0] - before[0]
            if track.video:
                frames += track.reported[1] - before[1]
                codec = track.codec.name
        return {
            "bitrate_bps": round(octets * 8 / elapsed),
            "fps": round(frames / elapsed, 1),
            "loss": round(self._loss, 4),
            "codec": codec,
        }
