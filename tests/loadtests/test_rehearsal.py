"""A small event from its file to its report: everybody who can take part does, against a demo of its own."""

import asyncio
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import loadtests.run
from loadtests.report import Outcome
from loadtests.verdict import Judged
from tests.loadtests.samples import sample_run
from tests.scenarios.conftest import Run as Showcart
from tests.scenarios.conftest import showcart

__all__ = ["showcart"]  # the fixture

EVENT = """
title = "Small"
show = "demo"
duration_s = 4
drain_s = 3

[viewers]
count = 12
ramp_s = 0.5

[chat]
rate_per_s = 2

[media]
viewers = 1
ramp_s = 0.1
bitrate_kbps = 100
fps = 10

[shoppers]
count = 4
ramp_s = 0.2
think_min_s = 0.1
think_max_s = 0.3

[drop]
at_s = 1

[[fault]]
at_s = 1.5
kind = "valkey-pause"
for_s = 0.2

[[fault]]
at_s = 2
kind = "reconnect"
share = 0.5

[thresholds]
lost_max = 0
duplicates_max = 0
closes_max = 0
refused_max = 0
failures_max = 0
"""


async def test_a_small_event(showcart: Showcart, tmp_path: Path) -> None:
    file, folder = tmp_path / "event.toml", tmp_path / "report"
    file.write_text(EVENT)
    process = await showcart("loadtest", str(file), "--output", str(folder))
    out, errors = await asyncio.wait_for(process.communicate(), 100)
    assert process.returncode in (0, 1), out.decode() + errors.decode()
    report: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    (outcome,) = report["runs"]
    run, totals = outcome["run"], outcome["run"]["totals"]
    # A machine that is busy with other tests may break a threshold; nothing is ever lost by that.
    assert report["ok"] == all(one["ok"] for one in outcome["judged"]) == (process.returncode == 0)
    assert {one["name"] for one in outcome["judged"]} >= {"lost_max", "failures_max", "media_not_back_max"}
    assert (totals["viewers"], totals["lost"], totals["duplicates"]) == (12, 0, 0)
    # Two a second for four seconds, from when those who speak have joined.
    assert 1 <= totals["sent"] + totals["unsent"] <= 8
    assert totals["sent"] == totals["acknowledged"] + totals["unanswered"] + sum(totals["refused"].values())
    assert min(totals["joined"], totals["cut"], totals["deliveries"]) > 0
    assert {action["method"] for action in run["shopping"]["actions"]} == {"WS", "HTTP"}
    assert run["screening"]["totals"]["sent_packets"] > 0
    # A drop is marked when it was done, faults when they were due.
    assert sorted(mark["word"] for mark in run["marks"]) == ["drop", "reconnect 50%", "valkey-pause"]
    assert {usage["process"] for usage in run["usage"]} >= {"server", "valkey", "swarm", "shoppers", "media"}
    assert run["server"], "the server told of itself"
    page = (folder / "report.html").read_text()
    assert page.index("<svg") < page.index("<table"), "pictures first"
    assert (folder / "report.md").read_text().startswith("# Small")


@pytest.mark.parametrize(("measured", "code"), [(1.0, 0), (3.0, 1)])
def test_a_threshold_that_breaks_is_heard_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, measured: float, code: int
) -> None:
    judged = Judged("lost_max", measured, 2.0, measured <= 2.0)
    outcome = Outcome("2026-01-02T03:04:05+00:00", sample_run(), [judged], [])
    monkeypatch.setattr(loadtests.run, "_rehearsed", lambda *_: ("http://127.0.0.1:8000", outcome))
    console = Console(file=StringIO(), width=200)
    assert loadtests.run.run("quiet", output=tmp_path, console=console) == code
