"""How late events are at 10,000 viewers of one worker with chat at 20/s, while half a core is wanted for other work.

Lateness is from the moment an event was due to be sent, on a fixed schedule, to its arrival in the viewers' process,
for each event and viewer. The other work is what active shoppers ask of the same event loop: a millisecond of it
every two, owed and done later when the loop was held. The viewers' process and the bus have the other core.
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import Sequence
from pathlib import Path

from live.core.garbage import keep_tidy
from live.core.tasks import running
from loadtests.benches.fanout_sinks import SHOW, Sinks, sinks
from loadtests.benches.fanout_stage import TEXT, Stage, stage, until
from loadtests.benches.figure import figure

VIEWERS = 10_000
EVENTS_PER_S = 20
WARM_S = 1.0
MEASURED_S = 6.0
WAITED_PCT_MAX = 10
WORK_S = 0.001
WORK_EVERY_S = 0.002
_JOINING = 500  # sockets at a time
_JOIN_PAUSE_S = 0.55  # a worker admits a thousand a second


class _Work:
    """The other work. `late_s`: how late each piece began."""

    def __init__(self, share: float) -> None:
        self._piece_s = WORK_EVERY_S * share
        self.late_s: list[float] = []

    async def run(self) -> None:
        due_s = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            # All that is due, as many shoppers' tasks would be run in one turn of the loop.
            while due_s <= time.monotonic():
                self.late_s.append(time.monotonic() - due_s)
                due_s += WORK_EVERY_S
                end_s = time.thread_time() + self._piece_s
                while time.thread_time() < end_s:
                    pass


def _timed_slices(built: Stage) -> list[float]:
    """CPU seconds of each slice of writing from now on: by the wall clock, neighbours on the cores would count too."""
    slices: list[float] = []
    turns = built.hub._turns
    run = turns._run

    def timed() -> None:
        start_s = time.thread_time()
        run()
        slices.append(time.thread_time() - start_s)

    turns._run = timed  # type: ignore[method-assign]
    return slices


def percentile(counts: Sequence[int], share: float) -> int:
    """The first bucket below or in which `share` of all that was counted lies."""
    left = share * sum(counts)
    for bucket, count in enumerate(counts):
        left -= count
        if left <= 0:
            return bucket
    return len(counts)


def _waited_s() -> float:
    """How long this process was ready to run and others had the cores, so far; 0 where Linux does not say."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0


async def _chat(built: Stage, seconds: float) -> int:
    start_s, count = time.monotonic(), round(EVENTS_PER_S * seconds)
    for number in range(count):
        due_s = start_s + number / EVENTS_PER_S
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        await built.outlet.event(SHOW, 1000, "chat.message", {"text": TEXT, "t": round(due_s, 4)})
    return count


async def _written(built: Stage, events: int) -> None:
    """Until so many have been written; those that never are, to viewers who were skipped or cut, are told as lost."""
    with contextlib.suppress(TimeoutError):
        await until(lambda: built.figures.events >= events, 0.01)


async def fill(built: Stage, crowd: Sinks, viewers: int) -> None:
    """Let `viewers` in, no faster than a worker admits them."""
    for _ in range(viewers // _JOINING):
        await crowd.connect("timed", built.port, _JOINING)
        await asyncio.sleep(_JOIN_PAUSE_S)
    gc.collect()
    gc.freeze()


async def measure(viewers: int = VIEWERS, share: float = WORK_S / WORK_EVERY_S) -> None:
    """Print the figures."""
    with sinks() as crowd:
        async with stage() as built:
            await fill(built, crowd, viewers)
            work = _Work(share)
            async with running(work.run()), running(keep_tidy()):  # as `showcart serve` has it
                warm = await _chat(built, WARM_S)
                await _written(built, warm * viewers)
                before = await crowd.arrivals()
                slices, rounds = _timed_slices(built), built.figures.rounds
                work.late_s.clear()
                waited_s, cpu_s, start_s = _waited_s(), time.process_time(), time.monotonic()
                sent = await _chat(built, MEASURED_S)
                await _written(built, (warm + sent) * viewers)
                cpu_s, took_s = time.process_time() - cpu_s, time.monotonic() - start_s
                waited_pct = 100 * (_waited_s() - waited_s) / took_s
            await asyncio.sleep(0.3)
            after = await crowd.arrivals()
    counts = [now - then for now, then in zip(after, before, strict=True)]
    what = f"ms from due to arrived, {viewers} viewers, {EVENTS_PER_S} events/s, {share:.0%} of a core for other work"
    figure("fanout_10k_p50_ms", percentile(counts, 0.5), what)
    # A worker that does not get its core is late whatever it does: then the figure is for information.
    figure("fanout_10k_p99_ms", percentile(counts, 0.99), what, 250 if waited_pct <= WAITED_PCT_MAX else None)
    figure("fanout_10k_waited_pct", waited_pct, "% of the time the worker waited for a core that others had")
    figure("fanout_10k_max_ms", max(bucket for bucket, count in enumerate(counts) if count), what)
    figure("fanout_10k_lost", sent * viewers - sum(counts), "events times viewers that never arrived", 0)
    figure("fanout_10k_cpu_pct", 100 * cpu_s / took_s, "% of a core, the other work included")
    figure("fanout_10k_round_ms", 1000 * took_s / (built.figures.rounds - rounds), "ms from one round to the next")
    figure("fanout_slice_ms", 1000 * max(slices), "ms of CPU, the longest that writing held the loop", 5)
    late_ms = sorted(1000 * late_s for late_s in work.late_s)
    figure("fanout_others_p99_ms", late_ms[int(len(late_ms) * 0.99)], "ms that other work had to wait")
