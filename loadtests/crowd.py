"""Starts Locust on our shoppers, in one process or several, and reads what they did."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from loadtests.measures import ShopperSecond, Shopping
from loadtests.ports import free_port
from loadtests.scenario import Scenario

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
LEAVING_S = 60.0  # for those who came late, and for the last answers, after the run
BEHIND_NICE = 10  # of those who need not be prompt


def command(host: str, scenario: Scenario, folder: Path, processes: int = 1) -> list[str]:
    """The call of Locust for `scenario`, leaving its files in `folder`; several processes have a master besides."""
    shoppers = scenario.shoppers
    rate = shoppers.count / max(shoppers.ramp_s, 0.1)
    return [
        sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary",
        "--host", host, "--users", str(shoppers.count), "--spawn-rate", f"{rate:g}",
        "--run-time", f"{scenario.duration_s:g}s", "--stop-timeout", "5",
        "--csv", str(folder / "shoppers"), "--csv-full-history", "--exit-code-on-error", "0",
        *(_distributed(processes) if processes > 1 else ()),
    ]  # fmt: skip


def _distributed(processes: int) -> list[str]:
    """On a port of its own: another rehearsal may run on this machine."""
    port = str(free_port())
    return [
        "--processes", str(processes), "--master-bind-host", "127.0.0.1", "--master-bind-port", port,
        "--master-port", port,
    ]  # fmt: skip


def start(
    host: str, scenario: Scenario, folder: Path, *kinds: str, processes: int = 1
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Let the shoppers of `scenario` in; they leave by themselves. `kinds` are the locustfile's classes; (): all."""
    environ = os.environ | {
        "SHOWCART_LOADTEST_SHOW": scenario.show,
        "SHOWCART_LOADTEST_PLAN": msgspec.json.encode(scenario.shoppers).decode(),
        "SHOWCART_LOADTEST_RESULT": str(folder / "shoppers.json"),
    }
    with (folder / "shoppers.log").open("wb") as log:
        return subprocess.Popen(
            [*command(host, scenario, folder, processes), *kinds], env=environ, stdout=log, stderr=log
        )


def step_back(pid: int = 0) -> None:
    """Let process `pid` (0: this one) wait for the others: a swarm that is late measures itself, whoever made it so.

    Only beside a swarm that needs its core: on a busy machine who steps back gets next to nothing.
    """
    os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + BEHIND_NICE)


def results(folder: Path, start_unix_s: float) -> Shopping:
    """What the shoppers left in `folder`; their seconds count from `start_unix_s`."""
    try:
        shopping = msgspec.json.decode((folder / "shoppers.json").read_bytes(), type=Shopping)
    except FileNotFoundError:
        return Shopping(failures={f"Locust did not finish; see {folder / 'shoppers.log'}": 1})
    with (folder / "shoppers_stats_history.csv").open(newline="") as file:
        shopping.seconds = history(csv.DictReader(file), start_unix_s)
    return shopping


def history(rows: Iterable[Mapping[str, str]], start_unix_s: float) -> list[ShopperSecond]:
    """The rows of Locust's history file, which tells of the last ten seconds in each."""
    return [
        ShopperSecond(
            at_s=round(float(row["Timestamp"]) - start_unix_s, 1),
            users=int(row["User Count"]),
            actions_per_s=float(row["Requests/s"]),
            failures_per_s=float(row["Failures/s"]),
            p50_ms=_number(row["50%"]),
            p99_ms=_number(row["99%"]),
        )
        for row in rows
        if row["Name"] == "Aggregated"
    ]


def _number(text: str) -> float | None:
    return None if text == "N/A" else float(text)
