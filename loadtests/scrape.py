"""What the server says of itself: its /metrics, read once a second.

Several workers share one port, and the kernel chooses who answers: each reading says which worker it was, and what it
tells is of the time since that worker was last read.
"""

import queue
import threading
import time
import urllib.request
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from loadtests.measures import ServerSecond

INTERVAL_S = 1.0
TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
_LAG = "showcart_loop_lag_seconds"
_SOCKETS = "showcart_sockets"
_SLOW = "showcart_slow_viewers"
_SLOW_CLOSED = "showcart_slow_viewers_closed_total"

Buckets = Mapping[float, float]  # upper edge in seconds → how many were not above it


class Reading:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.worker = "0"
        self.lag_sum_s = 0.0
        self.sockets: float | None = None
        self.slow = self.slow_closed = 0.0
        buckets: dict[float, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "showcart_worker_info":
                    self.worker = sample.labels.get("worker", "0")
                elif sample.name == f"{_LAG}_bucket":
                    buckets[float(sample.labels["le"])] = sample.value
                elif sample.name == f"{_LAG}_sum":
                    self.lag_sum_s = sample.value
                elif sample.name == _SOCKETS:
                    self.sockets = (self.sockets or 0.0) + sample.value
                elif sample.name == _SLOW:
                    self.slow = sample.value
                elif sample.name == _SLOW_CLOSED:
                    self.slow_closed = sample.value
        self.lags: Buckets = dict(sorted(buckets.items()))

    def since(self, before: "Reading | None", at_s: float) -> ServerSecond | None:
        """What happened since `before`; None when the lag was not measured meanwhile, or the worker began anew."""
        lags = {edge: count - (before.lags.get(edge, 0.0) if before else 0.0) for edge, count in self.lags.items()}
        count = lags.get(float("inf"), 0.0)
        if count <= 0 or min(lags.values()) < 0:
            return None
        return ServerSecond(
            at_s=at_s,
            worker=self.worker,
            lag_mean_ms=max(0.0, self.lag_sum_s - (before.lag_sum_s if before else 0.0)) / count * 1000,
            lag_p99_ms=_edge_s(lags, 0.99 * count) * 1000,
            sockets=self.sockets,
            slow=self.slow,
            slow_closed=self.slow_closed - (before.slow_closed if before else 0.0),
        )


def _edge_s(lags: Buckets, rank: float) -> float:
    """The lowest edge below which `rank` values are; what is above the highest edge counts as twice that edge."""
    finite = [edge for edge in lags if edge != float("inf")]
    return next((edge for edge in finite if lags[edge] >= rank), 2 * finite[-1] if finite else 0.0)


class Scraper:
    """Reads a server's /metrics in a thread of its own, because an answer of a busy server takes its time."""

    def __init__(self, url: str, *, interval_s: float = INTERVAL_S) -> None:
        self._url = f"{url}/metrics?worker=self"
        self._interval_s = interval_s
        self._found: queue.SimpleQueue[ServerSecond] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._begin = 0.0
        self.missed = 0  # readings that failed: the server did not answer, or with something else

    def start(self) -> None:
        """Begin; times count from now."""
        self._begin = time.monotonic()
        self._thread.start()

    def stop(self) -> list[ServerSecond]:
        """End, and give all readings."""
        self._stopping.set()
        self._thread.join(TIMEOUT_S + INTERVAL_S)
        return [self._found.get() for _ in range(self._found.qsize())]

    def _run(self) -> None:
        before: dict[str, Reading] = {}
        due = self._begin
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._interval_s, time.monotonic())
            try:
                with urllib.request.urlopen(self._url, timeout=TIMEOUT_S) as answer:
                    reading = Reading(answer.read(ANSWER_BYTES_MAX).decode())
            except (OSError, ValueError):
                self.missed += 1
                continue
            # The first reading tells of all the time before the run.
            if reading.worker in before:
                told = reading.since(before[reading.worker], round(time.monotonic() - self._begin, 2))
                if told is not None:
                    self._found.put(told)
            before[reading.worker] = reading
