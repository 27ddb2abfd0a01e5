"""One publisher's packets: sorted into streams, checked, stripped and handed on; feedback goes back to the host.

    packet ─▶ Router (which stream) ─▶ Incoming (new? what is missing?) ─▶ sinks
                                              │
    host ◀─ NACK, PLI, receiver report, REMB ─┘ ◀─ Estimate (what the path carries)

Feedback matters as much as the packets: without receiver reports and REMB a browser stays at its lowest bitrate and
sends no upper layers, and without NACK and PLI one lost packet freezes every viewer until the host's next keyframe,
which may be minutes away. All of it goes on while nobody takes the packets, so a publisher who stands by is warm.

Packets are handed on as they come, each number once and at most REORDER_WINDOW_PACKETS late; putting them in order is
for the viewers' jitter buffers, which wait as long as each of them needs.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from live.core.limits import MEDIA_REPORT_INTERVAL_S, REMB_HURRY_S, REMB_INTERVAL_S, RTP_PROTECT_BYTES_MAX, RTT_S_MAX
from stream.feed import AUDIO, Arrival, Feed, LayerState, Sink
from stream.upstream.estimate import Estimate
from stream.upstream.incoming import Incoming
from stream.upstream.losses import RoundTrip
from stream.upstream.routes import Router
from stream.wire import rtcp, sdp, xr
from stream.wire.rtp import HEADER_BYTES, Header, PacketError, extension, parse, plain, unwrap_rtx
from stream.wire.sdp import Codec


class Host(Protocol):
    """The way back to the publisher; a `transport.peers.Peer`."""

    def send_rtcp(self, packet: bytes) -> bool: ...


class Ingest:
    """The publisher's side of a show, a `stream.feed.Source`. `now` gives monotonic seconds."""

    def __init__(
        self, peer: Host, offer: sdp.Offer, codecs: dict[str, Codec], counts: Counter[str], now: Callable[[], float]
    ) -> None:
        """`codecs` are what was taken up of the `offer` (`sdp.published`)."""
        self.feed = Feed(codecs, sdp.layers(offer) if "video" in codecs else ("",))
        self.sinks: tuple[Sink, ...] = ()
        self.last_packet_at: float | None = None
        self._peer = peer
        self._counts = counts
        self._now = now
        self._ssrc = secrets.randbits(32)
        begin = now()
        self._streams: dict[int, Incoming] = {}
        if "audio" in codecs:
            self._streams[AUDIO] = Incoming(AUDIO, "", codecs["audio"], begin)
        self._layers = tuple(
            Incoming(layer, rid, codecs["video"], begin)
            for layer, rid in enumerate(self.feed.rids)
            if "video" in codecs
        )
        self._streams |= {stream.layer: stream for stream in self._layers}
        self._router = _router(offer, codecs, self.feed.rids)
        self._send_time_ids = _send_time_ids(offer, codecs)
        self._trip = RoundTrip()
        self._estimate = Estimate(simulcast=len(self._layers) > 1)
        self._report_at = float("-inf")
        self._reported = (0, begin)
        self._measure_at = begin + MEDIA_REPORT_INTERVAL_S
        self._octets = 0
        self._nacks = self._plis = 0

    # --- packets ------------------------------------------------------------------------------------------------

    def received_rtp(self, packet: bytes) -> None:
        """Take one authenticated RTP packet of the publisher."""
        try:
            header = parse(packet)
        except PacketError:
            self._counts["rtp_malformed"] += 1
            return
        now = self.last_packet_at = self._now()
        route = self._router.find(header)
        if route is None:
            learnt = self._router.learn(packet, header)
            if isinstance(learnt, str):
                self._counts[learnt] += 1
                return
            route = learnt
            if not route.repair:
                self._begin(self._streams[route.layer], header.ssrc)
        self._octets += len(packet)
        hurry = False
        send_time_id = self._send_time_ids.get(header.payload_type)
        if send_time_id is not None and (sent := extension(packet, header, send_time_id)) is not None:
            hurry = self._estimate.received(int.from_bytes(sent[:3]), len(packet), now)
        stream = self._streams[route.layer]
        if route.repair:
            self._repair(stream, packet, header, now)
        else:
            self._take(stream, packet, header, now)
        if now >= self._report_at or (hurry and now >= self._reported[1] + REMB_HURRY_S):
            # With the first packet at once: a browser jumps to the first REMB's rate instead of creeping up to it.
            self._report(now)

    def _repair(self, stream: Incoming, packet: bytes, header: Header, now: float) -> None:
        """Take a retransmission (RFC 4588), or a probe of the path that looks like one."""
        original = None
        if stream.ssrc is not None:
            original = unwrap_rtx(packet, header, payload_type=stream.codec.payload_type, ssrc=stream.ssrc)
        if original is None:
            self._counts["rtx_empty"] += 1
            return
        self._counts["rtx_received"] += 1
        self._take(stream, original, parse(original), now, repair=True)

    def _take(self, stream: Incoming, packet: bytes, header: Header, now: float, *, repair: bool = False) -> None:
        sequence = stream.take(header.sequence, now, self._trip, repair=repair)
        if sequence == "rtp_resync":
            self._counts["rtp_resync"] += 1
            self._begin(stream, header.ssrc)
            sequence = stream.take(header.sequence, now, self._trip, repair=repair)
        if isinstance(sequence, str):
            self._counts[sequence] += 1
            return
        opens_keyframe, changed = stream.carried(sequence, header, packet, now, repair=repair)
        if changed and stream.layer != AUDIO:
            self._describe()
        if HEADER_BYTES + len(packet) - header.payload > RTP_PROTECT_BYTES_MAX:
            self._counts["rtp_too_large"] += 1
        elif self.sinks:
            arrival = Arrival(stream.layer, sequence, header.timestamp, plain(packet, header), opens_keyframe)
            for sink in self.sinks:
                sink.push(arrival)
        if now >= stream.losses.due_at:
            self._ask_again(stream, now)
        if stream.keyframes.wanted:
            self._ask_for_keyframe(stream, now)

    def _begin(self, stream: Incoming, ssrc: int) -> None:
        if stream.restart(ssrc):
            self._counts["rtp_new_ssrc"] += 1
            for sink in self.sinks:
                sink.restarted(stream.layer)

    def received_rtcp(self, packet: bytes) -> None:
        """Take one authenticated RTCP compound of the publisher."""
        try:
            packets = rtcp.parse(packet)
        except PacketError:
            self._counts["rtcp_malformed"] += 1
            return
        trip_s = xr.round_trip(packet, self._ssrc, self._now())
        if trip_s is not None and 0.0 <= trip_s <= RTT_S_MAX:
            self._trip.measured(trip_s)
        for report in packets:
            if isinstance(report, rtcp.SenderReport):
                for stream in self._streams.values():
                    if stream.ssrc == report.ssrc:
                        self._tie(stream, report)

    def _tie(self, stream: Incoming, report: rtcp.SenderReport) -> None:
        stream.reception.sender_report(report.ntp, self._now())
        stream.tie = (report.ntp, report.timestamp)
        for sink in self.sinks:
            sink.sender_report(stream.layer, report.ntp, report.timestamp)

    # --- who takes them -----------------------------------------------------------------------------------------

    def attach(self, sinks: tuple[Sink, ...]) -> None:
        """Hand everything to these from now on; the new ones hear at once how the layers arrive and of their clocks.

        No packets are repeated, so a keyframe of each layer is asked for when there is a new one.
        """
        new = [sink for sink in sinks if all(sink is not known for known in self.sinks)]
        self.sinks = sinks
        for sink in new:
            sink.described(self._states())
            for stream in self._streams.values():
                if stream.tie is not None:
                    sink.sender_report(stream.layer, *stream.tie)
        if new:
            self.warm()

    def warm(self) -> None:
        """Have a keyframe of every layer soon: somebody is about to need them."""
        for stream in self._layers:
            self.want_keyframe(stream.layer)

    def want_keyframe(self, layer: int) -> None:
        """A viewer needs a new keyframe of this layer; the host hears of it at most once per PLI interval."""
        if 0 <= layer < len(self._layers):
            stream = self._layers[layer]
            stream.want_keyframe()
            self._ask_for_keyframe(stream, self._now())

    def demand(self, layers: frozenset[int]) -> None:
        """Nothing to do: the host sends all its layers, whoever watches."""

    # --- feedback -----------------------------------------------------------------------------------------------

    def poll(self, now: float) -> None:
        """Send the feedback that is due; to be called every MEDIA_TICK_S, with or without sinks."""
        changed = False
        for stream in self._streams.values():
            changed |= stream.fell_silent(now) and stream.layer != AUDIO
            if now >= stream.losses.due_at:
                self._ask_again(stream, now)
            self._ask_for_keyframe(stream, now)
        if now >= self._report_at:
            self._report(now)
        if now >= self._measure_at:
            self._measure_at = now + MEDIA_REPORT_INTERVAL_S
            for stream in self._streams.values():
                stream.measure(now)
            changed = True
        if changed:
            self._describe()

    def _ask_again(self, stream: Incoming, now: float) -> None:
        numbers = tuple(sequence & 0xFFFF for sequence in stream.missing(now, self._trip))
        if numbers:
            assert stream.ssrc is not None
            self._nacks += len(numbers)
            self._counts["nack_upstream"] += len(numbers)
            self._send(rtcp.Nack(self._ssrc, stream.ssrc, numbers))

    def _ask_for_keyframe(self, stream: Incoming, now: float) -> None:
        # A layer that is not sent begins with a keyframe by itself; before its first packet we know no SSRC to name.
        if stream.active and stream.ssrc is not None and stream.keyframes.due(now):
            self._plis += 1
            self._counts["pli_upstream"] += 1
            self._send(rtcp.Pli(self._ssrc, stream.ssrc))

    def _report(self, now: float) -> None:
        begun = [stream for stream in self._streams.values() if stream.ssrc is not None]
        if not begun:
            return
        self._report_at = now + REMB_INTERVAL_S
        blocks = tuple(stream.reception.report(now) for stream in begun)
        before, since = self._reported
        self._reported = (self._octets, now)
        elapsed = max(now - since, REMB_HURRY_S)
        received = (self._octets - before) * 8 / elapsed
        lost = sum(stream.reception.recent[0] for stream in begun)
        expected = sum(stream.reception.recent[1] for stream in begun)
        bitrate = self._estimate.update(lost / max(expected, 1), received, elapsed, self._trip.seconds)
        ssrcs = tuple(block.ssrc for block in blocks)
        remb = rtcp.Remb(self._ssrc, bitrate, ssrcs)
        reports = rtcp.build((rtcp.ReceiverReport(self._ssrc, blocks), remb))
        self._peer.send_rtcp(reports + xr.receiver_time(self._ssrc, now))

    def _send(self, packet: rtcp.Packet) -> None:
        self._peer.send_rtcp(rtcp.build((rtcp.ReceiverReport(self._ssrc), packet)))

    # --- what is known ------------------------------------------------------------------------------------------

    def _states(self) -> tuple[LayerState, ...]:
        return tuple(stream.state for stream in self._layers)

    def _describe(self) -> None:
        states = self._states()
        for sink in self.sinks:
            sink.described(states)

    def statistics(self) -> dict[str, Any]:
        """How the publisher's streams arrived in the last second.

        `bitrate_bps` and `loss` (0 to 1, before retransmission) are of all streams together, `loss_repaired` is what
        retransmission left of it; `fps` and `jitter_ms` are those of the fastest layer and the worst stream. `nacks`
        (packets asked for) and `plis` count from the beginning; `remb_bps` is what the host was last told;
        `host_rtt_ms` None is not known yet, `codec` None is no video. `layers` has the same for each layer, in the
        order of its RIDs; `width` and `height` 0 are not known yet.
        """
        streams = list(self._streams.values())
        video = self.feed.codecs.get("video")
        expected = sum(stream.figures.expected for stream in streams)
        rtt_s = self._trip.seconds
        jitters_s = [stream.reception.jitter_s for stream in streams if stream.active]
        return {
            "bitrate_bps": sum(stream.figures.bits_per_s for stream in streams),
            "fps": max((stream.figures.fps for stream in self._layers), default=0.0),
            "loss": _share((stream.figures.lost for stream in streams), expected),
            "loss_repaired": _share((stream.figures.gone for stream in streams), expected),
            "codec": None if video is None else video.name,
            "jitter_ms": round(max(jitters_s, default=0.0) * 1000, 1),
            "host_rtt_ms": None if rtt_s is None else round(rtt_s * 1000, 1),
            "nacks": self._nacks,
            "plis": self._plis,
            "remb_bps": self._estimate.bits_per_s,
            "layers": [_layer(stream) for stream in self._layers],
        }


