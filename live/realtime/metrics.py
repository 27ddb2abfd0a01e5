"""Prometheus figures of the realtime part, read from plain integers when somebody scrapes."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from live.core.collector import Family, counters, histogram
from live.realtime import closes
from live.realtime.connections import Connections
from live.realtime.figures import KINDS
from live.realtime.guard import GuardedProtocol
from live.realtime.hub import Hub
from live.realtime.outlet import Outlet


class RealtimeCollector(Collector):
    """See the module."""

    def __init__(self, connections: Connections, hub: Hub, outlet: Outlet) -> None:
        self._connections = connections
        self._hub = hub
        self._outlet = outlet

    def collect(self) -> Iterator[Family]:
        """The families; called by the registry."""
        yield from self._sockets()
        yield from self._commands()
        yield from self._fan_out()

    def _sockets(self) -> Iterator[Family]:
        connections = self._connections
        yield GaugeMetricFamily("showcart_sockets", "Open WebSockets and streams", len(connections))
        yield GaugeMetricFamily("showcart_streams", "Streams of events among them", connections.streams)
        yield CounterMetricFamily("showcart_sockets_accepted", "WebSockets and streams accepted", connections.accepted)
        closed = CounterMetricFamily("showcart_sockets_closed", "WebSockets and streams closed by us", labels=["code"])
        for code, number in sorted(closes.sent.items()):
            closed.add_metric([str(code)], number)
        yield closed
        joins = CounterMetricFamily("showcart_joins", "Viewers put in step, by what they got", labels=["how"])
        joins.add_metric(["recovered"], connections.recovery.recovered)
        joins.add_metric(["not_recovered"], connections.recovery.not_recovered)
        joins.add_metric(["new"], connections.recovery.new)
        yield joins
        yield counters(
            "showcart_joins_refused", "Viewers who were not put in step, by why", "reason", connections.turned_away
        )
        refused = connections.turned_back | connections.admission.refused
        yield counters("showcart_handshakes_refused", "Sockets that were not let in, by why", "reason", refused)
        yield counters(
            "showcart_sockets_cut", "Sockets ended for what their peer did, by what", "reason", GuardedProtocol.ended
        )
        yield CounterMetricFamily(
            "showcart_pongs_skipped", "Pings of peers that do not read, not answered", GuardedProtocol.pongs_skipped
        )

    def _commands(self) -> Iterator[Family]:
        commands = self._connections.commands
        done = CounterMetricFamily(
            "showcart_commands", "Commands of viewers and staff, by what became of them", labels=["command", "outcome"]
        )
        for (name, outcome), number in sorted(commands.outcomes.items()):
            done.add_metric([name, outcome], number)
        yield done
        yield histogram("showcart_command_seconds", "From a command's receipt to its reply", commands.seconds)
        yield CounterMetricFamily(
            "showcart_messages_throttled", "Messages refused because they came too fast", self._connections.throttled
        )

    def _fan_out(self) -> Iterator[Family]:
        channels, figures = self._hub.channels(), self._hub.figures
        yield GaugeMetricFamily("showcart_channels", "Shows with viewers on this worker", len(channels))
        yield GaugeMetricFamily(
            "showcart_subscriptions", "Sockets that are in a show's audience", sum(len(c.viewers) for c in channels)
        )
        yield GaugeMetricFamily(
            "showcart_slow_viewers", "Viewers that are skipped until they drain", sum(len(c.slow) for c in channels)
        )
        yield CounterMetricFamily(
            "showcart_slow_viewers_closed", "Viewers closed because they did not drain", self._hub.closed_slow
        )
        yield CounterMetricFamily("showcart_viewers_broken", "Viewers that writing to failed", figures.broken)
        events = CounterMetricFamily("showcart_events", "Events times viewers", labels=["what"])
        events.add_metric(["delivered"], figures.events)
        events.add_metric(["skipped"], figures.skipped)
        yield events
        frames = CounterMetricFamily("showcart_frames", "Frames written, by what they hold", labels=["kind"])
        octets = CounterMetricFamily("showcart_frame_bytes", "Bytes of the frames written", labels=["kind"])
        for kind in KINDS:
            frames.add_metric([kind], figures.frames[kind])
            octets.add_metric([kind], figures.bytes[kind])
        yield frames
        yield octets
        yield CounterMetricFamily("showcart_rounds", "Walks through a show's audience", figures.rounds)
        yield histogram(
            "showcart_broadcast_seconds", "From the first viewer written to the last of a show", figures.broadcast_s
        )
        yield CounterMetricFamily("showcart_fanout_slices", "Times the loop was held for writing", figures.slices)
        yield GaugeMetricFamily(
            "showcart_fanout_slice_max_seconds", "The longest that writing ever held the loop", figures.slice_s_max
        )
        yield histogram(
            "showcart_bus_lag_seconds", "From an event's publication to its arrival here", figures.bus_lag_s
        )
        yield CounterMetricFamily("showcart_repairs", "Gaps in what the bus handed over", self._hub.repairs)
        yield CounterMetricFamily(
            "showcart_events_unpublished", "Events that viewers got by snapshot instead", self._outlet.lost_events
        )
        yield CounterMetricFamily(
            "showcart_unclean_ends",
            "Workers that ended uncleanly, after which all viewers took a snapshot",
            self._outlet.unclean_ends,
        )
