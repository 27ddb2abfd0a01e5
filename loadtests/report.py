"""A run as a page for people, charts first, and as JSON for programs. The page asks no other address for anything."""

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from loadtests.charts import Line, chart, legend, number
from loadtests.histogram import Histogram
from loadtests.measures import OTHERS, Second
from loadtests.scenario import Scenario
from loadtests.verdict import Judged, Run, memory_per_viewer_kb

STYLE = Path(__file__).with_name("report.css")
PACKAGES = ("showcart", "uvicorn", "uvloop", "starlette", "websockets", "redis", "sqlalchemy", "locust")
_PERCENTILES = (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9))


class Report(msgspec.Struct):
    """Everything that the two files show."""

    scenario: Scenario
    server: str  # its URL
    own_server: bool  # it was started for the run, on the machine that also made the load
    started_at: str  # RFC 3339, UTC
    machine: dict[str, str]
    versions: dict[str, str]
    run: Run
    judged: list[Judged]
    doubts: list[str]

    @property
    def ok(self) -> bool:
        return all(one.ok for one in self.judged)


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


def versions() -> dict[str, str]:
    """Of the product and of the libraries that carry it."""
    found = {}
    for package in PACKAGES:
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


def write(report: Report, folder: Path) -> None:
    """Write `report.html` and `report.json`."""
    plain = msgspec.to_builtins(report)
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode({"ok": report.ok, **plain}), indent=1))
    (folder / "report.html").write_text(html(report), encoding="utf-8")


