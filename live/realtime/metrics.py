"""Prometheus figures of the realtime part, read from plain integers when somebody scrapes."""

from collections.abc import Iterator

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from live.realtime.connections import Connections
from live.realtime.hub import Hub
from live.realtime.outlet import Outlet


class RealtimeCollector(Collector):
    """See the module."""

    def __init__(self, connections: Connections, hub: Hub, outlet: Outlet) -> None:
        self._connections = connections
        self._hub = hub
        self._outlet = outlet

    def register(self, registry: CollectorRegistry) -> None:
        """Show the figures in `registry`."""
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """The families; called by the registry."""
        channels = self._hub.channels()
        yield GaugeMetricFamily("showcart_sockets", "Open WebSockets", len(self._connections))
        yield GaugeMetricFamily("showcart_channels", "Shows with viewers on this worker", len(channels))
        yield GaugeMetricFamily(
            "showcart_slow_viewers", "Viewers that are skipped until they drain", sum(len(c.slow) for c in channels)
        )
        yield CounterMetricFamily("showcart_sockets_accepted", "WebSockets accepted", self._connections.accepted)
        closed = CounterMetricFamily("showcart_sockets_closed", "WebSockets closed by us", labels=["code"])
        for code, number in sorted(self._connections.closes.items()):
            closed.add_metric([str(code)], number)
        yield closed
        joins = CounterMetricFamily("showcart_joins", "Viewers put in step, by what they got", labels=["how"])
        joins.add_metric(["recovered"], self._connections.recovery.recovered)
        joins.add_metric(["not_recovered"], self._connections.recovery.not_recovered)
        joins.add_metric(["new"], self._connections.recovery.new)
        yield joins
        figures = self._hub.figures()
        events = CounterMetricFamily("showcart_events", "Events times viewers", labels=["what"])
        events.add_metric(["delivered"], figures.delivered_events)
        events.add_metric(["skipped"], figures.skipped)
        yield events
        yield CounterMetricFamily("showcart_frames", "Frames with events written", figures.delivered)
        yield CounterMetricFamily("showcart_batches", "Batches of events", figures.batches)
        yield CounterMetricFamily("showcart_repairs", "Gaps in what the bus handed over", self._hub.repairs)
        yield CounterMetricFamily(
            "showcart_events_unpublished", "Events that viewers got by snapshot instead", self._outlet.lost_events
        )
