"""Prometheus figures of the media part, read from plain integers when somebody scrapes: the hot path pays nothing."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


class MediaCollector(Collector):
    """`sessions` gives the number of sessions by (role, state)."""

    def __init__(
        self,
        counts: Counter[str],
        ended: Mapping[tuple[str, str], int],
        sessions: Callable[[], Mapping[tuple[str, str], int]],
    ) -> None:
        self._counts = counts
        self._ended = ended
        self._sessions = sessions

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
