"""The charts of one run: each asks a question, and shows the drop and the faults."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from loadtests.charts import LINES_MAX, Line, chart, legend, number
from loadtests.codes import told
from loadtests.histogram import Histogram
from loadtests.knee import SPAN_S_MIN, Knee
from loadtests.measures import OTHERS, Mark, MediaSecond, Second
from loadtests.scenario import Scenario
from loadtests.verdict import Run

_PERCENTILES = (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9))
_VIDEO_PERCENTILES = (("p50", 50.0), ("p95", 95.0))
_Seconds = Sequence[Second] | Sequence[MediaSecond]


class Card(NamedTuple):
    """A chart and what it answers; the rest is as `charts.chart` takes it."""

    question: str
    words: str
    lines: Sequence[Line]
    unit: str
    end_s: float
    limit: float | None = None
    marks: Sequence[Mark] = ()
    log: bool = False
    across: str = ""

    def drawn(self, *, dots: bool = True) -> str:
        """The chart alone; `dots`: with a word at each point."""
        _, _, lines, unit, end_s, limit, marks, log, across = self
        return chart(lines, unit, end_s=end_s, limit=limit, marks=marks, log=log, across=across, dots=dots)

    def figure(self) -> str:
        """All of it, for the page."""
        words = f"<figcaption><h3>{self.question}</h3><p>{self.words}</p></figcaption>"
        return f"<figure>{words}{legend(self.lines, self.unit)}{self.drawn()}</figure>"


def cards(scenario: Scenario, run: Run, knee: Knee | None = None) -> list[Card]:
    """All charts of a run that have something to show, those that matter most first."""
    limits = scenario.thresholds
    end_s = max([second.at_s for second in run.seconds], default=scenario.duration_s)

    def card(question: str, words: str, lines: Sequence[Line], unit: str, *, limit: float | None = None,
             log: bool = False, marks: Sequence[Mark] = run.marks) -> Card:  # fmt: skip
        return Card(question, words, lines, unit, end_s, limit, marks, log)

    made = [
        card("Is it fast?", "From the time a message was due to its arrival on each screen.",
             _percentiles(run.seconds, "delivery"), "ms", limit=limits.delivery_p99_ms, log=True,
             marks=[*run.marks, *_bend(knee)]),
        *([_carried(knee)] if knee else ()),
        card("Who is here?", "Open sockets, and sessions of the video, at the end of each second.", _people(run), ""),
        card("Who comes and goes?", "Viewers who join, sockets cut by the generator.",
             [_counts(run.seconds, name) for name in ("joins", "cut")], "/s"),
        card("How quickly do they get in?", "From the time a viewer was due to its first picture of the show.",
             _percentiles(run.seconds, "join"), "ms", limit=limits.join_p99_ms, log=True),
        card("How much is it?", "Events on all screens together.", [_counts(run.seconds, "deliveries")], "/s"),
        card("Why do sockets close?", "Those that ended by themselves, and refused handshakes, in each second.",
             _closes(run.seconds), ""),
        card("Is anything missed?", "Events on all screens in each second; what lacks at the end is lost then.",
             [Line(word, [(second.at_s, getattr(second, name)) for second in run.seconds]) for name, word in (
                 ("lost", "lost"), ("gaps", "gaps"), ("duplicates", "twice"), ("replaced", "replaced by a snapshot"))],
             ""),
    ]  # fmt: skip
    if run.screening and (video := run.screening.seconds):
        made += [
            card("Does the picture come at once?", "From the time a viewer of the video was due to its first picture.",
                 _percentiles(video, "first_frame", _VIDEO_PERCENTILES), "ms", limit=limits.media_first_frame_p95_ms,
                 log=True),
            card("Is the picture live?", "From the time a picture was due to be sent to its being there whole.",
                 _percentiles(video, "delay", _VIDEO_PERCENTILES), "ms", limit=limits.media_delay_p95_ms, log=True),
            card("Does the picture stand still?", "No new picture for half a second; packets that never came.",
                 [_counts(video, "freezes"), _counts(video, "lost", "packets lost")], "/s"),
            card("How much video is it?", "To all viewers together.", _megabits(video), "Mbit/s"),
        ]  # fmt: skip
        if any(second.closes for second in video):
            words = "Those of the video that ended by themselves, in each second."
            made.append(card("Why do sessions end?", words, _closes(video), ""))
    if run.usage:
        cpu, memory = _usage(run, "cpu_percent"), _usage(run, "memory_mb")
        made.append(card("Is the processor full?", "CPU by process; 100 % is one core.", cpu, "%"))
        made.append(card("Is the memory full?", "Resident memory by process.", memory, "MB"))
    if run.server:
        made.append(card("Does the server keep up?", "How late its event loop runs, by what it says of itself.",
                         _server_lag(run), "ms", limit=limits.server_lag_p99_ms, log=True))  # fmt: skip
    if any(one.slow or one.slow_closed for one in run.server):
        lines = [Line(word, [(one.at_s, getattr(one, name)) for one in run.server])
                 for name, word in (("slow", "skipped"), ("slow_closed", "closed since the last look"))]  # fmt: skip
        made.append(card("Who is too slow?", "Viewers whom the server passes over until they have read, and those "
                         "whom it closed for that, by what it says of itself.", lines, ""))  # fmt: skip
    if run.shopping and run.shopping.seconds:
        made += [
            card("What do shoppers do?", "Actions of all shoppers, and failures among them.", _acts(run), "/s"),
            card("Do shoppers wait?", "For the answer to an action; over the last ten seconds.", _waits(run), "ms",
                 limit=limits.shopper_p99_ms, log=True),
        ]  # fmt: skip
    lag = Line("worst lag", [(second.at_s, second.lag_max_ms) for second in run.seconds])
    made.append(card("Can the figures be trusted?", "How late the load generator's own loop ran.", [lag], "ms"))
    return made


def _bend(knee: Knee | None) -> list[Mark]:
    return [Mark(knee.at.at_s, f"knee: {number(knee.at.viewers)} viewers")] if knee and knee.at else []


def _carried(knee: Knee) -> Card:
    """The p99 by how many are there."""
    lines = [Line("p99", [(one.viewers, one.p99_ms) for one in knee.levels])]
    marks = [Mark(knee.at.viewers, "knee")] if knee.at else []
    words = f"The p99 of the delivery by viewers, while they come. It is flat at {number(knee.flat_p99_ms)} ms; "
    words += "the knee is where it stays above the limit." if knee.at else "no knee was reached."
    end = knee.levels[-1].viewers
    return Card("How many does it carry?", words, lines, "ms", end, knee.limit_ms, marks, across="viewers")


def _closes(seconds: _Seconds) -> list[Line]:
    """A line for each code, the most frequent first; those that would be too many share the last one."""
    counted: Counter[str] = Counter()
    for second in seconds:
        counted.update(second.closes)
    codes = [code for code, _ in counted.most_common()]
    shown = codes if len(codes) <= LINES_MAX else codes[: LINES_MAX - 1]
    groups = [(told(code), {code}) for code in shown] or [("closes", set())]
    if rest := set(codes) - set(shown):
        groups.append(("others", rest))
    return [
        Line(word, [(one.at_s, sum(one.closes.get(code, 0) for code in group)) for one in seconds])
        for word, group in groups
    ]


def _people(run: Run) -> list[Line]:
    lines = [Line("viewers", [(second.at_s, second.open) for second in run.seconds])]
    if run.screening:
        lines.append(Line("watch the video", [(one.at_s, one.watching) for one in run.screening.seconds]))
    if run.shopping and run.shopping.seconds:
        lines.append(Line("shoppers", [(one.at_s, one.users) for one in run.shopping.seconds if one.at_s >= 0]))
    return lines


def _percentiles(
    seconds: _Seconds, name: str, percentiles: Sequence[tuple[str, float]] = _PERCENTILES
) -> list[Line]:  # fmt: skip
    told = [(second.at_s, Histogram.of_plain(getattr(second, name))) for second in seconds]
    lines = [Line(word, [(at_s, one.percentile_ms(percent)) for at_s, one in told]) for word, percent in percentiles]
    return [*lines, Line("max", [(at_s, one.max_ms) for at_s, one in told])]


def _counts(seconds: _Seconds, name: str, word: str = "") -> Line:
    """A count of each second as a rate; the last second may be a short one."""
    points: list[tuple[float, float | None]] = []
    before = 0.0
    for second in seconds:
        span = second.at_s - before
        points.append((second.at_s, getattr(second, name) / span if span > SPAN_S_MIN else None))
        before = second.at_s
    return Line(word or name, points)


def _megabits(seconds: Sequence[MediaSecond]) -> list[Line]:
    rates = _counts(seconds, "received_bytes")
    return [Line("received", [(at_s, rate and rate * 8 / 1e6) for at_s, rate in rates.points])]


def _usage(run: Run, name: str) -> list[Line]:
    cpu = name == "cpu_percent"
    groups = dict.fromkeys(one.process for one in run.usage if cpu or one.process != OTHERS)
    skipped = 1 if cpu else 0  # the first reading has no CPU
    return [
        Line(group, [(one.at_s, getattr(one, name)) for one in run.usage if one.process == group][skipped:])
        for group in groups
    ]


def _server_lag(run: Run) -> list[Line]:
    workers = sorted({one.worker for one in run.server})
    if len(workers) == 1:
        return [
            Line("p99 at most", [(one.at_s, one.lag_p99_ms) for one in run.server]),
            Line("mean", [(one.at_s, one.lag_mean_ms) for one in run.server]),
        ]
    return [
        Line(f"worker {worker}, p99", [(one.at_s, one.lag_p99_ms) for one in run.server if one.worker == worker])
        for worker in workers
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
