"""A show's video as its own process: one publisher and all who watch it, and a clock in every packet.

Publisher and viewers share this machine's clock, so that the way of each picture is measured and not guessed.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterable
from typing import Any

import uvloop

from live.core.tasks import end
from loadtests.measures import MediaLine, MediaTotals
from loadtests.media.doors import Doors
from loadtests.media.publisher import Publisher
from loadtests.media.tally import Tally
from loadtests.media.watcher import TICK_S, Watcher
from loadtests.plan import MediaPlan
from loadtests.viewer import now_us
from stream.transport.peers import Certificate

JOINING_MAX = 16  # viewers that shake hands at a time
LAG_PROBE_S = 0.05
PUBLISH_TIMEOUT_S = 20.0
SETTLE_S = 0.3  # after the last picture: until it has come
TICK_US = 1_000_000
LEAD_US = 1_000_000  # of the publisher, when nobody else says when it begins


class Broadcast:
    """One broadcast from its first picture to its last; `token` lets publish, `tell` is given each finished second."""

    def __init__(self, plan: MediaPlan, token: str, tell: Callable[[MediaLine], None]) -> None:
        self._plan = plan
        self._tell = tell
        self.doors = Doors(plan.url, plan.show, token)
        self.host = "127.0.0.1" if self.doors.target.loopback else "0.0.0.0"
        self.certificate = Certificate.generate()
        self.gate = asyncio.Semaphore(JOINING_MAX)
        self.stopping = False
        self._finished = asyncio.Event()
        self.bits_per_s = plan.media.bitrate_kbps * 1000
        self.fps = plan.media.fps
        self._watchers = [Watcher(self, index) for index in range(plan.media.viewers)]
        self._watching: list[asyncio.Task[None]] = []
        self._set_clock(now_us())

    def _set_clock(self, start_us: int) -> None:
        self._start_us = start_us
        self._cpu_s = time.process_time()
        self.tally = Tally(start_us)

    async def run(self) -> MediaTotals:
        """Be on air, let everybody in, and end after `duration_s`. Raises `ConnectionError` when nobody may publish."""
        plan = self._plan
        self._set_clock(now_us() + LEAD_US if plan.start_us is None else plan.start_us)
        publisher = Publisher(plan.media, self.doors, self.certificate, self.host, self.tally)
        work = [asyncio.create_task(publisher.connect())]
        try:
            await self._wait_for(publisher)
            self.tally.lag(now_us() - self._start_us)  # who begins late has nobody else to blame
            sending = asyncio.create_task(publisher.send(now_us()))
            work += [sending, *map(asyncio.create_task, (self._let_in(), self._tick(), self._seconds(), self._lag()))]
            rest_s = (self._start_us - now_us()) / 1e6 + plan.duration_s
            await self._work_until_finished(work, rest_s)
            await end(sending)
            await asyncio.sleep(SETTLE_S)
            not_back = sum(one.been and not one.open for one in self._watchers)
        finally:
            await self._close(work)
        self._tell_second()
        return self.tally.totals(viewers=len(self._watchers), not_back=not_back, cpu_s=self._used_s())

    async def _wait_for(self, publisher: Publisher) -> None:
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await publisher.live.wait()
        except TimeoutError:
            why = ", ".join(f"{name} × {count}" for name, count in self.tally.refused.items())
            raise ConnectionError(
                f"nobody could publish within {PUBLISH_TIMEOUT_S:.0f} s: {why or 'no answer'}"
            ) from None

    def finish(self) -> None:
        """End before `duration_s`."""
        self._finished.set()

    async def _work_until_finished(self, work: Iterable[asyncio.Task[None]], rest_s: float) -> None:
        """Return when it is time; raises what ends a part of `work`."""
        over = asyncio.create_task(self._finished.wait())
        timer = asyncio.get_running_loop().call_later(max(0.0, rest_s), self.finish)
        pending: set[asyncio.Task[Any]] = {over, *work}
        try:
            while over in pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            timer.cancel()
            await end(over)

    async def _let_in(self) -> None:
        """Everybody when due, evenly within the ramp."""
        media = self._plan.media
        for watcher in self._watchers:
            watcher.due_us = self._start_us + int(watcher.index * media.ramp_s / media.viewers * 1e6)
            await self._until(watcher.due_us)
            self._watching.append(asyncio.create_task(watcher.watch()))

    async def _tick(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(TICK_S)
            number += 1
            at_us = now_us()
            for watcher in self._watchers:
                watcher.tick(number, at_us)

    async def _close(self, work: list[asyncio.Task[None]]) -> None:
        """End everything; raises what went wrong in a viewer."""
        self.stopping = True
        at_us = now_us()
        for watcher in self._watchers:
            watcher.end(at_us)
        broken = [task for task in self._watching if task.done() and not task.cancelled() and task.exception()]
        await end(*work, *self._watching)
        for watcher in self._watchers:
            await watcher.leave()
        self.doors.close()
        for task in broken:
            task.result()

    def _used_s(self) -> float:
        return time.process_time() - self._cpu_s

    async def _until(self, due_us: int) -> None:
        if (wait_us := due_us - now_us()) > 0:
            await asyncio.sleep(wait_us / 1e6)

    async def _lag(self) -> None:
        while True:
            due_us = now_us() + int(LAG_PROBE_S * 1e6)
            await asyncio.sleep(LAG_PROBE_S)
            self.tally.lag(now_us() - due_us)

    async def _seconds(self) -> None:
        due_us = self._start_us
        while True:
            due_us += TICK_US
            await self._until(due_us)
            self._tell_second()

    def _tell_second(self) -> None:
        for watcher in self._watchers:
            watcher.settle()
        self._tell(self.tally.second(now_us(), self._used_s()))


def run(plan: MediaPlan, token: str, tell: Callable[[MediaLine], None]) -> MediaTotals:
    """One broadcast on the fastest event loop there is, without the pauses of a garbage collector."""
    gc.freeze()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Broadcast(plan, token, tell).run())
    finally:
        gc.enable()
        gc.unfreeze()
