"""Write transactions that tell the screens: first COMMIT, then publish, in the order of the commits.

Two transactions that touch the same thing are put in order by the database's locks. Their news must keep that order,
or a screen ends with the older value. So a transaction queues for its shows right before COMMIT, while it still holds
its locks; whoever comes behind it in the database comes behind it in the queue, and publishes when all before it
have. The order is guaranteed within one worker.

A hot transaction is a *batch*: a plain function that is done by `Database.write_sync`, with the same promises. It is
told of later than it is committed, so that the next batch need not wait for the bus.

COMMIT and what follows run in a task of their own: a request that is cancelled meanwhile (the viewer left) neither
leaves the outcome open nor keeps committed news from the screens. When the bus is down nothing is lost but time: the
outlet has every screen take a fresh snapshot from SQL afterwards.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from live import store
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.tracing import active
from live.realtime.news import News
from live.teller import Outlet, Place, Teller
from live.timeline import Entry, show_clock

T = TypeVar("T")
Also = Callable[[Connection, int, str, Sequence[News]], None]


def _nothing(_conn: Connection, _now_ms: int, _show_id: str, _news: Sequence[News]) -> None:
    """Nobody else wants to know."""


class _Lasting(News):
    """An event that is kept on the show's timeline as well; its `at_ms` is known when it is."""


_AllNews = dict[str, list[News]]  # by show


class Announcements:
    """What a transaction tells the screens after COMMIT, in the order of the calls, or never."""

    def __init__(self, now_ms: int, also: Also = _nothing) -> None:
        self.now_ms = now_ms  # the database's clock when the transaction began
        self._also = also
        self._news: _AllNews = {}

    def event(self, show_id: str, name: str, data: dict[str, Any]) -> None:
        """Announce an event and keep it on the show's timeline. `data` is absolute: applying it twice does no harm."""
        # A key of its own, not the number: another database on the same bus counts from 1 as well.
        self._add(show_id, _Lasting("event", name, data, key=uuid7(self.now_ms)))

    def broadcast(self, show_id: str, at_ms: int, name: str, data: dict[str, Any], *, key: str) -> None:
        """Announce an event that another table keeps; `key` identifies it, `at_ms` is the show's clock."""
        self._add(show_id, News("event", name, data, at_ms, key))

    def state(self, show_id: str, name: str, data: dict[str, Any], *, key: str = "", staff: bool = False) -> None:
        """Announce the newest value of (`name`, `key`); `staff`: to moderators, hosts and ops only."""
        self._add(show_id, News("state", name, data, key=key, staff=staff))

    def notice(self, show_id: str, viewer_id: str, name: str, data: dict[str, Any]) -> None:
        """Announce something to one viewer."""
        self._add(show_id, News("notice", name, data, key=viewer_id))

    def staff_notice(self, show_id: str, name: str, data: dict[str, Any]) -> None:
        """Announce something to moderators, hosts and ops only."""
        self._add(show_id, News("notice", name, data, staff=True))

    def said(self) -> dict[str, int]:
        """How much has been announced, by show: for `unsay`."""
        return {show_id: len(news) for show_id, news in self._news.items()}

    def unsay(self, said: dict[str, int]) -> None:
        """Take back what has been announced since `said`."""
        self._news = {show_id: self._news[show_id][:count] for show_id, count in said.items()}

    def _add(self, show_id: str, news: News) -> None:
        self._news.setdefault(show_id, []).append(news)

    def _store(self, conn: Connection) -> _AllNews:
        """Write the timelines, as late as possible because it locks the shows; the news by show.

        Raises `Problem` unknown_show.
        """
        for show_id in sorted(self._news):  # one order for all, so that two transactions never wait for each other
            kept = [news for news in self._news[show_id] if isinstance(news, _Lasting)]
            if kept:
                self._append(conn, show_id, kept)
            self._also(conn, self.now_ms, show_id, self._news[show_id])
        return self._news

    def _append(self, conn: Connection, show_id: str, kept: list[_Lasting]) -> None:
        position = store.timeline_position(conn, show_id, lock=True)
        if position is None:
            raise Problem(Kind.unknown_show, field="show")
        clock_ms = show_clock(position.started_at_ms, position.ended_at_ms, self.now_ms)
        at_ms = max(clock_ms, position.timeline_at_ms)
        entries = []
        for seq, news in enumerate(kept, position.timeline_seq + 1):
            news.at_ms = at_ms
            entries.append(Entry(seq=seq, at_ms=at_ms, name=news.name, data=news.data))
        store.append_events(conn, show_id, entries)


