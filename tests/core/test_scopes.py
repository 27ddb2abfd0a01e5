"""No connection stays open when its database is closed, however and whenever a transaction ended."""

import asyncio
import gc
import threading
from collections.abc import Coroutine, Generator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from sqlalchemy import Connection, Engine, event, text

from live.core import sqlite
from live.core.clock import SystemClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.readers import Readers


class Cut:
    """A job that is cancelled when it waits for the n-th time."""

    def __init__(self, job: Coroutine[Any, Any, None], nth: int) -> None:
        self._job = job
        self._nth = nth

    def __await__(self) -> Generator[Any, None, None]:
        step = self._job.__await__()
        go_on = partial(step.send, None)
        waits = 0
        while True:
            try:
                waited_for = go_on()
            except StopIteration:
                return
            waits += 1
            if waits == self._nth:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield waited_for
                go_on = partial(step.send, None)
            except asyncio.CancelledError as cancelled:
                go_on = partial(step.throw, cancelled)


class Connections:
    """What the loop's engines of a store have connected."""

    def __init__(self, database: Database) -> None:
        self._made: list[Any] = []
        for engine in {database._readers.engine, database._writers.engine}:
            event.listen(engine.sync_engine, "connect", self._note)

    def _note(self, made: Any, _record: object) -> None:
        self._made.append(made.driver_connection)

    def left(self, dialect: str) -> int:
        """How many of them are open."""
        return sum(one._connection is not None if dialect == "sqlite" else not one.is_closed() for one in self._made)


def _open_files(folder: Path) -> list[str]:
    gc.collect()  # of a statement that was cut off, its traceback may keep the rows, and they the file
    return [one.path for one in psutil.Process().open_files() if one.path.startswith(str(folder))]


@pytest.mark.parametrize("how", ["ends", "is cancelled"])
async def test_a_transaction_that_outlives_its_store_leaves_no_connection(
    database: Database, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.core.scopes.DATABASE_WAIT_S", 0.05)  # it is waited for, but not for ever
    connections = Connections(database)
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))
            inside.set()
            await go_on.wait()
            await connection.execute(text("SELECT 2"))

    reading = asyncio.create_task(read())
    await inside.wait()
    await database.close()
    assert connections.left(database.dialect) == 1, "it is not torn out of the transaction's hands"
    if how == "ends":
        go_on.set()
    else:
        reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled() == (how == "is cancelled")
    assert connections.left(database.dialect) == 0


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("kind", ["read", "write"])
async def test_who_is_cancelled_at_any_moment_leaves_no_connection(
    database_url: str, tmp_path: Path, kind: Literal["read", "write"], warm: bool
) -> None:
    """`warm`: it has a connection to begin with."""

    async def transact() -> None:
        async with getattr(database, kind)() as connection:
            await connection.execute(text("SELECT 1"))

    async def cut() -> None:
        await Cut(transact(), nth)

    for nth in range(1, 60):
        database = await Database.open(database_url, SystemClock())
        connections = Connections(database)
        if warm:
            await transact()
        task = asyncio.create_task(cut())
        await asyncio.wait([task])
        await database.close()
        assert connections.left(database.dialect) == 0, nth
        if not task.cancelled():
            break
    assert not _open_files(tmp_path)
    assert nth > 4 and task.exception() is None, "it was cut everywhere"


async def test_a_store_waits_for_who_is_at_it(database: Database) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async with database.read() as connection:
            inside.set()
            await go_on.wait()
            await connection.execute(text("SELECT 1"))

    connections = Connections(database)
    reading = asyncio.create_task(read())
    await inside.wait()
    closing = asyncio.create_task(database.close())
    while not database._readers._closed:
        await asyncio.sleep(0)
    assert not closing.done()
    go_on.set()
    await closing
    assert reading.done() and connections.left(database.dialect) == 0


async def test_a_store_that_is_closed_connects_no_more(database: Database) -> None:
    """Who still works then, as a till that asks for money, would leave a connection that nobody closes."""
    connections = Connections(database)
    await database.check()
    await database.close()
    for scope in (database.read, database.write):
        with pytest.raises(Problem) as refused:
            async with scope():
                raise AssertionError("it is closed")
        assert refused.value.kind is Kind.unavailable
    assert connections.left(database.dialect) == 0


async def test_a_glance_that_is_cancelled_leaves_its_connection_to_the_next(tmp_path: Path) -> None:
    connecting, go_on = threading.Event(), threading.Event()

    def make() -> Engine:
        connecting.set()
        assert go_on.wait(20)
        return sqlite.thread_engine(f"sqlite:///{tmp_path / 'db'}", sqlite.DEFERRED)

    def one(connection: Connection) -> object:
        return connection.scalar(text("SELECT 1"))

    readers = Readers(make)
    first = asyncio.create_task(readers.glance(one))
    await asyncio.to_thread(connecting.wait, 20)
    first.cancel()
    await asyncio.wait([first])
    go_on.set()
    assert await readers.glance(one) == 1
    assert readers._engine is not None and readers._engine.pool.checkedout() == 1  # type: ignore[attr-defined]
    await readers.close()
    assert not _open_files(tmp_path)


async def test_a_glance_that_is_cancelled_leaves_nothing_to_a_store_that_is_closed(tmp_path: Path) -> None:
    connecting, go_on = threading.Event(), threading.Event()

    def make() -> Engine:
        connecting.set()
        assert go_on.wait(20)
        return sqlite.thread_engine(f"sqlite:///{tmp_path / 'db'}", sqlite.DEFERRED)

    readers = Readers(make)
    only = asyncio.create_task(readers.glance(lambda connection: connection.scalar(text("SELECT 1"))))
    await asyncio.to_thread(connecting.wait, 20)
    only.cancel()
    await asyncio.wait([only])
    closing = asyncio.create_task(readers.close())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    assert not _open_files(tmp_path)


async def test_who_is_cancelled_twice_keeps_the_turn_until_the_disk_is_done(tmp_path: Path) -> None:
    """What ends a task asks again every second, and a disk may take longer."""
    database = await Database.open(f"sqlite:///{tmp_path / 'db'}", SystemClock())
    inside, go_on = threading.Event(), threading.Event()

    def slow(_connection: Connection) -> None:
        inside.set()
        assert go_on.wait(20)

    writing = asyncio.create_task(database.write_sync(slow))
    await asyncio.to_thread(inside.wait, 20)
    for _ in range(3):
        writing.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not writing.done()
    go_on.set()
    await asyncio.wait([writing])
    assert writing.cancelled()
    await database.close()
    assert not _open_files(tmp_path)
