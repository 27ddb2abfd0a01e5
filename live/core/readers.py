"""Reading transactions of an embedded database as plain functions: one visit to a thread each.

An async driver visits its thread for every statement, for each page of its rows and for the begin and the end, and
every visit wakes two threads: looking at a cart took 3.2 ms of the processor that way, and takes less than half so.

What takes well below a millisecond is done where it is asked, on the loop: a thread has to wait for the interpreter's
lock at every statement, 5 ms each time while the loop is busy. A cart took 26 ms beside ten thousand viewers that way.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from live.core.limits import DATABASE_READERS, DATABASE_WAIT_S
from live.core.sqlite import drop, unwaiting

T = TypeVar("T")


class Readers:
    """See the module. `make` gives the engine, with as many connections as there are threads; a thread calls it."""

    def __init__(self, make: Callable[[], Engine], wait_s: float = DATABASE_WAIT_S) -> None:
        self._make = make
        self._wait_s = wait_s
        self._engine: Engine | None = None
        self._making = threading.Lock()
        self._own: Connection | None = None  # the loop's
        self._opening: asyncio.Future[Connection] | None = None  # that one, by a thread
        self._threads = ThreadPoolExecutor(DATABASE_READERS, "database reader")
        self._places = asyncio.Semaphore(DATABASE_READERS)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, done in one transaction. Raises what it raises, and TimeoutError: all threads are busy.

        A caller that is cancelled waits no longer; its thread is free again when `work` is done.
        """
        if self._places.locked():
            async with asyncio.timeout(self._wait_s):
                await self._places.acquire()
        else:
            await self._places.acquire()
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._read, work)
        running.add_done_callback(lambda _: self._places.release())
        return await asyncio.shield(running)

    async def glance(self, work: Callable[[Connection], T]) -> T:
        """As `run`, at once; when the database is not ready, by a thread that can wait for it."""
        try:
            own = await self._ready()
            with own.begin():
                return work(own)
        except OperationalError:
            if self._own is not None:
                drop(self._own)
                self._own = None
            return await self.run(work)

    async def _ready(self) -> Connection:
        while self._own is None:
            if self._opening is None:
                loop = asyncio.get_running_loop()
                self._opening = loop.run_in_executor(self._threads, unwaiting, self._opened)
                self._opening.add_done_callback(self._opened_own)
            # Shielded: who is cancelled leaves the connection to who asks next.
            await asyncio.shield(self._opening)
        return self._own

    def _opened_own(self, opening: asyncio.Future[Connection]) -> None:
        self._opening = None
        if opening.exception() is None:
            self._own = opening.result()

    async def close(self) -> None:
        """Close every connection, when what is under way has given its own back."""
        await asyncio.to_thread(self._threads.shutdown)
        if self._own is not None:
            drop(self._own)
        if self._engine is not None:
            await asyncio.to_thread(self._engine.dispose)

    @property
    def busy(self) -> int:
        """How many transactions are under way."""
        return DATABASE_READERS - self._places._value

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._opened().begin() as connection:
            return work(connection)

    def _opened(self) -> Engine:
        with self._making:
            self._engine = self._engine or self._make()
            return self._engine
