"""One transaction, and how a store says no."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from live.core.errors import Kind, Problem


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


@asynccontextmanager
async def scope(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction of `engine`; raises `StoreError` when there is none to be had, or it cannot go on."""
    connection = engine.connect()
    try:
        await connection.start()
    except PoolTimeout:
        raise StoreError(Kind.overloaded, "All database connections are busy.", retry_after_s=1) from None
    except (DBAPIError, OSError) as error:
        raise StoreError(Kind.unavailable, retry_after_s=1) from error
    try:
        with refusals():
            async with connection.begin():
                yield connection
    finally:
        # Shielded, so that a cancelled request still gives its connection back to the pool.
        await asyncio.shield(connection.close())
