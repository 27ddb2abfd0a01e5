"""Several workers as one service: starts them, starts the dead ones again, ends them in good order.

A rolling restart (SIGHUP) ends one worker after the other, which drains (`live.core.server`), and goes on when the one
in its place answers requests. When that does not come up the restart stops: the others stay as they are.

Uvicorn's own supervisor does not fit: its workers have no number, it does not wait between restarts, and it blocks the
loop that the private Valkey is looked after on.

A worker is a process of its own with its own listening socket on the common port (SO_REUSEPORT), so the kernel spreads
connections over those who are alive, and a dead one keeps none waiting. Two pipes tie it to us: it writes one line to
its standard output when it answers requests, and the end of its standard input tells it that we are gone, after which
it drains and ends by itself.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from live.core.limits import WORKER_BACKOFF_S_MAX, WORKER_BACKOFF_S_MIN, WORKER_START_S, WORKER_STOP_S
from live.core.server import in_terminal
from live.core.tasks import end

log = logging.getLogger(__name__)

READY = b"ready\n"


class WorkerError(RuntimeError):
    """A worker ended before it was ready for the first time; it has said why on its standard error."""


class _Life:
    """One process of a worker. `ready` is set when it answers requests, `over` when it has ended."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.ready = asyncio.Event()
        self.over = asyncio.Event()
        self.called_off = False  # its end is wanted

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it still runs."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Supervisor:
    """Keeps `count` workers running; `command` is given the worker's index as its last argument."""

    def __init__(self, count: int, command: Sequence[str], environment: dict[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._lives: list[_Life | None] = [None] * count
        self._ready = [asyncio.Event() for _ in range(count)]  # that the worker has been ready at least once
        self._born = asyncio.Condition()
        self._stopping = asyncio.Event()
        self._rolling: asyncio.Task[None] | None = None

    @property
    def pids(self) -> list[int | None]:
        """The workers' process ids by index; None while one is down."""
        return [life.process.pid if life and life.process.returncode is None else None for life in self._lives]

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until SIGINT or SIGTERM, which the workers are handed; `ready` is called when all of them are.

        SIGHUP restarts them one after the other. Raises `WorkerError` when a worker cannot start at all.
        """
        with self._signals():
            keepers = [asyncio.create_task(self._keep(i), name=f"worker {i}") for i in range(len(self._lives))]
            starting = asyncio.create_task(self._all_ready(ready), name="workers ready")
            try:
                await asyncio.gather(*keepers)
            finally:
                self._pass_on(signal.SIGTERM)
                await end(self._rolling, starting, *keepers)

    async def _all_ready(self, ready: Callable[[], None]) -> None:
        for event in self._ready:
            await event.wait()
        ready()

    async def _keep(self, index: int) -> None:
        """One worker's life and afterlives."""
        backoff_s = WORKER_BACKOFF_S_MIN
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            since = loop.time()
            life = await self._live(index)
            if self._stopping.is_set():
                return
            if not self._ready[index].is_set():
                self._pass_on(signal.SIGTERM)
                raise WorkerError(f"Worker {index} could not start.")
            if life.called_off:
                backoff_s = WORKER_BACKOFF_S_MIN
                continue
            if loop.time() - since > WORKER_BACKOFF_S_MAX:
                backoff_s = WORKER_BACKOFF_S_MIN
            code = life.process.returncode
            log.error("worker %d ended with %s; starting it again in %.1f s", index, code, backoff_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff_s):
                    await self._stopping.wait()
            backoff_s = min(backoff_s * 2, WORKER_BACKOFF_S_MAX)

    async def _live(self, index: int) -> _Life:
        """One process, from its start to its end."""
        process = await asyncio.create_subprocess_exec(
            *self._command, str(index), env=self._environment, stdin=PIPE, stdout=PIPE,
            start_new_session=True,  # Ctrl-C is for us; it reaches them once, and through us
        )  # fmt: skip
        life = self._lives[index] = _Life(process)
        async with self._born:
            self._born.notify_all()
        if self._stopping.is_set():  # while it was being made; nobody else would tell it
            life.send(signal.SIGTERM)
        assert process.stdout is not None
        try:
            if await process.stdout.readline() == READY:
                life.ready.set()
                self._ready[index].set()
            stopping = asyncio.create_task(self._stop_in_time(life), name=f"stop worker {index}")
            try:
                await process.wait()
            finally:
                await end(stopping)
            return life
        finally:
            life.over.set()
            if process.returncode is None:  # cancelled: our own end is not to be waited for
                life.send(signal.SIGKILL)
                await process.wait()
            assert process.stdin is not None
            process.stdin.close()

    async def _stop_in_time(self, life: _Life) -> None:
        await self._stopping.wait()
        await asyncio.sleep(WORKER_STOP_S)
        log.error("a worker did not end in time and is killed")
        life.send(signal.SIGKILL)

    # --- a rolling restart

    def _hung_up(self) -> None:
        if in_terminal():
            self._pass_on(signal.SIGTERM)
        elif self._rolling is not None and not self._rolling.done():
            log.warning("a rolling restart is under way; SIGHUP was ignored")
        elif not all(event.is_set() for event in self._ready):
            log.warning("the workers are only starting; SIGHUP was ignored")
        else:
            self._rolling = asyncio.create_task(self._roll(), name="rolling restart")

    async def _roll(self) -> None:
        """Put every worker's place into the hands of a new process, one at a time."""
        log.info("restarting %d workers, one after the other", len(self._lives))
        for index in range(len(self._lives)):
            if not await self._replace(index):
                log.error(
                    "worker %d did not come up again: the rolling restart stops here, "
                    "workers after it go on as they are", index,
                )  # fmt: skip
                return
        log.info("all workers have been restarted")

    async def _replace(self, index: int) -> bool:
        """End a worker in good order; whether the one after it answers requests."""
        old = self._lives[index]
        if old is not None and not old.over.is_set():
            old.called_off = True
            old.send(signal.SIGTERM)
            try:
                async with asyncio.timeout(WORKER_STOP_S):
                    await old.over.wait()
            except TimeoutError:
                log.error("worker %d did not end in time and is killed", index)
                old.send(signal.SIGKILL)
        try:
            async with asyncio.timeout(WORKER_START_S):
                async with self._born:
                    await self._born.wait_for(lambda: self._lives[index] is not old)
                new = self._lives[index]
                assert new is not None
                return await _comes_up(new)
        except TimeoutError:
            if (late := self._lives[index]) is not None and late is not old:
                late.send(signal.SIGKILL)  # it hangs; the next one may not
            return False

    # --- signals

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers = {number: partial(self._pass_on, number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number, handler in (handlers | {signal.SIGHUP: self._hung_up}).items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in (*handlers, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _pass_on(self, number: signal.Signals) -> None:
        """Hand a signal to the workers; a second one makes them hurry, as it does when there is only one."""
        first = not self._stopping.is_set()
        self._stopping.set()
        if self._rolling is not None:
            self._rolling.cancel()
        for life in self._lives:
            if life is not None and not (first and life.called_off):  # one that drains already need not hurry yet
                # While it starts it does not handle signals yet: Ctrl-C would leave a traceback.
                life.send(number if life.ready.is_set() else signal.SIGTERM)


async def _comes_up(life: _Life) -> bool:
    """Whether a worker answers requests before it ends."""
    waiting = [asyncio.create_task(event.wait()) for event in (life.ready, life.over)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(*waiting)
    return life.ready.is_set()


@contextlib.contextmanager
def leash() -> Iterator[None]:
    """Within the context this process, a worker, is asked to end (SIGTERM) when its supervisor is gone."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, 1024):
            loop.remove_reader(descriptor)
            os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(descriptor, readable)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)


def report_ready() -> None:
    """Tell the supervisor that this worker answers requests."""
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
