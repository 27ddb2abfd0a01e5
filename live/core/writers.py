"""Who may write: on PostgreSQL many at a time, in an embedded database one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from live.core import sqlite
from live.core.errors import Kind
from live.core.limits import DATABASE_WAIT_S
from live.core.scopes import Scopes, StoreError, refusals

T = TypeVar("T")


class Writers(Protocol):
    """How transactions that may write are opened; see `Database` for what the methods promise."""

    engine: AsyncEngine

    def scope(self) -> AbstractAsyncContextManager[AsyncConnection]: ...
    async def run(self, work: Callable[[Connection], T], done: Callable[[T], None], here: bool) -> T: ...
    async def close(self) -> None: ...


class PostgresqlWriters:
    def __init__(self, scopes: Scopes) -> None:
        self.engine = scopes.engine
        self._scopes = scopes

    def scope(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._scopes.open()

    async def run(self, work: Callable[[Connection], T], done: Callable[[T], None], here: bool) -> T:
        async with self.scope() as connection:
            result = await connection.run_sync(work)
            done(result)  # before COMMIT: afterwards others who waited for our locks may overtake
        return result

    async def close(self) -> None:
        await self._scopes.close()


class SqliteWriter:
    """The one writer, in two shapes that take turns: a connection for the loop, and one in a thread of its own.

    Without the turns, one would wait in the other's busy handler, which sleeps and asks again up to every 100 ms.

    A transaction of the thread may be done *here*: by the loop, and the thread only waits for the disk, with COMMIT. A
    thread has to take the interpreter's lock back after every statement, from a loop that is busy, and that costs both:
    beside ten thousand viewers a round of writing to them took 212 ms instead of 142.
    """

    def __init__(self, url: str) -> None:
        self.engine = sqlite.engine(url, sqlite.IMMEDIATE)
        self._scopes = Scopes(self.engine)
        self._url = url
        self._sync_engine: Engine | None = None  # the thread makes it: the driver looks at the file system
        self._own: Connection | None = None  # the loop's
        self._thread = ThreadPoolExecutor(1, "database writer")
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[AsyncConnection]:
        async with self._in_turn(), self._scopes.open() as connection:
            yield connection

    async def run(self, work: Callable[[Connection], T], done: Callable[[T], None], here: bool) -> T:
        async with self._in_turn():
            job = self._here(work) if here else self._do(self._transact, work)
            running: asyncio.Future[T] = asyncio.ensure_future(job)
            try:
                result = await asyncio.shield(running)
            except asyncio.CancelledError:
                while not running.done():  # it cannot be stopped, and the turn is its own until it ends
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait([running])
                raise
            done(result)  # after COMMIT, but nobody else of this process has had a turn yet
        return result

    async def _here(self, work: Callable[[Connection], T]) -> T:
        with refusals():
            own = self._own
            if own is None:
                own = self._own = await self._do(sqlite.unwaiting, self._opened)
            try:
                own.begin()
            except OperationalError as error:  # another process writes: the thread can wait for it
                if not sqlite.is_busy(error):
                    self._own = None
                    await self._do(sqlite.drop, own)
                return await self._do(self._transact, work)
            try:
                result = work(own)
            except DBAPIError:
                self._own = None
                await self._do(sqlite.drop, own)
                raise
            except BaseException:
                own.rollback()
                raise
            try:
                await self._do(own.commit)
            except BaseException:
                self._own = None
                await self._do(sqlite.drop, own)
                raise
            return result

    def _do(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        running: asyncio.Future[T] = asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        return running

    async def close(self) -> None:
        async with self._turn:  # a connection that the thread closes while the loop asks it takes the process with it
            await self._scopes.close()
            if self._own is not None:
                await self._do(sqlite.drop, self._own)
                self._own = None
            if self._sync_engine is not None:
                await self._do(self._sync_engine.dispose)
            self._thread.shutdown(wait=False)

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(DATABASE_WAIT_S):
                await self._turn.acquire()
        except TimeoutError:
            raise StoreError(Kind.overloaded, "The database's writer is busy.", retry_after_s=1) from None
        try:
            yield
        finally:
            self._turn.release()

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with refusals(), self._opened().begin() as connection:
            return work(connection)

    def _opened(self) -> Engine:
        if self._sync_engine is None:
            self._sync_engine = sqlite.thread_engine(self._url, sqlite.IMMEDIATE)
        return self._sync_engine
