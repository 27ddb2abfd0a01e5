"""One run of a scenario: an audience, shoppers and faults against a server that is ready, and all that was measured.

Each generator is a process of its own, so that this one, which draws the progress and measures the others, disturbs
nobody. Those besides the swarm and the video are started in `Rehearsal._start_beside` and end by themselves.
"""

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live

from loadtests import crowd
from loadtests.faults import FaultError, ServerFaults, marks
from loadtests.histogram import Histogram
from loadtests.host import Host, LoadTestError
from loadtests.measures import Line, Mark, MediaLine, MediaSecond, MediaTotals, Screening, Second, Totals, Usage
from loadtests.merge import merged_seconds, merged_totals
from loadtests.plan import MediaPlan, plans
from loadtests.progress import BARS_SHOWN, panel
from loadtests.scenario import Scenario
from loadtests.scrape import Scraper
from loadtests.seats import SEATS_FROM, keep, processors, seats
from loadtests.server import Meter, Server, last_line, outlive, stop
from loadtests.verdict import Run
from loadtests.viewer import now_us

DRAW_INTERVAL_S = 0.25
LEAD_S = 1.0  # from the start of the swarms to that of the event: they must be there
MEDIA_LEAD_S = 3.0  # the same when somebody must be on air by then
STOP_S = 5.0  # for a generator that is told to end
GRACE_S = 30.0  # for the generators to end after the scenario's time

Process = subprocess.Popen[bytes]


