"""What a server says of itself, second by second and worker by worker."""

import http.server
import threading
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from loadtests.measures import ServerSecond
from loadtests.scrape import _SLOW, _SLOW_CLOSED, _SOCKETS, Reading, Scraper


class Worker:
    """A worker's registry, with the names of the real one."""

    def __init__(self, number: int) -> None:
        self.registry = CollectorRegistry()
        Info("showcart_worker", "w", registry=self.registry).info({"worker": str(number)})
        self.lag = Histogram("showcart_loop_lag_seconds", "l", buckets=(0.001, 0.01, 0.1), registry=self.registry)
        self.sockets = Gauge("showcart_sockets", "s", registry=self.registry)
        self.slow = Gauge("showcart_slow_viewers", "s", registry=self.registry)
        self.slow_closed = Counter("showcart_slow_viewers_closed", "s", registry=self.registry)

    def reading(self) -> Reading:
        return Reading(generate_latest(self.registry).decode())


def test_the_names_are_those_of_the_server() -> None:
    from live.core.metrics import REMEMBERED, Metrics

    metrics = Metrics(worker=3)
    metrics._lag.observe(0.003)
    reading = Reading(metrics.exposition().decode())
    assert reading.worker == "3"
    told = reading.since(Reading(Metrics(worker=3).exposition().decode()), 1.0)
    assert told == ServerSecond(1.0, "3", 3.0, 5.0, None)
    # what is remembered is told by workers, says a test of its own
    assert {_SLOW, _SLOW_CLOSED.removesuffix("_total"), _SOCKETS} <= REMEMBERED


def test_a_second_is_what_came_since() -> None:
    worker = Worker(1)
    for _ in range(1000):
        worker.lag.observe(5.0)  # before the run
    worker.slow_closed.inc(3)
    before = worker.reading()
    assert worker.reading().since(before, 1.0) is None, "nothing was measured meanwhile"
    for lag_s in [0.0005] * 98 + [0.05] * 2:
        worker.lag.observe(lag_s)
    worker.sockets.set(7)
    worker.slow.set(2)
    worker.slow_closed.inc()
    told = worker.reading().since(before, 2.0)
    assert told is not None
    assert (told.worker, told.lag_p99_ms, told.sockets) == ("1", 100.0, 7.0)
    assert (told.slow, told.slow_closed) == (2.0, 1.0)
    assert round(told.lag_mean_ms, 2) == 1.49
    worker.lag.observe(3.0)
    worst = worker.reading().since(before, 3.0)
    assert worst is not None
    assert worst.lag_p99_ms == 100.0
    assert Worker(1).reading().since(before, 4.0) is None, "it was started again"


def test_a_server_is_read_while_it_answers() -> None:
    workers = [Worker(0), Worker(1)]
    answered: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answered.append(len(answered))
            number = answered[-1]
            if number == 0:
                return self.send_error(503)
            worker = workers[number % 2]
            worker.lag.observe(0.002)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(generate_latest(worker.registry))
            return None

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        scraper = Scraper(f"http://127.0.0.1:{server.server_port}", interval_s=0.02)
        scraper.start()
        while len(answered) < 12:
            time.sleep(0.02)
        told = scraper.stop()
        server.shutdown()
        thread.join()
    assert scraper.missed == 1
    assert {one.worker for one in told} <= {"0", "1"}
    assert told
    assert all(one.lag_p99_ms == 10.0 for one in told)
