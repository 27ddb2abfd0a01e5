"""Prometheus metrics of a worker, in a registry of its own, and the probes that measure the event loop and the disk."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from live.core.exposition import labelled
from live.core.limits import DISK_LOOK_S, LAG_PROBE_INTERVAL_S, RECENT_INTERVAL_S
from live.core.recent import Recent

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_WINDOW_S = 10.0
REMEMBERED = frozenset(
    (
        "process_cpu_seconds", "process_resident_memory_bytes", "process_start_time_seconds",
        "showcart_broadcast_seconds", "showcart_bus_lag_seconds", "showcart_command_seconds", "showcart_commands",
        "showcart_connections_refused", "showcart_draining", "showcart_events", "showcart_frames",
        "showcart_handshakes_refused", "showcart_joins", "showcart_lane_batch_commands", "showcart_lane_waiting",
        "showcart_loop_lag_max_seconds", "showcart_loop_lag_seconds", "showcart_media_packets",
        "showcart_media_sessions", "showcart_media_sessions_ended", "showcart_messages_throttled",
        "showcart_slow_viewers", "showcart_slow_viewers_closed", "showcart_sockets", "showcart_sockets_closed",
        "showcart_sockets_cut", "showcart_worker_replaced", "showcart_worker_replaced_time_seconds",
    )
)  # fmt: skip


class _Process(Collector):
    """What the system says of the process, as of the last look: with 10,000 open sockets a look takes milliseconds."""

    def __init__(self) -> None:
        self._source = ProcessCollector(registry=None)
        self._found: list[Metric] = []

    def collect(self) -> Iterator[Metric]:
        yield from self._found

    async def look(self) -> None:
        self._found = await asyncio.to_thread(lambda: list(self._source.collect()))


class Metrics:
    """The worker's registry; parts create their counters in it by name.

    `folder` is where the worker keeps its files (None: nobody looks at its disk).
    """

    def __init__(self, worker: int = 0, folder: Path | None = None) -> None:
        self.worker = worker
        self.recent = Recent()
        self._folder = folder
        self.registry = CollectorRegistry()
        Info("showcart_worker", "Which worker answered.", registry=self.registry).info({"worker": str(worker)})
        self._process = _Process()
        self.registry.register(self._process)
        self._lag = Histogram(
            "showcart_loop_lag_seconds",
            "How late the event loop ran a timer: everything else on this worker waited as long.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
            registry=self.registry,
        )
        self._lag_max = Gauge(
            "showcart_loop_lag_max_seconds", "The worst lag of the last ten to twenty seconds.", registry=self.registry
        )
        self._free = Gauge("showcart_data_free_bytes", "Free space where the data folder is.", registry=self.registry)

    def exposition(self) -> bytes:
        """All metrics in the text format that Prometheus reads, each with the label `worker`."""
        return labelled(generate_latest(self.registry).decode(), self.worker).encode()

    async def watch_loop(self) -> None:
        """Measure the loop's lag until cancelled."""
        loop = asyncio.get_running_loop()
        window_start, before, worst = time.monotonic(), 0.0, 0.0
        while True:
            due = loop.time() + LAG_PROBE_INTERVAL_S
            await asyncio.sleep(LAG_PROBE_INTERVAL_S)
            lag = max(0.0, loop.time() - due)
            self._lag.observe(lag)
            worst = max(worst, lag)
            self._lag_max.set(max(before, worst))
            if time.monotonic() - window_start >= _WINDOW_S:
                window_start, before, worst = time.monotonic(), worst, 0.0

    async def watch_disk(self) -> None:
        """Look at the free space until cancelled; not on the loop, because a disk may hang."""
        while self._folder is not None:
            try:
                found = await asyncio.to_thread(os.statvfs, self._folder)
                self._free.set(found.f_bavail * found.f_frsize)
            except OSError:
                self._free.set(float("nan"))
            await asyncio.sleep(DISK_LOOK_S)

    async def remember(self) -> None:
        """Keep what the ops page shows, until cancelled; at round times, so that workers' rows lie side by side."""
        await self._process.look()
        while True:
            await asyncio.sleep(RECENT_INTERVAL_S - time.time() % RECENT_INTERVAL_S)
            await self._process.look()
            self.recent.take(round(time.time() / RECENT_INTERVAL_S) * RECENT_INTERVAL_S, self._shown())

    def _shown(self) -> Iterator[tuple[str, float]]:
        """The series that the ops page needs, by their names, as in the text format."""
        for family in self.registry.collect():
            if family.name not in REMEMBERED:
                continue
            for name, labels, value, *_ in family.samples:
                inner = ",".join(f'{key}="{text}"' for key, text in labels.items())
                yield (f"{name}{{{inner}}}" if inner else name), value
