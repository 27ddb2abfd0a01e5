"""Prometheus metrics of a worker, in a registry of its own, and the probe that measures the event loop's lag."""

import asyncio
import time

from prometheus_client import CollectorRegistry, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from live.core.limits import LAG_PROBE_INTERVAL_S

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The worker's registry; parts create their counters in it by name.

    Workers share one port and a scrape reaches any of them: `showcart_worker_info` says which one it was.
    """

    def __init__(self, worker: int = 0) -> None:
        self.registry = CollectorRegistry()
        Info("showcart_worker", "Which worker answered.", registry=self.registry).info({"worker": str(worker)})
        ProcessCollector(registry=self.registry)
        self._lag = Histogram(
            "showcart_loop_lag_seconds",
            "How late the event loop ran a timer: everything else on this worker waited as long.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
            registry=self.registry,
        )
        self._lag_max = Gauge(
            "showcart_loop_lag_max_seconds", "The worst lag of the last ten seconds.", registry=self.registry
        )

    def exposition(self) -> bytes:
        """All metrics in the text format that Prometheus reads."""
        return generate_latest(self.registry)

    async def watch_loop(self) -> None:
        """Measure the loop's lag until cancelled."""
        loop = asyncio.get_running_loop()
        window_start, worst = time.monotonic(), 0.0
        while True:
            due = loop.time() + LAG_PROBE_INTERVAL_S
            await asyncio.sleep(LAG_PROBE_INTERVAL_S)
            lag = max(0.0, loop.time() - due)
            self._lag.observe(lag)
            worst = max(worst, lag)
            if time.monotonic() - window_start >= 10.0:
                self._lag_max.set(worst)
                window_start, worst = time.monotonic(), 0.0
