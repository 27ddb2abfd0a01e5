"""What a terminal shows while an event is rehearsed, and when it is over."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtests.charts import number
from loadtests.faults import marks
from loadtests.histogram import Histogram
from loadtests.measures import MediaSecond, Second, Usage
from loadtests.merge import spread
from loadtests.report import Report
from loadtests.scenario import Scenario

_BARS = "▁▂▃▄▅▆▇█"
BARS_SHOWN = 60


def panel(
    scenario: Scenario, at_s: float, seconds: Sequence[Second], delivery: Histogram, usage: Sequence[Usage],
    video: Sequence[MediaSecond] = (),
) -> RenderableType:  # fmt: skip
    """The state of a run that began `at_s` seconds ago; `seconds` are the last ones."""
    last = seconds[-1] if seconds else None
    share = min(at_s, scenario.duration_s)
    words = f"{scenario.title} · {share:.0f} of {scenario.duration_s:.0f} s"
    if at_s > scenario.duration_s:
        words = f"{scenario.title} · waiting for the last messages"
    elif (coming := next_step(scenario, at_s)) is not None:
        words += f" · {coming[1]} in {coming[0] - at_s:.0f} s"
    grid = Table.grid(padding=(0, 3))
    grid.add_row("viewers", f"{number(last.open if last else 0)} of {number(scenario.viewers.total)}")
    grid.add_row("deliveries", f"{number(last.deliveries if last else 0)} in the last second")
    grid.add_row("", Text(bars([second.deliveries for second in seconds]), "cyan"))
    grid.add_row("to screen", f"p50 {_ms(delivery.percentile_ms(50))}   p99 {_ms(delivery.percentile_ms(99))}")
    recent = [Histogram.of_plain(second.delivery).percentile_ms(99) or 0.0 for second in seconds[-BARS_SHOWN:]]
    grid.add_row("p99 by second", Text(bars(recent), "yellow"))
    gone = sum(second.cut + sum(second.closes.values()) for second in seconds)
    gaps = sum(second.gaps for second in seconds)
    if gone or gaps:
        grid.add_row("last minute", f"{number(gone)} sockets closed, {number(gaps)} gaps")
    if video:
        _add_video(grid, scenario, video)
    latest = {one.process: one for one in usage}
    for name, one in latest.items():
        memory = f", {one.memory_mb:.0f} MB" if one.memory_mb else ""
        grid.add_row(name, f"{one.cpu_percent:.0f} % of a core{memory}")
    return Group(Text(words, style="bold"), ProgressBar(scenario.duration_s, share, width=60), grid)


def _add_video(grid: Table, scenario: Scenario, video: Sequence[MediaSecond]) -> None:
    last, minute = video[-1], video[-BARS_SHOWN:]
    delay = Histogram.of_plain(last.delay).percentile_ms(95)
    grid.add_row("video", f"{number(last.watching)} of {number(scenario.media.viewers)} watch, delay p95 {_ms(delay)}")
    grid.add_row("", Text(bars([one.received_bytes for one in minute]), "magenta"))
    freezes, lost = sum(one.freezes for one in minute), sum(one.lost for one in minute)
    if freezes or lost:
        grid.add_row("", f"{number(freezes)} freezes, {number(lost)} packets lost in the last minute")


def next_step(scenario: Scenario, at_s: float) -> tuple[float, str] | None:
    """When the next thing happens in the event, and what; None: nothing more does."""
    steps = [(mark.at_s, mark.word) for mark in marks(scenario.fault)]
    steps += [
        (wave.at_s, f"{wave.joins} join" if wave.joins else f"{wave.leaves} leave") for wave in scenario.viewers.wave
    ]
    steps += [(burst.at_s, "a burst of chat") for burst in scenario.chat.burst]
    if scenario.drop is not None:
        steps.append((scenario.drop.at_s, "drop"))
    return min((step for step in steps if step[0] >= at_s), default=None)


def bars(values: Sequence[float]) -> str:
    """The last values as little bars."""
    shown = values[-BARS_SHOWN:]
    top = max(shown, default=0.0)
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] if top else _BARS[0] for value in shown)


def closing(report: Report, folder: Path) -> RenderableType:
    """The thresholds with what was measured (of several runs the median and the spread), and where the report is."""
    several = len(report.runs) > 1
    table = Table(title=report.scenario.title, title_justify="left", title_style="bold")
    for heading in ("figure", "measured", *(("from – to",) if several else ()), "limit"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    table.add_column("")
    for group in zip(*(one.judged for one in report.runs), strict=True):
        found = spread([one.value for one in group])
        value = "not measured" if found is None else number(found.median)
        apart = ("–" if found is None else f"{number(found.low)} – {number(found.high)}",) if several else ()
        word = Text("kept", "green") if all(one.ok for one in group) else Text("broken", "bold red")
        table.add_row(group[0].name, value, *apart, number(group[0].limit), word)
    words = [Text(doubt, style="yellow") for doubt in report.doubts]
    for shopping in (one.run.shopping for one in report.runs):
        if shopping:
            words += [Text(f"shoppers: {name} × {count}", "red") for name, count in shopping.failures.items()]
    return Group(table, *words, Text(f"Report: {folder / 'report.html'}"))


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{number(value)} ms"
