"""The store of truth: one engine over SQLite or PostgreSQL, transactions as scopes, migrations.

SQLite runs with WAL and `synchronous=FULL`, so an acknowledged commit survives a power cut. It has one writer at a
time: writers share one connection and take the write lock at once (`BEGIN IMMEDIATE`), because a transaction that
reads first and then wants to write fails with SQLITE_BUSY when another process wrote in between. Readers have
connections of their own and never wait for the writer. On PostgreSQL both scopes are ordinary transactions.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from sqlalchemy import Connection, MetaData, inspect, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from live.core import sqlite
from live.core.buckets import Buckets
from live.core.clock import Clock, SystemClock
from live.core.errors import Kind, Problem
from live.core.limits import DATABASE_POOL_SIZE, DATABASE_READERS, DATABASE_WAIT_S
from live.core.readers import Readers
from live.core.scopes import Scopes, StoreError, refusals
from live.core.writers import PostgresqlWriters, SqliteWriter, Writers

if TYPE_CHECKING:
    from alembic.config import Config

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x53484F57  # one process migrates a PostgreSQL database at a time
Dialect = Literal["sqlite", "postgresql"]
T = TypeVar("T")


class DatabaseFigures:
    """What the database has done for this process. `seconds` by kind: whole transactions, the wait for one included."""

    def __init__(self) -> None:
        bounds = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
        self.seconds = {"read": Buckets(bounds), "write": Buckets(bounds)}
        self.errors = {Kind.overloaded.name: 0, Kind.unavailable.name: 0}


class Database:
    """Transaction scopes over the two kinds of store; build it with `open`."""

    def __init__(
        self,
        dialect: Dialect,
        readers: Scopes,
        writers: Writers,
        clock: Clock,
        threads: Readers | None = None,
    ) -> None:
        """`threads`: does plain functions for readers (None: `readers` does)."""
        self._threads = threads
        self.dialect = dialect
        self.clock = clock
        self.figures = DatabaseFigures()
        self._readers = readers
        self._writers = writers

    @classmethod
    async def open(cls, url: str, clock: Clock) -> Self:
        """Engines for `url` (sqlite:///path or postgresql://user@host/name); connects on first use."""
        if url.startswith("sqlite"):
            readers = Readers(lambda: sqlite.thread_engine(url, sqlite.DEFERRED))
            scopes = Scopes(sqlite.engine(url, sqlite.DEFERRED))
            return cls("sqlite", scopes, SqliteWriter(url), clock, readers)
        scopes = Scopes(_postgresql_engine(url))
        return cls("postgresql", scopes, PostgresqlWriters(scopes), clock)

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that only reads. Raises `Problem` unavailable when the store is out of reach."""
        return self._counted("read", self._readers.open())

    async def read_sync(self, work: Callable[[Connection], T]) -> T:
        """As `read`, with a plain function for its block, for what is asked often; it must not touch the loop.

        Also raises `Problem` overloaded.
        """
        with self._counting("read"):
            if self._threads is None:
                async with self._readers.open() as connection:
                    return await connection.run_sync(work)
            try:
                with refusals():
                    return await self._threads.run(work)
            except TimeoutError:
                raise StoreError(Kind.overloaded, "All database readers are busy.", retry_after_s=1) from None

    async def glance(self, work: Callable[[Connection], T]) -> T:
        """As `read_sync`, for a few rows by their keys: an embedded database is asked by the loop itself."""
        if self._threads is None:
            return await self.read_sync(work)
        with self._counting("read"):
            try:
                with refusals():
                    return await self._threads.glance(work)
            except TimeoutError:
                raise StoreError(Kind.overloaded, "All database readers are busy.", retry_after_s=1) from None

    def write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that may write: commits when the block ends, rolls back when it raises.

        Raises `Problem` overloaded when no connection is free in time and unavailable when the store is out of
        reach; nothing was changed then.
        """
        return self._counted("write", self._writers.scope())

    async def write_sync(
        self, work: Callable[[Connection], T], done: Callable[[T], None] = lambda _: None, *, here: bool = False
    ) -> T:
        """As `write`, with a plain function for its block; what it returns, after COMMIT. It must not touch the loop.

        `here`: an embedded database is asked by the loop itself, for what takes few milliseconds. See `SqliteWriter`.

        `done` is called with the result on the loop, before anybody of this process can commit what depends on it.
        When COMMIT fails after that, this raises. A caller that is cancelled leaves it open what became of it.
        """
        with self._counting("write"):
            return await self._writers.run(work, done, here)

    @asynccontextmanager
    async def _counted(
        self, kind: Literal["read", "write"], scope: AbstractAsyncContextManager[AsyncConnection]
    ) -> AsyncIterator[AsyncConnection]:
        with self._counting(kind):
            async with scope as connection:
                yield connection

    @contextmanager
    def _counting(self, kind: Literal["read", "write"]) -> Iterator[None]:
        began_s = time.perf_counter()
        try:
            yield
        except StoreError as error:
            self.figures.errors[error.kind.name] += 1
            raise
        finally:
            self.figures.seconds[kind].observe(time.perf_counter() - began_s)

    def connections(self) -> dict[str, tuple[int, int]]:
        """By pool: connections in use, and how many it may have."""
        if self._writers.engine is self._readers.engine:
            return {"shared": _use(self._readers.engine)}
        threads = {} if self._threads is None else {"threads": (self._threads.busy, DATABASE_READERS)}
        return {"read": _use(self._readers.engine), "write": _use(self._writers.engine)} | threads

    async def now_ms(self, connection: AsyncConnection) -> int:
        """The database's own clock in Unix milliseconds, so that all workers agree on what has expired.

        SQLite has no clock but the process's; a clock that is not the system's (in tests) always wins.
        """
        return self.clock.now_ms() if self._own_clock else await connection.run_sync(_clock_ms)

    def now_ms_sync(self, connection: Connection) -> int:
        """As `now_ms`, inside `read_sync` and `write_sync`."""
        return self.clock.now_ms() if self._own_clock else _clock_ms(connection)

    @property
    def _own_clock(self) -> bool:
        return self.dialect == "sqlite" or not isinstance(self.clock, SystemClock)

    async def check(self) -> None:
        """Raises `Problem` unavailable unless the store answers."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        if self._threads is not None:
            await self._threads.close()
        await self._readers.close()
        await self._writers.close()


def _use(engine: AsyncEngine) -> tuple[int, int]:
    pool = engine.pool
    return (pool.checkedout(), pool.size()) if isinstance(pool, QueuePool) else (0, 1)


def _clock_ms(connection: Connection) -> int:
    value = connection.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"))
    assert isinstance(value, int)
    return value


def _postgresql_engine(url: str) -> AsyncEngine:
    parsed = make_url(url).set(drivername="postgresql+asyncpg")
    return create_async_engine(
        parsed,
        pool_size=DATABASE_POOL_SIZE,
        max_overflow=0,
        pool_timeout=DATABASE_WAIT_S,
        pool_pre_ping=True,
        **sqlite.JSON,
    )


async def migrate(url: str) -> None:
    """Bring the schema at `url` to the newest revision; does nothing when it is there."""
    async with _schema_connection(url) as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        await connection.run_sync(_upgrade)


async def schema(url: str) -> Literal["current", "empty", "other"]:
    """Whose schema is at `url`: the one that this version of the code expects, none yet, or another version's."""
    async with _schema_connection(url) as connection:
        return await connection.run_sync(_found)


@asynccontextmanager
async def _schema_connection(url: str) -> AsyncIterator[AsyncConnection]:
    engine = sqlite.engine(url, sqlite.IMMEDIATE) if url.startswith("sqlite") else _postgresql_engine(url)
    try:
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(engine.begin())
            except (DBAPIError, OSError) as error:
                reason = error.orig if isinstance(error, DBAPIError) else error
                detail = f"The database of SHOWCART_DATABASE_URL is out of reach: {reason}"
                raise Problem(Kind.unavailable, detail) from error
            yield connection
    finally:
        await engine.dispose()


def _config() -> "Config":
    # Alembic is imported by who migrates: a worker of several never does, and starts a tenth sooner without it.
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _upgrade(connection: Connection) -> None:
    if _found(connection) == "current":
        return
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _found(connection: Connection) -> Literal["current", "empty", "other"]:
    # Without Alembic, which takes 0.2 s of a start to load and would find the same.
    if not inspect(connection).has_table("alembic_version"):
        return "empty"
    found = connection.scalars(text("SELECT version_num FROM alembic_version")).all()
    if not found:
        return "empty"
    return "current" if found == [_newest()] else "other"


def _newest() -> str:
    """The newest revision, which its file is called by: `v0001_stream_keys.py`."""
    return max(path.name for path in (_MIGRATIONS / "versions").glob("v*.py"))[1:5]
