"""Group commit: commands for one hot thing queue in a lane, and a whole batch of them becomes one transaction.

A transaction costs about the same whether it does one thing or a hundred: the lock, the round trips, the sync to disk.
So an idle lane commits a command at once, and while a batch commits the next one gathers. A lane that was busy a
moment ago and has little to do lets that gather a little longer (`pace_s`), so that a transaction is shared by those
who click within it; whatever has become a crowd goes at once. What a lane promises:

- Acknowledged means committed: `do` returns after COMMIT, and after the news of it were handed to the bus.
- Bounded: a lane that is full refuses with 503 `overloaded` and Retry-After; nothing was done then.
- Fair: a batch takes from the keys (the SKUs, the rooms) in turn, and of one key in the order of arrival. One key
  cannot use up the places of all others.
- A command fails alone. Refusals are values in the batch's answer. An error that is not one (a bug, a constraint)
  rolls the batch back; then each half is tried by itself, until what fails is one command.
- Once begun, a command goes through: a waiter that is cancelled (the viewer left) neither stops nor repeats it.

Lanes only make it fast. What keeps several workers correct is the database: its locks, guarded UPDATEs and CHECKs.
See docs/decisions/group-commit.md for what was measured.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from live.core.buckets import Buckets
from live.core.errors import Kind, Problem
from live.core.limits import (
    LANE_BATCH_MAX,
    LANE_CROWD,
    LANE_KEY_WAITING_MAX,
    LANE_SHARE,
    LANE_TELLING_MAX,
    LANE_WAITING_MAX,
)
from live.core.tracing import Span, active, enter

__all__ = ["Committed", "Lane", "LaneFigures"]

log = logging.getLogger(__name__)
Command = TypeVar("Command")
Answer = TypeVar("Answer")

# The store refused the transaction as a whole; trying its parts would only add to the load.
_OF_THE_STORE = (Kind.overloaded, Kind.unavailable)


@dataclass(frozen=True, slots=True)
class Committed(Generic[Answer]):
    """What became of a batch, after COMMIT: an answer or a refusal for each command, in their order.

    `told`: its news are on their way; the waiters hear of it when they have left (None: there is nothing to wait
    for). The next batch commits meanwhile.
    """

    answers: Sequence[Answer | Problem]
    told: Awaitable[None] | None = None


_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_TIMES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LaneFigures:
    """What the lanes of one kind have done together, and how many commands wait in them just now."""

    __slots__ = ("batch", "commit_s", "overloaded", "split", "wait_s", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self.overloaded = 0
        self.split = 0
        self.batch = Buckets(_SIZES)  # commands in a batch that was committed
        self.wait_s = Buckets(_TIMES_S)  # of a command, until its batch began
        self.commit_s = Buckets(_TIMES_S)  # of a batch, until it was committed or failed


@dataclass(slots=True, eq=False)
class _Waiter(Generic[Command, Answer]):
    command: Command
    since_s: float
    span: Span | None
    answer: "asyncio.Future[Answer | Problem]"
    wait: Span | None = None  # the span's child, until the batch begins

    def settle(self, answer: Answer | Exception) -> None:
        if self.answer.done():
            return  # cancelled; nobody waits any more
        if isinstance(answer, Exception) and not isinstance(answer, Problem):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class Lane(Generic[Command, Answer]):
    """See the module. Counts what it does, for the metrics.

    `commit` carries a batch out in one transaction and returns after COMMIT; when it raises, nothing has happened.
    `key` says what a command competes for (None: the lane has one queue). `figures` may be shared with other lanes.
    `pace_s`: batches of a few commands begin no sooner after each other, and take no more than LANE_SHARE of the time
    where that is less (0: as fast as they commit).
    """

    def __init__(
        self,
        name: str,
        commit: Callable[[Sequence[Command]], Awaitable[Committed[Answer]]],
        *,
        key: Callable[[Command], Hashable] | None = None,
        batch_max: int = LANE_BATCH_MAX,
        waiting_max: int = LANE_WAITING_MAX,
        key_waiting_max: int = LANE_KEY_WAITING_MAX,
        figures: LaneFigures | None = None,
        pace_s: float = 0.0,
    ) -> None:
        self.name = name
        self.figures = figures or LaneFigures()
        self._commit = commit
        self._key = key or (lambda _command: None)
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._key_waiting_max = key_waiting_max
        self._queues: dict[Hashable, deque[_Waiter[Command, Answer]]] = {}  # whose turn is next comes first
        self._runner: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._closed = False
        self._pace_s = pace_s
        self._due_s = 0.0  # of the loop's clock: when the next batch may begin
        self._crowd = asyncio.Event()  # enough wait for a batch of their own, or the lane is closing
        self.waiting = 0  # commands that are in no batch yet
        self.batches = 0  # that were committed
        self.commands = 0  # that were committed
        self.overloaded = 0  # commands that found no place
        self.split = 0  # batches that were rolled back and tried in halves

    async def do(self, command: Command) -> Answer:
        """The answer to `command`, after COMMIT; raises what it is refused with, and `Problem` overloaded."""
        key = self._key(command)
        queue = self._queues.get(key)
        if self._closed:
            raise self._full("The server is going away.")
        if self.waiting >= self._waiting_max or (queue is not None and len(queue) >= self._key_waiting_max):
            raise self._full("Too many at once; nothing was changed.")
        answered: asyncio.Future[Answer | Problem] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(command, time.perf_counter(), active(), answered)
        if waiter.span is not None:
            waiter.wait = waiter.span.child("lane wait")
        if queue is None:
            queue = self._queues[key] = deque()
        queue.append(waiter)
        self.waiting += 1
        self.figures.waiting += 1
        if self.waiting >= LANE_CROWD:
            self._crowd.set()
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name=f"lane {self.name}")
        answer = await answered
        if isinstance(answer, Problem):
            raise _own(answer)
        return answer

    @property
    def idle(self) -> bool:
        """Whether all that was taken is committed and told."""
        return not self._queues and self._runner is None and not self._telling

    async def close(self) -> None:
        """Take no more commands, and wait until those that were taken are committed and told."""
        self._closed = True
        self._crowd.set()
        while tasks := {task for task in (self._runner, *self._telling) if task is not None}:
            await asyncio.wait(tasks)

    def _full(self, detail: str) -> Problem:
        self.overloaded += 1
        self.figures.overloaded += 1
        return Problem(Kind.overloaded, detail, retry_after_s=1)

    async def _run(self) -> None:
        batch: list[_Waiter[Command, Answer]] = []
        clock = asyncio.get_running_loop().time
        try:
            while self._queues:
                await self._pace(clock())
                batch = self._gather()
                while len(self._telling) >= LANE_TELLING_MAX:  # the bus is slower than the database
                    await asyncio.wait(self._telling, return_when=asyncio.FIRST_COMPLETED)
                now_s = time.perf_counter()
                for waiter in batch:
                    self.figures.wait_s.observe(now_s - waiter.since_s)
                began_s = clock()
                await self._settle(batch)
                if len(batch) < LANE_CROWD:
                    self._due_s = began_s + min((clock() - began_s) / LANE_SHARE, self._pace_s)
                batch = []
        finally:
            self._runner = None
            # Only when the loop itself is ended is there anything left.
            for waiter in [*batch, *(waiter for queue in self._queues.values() for waiter in queue)]:
                waiter.answer.cancel()
            self._queues.clear()
            self.figures.waiting -= self.waiting
            self.waiting = 0

    async def _pace(self, now_s: float) -> None:
        """Wait until the next batch may begin, or there is a crowd."""
        if self._due_s <= now_s or self._closed or self.waiting >= LANE_CROWD:
            return
        self._crowd.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._due_s):
                await self._crowd.wait()

    def _gather(self) -> list[_Waiter[Command, Answer]]:
        """The next batch: one of each key in turn."""
        batch: list[_Waiter[Command, Answer]] = []
        while self._queues and len(batch) < self._batch_max:
            key = next(iter(self._queues))
            queue = self._queues.pop(key)
            batch.append(queue.popleft())
            if queue:
                self._queues[key] = queue  # behind all others
        self.waiting -= len(batch)
        self.figures.waiting -= len(batch)
        return batch

    async def _settle(self, batch: Sequence[_Waiter[Command, Answer]]) -> None:
        """Commit `batch`, in halves if it must be, and answer all of it."""
        began_s = time.perf_counter()
        spans = _trace(batch)
        try:
            try:
                committed = await self._commit([waiter.command for waiter in batch])
            finally:
                for span in spans:
                    span.end(lane=self.name, batch=len(batch))
        except Exception as error:
            self.figures.commit_s.observe(time.perf_counter() - began_s)
            if len(batch) == 1 or (isinstance(error, Problem) and error.kind in _OF_THE_STORE):
                for waiter in batch:
                    waiter.settle(error)
                return
        else:
            assert len(committed.answers) == len(batch), "every command is answered"
            self.batches += 1
            self.commands += len(batch)
            self.figures.commit_s.observe(time.perf_counter() - began_s)
            self.figures.batch.observe(len(batch))
            self._acknowledge(batch, committed)
            return
        self.split += 1
        self.figures.split += 1
        middle = len(batch) // 2
        await self._settle(batch[:middle])
        await self._settle(batch[middle:])

    def _acknowledge(self, batch: Sequence[_Waiter[Command, Answer]], committed: Committed[Answer]) -> None:
        if committed.told is None:
            for waiter, answer in zip(batch, committed.answers, strict=True):
                waiter.settle(answer)
            return
        task = asyncio.create_task(self._tell(batch, committed.answers, committed.told), name=f"lane {self.name} tells")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(
        self, batch: Sequence[_Waiter[Command, Answer]], answers: Sequence[Answer | Problem], told: Awaitable[None]
    ) -> None:
        try:
            await told
        except Exception as error:  # what is committed is not undone by those who tell of it
            log.error("the lane %s was not told of: %r", self.name, error)
        finally:
            for waiter, answer in zip(batch, answers, strict=True):
                waiter.settle(answer)


def _trace(batch: Sequence[_Waiter[Command, Answer]]) -> list[Span]:
    """Spans for the commit of those that are traced; what the batch does is for the first of them."""
    spans = []
    for waiter in batch:
        if waiter.span is not None and waiter.wait is not None:
            waiter.wait.end()
            spans.append(waiter.span.child("lane commit"))
    enter(spans[0] if spans else None)
    return spans


def _own(problem: Problem) -> Problem:
    """The same refusal as an exception of its own: each waiter adds its own traceback."""
    return Problem(
        problem.kind, problem.detail, field=problem.field, retry_after_s=problem.retry_after_s, extra=problem.extra
    )
