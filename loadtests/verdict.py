"""Whether an event went well: its figures against the scenario's thresholds, and whether the figures can be trusted."""

from collections.abc import Callable, Sequence

import msgspec

from loadtests.histogram import Histogram
from loadtests.measures import OTHERS, Mark, MediaTotals, Screening, Second, ServerSecond, Shopping, Totals, Usage
from loadtests.scenario import Thresholds

GENERATOR_LATE_MS_MAX = 50.0  # a probe sent later than this measures the generator
GENERATOR_LAG_MS_MAX = 100.0
GENERATOR_CPU_PERCENT_MAX = 90.0
GENERATOR_FULL_S = 3  # seconds above that, before the figures are doubted
OTHERS_CPU_PERCENT_MAX = 25.0


class Run(msgspec.Struct):
    """Everything that was measured in one run."""

    seconds: list[Second]
    totals: Totals
    usage: list[Usage] = []
    shopping: Shopping | None = None
    screening: Screening | None = None  # of the video
    server: list[ServerSecond] = []  # what the server's workers told on /metrics
    unread: int = 0  # times that it told nothing
    marks: list[Mark] = []
    swarms: int = 1
    shopper_processes: int = 1
    processors: str = ""  # who kept which; "": the kernel gave them out

    @property
    def media(self) -> MediaTotals | None:
        """The totals of the video; None: nobody watched it."""
        return self.screening.totals if self.screening else None


class Judged(msgspec.Struct):
    """One threshold. `value` None: it was not measured, which is not `ok`."""

    name: str
    value: float | None
    limit: float
    ok: bool


def cpu_percents(usage: Sequence[Usage], process: str) -> list[float]:
    """The CPU of one group of processes, second by second; the first reading is of memory only."""
    return [one.cpu_percent for one in usage if one.process == process][1:]


def memory_per_viewer_kb(run: Run) -> float | None:
    """How much the server grew from its first reading to its largest, per viewer of any kind; None: not watched."""
    memory = [one.memory_mb for one in run.usage if one.process == "server"]
    viewers = run.totals.joined + (run.media.joined if run.media else 0)
    return (max(memory) - memory[0]) * 1000 / viewers if memory and viewers else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _of_media(run: Run, name: str) -> Histogram:
    return run.media.histogram(name) if run.media else Histogram()


_FIGURES: dict[str, Callable[[Run], float | None]] = {
    "join_p99_ms": lambda run: run.totals.histogram("join").percentile_ms(99),
    "return_p99_ms": lambda run: run.totals.histogram("back").percentile_ms(99),
    "delivery_p50_ms": lambda run: run.totals.histogram("delivery").percentile_ms(50),
    "delivery_p99_ms": lambda run: run.totals.histogram("delivery").percentile_ms(99),
    "delivery_p999_ms": lambda run: run.totals.histogram("delivery").percentile_ms(99.9),
    "acknowledged_p99_ms": lambda run: run.totals.histogram("acknowledge").percentile_ms(99),
    "publisher_late_p99_ms": lambda run: run.totals.histogram("late").percentile_ms(99),
    "shopper_p99_ms": lambda run: run.shopping.p99_ms if run.shopping else None,
    "lost_max": lambda run: run.totals.lost + run.totals.unseen,
    "duplicates_max": lambda run: run.totals.duplicates,
    "gaps_max": lambda run: run.totals.gaps,
    "closes_max": lambda run: run.totals.closes_count,
    "not_joined_max": lambda run: run.totals.not_joined,
    "not_back_max": lambda run: run.totals.not_back,
    "refused_max": lambda run: run.totals.refused_count + run.totals.unanswered + run.totals.unsent,
    "failures_max": lambda run: run.shopping.failures_count if run.shopping else None,
    "server_lag_p99_ms": lambda run: max((one.lag_p99_ms for one in run.server), default=None),
    "server_cpu_mean_percent": lambda run: _mean(cpu_percents(run.usage, "server")),
    "memory_per_viewer_kb": memory_per_viewer_kb,
    "media_first_frame_p95_ms": lambda run: _of_media(run, "first_frame").percentile_ms(95),
    "media_delay_p95_ms": lambda run: _of_media(run, "delay").percentile_ms(95),
    "media_lost_max": lambda run: run.media.lost if run.media else None,
    "media_freezes_max": lambda run: run.media.freezes if run.media else None,
    "media_not_joined_max": lambda run: run.media.not_joined if run.media else None,
    "media_not_back_max": lambda run: run.media.not_back if run.media else None,
}
_OF_SHOPPERS = ("shopper_p99_ms", "failures_max")
assert set(_FIGURES) == set(Thresholds.__struct_fields__), "each threshold has its figure"


def judge(run: Run, thresholds: Thresholds) -> list[Judged]:
    """Each threshold that is set, with what was measured; those of shoppers and of the video only if there were any."""
    judged = []
    for name, figure in _FIGURES.items():
        limit = getattr(thresholds, name)
        asked = (run.shopping or name not in _OF_SHOPPERS) and (run.screening or not name.startswith("media_"))
        if limit is not None and asked:
            value = figure(run)
            judged.append(Judged(name, value, float(limit), value is not None and value <= limit))
    return judged


def figures(run: Run) -> dict[str, float | None]:
    """Every figure that a threshold can be set for; None: it was not measured."""
    return {name: figure(run) for name, figure in _FIGURES.items()}


def doubts(run: Run) -> list[str]:
    """Why the figures may tell of the generator and not of the server."""
    found = []
    late = run.totals.histogram("late").percentile_ms(99) or 0.0
    if late > GENERATOR_LATE_MS_MAX:
        found.append(
            f"The swarm sent its messages late (p99 {late:.0f} ms): the machine was too busy to keep the schedule."
        )
    if run.totals.lag_max_ms > GENERATOR_LAG_MS_MAX:
        found.append(
            f"The swarm's own event loop stood still for up to {run.totals.lag_max_ms:.0f} ms; latencies include that."
        )
    if run.media is not None:
        if (late := run.media.histogram("late").percentile_ms(99) or 0.0) > GENERATOR_LATE_MS_MAX:
            found.append(
                f"The pictures were sent late (p99 {late:.0f} ms): delays and freezes of the video include that."
            )
        if run.media.lag_max_ms > GENERATOR_LAG_MS_MAX:
            found.append(f"The video's viewers stood still for up to {run.media.lag_max_ms:.0f} ms, all at once.")
    for group, processes in (("swarm", run.swarms), ("shoppers", run.shopper_processes), ("media", 1)):
        percents = [percent / processes for percent in cpu_percents(run.usage, group)]
        full = sum(percent > GENERATOR_CPU_PERCENT_MAX for percent in percents)
        if full >= GENERATOR_FULL_S:
            found.append(f"The {group} filled their core for {full} seconds: use more processes, or fewer people.")
    if (cpu := _mean(cpu_percents(run.usage, OTHERS)) or 0.0) > OTHERS_CPU_PERCENT_MAX:
        found.append(f"Other programs used {cpu:.0f} % of a core meanwhile: the machine was not free for the test.")
    stopped = any(mark.word.startswith("slow") for mark in run.marks)
    if stopped and run.server and not any(one.slow or one.slow_closed for one in run.server):
        found.append(
            "The server skipped none of those who stopped reading: so little was written to them that it waited in "
            "their lines. Let them stop for longer, or write more (chat.size_bytes)."
        )
    if run.unread > len(run.server) / 10:
        found.append(f"The server did not answer {run.unread} of the readings of its /metrics.")
    return found
