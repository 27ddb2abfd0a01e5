"""The tables of a report as plain rows, for the page and for the summary."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from loadtests import codes
from loadtests.charts import number
from loadtests.histogram import Histogram
from loadtests.report import Outcome, Report
from loadtests.verdict import Run

_LATENCIES = (
    ("join", "due to connected"), ("delivery", "due to screen"), ("acknowledge", "due to acknowledged"),
    ("back", "socket lost to connected again"), ("late", "due to sent (the generator's own delay)"),
)  # fmt: skip
_OF_VIDEO = (
    ("first_frame", "due to first picture"), ("delay", "picture due to there, with all before it"),
    ("back", "session lost to the next picture"), ("late", "picture due to sent (the generator's own delay)"),
)  # fmt: skip
_PERCENTILES = (50.0, 99.0, 99.9)
_VIDEO_PERCENTILES = (50.0, 95.0, 99.0)


class Table(NamedTuple):
    """`head` of empty strings: none is shown."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def thresholds(outcome: Outcome) -> Table:
    """Each threshold with what was measured."""
    rows = [
        (one.name, told(one.value), number(one.limit), "kept" if one.ok else "broken") for one in outcome.judged
    ]  # fmt: skip
    return Table("Thresholds", ("figure", "measured", "limit", ""), rows)


def latencies(run: Run) -> Table:
    """Each latency's percentiles; those that nobody had are left out."""
    found = [(words, run.totals.histogram(name)) for name, words in _LATENCIES]
    rows = [(words, *_row(histogram)) for words, histogram in found if histogram.count]
    return Table("Latencies in ms", ("from … to …", "p50", "p99", "p99.9", "max", "count"), rows)


def messages(run: Run) -> Table:
    """What became of the messages and of the sockets; what did not happen and need not be said is left out."""
    totals = run.totals
    always = [
        ("sent on the schedule", totals.sent), ("acknowledged", totals.acknowledged),
        ("events on all screens", totals.deliveries), ("lost on single screens", totals.lost),
        ("acknowledged, on no screen", totals.unseen), ("twice on a screen", totals.duplicates),
        ("after its successor", totals.reordered), ("gaps noticed", totals.gaps),
    ]  # fmt: skip
    sometimes = [
        ("not sent, no speaker was there", totals.unsent), ("without an answer", totals.unanswered),
        ("stored and not shown, the chat was too fast", totals.sampled),
        ("sent again after a reconnect", totals.resent),
        ("replaced by a snapshot", totals.replaced), ("viewers who left", totals.left),
        ("sockets cut by the generator", totals.cut), ("came back and missed nothing", totals.recovered),
        ("came back to a snapshot", totals.resnapped), ("did not come back", totals.not_back),
        ("skipped by the server at a time, they read too slowly", max((one.slow for one in run.server), default=0)),
        ("closed by the server, they did not catch up", sum(one.slow_closed for one in run.server)),
        *((f"refused: {name}", count) for name, count in totals.refused.items()),
        *((f"socket closed: {codes.told(code)}", count) for code, count in totals.closes.items()),
    ]  # fmt: skip
    rows = [(words, number(count)) for words, count in (*always, *(one for one in sometimes if one[1]))]
    return Table("Messages and sockets", ("", "count"), rows)


def video(run: Run) -> list[Table]:
    """How the video came, and what became of it."""
    if run.media is None:
        return []
    media = run.media
    found = [(words, media.histogram(name)) for name, words in _OF_VIDEO]
    times = [(words, *_row(one, _VIDEO_PERCENTILES)) for words, one in found if one.count]
    always = [
        ("viewers who saw a picture", media.joined), ("pictures sent", media.sent_pictures),
        ("packets sent, sound included", media.sent_packets), ("packets received", media.packets),
        ("received, MB", media.received_bytes / 1e6), ("pictures on all screens", media.pictures),
        ("packets lost", media.lost), ("freezes", media.freezes),
    ]  # fmt: skip
    sometimes = [
        ("frozen, seconds of all viewers", media.frozen_s), ("pictures not seen", media.skipped),
        ("times that a packet was asked for again", media.asked), ("packets that came again", media.recovered),
        ("packets twice", media.duplicates), ("keyframes asked of the publisher", media.keyframes_asked),
        ("pictures not sent, the publisher was cut off", media.unsent_pictures),
        ("publisher connected again", media.republished), ("did not come back", media.not_back),
        *((f"refused: {name}", count) for name, count in media.refused.items()),
        *((f"session ended: {why}", count) for why, count in media.closes.items()),
        ("worst lag of the generator's loop, ms", media.lag_max_ms), ("CPU of the generator, s", media.cpu_s),
    ]  # fmt: skip
    rows = [(words, number(count)) for words, count in (*always, *(one for one in sometimes if one[1]))]
    return [
        Table("Video, times in ms", ("from … to …", "p50", "p95", "p99", "max", "count"), times),
        Table("Video", ("", "count"), rows),
    ]


