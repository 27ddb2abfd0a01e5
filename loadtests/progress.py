"""What a terminal shows while an event is rehearsed, and when it is over."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtests.charts import number
from loadtests.histogram import Histogram
from loadtests.measures import Second, Usage
from loadtests.report import Report
from loadtests.scenario import Scenario


def panel(
    scenario: Scenario, at_s: float, seconds: Sequence[Second], delivery: Histogram, usage: Sequence[Usage]
) -> RenderableType:
    """The state of a run that began `at_s` seconds ago."""
    last = seconds[-1] if seconds else None
    share = min(at_s, scenario.duration_s)
    words = f"{scenario.title} · {share:.0f} of {scenario.duration_s:.0f} s"
    if at_s > scenario.duration_s:
        words = f"{scenario.title} · waiting for the last messages"
    grid = Table.grid(padding=(0, 3))
    grid.add_row("viewers", f"{number(last.open if last else 0)} of {number(scenario.viewers.count)}")
    grid.add_row("deliveries", f"{number(last.deliveries if last else 0)} in the last second")
    grid.add_row("to screen", f"p50 {_ms(delivery.percentile_ms(50))}   p99 {_ms(delivery.percentile_ms(99))}")
    latest = {one.process: one for one in usage}
    for name, one in latest.items():
        memory = f", {one.memory_mb:.0f} MB" if one.memory_mb else ""
        grid.add_row(name, f"{one.cpu_percent:.0f} % of a core{memory}")
    return Group(Text(words, style="bold"), ProgressBar(scenario.duration_s, share, width=60), grid)


def closing(report: Report, folder: Path) -> RenderableType:
    """The thresholds with what was measured, and where the report is."""
    table = Table(title=report.scenario.title, title_justify="left", title_style="bold")
    for heading in ("figure", "measured", "limit"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    table.add_column("")
    for one in report.judged:
        value = "not measured" if one.value is None else number(one.value)
        word = Text("kept", "green") if one.ok else Text("broken", "bold red")
        table.add_row(one.name, value, number(one.limit), word)
    words = [Text(doubt, style="yellow") for doubt in report.doubts]
    if report.run.shopping:
        words += [Text(f"shoppers: {name} × {count}", "red") for name, count in report.run.shopping.failures.items()]
    return Group(table, *words, Text(f"Report: {folder / 'report.html'}"))


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{number(value)} ms"