class Rehearsal:
    """A run of `scenario`; its files go to `folder`. `swarms` processes are the audience, `shopper_processes` buy."""

    def __init__(
        self, scenario: Scenario, server: Server, folder: Path, *, token: str, swarms: int = 1,
        shopper_processes: int = 1,
    ) -> None:  # fmt: skip
        self._scenario = scenario
        self._server = server
        self._folder = folder
        self._swarms = swarms
        self._shopper_processes = shopper_processes
        self._seats = seats(scenario.viewers.total, server.workers, processors()) if server.pid else None
        self._host = Host(server.url, scenario.show, token)
        self._token = token
        self._lines: queue.SimpleQueue[tuple[int, Line | MediaLine]] = queue.SimpleQueue()
        self._screening = Screening()
        self._seconds: list[list[Second]] = [[] for _ in range(swarms)]
        self._totals: dict[int, Totals] = {}
        self._usage: list[Usage] = []
        self._delivery = Histogram()
        self._marks = [*marks(scenario.fault)]

    def run(self, console: Console) -> Run:
        """Everything that was measured; raises `LoadTestError`."""
        scenario, server = self._scenario, self._server
        try:
            faults = ServerFaults(
                scenario.fault, server.pid, own_valkey=server.own_valkey, workers=server.workers
            )  # fmt: skip
        except FaultError as error:
            raise LoadTestError(str(error)) from None
        show = self._host.go_live()
        product = self._host.product_of(scenario.drop, show) if scenario.drop else None
        lead_s = MEDIA_LEAD_S if scenario.media.viewers else LEAD_S
        start_us = now_us() + int(lead_s * 1e6)
        start_unix_s = time.time() + lead_s
        with contextlib.ExitStack() as stack:
            stack.callback(faults.end)
            watched: dict[str, list[int]] = {"server": [server.pid]} if server.pid else {}
            swarms = [stack.enter_context(_ending(one)) for one in self._start_swarms(start_us)]
            watched["swarm"] = [one.pid for one in swarms]
            if self._seats is not None and server.pid:
                keep(server.pid, self._seats.server)
                for one in swarms:
                    keep(one.pid, self._seats.swarm)
            telling = list(swarms)
            if scenario.media.viewers:
                telling.append(stack.enter_context(_ending(self._start_media(start_us))))
                watched["media"] = [telling[-1].pid]
            time.sleep(max(0.0, (start_us - now_us()) / 1e6))
            beside = {name: stack.enter_context(_ending(one)) for name, one in self._start_beside().items()}
            watched |= {name: [one.pid] for name, one in beside.items()}
            if scenario.viewers.total >= SEATS_FROM:
                for one in beside.values():
                    crowd.step_back(one.pid)
                crowd.step_back()  # a further run's processes begin from here, all alike
            scraper = Scraper(server.url)
            scraper.start()
            self._watch(telling, Meter(dict(sorted(watched.items()))), faults, product, console)
            self._take_lines()
            told = scraper.stop()
            for name, one in beside.items():
                with console.status(f"Waiting for the last {name}"):
                    outlive(one, crowd.LEAVING_S)
        if len(self._totals) < self._swarms:
            raise LoadTestError(
                f"the swarm did not come to its end; see {self._folder / 'swarm.log'}{self._last_words()}"
            )
        if scenario.media.viewers and self._screening.totals is None:
            raise LoadTestError(
                f"the video did not come to its end; see {self._folder / 'media.log'}{self._last_words()}"
            )
        shopping = crowd.results(self._folder, start_unix_s) if "shoppers" in beside else None
        return Run(
            seconds=merged_seconds(self._seconds), totals=merged_totals(list(self._totals.values())),
            usage=self._usage, shopping=shopping, server=told,
            screening=self._screening if scenario.media.viewers else None, unread=scraper.missed,
            marks=sorted(self._marks, key=lambda one: one.at_s), swarms=self._swarms,
            shopper_processes=self._shopper_processes, processors=self._seats.told if self._seats else "",
        )  # fmt: skip

    def _watch(
        self, telling: list[Process], meter: Meter, faults: ServerFaults, product: str | None, console: Console
    ) -> None:
        """Measure once a second, draw, and do what the host and the faults do, until all who tell of themselves end."""
        readers = [
            threading.Thread(target=self._read, args=(index, one), daemon=True) for index, one in enumerate(telling)
        ]
        for reader in readers:
            reader.start()
        scenario, drop, measured = self._scenario, self._scenario.drop, 0
        begin = time.monotonic()
        end = begin + scenario.duration_s + scenario.drain_s + GRACE_S
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            while any(one.poll() is None for one in telling):
                at_s = time.monotonic() - begin
                if at_s >= measured:
                    self._usage += meter.read(round(at_s, 2))
                    measured += 1
                if drop is not None and product is not None and at_s >= drop.at_s:
                    self._host.pin(product)
                    self._marks.append(Mark(round(at_s, 2), "drop"))
                    drop = None
                try:
                    faults.tick(at_s)
                except FaultError as error:
                    raise LoadTestError(str(error)) from None
                self._take_lines()
                live.update(panel(scenario, at_s, self._recent(), self._delivery, self._usage, self._screening.seconds))
                if any(one.poll() for one in telling):
                    raise LoadTestError(f"a generator ended early{self._last_words()}")
                if time.monotonic() > end:
                    raise LoadTestError(
                        f"the generators did not end in time; see the logs in {self._folder}{self._last_words()}"
                    )
                time.sleep(DRAW_INTERVAL_S)
        for reader in readers:
            reader.join()

    def _last_words(self) -> str:
        """The last line of each generator's log."""
        logs = [self._folder / name for name in ("swarm.log", "media.log")]
        lines = [last_line(log) for log in logs]
        return "".join(f": {line}" for line in lines if line)

    def _recent(self) -> list[Second]:
        """The last seconds of all swarms together, for the terminal."""
        start = max(0, min(len(seconds) for seconds in self._seconds) - BARS_SHOWN)
        return merged_seconds([seconds[start:] for seconds in self._seconds])

    def _take_lines(self) -> None:
        while not self._lines.empty():
            swarm, line = self._lines.get()
            if isinstance(line, MediaTotals):
                self._screening.totals = line
            elif isinstance(line, MediaSecond):
                self._screening.seconds.append(line)
            elif isinstance(line, Totals):
                self._totals[swarm] = line
            else:
                self._seconds[swarm].append(line)
                self._delivery.add(Histogram.of_plain(line.delivery))

    def _start_beside(self) -> dict[str, Process]:
        """The generators that the scenario asks for besides the swarm, by the name of their group of processes."""
        started = {}
        if self._scenario.shoppers.count:
            started["shoppers"] = crowd.start(
                self._server.url, self._scenario, self._folder, processes=self._shopper_processes
            )
        return started

    def _start_media(self, start_us: int) -> Process:
        """The one who publishes and those who watch; they are told when the event begins, as the swarms are."""
        scenario, file = self._scenario, self._folder / "media.json"
        plan = MediaPlan(
            url=self._server.url, show=scenario.show, media=scenario.media, duration_s=scenario.duration_s,
            start_us=start_us,
        )  # fmt: skip
        file.write_bytes(msgspec.json.encode(plan))
        with (self._folder / "media.log").open("wb") as log:
            call = [sys.executable, "-m", "loadtests.media", "--plan", str(file)]
            environ = os.environ | {"SHOWCART_LOADTEST_TOKEN": self._token}  # the folder is shown to others
            return subprocess.Popen(call, env=environ, stdout=subprocess.PIPE, stderr=log)

    def _start_swarms(self, start_us: int) -> Iterator[Process]:
        for plan in plans(self._scenario, self._server.url, self._swarms, os.urandom(3).hex(), start_us):
            file = self._folder / f"swarm-{plan.swarm}.json"
            file.write_bytes(msgspec.json.encode(plan))
            with (self._folder / "swarm.log").open("ab") as log:
                yield subprocess.Popen(
                    [sys.executable, "-m", "loadtests.swarm", "--plan", str(file)], stdout=subprocess.PIPE, stderr=log
                )

    def _read(self, index: int, generator: Process) -> None:
        assert generator.stdout is not None
        for text in generator.stdout:
            with contextlib.suppress(msgspec.DecodeError):  # a process that was stopped leaves half a line
                self._lines.put((index, msgspec.json.decode(text, type=Line | MediaLine)))


@contextlib.contextmanager
def _ending(process: Process) -> Iterator[Process]:
    """`process`, which does not outlive the block."""
    try:
        yield process
    finally:
        stop(process, STOP_S)
        if process.stdout is not None:
            process.stdout.close()
