"""Rehearse an event: a server, an audience and shoppers for the length of a scenario, then a verdict and a report.

showcart loadtest quiet
showcart loadtest my-event.toml --host https://shop.example --token …
"""

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec
from rich.console import Console

from loadtests import page, poster, report, summary
from loadtests.host import LoadTestError
from loadtests.knee import knee_of
from loadtests.progress import closing
from loadtests.rehearsal import Rehearsal
from loadtests.report import Outcome, Report
from loadtests.resize import resized
from loadtests.scenario import Scenario, ScenarioError, load, names
from loadtests.server import DemoServer, ForeignServer, Server, ServerError
from loadtests.verdict import doubts, judge

REPORTS = Path("var/reports")
DEMO_TOKEN = "demo"
WORKERS_MAX = 64  # of one server


class Options(msgspec.Struct, frozen=True):
    """How to rehearse, besides the scenario.

    `host` is the URL of a running server and `token` its host's, which it does not go without; None starts a demo for
    each run, with `workers`, `database_url` and `redis_url` ("": in the run's own folder). `swarms` processes are the
    audience together, and `shopper_processes` the shoppers.
    """

    host: str | None = None
    token: str = ""
    runs: int = 1
    swarms: int = 1
    shopper_processes: int = 1
    workers: int = 1
    database_url: str = ""
    redis_url: str = ""

    @property
    def told(self) -> dict[str, str]:
        """The options for the report; addresses of stores may hold passwords."""
        processes = {"swarms": str(self.swarms), "processes of shoppers": str(self.shopper_processes)}
        if self.host is not None:
            return processes
        stores = {
            "database": self.database_url.partition(":")[0] or "sqlite",
            "bus": self.redis_url.partition(":")[0] or "private Valkey",
        }
        return {**processes, "workers": str(self.workers), **stores}


def run(
    scenario: str,
    options: Options | None = None,
    *,
    viewers: int | None = None,
    shoppers: int | None = None,
    media_viewers: int | None = None,
    duration_s: float | None = None,
    output: Path | None = None,
    console: Console | None = None,
) -> int:
    """Rehearse `scenario`, a ready one's name or a file; 0: all thresholds kept, 1: some broken, 2: not possible.

    `viewers`, `shoppers`, `media_viewers`, `duration_s` replace the scenario's sizes. The report goes to `output`
    (None: a new folder in var/reports).
    """
    console = console or Console()
    options = options or Options()
    try:
        event = resized(
            load(scenario), viewers=viewers, shoppers=shoppers, media_viewers=media_viewers, duration_s=duration_s
        )
        _check(options)
        if event.viewers.count // options.swarms < event.chat.speakers:
            raise LoadTestError(f"--swarms: the first swarm must hold all {event.chat.speakers} viewers who write")
        folder = (output or REPORTS / f"{Path(scenario).stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}").absolute()
        outcomes = []
        for index in range(options.runs):
            place = folder / f"run-{index + 1}" if options.runs > 1 else folder
            place.mkdir(parents=True, exist_ok=True)
            if options.runs > 1:
                console.print(f"Run {index + 1} of {options.runs}", highlight=False)
            outcomes.append(_rehearsed(event, options, place, console))
    except (ScenarioError, ServerError, LoadTestError) as error:
        console.print(f"[red]{error}[/red]", highlight=False, soft_wrap=True)
        return 2
    written = Report(
        scenario=event,
        server=outcomes[0][0],
        own_server=options.host is None,
        settings=options.told | {"processors": outcomes[0][1].run.processors or "given out by the kernel"},
        machine=report.machine(),
        versions=report.versions(),
        runs=[outcome for _, outcome in outcomes],
    )
    write(written, folder)
    console.print(closing(written, folder))
    return 0 if written.ok else 1


def _check(options: Options) -> None:
    """Raises `LoadTestError` for a server that cannot, or must not, be rehearsed on."""
    if options.host is None:
        return
    try:
        parts = urlsplit(options.host)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.path.strip("/")
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment or parts.username is not None:
        raise LoadTestError(f"--host: {options.host!r} is not the URL of a server, such as https://shop.example")
    if not options.token:  # a show is not put on air, and written in, by somebody who was not let in by its host
        raise LoadTestError(
            "--token: is missing; the show of that server is put on air and stays there, and shoppers write in it: "
            "give the token of its host"
        )