class Transaction(Announcements):
    """One write transaction, which is a block."""

    def __init__(self, conn: AsyncConnection, now_ms: int, also: Also = _nothing) -> None:
        super().__init__(now_ms, also)
        self.conn = conn

    async def store(self) -> _AllNews:
        """As `_store`."""
        return await self.conn.run_sync(self._store) if self._news else {}


class Batch(Announcements):
    """One write transaction, which is a plain function."""

    def __init__(self, conn: Connection, now_ms: int, also: Also = _nothing) -> None:
        super().__init__(now_ms, also)
        self.conn = conn

    def store(self) -> _AllNews:
        """As `_store`."""
        return self._store(self.conn)


class Transactions:
    """Opens transactions over `database` and publishes their news through `outlet`.

    `also` is called at the end of every transaction that has news, with the database's clock, a show and its news;
    what it writes is committed with what they tell.
    """

    def __init__(self, database: Database, outlet: Outlet) -> None:
        self._database = database
        self._teller = Teller(outlet)
        self._finishing: set[asyncio.Task[Any]] = set()
        self.also: Also = _nothing

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Transaction]:
        """A write transaction; when the block ends it commits and publishes, when it raises nothing has happened.

        Cancelled before the block's end, it rolls back; from there on it goes through by itself.
        """
        async with AsyncExitStack() as stack:
            conn = await stack.enter_async_context(self._database.write())
            transaction = Transaction(conn, await self._database.now_ms(conn), self.also)
            yield transaction
            news = await transaction.store()
            commit = stack.pop_all()
        places = self._places(news)
        await asyncio.shield(self._keep(self._finish(commit, places, news), "commit and publish"))

    async def batch(self, work: Callable[[Batch], T], *, here: bool = False) -> tuple[T, Awaitable[None]]:
        """Do `work` in one write transaction; its result, after COMMIT, and when it has been told.

        `here`: it takes few milliseconds, see `Database.write_sync`.

        Once begun it goes through, whoever is cancelled. Raises what `work` raises, and `Problem` as `open`; nothing
        has happened then.
        """
        result, told = await asyncio.shield(self._keep(self._batch(work, here), "batch"))
        return result, asyncio.shield(told)

    async def _batch(self, work: Callable[[Batch], T], here: bool) -> "tuple[T, asyncio.Task[None]]":
        places: dict[str, Place] = {}
        news: _AllNews = {}

        def body(conn: Connection) -> tuple[T, _AllNews]:
            batch = Batch(conn, self._database.now_ms_sync(conn), self.also)
            return work(batch), batch.store()

        def done(outcome: tuple[T, _AllNews]) -> None:
            places.update(self._places(outcome[1]))

        try:
            result, news = await self._database.write_sync(body, done, here=here)
        finally:
            told = self._keep(_tell(places, news), "tell of a batch")
        return result, told

    def _keep(self, job: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.create_task(job, name=name)
        self._finishing.add(task)
        task.add_done_callback(self._finished)
        return task

    async def close(self) -> None:
        """Wait until everything that was committed has been handed to the outlet."""
        while self._finishing:
            await asyncio.wait(self._finishing)

    def _places(self, news: _AllNews) -> dict[str, Place]:
        return {show_id: self._teller.place(show_id) for show_id in news}

    async def _finish(self, commit: AsyncExitStack, places: dict[str, Place], news: _AllNews) -> None:
        around = active()
        span = around.child("commit") if around is not None else None
        try:
            await commit.aclose()
        except BaseException:
            news = {}
            raise
        finally:
            if span is not None:
                span.end()
            await _tell(places, news)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._finishing.discard(task)
        # Whoever waits gets the error; when nobody does any more, this keeps asyncio from complaining.
        if not task.cancelled():
            task.exception()


async def _tell(places: dict[str, Place], news: _AllNews) -> None:
    """Settle the places with their news, and wait until these have left."""
    for show_id, place in places.items():
        place.settle(news.get(show_id, ()))
    for place in places.values():
        await place.told.wait()
