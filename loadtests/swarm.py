"""A dense audience for one show: thousands of sockets in one process, and a clock on every message.

`viewer.py` is one of them, `shelf.py` says why it is cheap, `speech.py` how the latencies are taken. Clocks agree
because all of it happens on one machine.

    python -m loadtests.swarm http://127.0.0.1:8000 --show demo --viewers 1000

prints a JSON line a second and the totals at the end; `measures.py` says what is in them. A rehearsal writes a file
with the whole plan instead, and calls it with `--plan FILE`.
"""

import asyncio
import gc
import random
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, get_args

import msgspec
import uvloop

from live.core.codec import Encoding
from loadtests import timetable
from loadtests.measures import Line, Totals
from loadtests.plan import Plan, Target
from loadtests.program import open_files, parser, tell
from loadtests.scenario import Chat, Reconnect, Viewers
from loadtests.shelf import Probe, Shelf
from loadtests.speech import Speech
from loadtests.tally import Tally
from loadtests.viewer import BACKOFF_S_MAX, CUT, Viewer, now_us
from loadtests.wire import Event, Message, Refused, Reply, messages

TICK_US = 1_000_000
LAG_PROBE_S = 0.05
JOIN_TIMEOUT_S = 20.0
CLOSING_S = 0.2
QUIET_DRAIN_S = 1.0  # a swarm that does not speak gives the last messages of the others this long
FILES_BESIDES = 100  # that a process has open besides its viewers' sockets
DENSE = 1000  # viewers, from which on a swarm reads in gulps ...
GULP_S = 0.002  # ... this far apart