def write(written: Report, folder: Path) -> None:
    """Write `report.html`, `report.md` with `report.svg`, and `report.json`."""
    spreads = {name: over and over._asdict() for name, over in written.spreads.items()}
    stored = msgspec.json.encode({"ok": written.ok, "spreads": spreads, **msgspec.to_builtins(written)})
    (folder / "report.json").write_bytes(msgspec.json.format(stored, indent=1))
    (folder / "report.html").write_text(page.html(written), encoding="utf-8")
    (folder / "report.svg").write_text(poster.svg(written), encoding="utf-8")
    (folder / "report.md").write_text(summary.markdown(written, "report.svg"), encoding="utf-8")


def _rehearsed(event: Scenario, options: Options, folder: Path, console: Console) -> tuple[str, Outcome]:
    """The server's URL and one run; each run of ours has a server of its own, which nothing has happened to."""
    started = datetime.now(UTC)
    with _server(options, folder, console) as server:
        rehearsal = Rehearsal(
            event, server, folder, token=options.token or DEMO_TOKEN, swarms=options.swarms,
            shopper_processes=options.shopper_processes,
        )  # fmt: skip
        measured = rehearsal.run(console)
        outcome = Outcome(
            started_at=started.isoformat(timespec="seconds"),
            run=measured,
            judged=judge(measured, event.thresholds),
            doubts=doubts(measured),
            knee=knee_of(event, measured.seconds, measured.marks),
        )
        return server.url, outcome


@contextlib.contextmanager
def _server(options: Options, folder: Path, console: Console) -> Iterator[Server]:
    if options.host is not None:
        yield ForeignServer(options.host.rstrip("/"))
        return
    with contextlib.ExitStack() as stack:
        with console.status("Starting a demo server"):
            server = stack.enter_context(
                DemoServer(
                    folder, workers=options.workers, database_url=options.database_url, redis_url=options.redis_url
                )
            )
        yield server


def _variable(name: str) -> str:
    return f"SHOWCART_LOADTEST_{name}"


_COUNT = click.IntRange(min=1)


@click.command(name="loadtest", epilog=f"Ready scenarios: {', '.join(names())}.")
@click.argument("scenario", default="quiet")
@click.option(
    "--host", envvar=_variable("HOST"),
    help="URL of a running server, whose show is put on air; without it a demo is started.",
)  # fmt: skip
@click.option("--token", envvar=_variable("TOKEN"), default="", help="A host's token for the show; needed with --host.")
@click.option("--viewers", envvar=_variable("VIEWERS"), type=int, help="All of them, instead of the scenario's.")
@click.option("--shoppers", envvar=_variable("SHOPPERS"), type=int, help="Instead of the scenario's.")
@click.option("--media-viewers", envvar=_variable("MEDIA_VIEWERS"), type=int, help="Instead of the scenario's.")
@click.option("--duration", "duration_s", envvar=_variable("DURATION"), type=float, help="Seconds.")
@click.option("--runs", envvar=_variable("RUNS"), type=_COUNT, default=1, help="Repeat, and show the spread.")
@click.option("--swarms", envvar=_variable("SWARMS"), type=_COUNT, default=1, help="Processes that hold the viewers.")
@click.option(
    "--shopper-processes", envvar=_variable("SHOPPER_PROCESSES"), type=_COUNT, default=1,
    help="Processes that hold the shoppers.",
)  # fmt: skip
@click.option(
    "--workers", envvar=_variable("WORKERS"), type=click.IntRange(1, WORKERS_MAX), default=1,
    help="Of the demo that is started.",
)  # fmt: skip
@click.option("--database-url", envvar=_variable("DATABASE_URL"), default="", help="Of the demo; SQLite without it.")
@click.option("--redis-url", envvar=_variable("REDIS_URL"), default="", help="Of the demo; its own Valkey without it.")
@click.option("--output", envvar=_variable("OUTPUT"), type=click.Path(file_okay=False, path_type=Path))
def command(
    scenario: str, viewers: int | None, shoppers: int | None, media_viewers: int | None, duration_s: float | None,
    output: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Rehearse an event: SCENARIO is the name of a ready one, or a file. The report goes to var/reports.

    Ends with 1 when a threshold broke, with 2 when the event could not be rehearsed.
    """
    sys.exit(
        run(
            scenario, Options(**options), viewers=viewers, shoppers=shoppers, media_viewers=media_viewers,
            duration_s=duration_s, output=output,
        )
    )  # fmt: skip


if __name__ == "__main__":
    command()
