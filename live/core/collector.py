"""Prometheus figures of the kernel, read from plain integers when somebody scrapes: bus, database, lanes, refusals."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from live.core.buckets import Buckets
from live.core.bus import Bus
from live.core.database import Database
from live.core.departure import Departure
from live.core.health import state
from live.core.http import BoundedProtocol
from live.core.lanes import LaneFigures
from live.core.limits import READY_LOOK_S
from live.core.rest import refused

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


def histogram(name: str, text: str, values: Buckets) -> HistogramMetricFamily:
    """A family of `values` without labels."""
    return HistogramMetricFamily(name, text, buckets=values.cumulative(), sum_value=values.sum)


def histograms(name: str, text: str, label: str, values: Mapping[str, Buckets]) -> HistogramMetricFamily:
    """A family of `values` by `label`."""
    family = HistogramMetricFamily(name, text, labels=[label])
    for key, each in values.items():
        family.add_metric([key], each.cumulative(), each.sum)
    return family


def counters(name: str, text: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    """A family of `values` by `label`, whose values are few."""
    family = CounterMetricFamily(name, text, labels=[label])
    for key, each in sorted(values.items()):
        family.add_metric([key], each)
    return family


def gauges(name: str, text: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    """As `counters`."""
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, each in sorted(values.items()):
        family.add_metric([key], each)
    return family


class Counted(Protocol):
    """A lane, or some of one kind."""

    @property
    def figures(self) -> LaneFigures: ...


class KernelCollector(Collector):
    """See the module. `lanes` by their kind."""

    def __init__(self, departure: Departure, bus: Bus, database: Database, **lanes: Counted) -> None:
        self._departure = departure
        self._bus = bus
        self._database = database
        self._lanes = {name: lane.figures for name, lane in lanes.items()}
        self._ready: dict[str, int] = {}

    async def watch(self) -> None:
        """Look whether the stores answer, until cancelled."""
        checks = {"bus": self._bus.check, "database": self._database.check}
        while True:
            states = await asyncio.gather(*(state(check) for check in checks.values()))
            self._ready = {name: int(found == "ok") for name, found in zip(checks, states, strict=True)}
            await asyncio.sleep(READY_LOOK_S)

    def collect(self) -> Iterator[Family]:
        """The families; called by the registry."""
        yield GaugeMetricFamily("showcart_draining", "1 while the worker is on its way out", int(self._departure.begun))
        yield gauges("showcart_ready", "Whether what the worker depends on has answered", "check", self._ready)
        yield counters(
            "showcart_connections_refused",
            "TCP connections ended before or in a request, by why",
            "reason",
            BoundedProtocol.refused,
        )
        yield counters("showcart_requests_refused", "Requests answered with a problem, by its name", "reason", refused)
        yield from self._of_the_bus()
        yield from self._of_the_database()
        yield from self._of_lanes()

    def _of_the_bus(self) -> Iterator[Family]:
        bus, (up, all_) = self._bus, self._bus.heard.connected
        yield GaugeMetricFamily("showcart_bus_listeners", "Connections to the bus that listen", up)
        yield GaugeMetricFamily("showcart_bus_listeners_wanted", "Connections to the bus that should listen", all_)
        yield CounterMetricFamily(
            "showcart_bus_connections_lost", "Listening connections lost, failed attempts included", bus.heard.losses
        )
        yield CounterMetricFamily(
            "showcart_bus_gone", "Times a channel may have missed something and was looked at again", bus.heard.gone
        )
        yield CounterMetricFamily("showcart_bus_errors", "Calls of the bus that failed", bus.errors)
        yield histogram("showcart_bus_call_seconds", "How long the bus took to answer a call", bus.call_s)

    def _of_the_database(self) -> Iterator[Family]:
        figures, pools = self._database.figures, self._database.connections()
        yield gauges(
            "showcart_database_connections",
            "Database connections in use",
            "pool",
            {pool: used for pool, (used, _) in pools.items()},
        )
        yield gauges(
            "showcart_database_connections_max",
            "Database connections that may be open",
            "pool",
            {pool: most for pool, (_, most) in pools.items()},
        )
        yield histograms(
            "showcart_database_seconds", "Transactions, the wait for a connection included", "kind", figures.seconds
        )
        yield counters(
            "showcart_database_errors", "Transactions that the store refused as a whole", "reason", figures.errors
        )

    def _of_lanes(self) -> Iterator[Family]:
        of = self._lanes.items()
        waiting = {name: lane.waiting for name, lane in of}
        yield gauges("showcart_lane_waiting", "Commands that wait for their batch", "lane", waiting)
        overloaded = {name: lane.overloaded for name, lane in of}
        yield counters("showcart_lane_refused", "Commands that found no place", "lane", overloaded)
        split = {name: lane.split for name, lane in of}
        yield counters("showcart_lane_split", "Batches that were rolled back and tried in halves", "lane", split)
        batch = {name: lane.batch for name, lane in of}
        yield histograms("showcart_lane_batch_commands", "Commands in a committed batch", "lane", batch)
        wait_s = {name: lane.wait_s for name, lane in of}
        yield histograms("showcart_lane_wait_seconds", "A command's wait for its batch", "lane", wait_s)
        commit_s = {name: lane.commit_s for name, lane in of}
        yield histograms("showcart_lane_commit_seconds", "How long a batch took to commit", "lane", commit_s)
