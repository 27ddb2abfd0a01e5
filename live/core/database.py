"""The store of truth: one engine over SQLite or PostgreSQL, transactions as scopes, migrations.

SQLite runs with WAL and `synchronous=FULL`, so an acknowledged commit survives a power cut. It has one writer at a
time: writers share one connection and take the write lock at once (`BEGIN IMMEDIATE`), because a transaction that
reads first and then wants to write fails with SQLITE_BUSY when another process wrote in between. Readers have
connections of their own and never wait for the writer. On PostgreSQL both scopes are ordinary transactions.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Self

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from live.core.clock import Clock, SystemClock
from live.core.errors import Kind, Problem
from live.core.limits import DATABASE_POOL_SIZE, DATABASE_READERS, DATABASE_WAIT_S

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


class Database:
    """Transaction scopes over the two kinds of store; build it with `open`."""

    def __init__(self, dialect: Dialect, readers: AsyncEngine, writers: AsyncEngine, clock: Clock) -> None:
        self.dialect = dialect
        self.clock = clock
        self._readers = readers
        self._writers = writers

    @classmethod
    async def open(cls, url: str, clock: Clock) -> Self:
        """Engines for `url` (sqlite:///path or postgresql://user@host/name); connects on first use."""
        if url.startswith("sqlite"):
            return cls("sqlite", _sqlite_engine(url, "BEGIN"), _sqlite_engine(url, "BEGIN IMMEDIATE"), clock)
        engine = _postgresql_engine(url)
        return cls("postgresql", engine, engine, clock)

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that only reads. Raises `Problem` unavailable when the store is out of reach."""
        return _scope(self._readers)

    def write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that may write: commits when the block ends, rolls back when it raises.

        Raises `Problem` overloaded when no connection is free in time and unavailable when the store is out of
        reach; nothing was changed then.
        """
        return _scope(self._writers)

    async def now_ms(self, connection: AsyncConnection) -> int:
        """The database's own clock in Unix milliseconds, so that all workers agree on what has expired.

        SQLite has no clock but the process's; a clock that is not the system's (in tests) always wins.
        """
        if self.dialect == "sqlite" or not isinstance(self.clock, SystemClock):
            return self.clock.now_ms()
        value = await connection.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"))
        assert isinstance(value, int)
        return value

    async def check(self) -> None:
        """Raises `Problem` unavailable unless the store answers."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self._readers.dispose()
        await self._writers.dispose()


@asynccontextmanager
async def _scope(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    connection = engine.connect()
    try:
        await connection.start()
    except PoolTimeout:
        raise Problem(Kind.overloaded, "All database connections are busy.", retry_after_s=1) from None
    except (DBAPIError, OSError) as error:
        raise Problem(Kind.unavailable, retry_after_s=1) from error
    try:
        async with connection.begin():
            yield connection
    except (OperationalError, InterfaceError) as error:
        raise Problem(Kind.unavailable, retry_after_s=1) from error
    finally:
        # Shielded, so that a cancelled request still gives its connection back to the pool.
        await asyncio.shield(connection.close())


def _sqlite_engine(url: str, begin: str) -> AsyncEngine:
    parsed = make_url(url).set(drivername="sqlite+aiosqlite")
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        parsed,
        pool_size=1 if begin == "BEGIN IMMEDIATE" else DATABASE_READERS,
        max_overflow=0,
        pool_timeout=DATABASE_WAIT_S,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        # The driver would otherwise open transactions by itself, deferred, at the first write.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={int(DATABASE_WAIT_S * 1000)}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "invalidate")
    def roll_back(connection: Any, _record: object, _error: object) -> None:
        # A statement that was cancelled leaves its cursor open; as long as that lives, so does the write lock.
        connection.run_async(lambda driver: driver.rollback())

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgresql_engine(url: str) -> AsyncEngine:
    parsed = make_url(url).set(drivername="postgresql+asyncpg")
    return create_async_engine(
        parsed,
        pool_size=DATABASE_POOL_SIZE,
        max_overflow=0,
        pool_timeout=DATABASE_WAIT_S,
        pool_pre_ping=True,
    )


async def migrate(url: str) -> None:
    """Bring the schema at `url` to the newest revision; does nothing when it is there."""
    async with _schema_connection(url) as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        await connection.run_sync(_upgrade)


async def is_current(url: str) -> bool:
    """Whether the schema at `url` is the one that this version of the code expects."""
    async with _schema_connection(url) as connection:
        return await connection.run_sync(_at_head)


@asynccontextmanager
async def _schema_connection(url: str) -> AsyncIterator[AsyncConnection]:
    engine = _sqlite_engine(url, "BEGIN IMMEDIATE") if url.startswith("sqlite") else _postgresql_engine(url)
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


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _at_head(connection: Connection) -> bool:
    found = MigrationContext.configure(connection).get_current_heads()
    return set(found) == set(ScriptDirectory.from_config(_config()).get_heads())
