"""Engines over a SQLite file: for the loop, and for threads that do plain functions. Durable, in WAL mode."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from sqlite3 import SQLITE_BUSY
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from live.core.limits import DATABASE_READERS, DATABASE_WAIT_S

IMMEDIATE = "BEGIN IMMEDIATE"  # of those who write
DEFERRED = "BEGIN"  # of those who read
# Columns of JSON by orjson: a tenth of the time of Python's own.
JSON: dict[str, Any] = {
    "json_serializer": lambda value: orjson.dumps(value).decode(),
    "json_deserializer": orjson.loads,
}


def engine(url: str, begin: str) -> AsyncEngine:
    """For the loop: every statement visits a thread of the driver's."""
    parsed = make_url(url).set(drivername="sqlite+aiosqlite")
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    made = create_async_engine(
        parsed,
        pool_size=1 if begin == IMMEDIATE else DATABASE_READERS,
        max_overflow=0,
        pool_timeout=DATABASE_WAIT_S,
        **JSON,
    )
    _configure(made.sync_engine, begin)

    @event.listens_for(made.sync_engine, "invalidate")
    def roll_back(connection: Any, _record: object, _error: object) -> None:
        # A statement that was cancelled leaves its cursor open; as long as that lives, so does the write lock.
        connection.run_async(lambda driver: driver.rollback())

    return made


def thread_engine(url: str, begin: str) -> Engine:
    """For threads that are never interrupted in the middle of a statement: one writer, or the readers."""
    parsed = make_url(url).set(drivername="sqlite+pysqlite")
    connections = (1 if begin == IMMEDIATE else DATABASE_READERS) + 1  # the loop has one of its own
    made = create_engine(parsed, poolclass=QueuePool, pool_size=connections, max_overflow=0, **JSON)
    _configure(made, begin)
    return made


def unwaiting(opened: Callable[[], Engine]) -> Connection:
    """A connection that never waits for a lock, of the engine that `opened` gives."""
    connection = opened().connect()
    try:
        # Not by SQLAlchemy: that would begin a transaction.
        connection.connection.cursor().execute("PRAGMA busy_timeout=0").close()
    except BaseException:
        drop(connection)
        raise
    return connection


def is_busy(error: OperationalError) -> bool:
    """Whether somebody else has the lock, and nothing is wrong with the connection."""
    code: int = getattr(error.orig, "sqlite_errorcode", 0)
    return code & 0xFF == SQLITE_BUSY


def drop(connection: Connection) -> None:
    """Close a connection for good, and roll back what it was doing."""
    # Before it is closed: SQLite keeps one whose rows somebody has not read to the end, and the write lock with it.
    with suppress(Exception):
        connection.connection.rollback()
    connection.invalidate()
    connection.close()


def _configure(made: Engine, begin: str) -> None:
    @event.listens_for(made, "connect")
    def configure(connection: Any, _record: object) -> None:
        # The driver would otherwise open transactions by itself, deferred, at the first write.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={int(DATABASE_WAIT_S * 1000)}")
        cursor.close()

    @event.listens_for(made, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