def _layer(stream: Incoming) -> dict[str, Any]:
    figures, (width, height) = stream.figures, stream.size
    return {
        "rid": stream.rid,
        "bitrate_bps": figures.bits_per_s,
        "fps": figures.fps,
        "width": width,
        "height": height,
        "loss": _share((figures.lost,), figures.expected),
        "loss_repaired": _share((figures.gone,), figures.expected),
    }


def _share(parts: Iterable[int], whole: int) -> float:
    return round(min(1.0, sum(parts) / max(whole, 1)), 4)


def _router(offer: sdp.Offer, codecs: dict[str, Codec], rids: tuple[str, ...]) -> Router:
    section = offer.section("video")
    if section is None:
        return Router(codecs, rids)
    repairs = {section.rtx_ssrc: section.ssrc} if section.rtx_ssrc is not None and section.ssrc is not None else {}
    return Router(
        codecs,
        rids,
        rid_id=section.extensions.get(sdp.RTP_STREAM_ID),
        repaired_id=section.extensions.get(sdp.REPAIRED_RTP_STREAM_ID),
        repairs=repairs,
    )


def _send_time_ids(offer: sdp.Offer, codecs: dict[str, Codec]) -> dict[int, int]:
    """By payload type the number of the extension that says when a packet was sent; without those that have none."""
    found = {}
    for kind, codec in codecs.items():
        section = offer.section(kind)
        identifier = section.extensions.get(sdp.ABS_SEND_TIME) if section is not None else None
        for number in (codec.payload_type, codec.rtx):
            if identifier is not None and number is not None:
                found[number] = identifier
    return found
