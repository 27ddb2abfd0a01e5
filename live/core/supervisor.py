"""Several workers as one service: starts them, starts the dead ones again, ends them in good order.

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

from live.core.limits import WORKER_BACKOFF_S_MAX, WORKER_BACKOFF_S_MIN, WORKER_STOP_S
from live.core.tasks import end

log = logging.getLogger(__name__)

READY = b"ready\n"


class WorkerError(RuntimeError):
    """A worker ended before it was ready for the first time; it has said why on its standard error."""


class Supervisor:
    """Keeps `count` workers running; `command` is given the worker's index as its last argument."""

    def __init__(self, count: int, command: Sequence[str], environment: dict[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._processes: list[Process | None] = [None] * count
        self._ready = [asyncio.Event() for _ in range(count)]
        self._stopping = asyncio.Event()

    @property
    def pids(self) -> list[int | None]:
        """The workers' process ids by index; None while one is down."""
        return [process.pid if process and process.returncode is None else None for process in self._processes]

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until SIGINT or SIGTERM, which the workers are handed; `ready` is called when all of them are.

        Raises `WorkerError` when a worker cannot start at all.
        """
        with self._signals():
            keepers = [asyncio.create_task(self._keep(i), name=f"worker {i}") for i in range(len(self._processes))]
            starting = asyncio.create_task(self._all_ready(ready), name="workers ready")
            try:
                await asyncio.gather(*keepers)
            finally:
                self._pass_on(signal.SIGTERM)
                await end(starting, *keepers)

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
            code = await self._live(index)
            if self._stopping.is_set():
                return
            if not self._ready[index].is_set():
                self._pass_on(signal.SIGTERM)
                raise WorkerError(f"Worker {index} could not start.")
            if loop.time() - since > WORKER_BACKOFF_S_MAX:
                backoff_s = WORKER_BACKOFF_S_MIN
            log.error("worker %d ended with %s; starting it again in %.1f s", index, code, backoff_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff_s):
                    await self._stopping.wait()
            backoff_s = min(backoff_s * 2, WORKER_BACKOFF_S_MAX)

    async def _live(self, index: int) -> int:
        """One process, from its start to its end; answers its exit code."""
        process = await asyncio.create_subprocess_exec(
            *self._command, str(index), env=self._environment, stdin=PIPE, stdout=PIPE,
            start_new_session=True,  # Ctrl-C is for us; it reaches them once, and through us
        )  # fmt: skip
        self._processes[index] = process
        if self._stopping.is_set():  # while it was being made; nobody else would tell it
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        try:
            if await process.stdout.readline() == READY:
                self._ready[index].set()
            stopping = asyncio.create_task(self._stop_in_time(process), name=f"stop worker {index}")
            try:
                return await process.wait()
            finally:
                await end(stopping)
        finally:
            if process.returncode is None:  # cancelled: our own end is not to be waited for
                process.kill()
                await process.wait()
            assert process.stdin is not None
            process.stdin.close()

    async def _stop_in_time(self, process: Process) -> None:
        await self._stopping.wait()
        await asyncio.sleep(WORKER_STOP_S)
        log.error("a worker did not end in time and is killed")
        process.kill()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._pass_on, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _pass_on(self, number: signal.Signals) -> None:
        """Hand a signal to the workers; a second one makes them hurry, as it does when there is only one."""
        self._stopping.set()
        for process in self._processes:
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)


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
