"""Transactions of one engine, and how a store says no."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from live.core.errors import Kind, Problem
from live.core.limits import DATABASE_WAIT_S
from live.core.tasks import end

T = TypeVar("T")


class StoreError(Problem):
    """The store refused a transaction as a whole."""


@contextmanager
def refusals() -> Iterator[None]:
    """A store that is out of reach in the middle of a transaction is `Problem` unavailable."""
    try:
        yield
    except DBAPIError as error:
        if not _away(error):
            raise
        raise StoreError(Kind.unavailable, retry_after_s=1) from error


def _away(error: DBAPIError) -> bool:
    """Whether the store is out of reach, or full, and not the statement wrong (PostgreSQL's manual, appendix A)."""
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None) or ""  # asyncpg's errors of a server that ends are of no class
    return state.startswith(("08", "53", "57P"))


class Scopes:
    """The transactions of an engine of the loop. However they end, and whenever, no connection stays open after them.

    An engine that is disposed of forgets the connections that are in use, and its old pool would keep them open for
    nobody when they come back; a driver that is interrupted while it connects may forget what it has just opened.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._closed = False
        self._moving: set[asyncio.Task[Any]] = set()  # connections on their way out of the pool, or back
        self._using: set[asyncio.Future[None]] = set()  # one for each transaction, until its connection is back

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncConnection]:
        """A transaction; raises `StoreError` when there is none to be had, or it cannot go on."""
        if self._closed:
            # An engine that was disposed of would connect again, and nobody would close that connection.
            raise StoreError(Kind.unavailable, "The database is closed here.", retry_after_s=1)
        using = asyncio.get_running_loop().create_future()
        self._using.add(using)
        try:
            connection = await self._connected()
            try:
                with refusals():
                    async with connection.begin():
                        yield connection
            finally:
                # Shielded, so that a cancelled request still gives its connection back to the pool.
                await asyncio.shield(self._moved(self._give_back(connection)))
        finally:
            self._using.discard(using)
            using.cancel()  # nobody but `close` waits for it, and for no result

    async def close(self) -> None:
        """Close every connection; a transaction that lasts longer than DATABASE_WAIT_S closes its own when it ends."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(DATABASE_WAIT_S):
                while pending := self._moving | self._using:
                    await asyncio.wait(pending)
        await end(*self._moving)
        await self.engine.dispose()

    async def _connected(self) -> AsyncConnection:
        try:
            return await self._take()
        except PoolTimeout:
            raise StoreError(Kind.overloaded, "All database connections are busy.", retry_after_s=1) from None
        except (DBAPIError, OSError) as error:
            raise StoreError(Kind.unavailable, retry_after_s=1) from error

    async def _take(self) -> AsyncConnection:
        taking = self._moved(self._connect())
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._not_wanted)
            raise

    def _not_wanted(self, taking: asyncio.Task[AsyncConnection]) -> None:
        if not taking.cancelled() and taking.exception() is None:
            self._moved(self._give_back(taking.result()))

    async def _connect(self) -> AsyncConnection:
        return await self.engine.connect()

    async def _give_back(self, connection: AsyncConnection) -> None:
        if self._closed:
            await connection.invalidate()
        await connection.close()

    def _moved(self, job: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(job)
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)
        return task