class Swarm:
    """One audience from its first viewer to its last; `tell` is called with each finished second."""

    def __init__(self, plan: Plan, tell: Callable[[Line], None]) -> None:
        self.plan = plan
        self.encoding: Encoding = plan.viewers.encoding
        self.stopping = False
        self._tell = tell
        self._target = Target.of(plan.url)
        self.handshake = self._target.handshake(plan.show, self.encoding)
        self._shelf = Shelf(lambda chunk: self._tally.settle(chunk, now_us()), self.probe)
        self._viewers = [Viewer(self, self._shelf, index) for index in plan.indices]
        self._tasks: set[asyncio.Task[None]] = set()
        self._set_clock(now_us())

    def _set_clock(self, start_us: int) -> None:
        self._start_us = start_us
        self._cpu_s = time.process_time()
        self._tally = Tally(start_us, [viewer.sequence for viewer in self._viewers])
        run = self.plan.run or f"{random.randrange(16**6):06x}"  # tells our probes from those of another run
        speakers = self._viewers[: self.plan.speakers]
        self._speakers = frozenset(speakers)
        self._speech = Speech(self.plan, run, speakers, self._tally)

    async def run(self) -> Totals:
        """Let everybody join, speak and leave; takes `duration_s`, up to `drain_s` more, and a moment to close."""
        self._set_clock(now_us() if self.plan.start_us is None else self.plan.start_us)
        self._tally.lag(now_us() - self._start_us)  # who begins late has nobody else to blame
        work = [
            asyncio.create_task(one)
            for one in (self._tell_seconds(), self._measure_lag(), self._let_in(), self._let_out(), self._faults())
        ]
        if len(self._viewers) >= DENSE:
            self._gulp()
        try:
            await self._speech.run(self._start_us)
            await self._until(self._start_us + int(self.plan.duration_s * 1e6))
            lacking = await self._drain()
            self._tell(self._tally.second(now_us(), self._used_s(), lacking=lacking))
            return self._tally.totals(
                viewers=len(self._viewers), lacking=lacking,
                not_back=sum(not viewer.open for viewer in self._here()), cpu_s=self._used_s(),
            )  # fmt: skip
        finally:
            await self._close(work)

    # --- what the viewers tell: `viewer.Audience`

    def messages(self, payload: bytes) -> Iterable[Message]:
        return messages(payload, self.encoding)

    def probe(self, event: Event) -> Probe | None:
        return self._speech.probe(event)

    def received(self, frames: int, size_bytes: int) -> None:
        self._tally.frames += frames
        self._tally.received_bytes += size_bytes

    def joined(self, viewer: Viewer, at_us: int, recovered: bool) -> None:
        if viewer.been:
            self._tally.come_back(at_us - viewer.lost_us, recovered=recovered)
        else:
            self._tally.join(at_us - viewer.due_us)
            if self._tally.joins == len(self._viewers):
                self._tally.complete(self._used_s())
        if viewer in self._speakers:
            self._speech.joined(viewer)

    def left(self, viewer: Viewer, code: str, *, was_open: bool, retry_s: float | None) -> None:
        if self.stopping:
            return
        self._tally.open -= was_open
        if code == CUT:
            self._tally.cut += 1
        elif not viewer.gone:
            self._tally.close(code)
        if retry_s is not None:
            self._spawn(self._connect(viewer, retry_s))

    def replaced(self, snapshot: bytes) -> None:
        self._tally.seen |= self._speech.numbers(snapshot)

    def gap(self) -> None:
        self._tally.gaps += 1

    def delivered(self, viewer: Viewer, probe: Probe | None, at_us: int) -> None:
        self._tally.deliver(probe, at_us, viewer.timed_from_us)

    def answered(self, reply: Reply | Refused, at_us: int) -> None:
        self._speech.answered(reply, at_us)

    # --- who comes and goes

    async def _let_in(self) -> None:
        times = timetable.joins(self.plan.viewers)
        for viewer in sorted(self._viewers, key=lambda one: times[one.index]):
            due_us = self._start_us + int(times[viewer.index] * 1e6)
            await self._until(due_us)
            viewer.due_us = viewer.timed_from_us = due_us
            self._spawn(self._connect(viewer, 0.0))

    async def _let_out(self) -> None:
        """Those who came last leave first; when nobody is there who may leave, the next who comes does."""
        times = timetable.leaves(self.plan.viewers)[self.plan.swarm :: self.plan.swarms]
        for due_s in times:
            await self._until(self._start_us + int(due_s * 1e6))
            while (viewer := self._last_open()) is None:  # noqa: ASYNC110 (rare)
                await asyncio.sleep(LAG_PROBE_S)
            self._tally.left += 1
            viewer.leave()

    def _last_open(self) -> Viewer | None:
        """Who came last of those who are there and do not speak."""
        silent = self._viewers[len(self._speakers) :]
        return next((one for one in reversed(silent) if one.open and not one.gone), None)

    async def _connect(self, viewer: Viewer, after_s: float) -> None:
        if after_s:
            await asyncio.sleep(after_s)
        if self.stopping or viewer.gone:
            return
        target = self._target
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: viewer, target.host, target.port,
                    ssl=target.tls, local_addr=target.local_address(viewer.index),
                )  # fmt: skip
        except (OSError, TimeoutError) as error:
            viewer.attempt += 1
            wait_s = random.uniform(0, min(BACKOFF_S_MAX, 0.25 * 2**viewer.attempt))
            self.left(viewer, type(error).__name__, was_open=False, retry_s=wait_s)

    async def _faults(self) -> None:
        """Do to the viewers what the plan says."""
        for fault in sorted(self.plan.faults, key=lambda one: one.at_s):
            await self._until(self._start_us + int(fault.at_s * 1e6))
            hit = [one for one in self._viewers if timetable.belongs(one.index, fault.share)]
            if isinstance(fault, Reconnect):
                for viewer in hit:
                    viewer.cut()
            else:
                slow = [one for one in hit if one.open and one not in self._speakers]
                for viewer in slow:
                    viewer.stop_reading()
                self._spawn(self._read_on(slow, fault.for_s))

    async def _read_on(self, slow: list[Viewer], after_s: float) -> None:
        await asyncio.sleep(after_s)
        for viewer in slow:
            viewer.read_on()

    # --- the end

    def _here(self) -> list[Viewer]:
        """Those who came and were not to leave."""
        return [viewer for viewer in self._viewers if viewer.been and not viewer.gone]

    @property
    def _settled(self) -> bool:
        return self._tally.settled and all(viewer.open for viewer in self._here())

    async def _drain(self) -> int:
        """Wait until every answer and every event came, at most `drain_s`; the number of events that did not."""
        end_us = now_us() + int(self.plan.drain_s * 1e6)
        if not self._speakers:
            await asyncio.sleep(min(QUIET_DRAIN_S, self.plan.drain_s))
        while now_us() < end_us and not self._settled:  # noqa: ASYNC110 (cheaper than an event a message)
            await asyncio.sleep(LAG_PROBE_S)
        sequences = [viewer.sequence for viewer in self._here()]
        latest: dict[str, int] = {}
        for one in sequences:
            latest[one.epoch] = max(latest.get(one.epoch, 0), one.offset)
        goals = [(one, one.epoch, latest[one.epoch]) for one in sequences]
        while True:
            lacking = sum(one.behind(epoch, offset) for one, epoch, offset in goals)
            if not lacking or now_us() >= end_us:
                return lacking
            await asyncio.sleep(LAG_PROBE_S)

    async def _close(self, work: list[asyncio.Task[None]]) -> None:
        self.stopping = True
        for viewer in self._viewers:
            viewer.leave()
        await asyncio.sleep(CLOSING_S)
        for viewer in self._viewers:
            viewer.give_up()
        for task in (*work, *self._tasks):
            task.cancel()
        results = await asyncio.gather(*work, *self._tasks, return_exceptions=True)
        await asyncio.sleep(0)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- clocks

    def _used_s(self) -> float:
        return time.process_time() - self._cpu_s

    async def _until(self, due_us: int) -> None:
        if (wait_us := due_us - now_us()) > 0:
            await asyncio.sleep(wait_us / 1e6)

    def _gulp(self) -> None:
        """Let what arrives within GULP_S wait, each time the loop comes round, until the swarm is `stopping`.

        A swarm that waits for its sockets is woken for nearly every frame, and on one machine it is the server's
        `send` that pays for it: 10.5 us instead of 7.7 with ten thousand sockets. Viewers elsewhere cost no server
        that. Latencies are too high by up to GULP_S, never too low.
        """
        if not self.stopping:
            time.sleep(GULP_S)
            asyncio.get_running_loop().call_soon(self._gulp)

    async def _measure_lag(self) -> None:
        while True:
            due_us = now_us() + int(LAG_PROBE_S * 1e6)
            await asyncio.sleep(LAG_PROBE_S)
            self._tally.lag(now_us() - due_us)

    async def _tell_seconds(self) -> None:
        due_us = self._start_us
        while True:
            due_us += TICK_US
            await self._until(due_us)
            self._tell(self._tally.second(now_us(), self._used_s()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a swarm from the command line."""
    asked = parser("loadtests.swarm", __doc__, viewers=100)
    asked.add_argument("--drain", type=float, default=5.0, metavar="SECONDS")
    asked.add_argument("--encoding", choices=get_args(Encoding), default="json")
    asked.add_argument("--chat", type=float, default=2.0, metavar="PER_SECOND", help="0: only watch")
    options = asked.parse_args(arguments)
    if options.plan is not None:
        plan = msgspec.json.decode(options.plan.read_bytes(), type=Plan)
    elif options.url is None:
        asked.error("the server's URL is missing")
    else:
        plan = Plan(
            url=options.url, show=options.show, duration_s=options.duration, drain_s=options.drain,
            viewers=Viewers(options.viewers, options.ramp, options.encoding),
            chat=Chat(options.chat) if options.chat else None,
        )  # fmt: skip
    if len(plan.indices) + FILES_BESIDES > (files := open_files()):
        asked.error(f"--viewers: this process may open {files} files; run several swarms")
    tell(run(plan, tell))
    return 0


def run(plan: Plan, tell: Callable[[Line], None]) -> Totals:
    """Run one swarm on the fastest event loop there is, without the pauses of a garbage collector.

    What a lost socket leaves in cycles (some kilobytes) stays until the end.
    """
    swarm = Swarm(plan, tell)
    gc.freeze()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(swarm.run())
    finally:
        gc.enable()
        gc.unfreeze()


if __name__ == "__main__":
    sys.exit(main())