def knee(outcome: Outcome) -> list[Table]:
    """What the ramp showed; nothing when it cannot tell."""
    if (found := outcome.knee) is None:
        return []
    rows = [
        (word, number(one.viewers), number(one.deliveries_per_s), number(one.p99_ms))
        for word, one in (("knee", found.at), ("highest load of the ramp", found.levels[-1]))
        if one is not None
    ]
    if found.at is None:
        rows.insert(0, ("no knee reached", "–", "–", "–"))
    flat = ("flat part", "–", "–", number(found.flat_p99_ms))
    limit = ("limit of the flat part", "–", "–", number(found.limit_ms))
    return [Table("The knee", ("of the ramp", "viewers", "deliveries/s", "p99, ms"), [flat, limit, *rows])]


def generator(run: Run) -> Table:
    """What the load generator itself needed: the server is measured only while this is far from its limits."""
    totals = run.totals
    busiest = max((second.cpu_percent for second in run.seconds), default=None)
    rows = [
        ("frames received", number(totals.frames)),
        ("received, MB", number(totals.received_bytes / 1e6)),
        ("CPU per frame, kernel included, µs", told(totals.frame_cpu_us)),
        (f"busiest second of {run.swarms} swarm(s), % of a core", told(busiest)),
        ("worst lag of its loop, ms", number(totals.lag_max_ms)),
    ]
    return Table("The load generator", ("", ""), rows)


def shoppers(run: Run) -> list[Table]:
    """What shoppers did, and why it failed."""
    if run.shopping is None:
        return []
    actions = [
        (one.name, one.method, number(one.count), number(one.failures), number(one.p50_ms), number(one.p99_ms),
         number(one.max_ms)) for one in run.shopping.actions
    ]  # fmt: skip
    tables = [Table("Shoppers, times in ms", ("action", "by", "count", "failed", "p50", "p99", "max"), actions)]
    if run.shopping.failures:
        rows = [(name, number(count)) for name, count in run.shopping.failures.items()]
        tables.append(Table("Shoppers’ failures", ("why", "count"), rows))
    return tables


def spreads(report: Report) -> Table:
    """Every figure of every run, with its median and how far the runs are apart."""
    measured = [one.figures for one in report.runs]
    rows = []
    for name, over in report.spreads.items():
        values = [one[name] for one in measured]
        if any(value is not None for value in values):
            apart = ("–", "–", "–") if over is None else (number(over.median), number(over.low), number(over.high))
            rows.append((name, *apart, *("–" if value is None else number(value) for value in values)))
    runs = [f"run {index + 1}" for index in range(len(measured))]
    return Table(f"{len(measured)} runs and their spread", ("figure", "median", "min", "max", *runs), rows)


def scenario(report: Report) -> Table:
    """Every member of the scenario that is set, but for those of people who do not come."""
    members = msgspec.to_builtins(report.scenario)
    if not report.scenario.shoppers.count:
        del members["shoppers"]
    if not report.scenario.media.viewers:
        del members["media"]
    return Table("Scenario", ("member", "value"), _members(members))


def setting(report: Report) -> Table:
    """Where it ran, and with what."""
    values = {"server": report.server, **report.settings, **report.machine, **report.versions}
    return Table("Machine, versions, settings", ("", ""), list(values.items()))


def told(value: float | None) -> str:
    """A figure for people."""
    return "not measured" if value is None else number(value)


def _row(histogram: Histogram, percentiles: Sequence[float] = _PERCENTILES) -> tuple[str, ...]:
    values = [histogram.percentile_ms(percent) for percent in percentiles]
    return (
        *("–" if value is None else number(value) for value in (*values, histogram.max_ms)),
        number(histogram.count),
    )


def _members(value: object, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [
            row for name, member in value.items() for row in _members(member, f"{prefix}.{name}" if prefix else name)
        ]
    if isinstance(value, list | tuple):
        return [row for index, member in enumerate(value) for row in _members(member, f"{prefix}[{index}]")]
    if value is None or value == "":
        return []
    return [(prefix, f"{value:g}" if isinstance(value, float) else str(value))]
