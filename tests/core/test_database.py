"""Transaction scopes and migrations, on both stores."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from sqlite3 import ProgrammingError
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from live.core import sqlite
from live.core.clock import ManualClock, SystemClock
from live.core.database import Database, migrate, schema
from live.core.errors import Kind, Problem
from live.core.limits import DATABASE_READERS
from live.core.readers import Readers


@pytest.fixture
async def counter(database: Database) -> AsyncIterator[Database]:
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE counter (value INTEGER NOT NULL)"))
        await connection.execute(text("INSERT INTO counter VALUES (0)"))
    yield database


async def _value(database: Database) -> int:
    async with database.read() as connection:
        value = await connection.scalar(text("SELECT value FROM counter"))
    assert isinstance(value, int)
    return value


async def test_a_finished_block_is_committed(counter: Database) -> None:
    async with counter.write() as connection:
        await connection.execute(text("UPDATE counter SET value = 7"))
    assert await _value(counter) == 7


async def test_a_block_that_raises_changes_nothing(counter: Database) -> None:
    with pytest.raises(KeyError):
        async with counter.write() as connection:
            await connection.execute(text("UPDATE counter SET value = 7"))
            raise KeyError
    assert await _value(counter) == 0


async def test_a_cancelled_block_changes_nothing_and_frees_the_writer(counter: Database) -> None:
    entered = asyncio.Event()

    async def hang() -> None:
        async with counter.write() as connection:
            await connection.execute(text("UPDATE counter SET value = 7"))
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with counter.write() as connection:
        await connection.execute(text("UPDATE counter SET value = value + 1"))
    assert await _value(counter) == 1


async def test_readers_do_not_wait_for_the_writer(counter: Database) -> None:
    async with counter.write() as connection:
        await connection.execute(text("UPDATE counter SET value = 7"))
        assert await _value(counter) == 0


async def test_concurrent_increments_are_all_kept(counter: Database) -> None:
    async def increment() -> None:
        async with counter.write() as connection:
            await connection.execute(text("UPDATE counter SET value = value + 1"))

    await asyncio.gather(*(increment() for _ in range(50)))
    assert await _value(counter) == 50


async def test_migrating_twice_does_nothing(database_url: str) -> None:
    await migrate(database_url)
    assert await schema(database_url) == "current"


async def test_an_empty_file_has_no_schema(tmp_path: Path) -> None:
    assert await schema(f"sqlite:///{tmp_path / 'empty.db'}") == "empty"


async def test_sqlite_is_durable(tmp_path: Path, clock: ManualClock) -> None:
    store = await Database.open(f"sqlite:///{tmp_path / 'a.db'}", clock)
    async with store.write() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert await connection.scalar(text("PRAGMA synchronous")) == 2, "FULL"
        assert await connection.scalar(text("PRAGMA foreign_keys")) == 1
    await store.close()


async def test_a_store_out_of_reach_is_a_numbered_problem(clock: ManualClock, tmp_path: Path) -> None:
    store = await Database.open(f"postgresql://nobody@/none?host={tmp_path}", clock)
    with pytest.raises(Problem) as raised:
        await store.check()
    assert raised.value.kind is Kind.unavailable
    await store.close()


async def test_a_schema_out_of_reach_names_the_setting(tmp_path: Path) -> None:
    for work in (migrate, schema):
        with pytest.raises(Problem, match="SHOWCART_DATABASE_URL"):
            await work(f"postgresql://nobody@/none?host={tmp_path}")


async def test_the_database_decides_what_time_it_is(database_url: str, clock: ManualClock) -> None:
    store = await Database.open(database_url, SystemClock())
    async with store.read() as connection:
        assert abs(await store.now_ms(connection) - SystemClock().now_ms()) < 60_000
    await store.close()
    scripted = await Database.open(database_url, clock)
    async with scripted.read() as connection:
        assert await scripted.now_ms(connection) == clock.now_ms()
    await scripted.close()


# --- plain functions


def _set(value: int) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.execute(text("UPDATE counter SET value = :value"), {"value": value})
        return value

    return work


async def test_a_plain_function_is_committed_and_one_that_raises_is_not(counter: Database) -> None:
    seen: list[int] = []
    assert await counter.write_sync(_set(7), seen.append) == 7

    def fail(connection: Connection) -> int:
        _set(8)(connection)
        raise KeyError

    with pytest.raises(KeyError):
        await counter.write_sync(fail, seen.append)
    assert (await _value(counter), seen) == (7, [7])


async def test_plain_functions_and_blocks_are_done_one_after_the_other(counter: Database) -> None:
    def increment(connection: Connection) -> None:
        connection.execute(text("UPDATE counter SET value = value + 1"))

    async def block() -> None:
        async with counter.write() as connection:
            await connection.execute(text("UPDATE counter SET value = value + 1"))

    await asyncio.gather(*(block() if number % 2 else counter.write_sync(increment) for number in range(40)))
    assert await _value(counter) == 40


async def test_a_cancelled_plain_function_frees_the_writer(counter: Database) -> None:
    for turns in range(8):
        task = asyncio.create_task(counter.write_sync(_set(turns)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    async with counter.write() as connection:
        await connection.execute(text("UPDATE counter SET value = 99"))
    assert await counter.write_sync(_set(100)) == 100


async def test_a_statement_that_the_store_cannot_do_is_unavailable(counter: Database) -> None:
    def broken(_connection: Connection) -> None:
        raise OperationalError("UPDATE", {}, Exception("the disk is full"))

    with pytest.raises(Problem) as raised:
        await counter.write_sync(broken)
    assert raised.value.kind is Kind.unavailable


async def test_whoever_waits_too_long_for_the_writer_is_told_so(
    counter: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if counter.dialect == "postgresql":
        pytest.skip("it has many writers")
    monkeypatch.setattr("live.core.database.DATABASE_WAIT_S", 0.01)
    async with counter.write():
        with pytest.raises(Problem) as raised:
            await counter.write_sync(_set(1))
        assert (raised.value.kind, raised.value.retry_after_s) == (Kind.overloaded, 1)


async def test_a_reading_function_sees_one_moment_and_its_errors_are_its_own(counter: Database) -> None:
    async def bump() -> None:
        await counter.write_sync(lambda conn: conn.execute(text("UPDATE counter SET value = value + 1")))

    def value(conn: Connection) -> object:
        return conn.scalar(text("SELECT value FROM counter"))

    before = await counter.read_sync(value)
    await bump()
    assert await counter.read_sync(value) == int(str(before)) + 1

    def broken(_connection: Connection) -> None:
        raise OperationalError("SELECT", {}, Exception("the disk is gone"))

    with pytest.raises(Problem) as refused:
        await counter.read_sync(broken)
    assert refused.value.kind is Kind.unavailable


async def test_readers_are_bounded_and_free_again_when_their_callers_have_gone(tmp_path: Path) -> None:
    release = threading.Event()
    readers = Readers(lambda: sqlite.thread_engine(f"sqlite:///{tmp_path / 'db'}", sqlite.DEFERRED), wait_s=0.01)
    try:
        gone = [asyncio.create_task(readers.run(lambda _: release.wait())) for _ in range(DATABASE_READERS)]
        while readers.busy < DATABASE_READERS:
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await readers.run(lambda _: None)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert readers.busy == DATABASE_READERS  # what was begun goes on
        release.set()
        while readers.busy:
            await asyncio.sleep(0.001)
        assert await readers.run(lambda conn: conn.scalar(text("SELECT 1"))) == 1
    finally:
        release.set()
        await readers.close()


async def test_a_glance_sees_what_is_committed_and_waits_for_nobody_on_the_loop(counter: Database) -> None:
    def value(conn: Connection) -> object:
        return conn.scalar(text("SELECT value FROM counter"))

    before = int(str(await counter.glance(value)))
    async with counter.write() as conn:
        await conn.execute(text("UPDATE counter SET value = value + 1"))
        assert await counter.glance(value) == before, "who writes is not waited for"
    assert await counter.glance(value) == before + 1

    asked = 0

    def locked_at_first(conn: Connection) -> object:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise OperationalError("SELECT", {}, Exception("database is locked"))
        return value(conn)

    if counter.dialect == "sqlite":
        assert await counter.glance(locked_at_first) == before + 1, "a thread waits for it"
    assert await counter.glance(value) == before + 1

    def broken(_connection: Connection) -> None:
        raise OperationalError("SELECT", {}, Exception("the disk is gone"))

    with pytest.raises(Problem) as refused:
        await counter.glance(broken)
    assert refused.value.kind is Kind.unavailable


async def test_a_glance_that_finds_all_readers_busy_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    store = await Database.open(f"sqlite:///{tmp_path / 'a.db'}", clock)
    assert await store.glance(lambda connection: connection.scalar(text("SELECT 1"))) == 1
    assert store._threads is not None
    store._threads._wait_s = 0.01
    over = threading.Event()
    busy = [asyncio.create_task(store.read_sync(lambda _: over.wait(10))) for _ in range(DATABASE_READERS)]
    while store._threads.busy < DATABASE_READERS:
        await asyncio.sleep(0)

    def locked(_: Connection) -> None:
        raise OperationalError("SELECT", None, Exception("database is locked"))

    with pytest.raises(Problem) as raised:
        await store.glance(locked)
    assert raised.value.kind is Kind.overloaded
    over.set()
    await asyncio.gather(*busy)
    await store.close()


async def test_a_reader_that_nobody_waits_for_is_closed_with_the_rest(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path / 'closed.db'}", SystemClock())
    entered, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    driver: list[Any] = []

    def read(connection: Connection) -> None:
        driver.append(connection.connection.dbapi_connection)
        loop.call_soon_threadsafe(entered.set)
        go_on.wait(10)

    reading = asyncio.create_task(database.read_sync(read))
    await entered.wait()
    reading.cancel()
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    with pytest.raises(ProgrammingError, match="closed"):
        driver[0].execute("SELECT 1")
