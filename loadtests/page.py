"""A report as a page for people, charts first. It asks no other address for anything and runs no script."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from loadtests import tables
from loadtests.cards import cards
from loadtests.charts import number
from loadtests.knee import Knee
from loadtests.merge import spread
from loadtests.report import Outcome, Report
from loadtests.tables import Table
from loadtests.verdict import memory_per_viewer_kb

_UNIT = re.compile(r"(?<=\d) (?=(?:ms|s|KB|MB|%)(?:\W|$))")
STYLE = Path(__file__).with_name("report.css")


def html(report: Report) -> str:
    """The page."""
    scenario, several = report.scenario, len(report.runs) > 1
    doubts = "".join(f"<p class='doubt'>{escape(doubt)}</p>" for doubt in report.doubts)
    spreads = f"<section class='wide'>{_table(tables.spreads(report))}</section>" if several else ""
    pictures = "".join(_pictures(report, index, outcome) for index, outcome in enumerate(report.runs))
    figures = "".join(_figures(report, index, outcome) for index, outcome in enumerate(report.runs))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8" /><meta name="viewport" content="width=device-width, initial-scale=1" />
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'" />
<title>{escape(scenario.title)} – Showcart load test</title>
<style>{STYLE.read_text(encoding="utf-8")}</style></head>
<body><header><p class="over">Showcart load test · {escape(when(report.runs[0].started_at))}</p>
<h1>{escape(scenario.title)}</h1>
<p class="verdict {"good" if report.ok else "bad"}">{escape(verdict(report))}</p>
<p class="machine">{escape(machine_line(report))}</p></header>
<main>{doubts}<section class="tiles">{_tiles(report)}</section>
{pictures}{spreads}{figures}
<section class="tables">{_table(tables.scenario(report))}{_table(tables.setting(report))}</section></main>
</body></html>
"""


def when(started_at: str) -> str:
    """A time for people."""
    return f"{datetime.fromisoformat(started_at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def verdict(report: Report) -> str:
    """How it went, in a few words."""
    runs = f" in {len(report.runs)} runs" if len(report.runs) > 1 else ""
    count = len(report.runs[0].judged)
    if report.broken:
        return f"{len(report.broken)} of {count} thresholds broken{runs}"
    return f"All {count} thresholds kept{runs}" if count else "No thresholds were set"


def machine_line(report: Report) -> str:
    """What it ran on, in one line."""
    where = "server and load on one machine" if report.own_server else report.server
    parts = (report.machine.get("processor"), report.machine.get("memory"), report.machine.get("system"), where)
    return " · ".join(part for part in parts if part)


def _heading(report: Report, index: int, outcome: Outcome) -> str:
    """Which of several runs it is, and how it went."""
    if len(report.runs) == 1:
        return ""
    word = "all kept" if outcome.ok else f"{sum(not one.ok for one in outcome.judged)} broken"
    return f"<h2 class='run'>Run {index + 1} · {escape(when(outcome.started_at))} · {word}</h2>"


def _pictures(report: Report, index: int, outcome: Outcome) -> str:
    heading = _heading(report, index, outcome)
    shown = cards(report.scenario, outcome.run, outcome.knee)
    return f"{heading}<section class='charts'>{''.join(card.figure() for card in shown)}</section>"


def _figures(report: Report, index: int, outcome: Outcome) -> str:
    run = outcome.run
    shown = [tables.thresholds(outcome), tables.latencies(run), tables.messages(run), *tables.knee(outcome),
             *tables.video(run), *tables.shoppers(run), tables.generator(run)]  # fmt: skip
    heading = _heading(report, index, outcome)
    return f"{heading}<section class='tables'>{''.join(_table(table) for table in shown)}</section>"


def _tiles(report: Report) -> str:
    """The figures that matter most, as medians over the runs."""
    totals = [one.run.totals for one in report.runs]
    first, seconds = totals[0], report.scenario.duration_s

    def over(values: list[float | None], unit: str = "") -> str:
        found = spread(values)
        return "–" if found is None else f"{number(found.median)}{unit}"

    def percentile(name: str, percent: float) -> str:
        return over([one.histogram(name).percentile_ms(percent) for one in totals], " ms")

    deliveries = [float(one.deliveries) for one in totals]
    lost = max(one.lost + one.unseen for one in totals)
    tiles = [
        ("Message to screen, p99", percentile("delivery", 99), f"half within {percentile('delivery', 50)}"),
        ("Lost", number(lost), f"{number(max(one.duplicates for one in totals))} twice, "
                               f"{number(max(one.gaps for one in totals))} gaps"),
        ("Viewers", number(min(one.joined for one in totals)), f"of {number(first.viewers)} joined"),
        ("Join, p99", percentile("join", 99), f"half within {percentile('join', 50)}"),
        ("Deliveries", over([one / seconds for one in deliveries], " /s"), f"{over([*deliveries])} in all"),
    ]  # fmt: skip
    if tile := _knee([one.knee for one in report.runs if one.knee]):
        tiles.append(tile)
    if any(one.cut for one in totals):
        tiles.append(("Back after a cut, p99", percentile("back", 99),
                      f"{number(max(one.not_back for one in totals))} did not come back"))  # fmt: skip
    videos = [one.run.media for one in report.runs if one.run.media]
    if videos:
        first_frame = over([one.histogram("first_frame").percentile_ms(95) for one in videos], " ms")
        delay = over([one.histogram("delay").percentile_ms(95) for one in videos], " ms")
        tiles.append(("First picture, p95", first_frame, f"live within {delay}"))
        tiles.append(("Freezes", number(max(one.freezes for one in videos)),
                      f"{number(max(one.lost for one in videos))} packets lost"))  # fmt: skip
    shopping = [one.run.shopping for one in report.runs if one.run.shopping]
    if shopping:
        done = [float(sum(action.count for action in one.actions)) for one in shopping]
        failed = max(one.failures_count for one in shopping)
        tiles.append(("Shoppers’ actions", over([*done]), f"{number(failed)} failed"))
    memory = [memory_per_viewer_kb(one.run) for one in report.runs]
    if spread(memory) is not None:
        tiles.append(("Server memory", over(memory, " KB"), "more for each viewer"))
    shown = ((escape(name), _together(figure), escape(note)) for name, figure, note in tiles)
    return "".join(f"<div><h2>{name}</h2><p><b>{figure}</b></p><p>{note}</p></div>" for name, figure, note in shown)


def _knee(found: Sequence[Knee]) -> tuple[str, str, str] | None:
    """Of the runs that can tell: the median, or up to what there was none in any of them."""
    if not found:
        return None
    reached = sorted((one.at for one in found if one.at), key=lambda one: one.viewers)
    if not reached:
        return "Knee", "none", f"up to {number(min(one.levels[-1].viewers for one in found))} viewers"
    middle = reached[len(reached) // 2]
    where = f" in {len(reached)} of {len(found)} runs" if len(found) > 1 else ""
    return "Knee", f"{number(middle.viewers)}", f"viewers ({number(middle.deliveries_per_s)} deliveries/s){where}"


def _together(figure: str) -> str:
    """A figure for the page whose unit stays on the line of its number."""
    return escape(_UNIT.sub("\u00a0", figure))


def _table(table: Table) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    lines = []
    for row in table.rows:
        mark = ' class="bad"' if "broken" in row else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    heading = f"<thead><tr>{cells}</tr></thead>" if any(table.head) else ""
    body = "".join(lines)
    return f"<article><h3>{escape(table.title)}</h3><table>{heading}<tbody>{body}</tbody></table></article>"
