"""Rehearse an event: a server, an audience and shoppers for the length of a scenario, then a verdict and a report.

    showcart loadtest quiet
    showcart loadtest my-event.toml --host https://shop.example --token …

The audience and the shoppers are processes of their own, so that this one, which draws the progress and measures
the others, disturbs nobody.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.live import Live

from loadtests import crowd, report
from loadtests.histogram import Histogram
from loadtests.measures import Line, Second, Totals, Usage
from loadtests.progress import closing, panel
from loadtests.report import Report
from loadtests.scenario import Scenario, ScenarioError, load, resized
from loadtests.server import DemoServer, Meter, ServerError
from loadtests.verdict import Run, doubts, judge

REPORTS = Path("var/reports")
DRAW_INTERVAL_S = 0.25
HTTP_TIMEOUT_S = 10.0
GRACE_S = 30.0  # for the generators to end after the scenario's time
BEFORE_AIR = ("draft", "scheduled", "lobby")


class LoadTestError(RuntimeError):
    """The rehearsal cannot take place or did not come to its end; nothing can be said about the event."""


def run(
    scenario: str,
    host: str | None = None,
    *,
    viewers: int | None = None,
    shoppers: int | None = None,
    duration_s: float | None = None,
    output: Path | None = None,
    token: str = "demo",
    console: Console | None = None,
) -> int:
    """Rehearse `scenario`, a ready one's name or a file; 0: all thresholds kept, 1: some broken, 2: not possible.

    `host` is the URL of a running server, None starts a demo for the run. `viewers`, `shoppers`, `duration_s` replace
    the scenario's sizes. The report goes to `output` (None: a new folder in var/reports). `token` is the host's.
    """
    console = console or Console()
    try:
        event = resized(load(scenario), viewers=viewers, shoppers=shoppers, duration_s=duration_s)
        started = datetime.now(UTC)
        folder = output or REPORTS / f"{Path(scenario).stem}-{started:%Y%m%d-%H%M%S}"
        folder.mkdir(parents=True, exist_ok=True)
        with _server(host, folder.absolute(), console) as (url, pid):
            measured = _Rehearsal(event, url, pid, folder.absolute(), token).run(console)
    except (ScenarioError, ServerError, LoadTestError) as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 2
    written = Report(
        scenario=event,
        server=url,
        own_server=host is None,
        started_at=started.isoformat(timespec="seconds"),
        machine=report.machine(),
        versions=report.versions(),
        run=measured,
        judged=judge(measured, event.thresholds),
        doubts=doubts(measured),
    )
    report.write(written, folder)
    console.print(closing(written, folder))
    return 0 if written.ok else 1


@contextlib.contextmanager
def _server(host: str | None, folder: Path, console: Console) -> Iterator[tuple[str, int | None]]:
    """The URL of the server, and its process when it is ours."""
    if host is not None:
        yield host.rstrip("/"), None
        return
    with contextlib.ExitStack() as stack:
        with console.status("Starting a demo server"):
            server = stack.enter_context(DemoServer(folder))
        yield server.url, server.pid


class _Rehearsal:
    """One run of a scenario against a server that is ready. `pid` None: its processes are not ours to watch."""

    def __init__(self, scenario: Scenario, url: str, pid: int | None, folder: Path, token: str) -> None:
        self._scenario = scenario
        self._url = url
        self._pid = pid
        self._folder = folder
        self._token = token
        self._lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
        self._seconds: list[Second] = []
        self._usage: list[Usage] = []
        self._totals: Totals | None = None
        self._delivery = Histogram()

    def run(self, console: Console) -> Run:
        """Everything that was measured; raises `LoadTestError`."""
        show = self._put_on_air()
        start_unix_s = time.time()
        with contextlib.ExitStack() as stack:
            swarm = stack.enter_context(_ending(self._start_swarm()))
            groups = {"swarm": swarm.pid} | ({"server": self._pid} if self._pid else {})
            people: subprocess.Popen[bytes] | None = None
            if self._scenario.shoppers.count:
                people = stack.enter_context(_ending(crowd.start(self._url, self._scenario, self._folder)))
                groups["shoppers"] = people.pid
            reader = threading.Thread(target=self._read, args=(swarm,), daemon=True)
            reader.start()
            self._watch(swarm, Meter(dict(sorted(groups.items()))), show, console)
            reader.join()
            self._take_lines()
            if people is not None:
                with console.status("Waiting for the last shoppers"):
                    _wait(people, crowd.LEAVING_S)
        if self._totals is None:
            raise LoadTestError(f"the swarm did not come to its end; see {self._folder / 'swarm.log'}")
        shopping = crowd.results(self._folder, start_unix_s) if people is not None else None
        return Run(seconds=self._seconds, totals=self._totals, usage=self._usage, shopping=shopping)

    def _watch(self, swarm: "subprocess.Popen[bytes]", meter: Meter, show: dict[str, Any], console: Console) -> None:
        """Measure the processes once a second, draw, and do what the host does, until the swarm has ended."""
        begin = time.monotonic()
        end = begin + self._scenario.duration_s + self._scenario.drain_s + GRACE_S
        drop, measured = self._scenario.drop, 0
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            while swarm.poll() is None:
                at_s = time.monotonic() - begin
                if at_s >= measured:
                    self._usage += meter.read(round(at_s, 2))
                    measured += 1
                if drop is not None and at_s >= drop.at_s:
                    self._pin(drop.product or _first_product(show))
                    drop = None
                self._take_lines()
                live.update(panel(self._scenario, at_s, self._seconds, self._delivery, self._usage))
                if time.monotonic() > end:
                    raise LoadTestError(f"the swarm did not end in time; see {self._folder / 'swarm.log'}")
                time.sleep(DRAW_INTERVAL_S)

    def _take_lines(self) -> None:
        while not self._lines.empty():
            line = self._lines.get()
            if isinstance(line, Totals):
                self._totals = line
            else:
                self._seconds.append(line)
                self._delivery.add(Histogram.of_plain(line.delivery))

    # --- the generators

    def _start_swarm(self) -> "subprocess.Popen[bytes]":
        scenario = self._scenario
        command = [
            sys.executable, "-m", "loadtests.swarm", self._url, "--show", scenario.show,
            "--viewers", str(scenario.viewers.count), "--ramp", str(scenario.viewers.ramp_s),
            "--duration", str(scenario.duration_s), "--drain", str(scenario.drain_s),
            "--encoding", scenario.viewers.encoding, "--chat", str(scenario.chat.rate_per_s),
        ]  # fmt: skip
        with (self._folder / "swarm.log").open("wb") as log:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)

    def _read(self, swarm: "subprocess.Popen[bytes]") -> None:
        assert swarm.stdout is not None
        for text in swarm.stdout:
            with contextlib.suppress(msgspec.DecodeError):  # a process that was stopped leaves half a line
                self._lines.put(msgspec.json.decode(text, type=Line))

    # --- the host

    def _put_on_air(self) -> dict[str, Any]:
        """The show, which is live now."""
        path = f"/api/shows/{self._scenario.show}"
        found = self._ask("GET", path)
        if found.get("show", {}).get("state") in (*BEFORE_AIR, "paused"):
            self._ask("POST", f"{path}/state", {"to": "live"})
        return found

    def _pin(self, product: str) -> None:
        self._ask("PUT", f"/api/shows/{self._scenario.show}/pin", {"product_id": product})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of the server to the host; raises `LoadTestError`."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        if method != "GET":
            headers["Idempotency-Key"] = os.urandom(16).hex()
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as answer:
                content: dict[str, Any] = json.loads(answer.read() or b"{}")
                return content
        except urllib.error.HTTPError as error:
            said = error.read(2000).decode("utf-8", "replace")
            raise LoadTestError(f"{method} {path} was answered with {error.code}: {said}") from None
        except (OSError, ValueError) as error:
            raise LoadTestError(f"{method} {self._url}{path}: {error}") from None


def _first_product(show: dict[str, Any]) -> str:
    lineup = show.get("lineup") or []
    if not lineup:
        raise LoadTestError("drop.product: the show has no lineup to take a product from")
    return str(lineup[0]["id"])


@contextlib.contextmanager
def _ending(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """`process`, which does not outlive the block."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            _wait(process, 5.0)
        if process.stdout is not None:
            process.stdout.close()


def _wait(process: "subprocess.Popen[bytes]", within_s: float) -> None:
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@click.command(name="loadtest")
@click.argument("scenario", default="quiet")
@click.option("--host", envvar="SHOWCART_LOADTEST_HOST", help="URL of a running server; without it a demo is started.")
@click.option("--token", envvar="SHOWCART_LOADTEST_TOKEN", default="demo", help="A host's token for the show.")
@click.option("--viewers", envvar="SHOWCART_LOADTEST_VIEWERS", type=int, help="Instead of the scenario's.")
@click.option("--shoppers", envvar="SHOWCART_LOADTEST_SHOPPERS", type=int, help="Instead of the scenario's.")
@click.option("--duration", "duration_s", envvar="SHOWCART_LOADTEST_DURATION", type=float, help="Seconds.")
@click.option("--output", envvar="SHOWCART_LOADTEST_OUTPUT", type=click.Path(file_okay=False, path_type=Path))
def command(scenario: str, **options: Any) -> None:
    """Rehearse an event: SCENARIO is quiet, drop, or a file; the report goes to var/reports."""
    sys.exit(run(scenario, **options))


if __name__ == "__main__":
    command()