def html(report: Report) -> str:
    """The page."""
    scenario = report.scenario
    broken = [one for one in report.judged if not one.ok]
    word = f"{len(broken)} of {len(report.judged)} thresholds broken" if broken else "All thresholds kept"
    doubts = "".join(f"<p class='doubt'>{escape(doubt)}</p>" for doubt in report.doubts)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8" /><meta name="viewport" content="width=device-width, initial-scale=1" />
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'" />
<title>{escape(scenario.title)} – Showcart load test</title>
<style>{STYLE.read_text(encoding="utf-8")}</style></head>
<body><header><p class="over">Showcart load test · {escape(_when(report.started_at))}</p>
<h1>{escape(scenario.title)}</h1>
<p class="verdict {"bad" if broken else "good"}">{word}</p>
<p class="machine">{escape(_machine_line(report))}</p></header>
<main>{doubts}<section class="tiles">{_tiles(report)}</section>
<section class="charts">{_charts(report)}</section>
<section class="tables">{_tables(report)}</section></main>
</body></html>
"""


def _when(started_at: str) -> str:
    return f"{datetime.fromisoformat(started_at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _machine_line(report: Report) -> str:
    where = "server and load on one machine" if report.own_server else report.server
    parts = (report.machine.get("processor"), report.machine.get("memory"), report.machine.get("system"), where)
    return " · ".join(part for part in parts if part)


def _tiles(report: Report) -> str:
    totals = report.run.totals
    delivery, join = totals.histogram("delivery"), totals.histogram("join")
    tiles = [
        ("Viewers", number(totals.joined), f"of {number(totals.viewers)} joined"),
        ("Join, p99", _ms(join.percentile_ms(99)), f"half within {_ms(join.percentile_ms(50))}"),
        ("Message to screen, p99", _ms(delivery.percentile_ms(99)), f"half within {_ms(delivery.percentile_ms(50))}"),
        ("Deliveries", number(totals.deliveries), f"{number(totals.deliveries / report.scenario.duration_s)} a second"),
        ("Lost", number(totals.lost + totals.unseen), f"{number(totals.duplicates)} twice, {number(totals.gaps)} gaps"),
    ]
    if report.run.shopping:
        done = sum(one.count for one in report.run.shopping.actions)
        tiles.append(("Shoppers’ actions", number(done), f"{number(report.run.shopping.failures_count)} failed"))
    if (memory := memory_per_viewer_kb(report.run)) is not None:
        tiles.append(("Server memory", f"{number(max(memory, 0.0))} KB", "more for each viewer"))
    return "".join(f"<div><h2>{escape(a)}</h2><p><b>{escape(b)}</b></p><p>{escape(c)}</p></div>" for a, b, c in tiles)


# --- charts -----------------------------------------------------------------------------------------------------


def _charts(report: Report) -> str:
    run, limits = report.run, report.scenario.thresholds
    end_s = max([second.at_s for second in run.seconds], default=report.scenario.duration_s)
    drop = report.scenario.drop
    marks = [(drop.at_s, "drop")] if drop else []

    def card(question: str, words: str, lines: Sequence[Line], unit: str, *, limit: float | None = None,
             log: bool = False) -> str:  # fmt: skip
        drawn = chart(lines, unit, end_s=end_s, limit=limit, marks=marks, log=log)
        return (
            f"<figure><figcaption><h2>{question}</h2><p>{words}</p></figcaption>{legend(lines, unit)}{drawn}</figure>"
        )

    cards = [
        card("Who is here?", "Open sockets at the end of each second.", _people(run), ""),
        card(
            "Is it fast?", "From the time a message was due to its arrival on each screen.",
            _percentiles(run.seconds, "delivery"), "ms", limit=limits.delivery_p99_ms, log=True,
        ),
        card("How much is it?", "Events on all screens together.", [_counts(run.seconds, "deliveries")], "/s"),
        card(
            "How quickly do they get in?", "From the time a viewer was due to its first picture of the show.",
            _percentiles(run.seconds, "join"), "ms", limit=limits.join_p99_ms, log=True,
        ),
    ]  # fmt: skip
    if run.usage:
        cpu, memory = _usage(run, "cpu_percent"), _usage(run, "memory_mb")
        cards.append(card("Is the processor full?", "CPU by process; 100 % is one core.", cpu, "%"))
        cards.append(card("Is the memory full?", "Resident memory by process.", memory, "MB"))
    if run.shopping and run.shopping.seconds:
        cards += [
            card("What do shoppers do?", "Actions of all shoppers, and failures among them.", _acts(run), "/s"),
            card("Do shoppers wait?", "For the answer to an action; over the last ten seconds.", _waits(run), "ms",
                 limit=limits.shopper_p99_ms, log=True),
        ]  # fmt: skip
    lag = Line("worst lag", [(second.at_s, second.lag_max_ms) for second in run.seconds])
    cards.append(card("Can the figures be trusted?", "How late the load generator's own loop ran.", [lag], "ms"))
    return "".join(cards)


def _people(run: Run) -> list[Line]:
    lines = [Line("viewers", [(second.at_s, second.open) for second in run.seconds])]
    if run.shopping and run.shopping.seconds:
        lines.append(Line("shoppers", [(one.at_s, one.users) for one in run.shopping.seconds if one.at_s >= 0]))
    return lines


def _percentiles(seconds: Sequence[Second], name: str) -> list[Line]:
    told = [(second.at_s, Histogram.of_plain(getattr(second, name))) for second in seconds]
    lines = [Line(word, [(at_s, one.percentile_ms(percent)) for at_s, one in told]) for word, percent in _PERCENTILES]
    return [*lines, Line("max", [(at_s, one.max_ms) for at_s, one in told])]


def _counts(seconds: Sequence[Second], name: str) -> Line:
    """A count of each second as a rate; the last second may be a short one."""
    points: list[tuple[float, float | None]] = []
    before = 0.0
    for second in seconds:
        span = second.at_s - before
        points.append((second.at_s, getattr(second, name) / span if span > 0.2 else None))
        before = second.at_s
    return Line(name, points)


def _usage(run: Run, name: str) -> list[Line]:
    cpu = name == "cpu_percent"
    groups = dict.fromkeys(one.process for one in run.usage if cpu or one.process != OTHERS)
    skipped = 1 if cpu else 0  # the first reading has no CPU
    return [
        Line(group, [(one.at_s, getattr(one, name)) for one in run.usage if one.process == group][skipped:])
        for group in groups
    ]


def _acts(run: Run) -> list[Line]:
    seconds = run.shopping.seconds if run.shopping else []
    return [
        Line("actions", [(one.at_s, one.actions_per_s) for one in seconds if one.at_s >= 0]),
        Line("failures", [(one.at_s, one.failures_per_s) for one in seconds if one.at_s >= 0]),
    ]


def _waits(run: Run) -> list[Line]:
    seconds = [one for one in run.shopping.seconds if one.at_s >= 0] if run.shopping else []
    return [
        Line("p50", [(one.at_s, one.p50_ms) for one in seconds]),
        Line("p99", [(one.at_s, one.p99_ms) for one in seconds]),
    ]


# --- tables -----------------------------------------------------------------------------------------------------


def _tables(report: Report) -> str:
    totals, shopping = report.run.totals, report.run.shopping
    tables = [
        _table("Thresholds", ("figure", "measured", "limit", ""), [
            (one.name, "not measured" if one.value is None else number(one.value), number(one.limit),
             "kept" if one.ok else "broken") for one in report.judged
        ]),
        _table("Latencies in ms", ("from … to …", "p50", "p99", "p99.9", "max", "count"), [
            (words, *_row(totals.histogram(name))) for name, words in (
                ("join", "due to connected"), ("delivery", "due to screen"), ("acknowledge", "due to acknowledged"),
                ("late", "due to sent (the generator's own delay)"),
            )
        ]),
        _table("Messages", ("", "count"), [
            ("sent on the schedule", number(totals.sent)), ("not sent, no speaker was there", number(totals.unsent)),
            ("acknowledged", number(totals.acknowledged)), ("without an answer", number(totals.unanswered)),
            ("acknowledged, on no screen", number(totals.unseen)), ("lost on single screens", number(totals.lost)),
            ("twice on a screen", number(totals.duplicates)), ("gaps noticed", number(totals.gaps)),
            ("replaced by a snapshot", number(totals.replaced)), ("frames", number(totals.frames)),
            ("received, MB", number(totals.received_bytes / 1e6)),
            *((f"refused: {name}", number(count)) for name, count in totals.refused.items()),
            *((f"socket closed: {code}", number(count)) for code, count in totals.closes.items()),
        ]),
    ]  # fmt: skip
    if shopping:
        tables.append(_table("Shoppers, times in ms", ("action", "by", "count", "failed", "p50", "p99", "max"), [
            (one.name, one.method, number(one.count), number(one.failures), number(one.p50_ms), number(one.p99_ms),
             number(one.max_ms)) for one in shopping.actions
        ]))  # fmt: skip
    if shopping and shopping.failures:
        rows = [(name, number(count)) for name, count in shopping.failures.items()]
        tables.append(_table("Shoppers’ failures", ("why", "count"), rows))
    tables.append(_table("Scenario", ("member", "value"), _members(msgspec.to_builtins(report.scenario))))
    setting = {"server": report.server, **report.machine, **report.versions}
    tables.append(_table("Machine and versions", ("", ""), list(setting.items())))
    return "".join(tables)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = []
    for row in rows:
        mark = ' class="bad"' if "broken" in row else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    heading = f"<thead><tr>{cells}</tr></thead>" if any(head) else ""
    return f"<article><h2>{escape(title)}</h2><table>{heading}<tbody>{''.join(lines)}</tbody></table></article>"


def _row(histogram: Histogram) -> tuple[str, ...]:
    values = [histogram.percentile_ms(percent) for _, percent in _PERCENTILES]
    return (
        *("–" if value is None else number(value) for value in (*values, histogram.max_ms)),
        number(histogram.count),
    )


def _members(value: dict[str, object], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, member in value.items():
        if isinstance(member, dict):
            rows += _members(member, f"{prefix}{name}.")
        elif member not in (None, ""):
            rows.append((f"{prefix}{name}", str(member)))
    return rows


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{number(value / 1000)} s" if value >= 10_000 else f"{number(value)} ms"
