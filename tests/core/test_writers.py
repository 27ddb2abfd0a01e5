"""The one writer of an embedded database, beside other processes that write the same file."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from live.core.clock import SystemClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.writers import SqliteWriter


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'one.db'}"


@pytest.fixture
async def database(url: str) -> Database:
    opened = await Database.open(url, SystemClock())
    await opened.write_sync(lambda conn: conn.exec_driver_sql("CREATE TABLE t (n INTEGER)"), here=True)
    await opened.write_sync(lambda conn: conn.exec_driver_sql("INSERT INTO t VALUES (1), (2), (3)"), here=True)
    return opened


def _count(conn: Connection) -> int:
    found: int = conn.exec_driver_sql("SELECT count(*) FROM t").scalar_one()
    return found


async def test_what_fails_in_the_middle_leaves_no_lock_behind(database: Database, url: str) -> None:
    """Not even while somebody keeps rows that were not read to the end, as a traceback does."""
    kept = []

    def break_(conn: Connection) -> None:
        conn.exec_driver_sql("INSERT INTO t VALUES (4)")
        rows = conn.connection.cursor().execute("SELECT n FROM t")
        kept.append((rows, rows.fetchone()))
        conn.execute(text("INSERT INTO nowhere VALUES (1)"))

    with pytest.raises(Problem):
        await database.write_sync(break_, here=True)
    other = await Database.open(url, SystemClock())
    assert await other.write_sync(_write_at_once, here=True) == 3
    assert await database.write_sync(_count, here=True) == 3
    for opened in (other, database):
        await opened.close()
    kept.clear()


def _write_at_once(conn: Connection) -> int:
    """It is in the write lock, and did not wait for it: a holder would not let go."""
    return _count(conn)


async def test_a_refused_lock_costs_no_connection(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process writes: the thread waits for it, and the loop's connection stays."""
    writer = database._writers
    assert isinstance(writer, SqliteWriter)
    own = writer._own
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    holder.execute("INSERT INTO t VALUES (4)")
    waited = []
    transact = writer._transact

    def let_go(work: object) -> object:
        waited.append(1)
        holder.commit()
        return transact(work)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "_transact", let_go)
    assert await database.write_sync(_count, here=True) == 4
    assert waited == [1] and writer._own is own
    assert await database.write_sync(_count, here=True) == 4
    assert waited == [1], "it works again by itself"
    holder.close()
    await database.close()


async def test_a_connection_that_cannot_begin_is_dropped(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = database._writers
    assert isinstance(writer, SqliteWriter)
    own = writer._own
    assert own is not None

    def refuse() -> None:
        raise OperationalError("BEGIN", None, Exception("disk I/O error"))

    monkeypatch.setattr(own, "begin", refuse)
    assert await database.write_sync(_count, here=True) == 3
    assert writer._own is None
    await database.close()


async def test_what_has_begun_is_done_before_the_connection_is_closed(database: Database, url: str) -> None:
    """A connection that is closed while the loop asks it takes the process with it."""
    writing = [
        asyncio.create_task(
            database.write_sync(lambda conn: conn.exec_driver_sql("INSERT INTO t VALUES (4)"), here=True)
        )
        for _ in range(3)
    ]
    await asyncio.sleep(0)
    await database.close()
    assert [task.exception() for task in writing if task.done()] == [None] * 3
    again = await Database.open(url, SystemClock())
    assert await again.read_sync(_count) == 6
    await again.close()
