"""Prometheus figures of the media part, read from plain integers when somebody scrapes: the hot path pays nothing."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

# Member of a show's figures (`downstream.tally.VideoFigures`), or of its "audience" → name, help.
_HOST_GAUGES = {
    "bitrate_bps": ("ingest_bits_per_second", "What the publisher sends"),
    "fps": ("ingest_frames_per_second", "Pictures of the fastest layer"),
    "loss": ("ingest_loss_ratio", "Loss on the publisher's path, before retransmission"),
    "loss_repaired": ("ingest_loss_repaired_ratio", "Loss on the publisher's path that retransmission did not repair"),
    "jitter_ms": ("ingest_jitter_milliseconds", "Jitter of the publisher's worst stream"),
    "host_rtt_ms": ("ingest_round_trip_milliseconds", "Round trip to the publisher"),
    "remb_bps": ("ingest_allowed_bits_per_second", "What the publisher is told that its path carries"),
}
_HOST_COUNTERS = {
    "nacks": ("ingest_nacks", "Packets that the publisher was asked for again"),
    "plis": ("ingest_plis", "Keyframes that the publisher was asked for"),
}
_VIEWER_GAUGES = {
    "bitrate_bps": ("viewer_bits_per_second", "What all viewers are sent"),
    "loss": ("viewer_loss_ratio", "Mean of the loss that viewers report, before retransmission"),
    "loss_p95": ("viewer_loss_p95_ratio", "95th percentile of the loss that viewers report"),
    "rtt_ms": ("viewer_round_trip_milliseconds", "Median of the round trips to viewers"),
    "rtt_p95_ms": ("viewer_round_trip_p95_milliseconds", "95th percentile of the round trips to viewers"),
    "jitter_ms": ("viewer_jitter_milliseconds", "Median of the jitter that viewers report"),
    "audio_only": ("viewers_audio_only", "Viewers who are sent sound only"),
    "waiting": ("viewers_waiting", "Viewers who wait for their first picture"),
    "limited": ("viewers_limited", "Viewers whose path keeps them from a better layer"),
    "frozen": ("viewers_frozen", "Viewers who seem to have been without a picture for half a second"),
}
_VIEWER_COUNTERS = {
    "nacks": ("viewer_nacks", "Requests of viewers for packets"),
    "plis": ("viewer_plis", "Requests of viewers for keyframes"),
    "retransmitted": ("viewer_retransmitted", "Packets sent to viewers again"),
    "dropped": ("viewer_dropped", "Packets not sent to viewers whose path took no more"),
    "freezes": ("viewer_freezes", "How often a viewer seems to have been without a picture for half a second"),
}


class MediaCollector(Collector):
    """`sessions` gives the number of sessions by (role, state), `shows` the newest figures of each show on air."""

    def __init__(
        self,
        counts: Mapping[str, int],
        ended: Mapping[tuple[str, str], int],
        sessions: Callable[[], Mapping[tuple[str, str], int]],
        shows: Callable[[], Mapping[str, Mapping[str, Any]]],
    ) -> None:
        self._counts = counts
        self._ended = ended
        self._sessions = sessions
        self._shows = shows

    def register(self, registry: CollectorRegistry) -> None:
        """Show the figures in `registry`."""
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """The families; called by the registry."""
        sessions = GaugeMetricFamily(
            "showcart_media_sessions", "WHIP and WHEP sessions of this worker", labels=["role", "state"]
        )
        for (role, state), number in self._sessions().items():
            sessions.add_metric([role, state], number)
        yield sessions
        ended = CounterMetricFamily(
            "showcart_media_sessions_ended", "Sessions that are over, by why", labels=["role", "reason"]
        )
        for (role, reason), number in self._ended.items():
            ended.add_metric([role, reason], number)
        yield ended
        packets = CounterMetricFamily(
            "showcart_media_packets", "Packets sent, dropped, refused and asked for again", labels=["what"]
        )
        for what, number in self._counts.items():
            packets.add_metric([what], number)
        yield packets
        yield from self._of_shows()

    def _of_shows(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """A label per show on air, of which a worker has at most PUBLISHERS_MAX and SUBSCRIBERS_MAX together."""
        shows = dict(self._shows())
        audiences = {show: figures["audience"] for show, figures in shows.items()}
        for make, members, tables in (
            (GaugeMetricFamily, _HOST_GAUGES, shows),
            (CounterMetricFamily, _HOST_COUNTERS, shows),
            (GaugeMetricFamily, _VIEWER_GAUGES, audiences),
            (CounterMetricFamily, _VIEWER_COUNTERS, audiences),
        ):
            for member, (name, text) in members.items():
                family = make(f"showcart_media_{name}", text, labels=["show"])
                for show, table in tables.items():
                    if table.get(member) is not None:
                        family.add_metric([show], table[member])
                yield family
        layers = GaugeMetricFamily(
            "showcart_media_viewers", "Viewers by the layer they are sent", labels=["show", "rid"]
        )
        for show, table in audiences.items():
            for rid, number in table["layers"].items():
                layers.add_metric([show, rid], number)
        yield layers
