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
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from live import store
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.tracing import active
from live.timeline import Entry, show_clock

log = logging.getLogger(__name__)
T = TypeVar("T")


class Outlet(Protocol):
    """Where news go after COMMIT. Never raises because the bus is down."""

    async def event(self, show: str, at_ms: int, name: str, data: dict[str, Any], *, key: str | None = None) -> None:
        """To every screen of `show`, numbered and recoverable; done once per `key` (None: every time)."""
        ...

    async def state(self, show: str, name: str, data: dict[str, Any], *, key: str = "", staff: bool = False) -> None:
        """The newest value of (`name`, `key`), to every screen, or to the staff's only."""
        ...

    async def notice(self, show: str, viewer_id: str, name: str, data: dict[str, Any]) -> None:
        """To all screens of one viewer in `show`."""
        ...

    async def notify(self, show: str, notices: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        """As `notice` for each (viewer id, name, data)."""
        ...

    async def staff_notice(self, show: str, name: str, data: dict[str, Any]) -> None:
        """To all screens of moderators, hosts and ops in `show`."""
        ...


@dataclass(slots=True)
class _News:
    kind: Literal["timeline", "event", "state", "notice"]
    name: str
    data: dict[str, Any]
    at_ms: int = 0
    key: str = ""  # of an event: makes publishing idempotent; of a state: which one; of a notice: the viewer
    staff: bool = False


_AllNews = dict[str, list[_News]]  # by show


class Announcements:
    """What a transaction tells the screens after COMMIT, in the order of the calls, or never."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms  # the database's clock when the transaction began
        self._news: _AllNews = {}

    def event(self, show_id: str, name: str, data: dict[str, Any]) -> None:
        """Announce an event and keep it on the show's timeline. `data` is absolute: applying it twice does no harm."""
        # A key of its own, not the number: another database on the same bus counts from 1 as well.
        self._add(show_id, _News("timeline", name, data, key=uuid7(self.now_ms)))

    def broadcast(self, show_id: str, at_ms: int, name: str, data: dict[str, Any], *, key: str) -> None:
        """Announce an event that another table keeps; `key` identifies it, `at_ms` is the show's clock."""
        self._add(show_id, _News("event", name, data, at_ms, key))

    def state(self, show_id: str, name: str, data: dict[str, Any], *, key: str = "", staff: bool = False) -> None:
        """Announce the newest value of (`name`, `key`); `staff`: to moderators, hosts and ops only."""
        self._add(show_id, _News("state", name, data, key=key, staff=staff))

    def notice(self, show_id: str, viewer_id: str, name: str, data: dict[str, Any]) -> None:
        """Announce something to one viewer."""
        self._add(show_id, _News("notice", name, data, key=viewer_id))

    def staff_notice(self, show_id: str, name: str, data: dict[str, Any]) -> None:
        """Announce something to moderators, hosts and ops only."""
        self._add(show_id, _News("notice", name, data, staff=True))

    def said(self) -> dict[str, int]:
        """How much has been announced, by show: for `unsay`."""
        return {show_id: len(news) for show_id, news in self._news.items()}

    def unsay(self, said: dict[str, int]) -> None:
        """Take back what has been announced since `said`."""
        self._news = {show_id: self._news[show_id][:count] for show_id, count in said.items()}

    def _add(self, show_id: str, news: _News) -> None:
        self._news.setdefault(show_id, []).append(news)

    def _store(self, conn: Connection) -> _AllNews:
        """Write the timelines, as late as possible because it locks the shows; the news by show.

        Raises `Problem` unknown_show.
        """
        for show_id in sorted(self._news):  # one order for all, so that two transactions never wait for each other
            kept = [news for news in self._news[show_id] if news.kind == "timeline"]
            if kept:
                self._append(conn, show_id, kept)
        return self._news

    def _append(self, conn: Connection, show_id: str, kept: list[_News]) -> None:
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

    def __init__(self, conn: AsyncConnection, now_ms: int) -> None:
        super().__init__(now_ms)
        self.conn = conn

    async def store(self) -> _AllNews:
        """As `_store`."""
        return await self.conn.run_sync(self._store) if self._news else {}


class Batch(Announcements):
    """One write transaction, which is a plain function."""

    def __init__(self, conn: Connection, now_ms: int) -> None:
        super().__init__(now_ms)
        self.conn = conn

    def store(self) -> _AllNews:
        """As `_store`."""
        return self._store(self.conn)


class _Turn(NamedTuple):
    """A transaction's place in a show's queue: it tells after `before` (None: at once) and then sets `done`."""

    before: asyncio.Event | None
    done: asyncio.Event


class Transactions:
    """Opens transactions over `database` and publishes their news through `outlet`."""

    def __init__(self, database: Database, outlet: Outlet) -> None:
        self._database = database
        self._outlet = outlet
        self._last: dict[str, asyncio.Event] = {}  # by show: `done` of the turn at the end of the queue
        self._finishing: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Transaction]:
        """A write transaction; when the block ends it commits and publishes, when it raises nothing has happened.

        Cancelled before the block's end, it rolls back; from there on it goes through by itself.
        """
        async with AsyncExitStack() as stack:
            conn = await stack.enter_async_context(self._database.write())
            transaction = Transaction(conn, await self._database.now_ms(conn))
            yield transaction
            news = await transaction.store()
            commit = stack.pop_all()
        turns = {show_id: self._queue(show_id) for show_id in news}
        await asyncio.shield(self._keep(self._finish(commit, turns, news), "commit and publish"))

    async def batch(self, work: Callable[[Batch], T]) -> tuple[T, Awaitable[None]]:
        """Do `work` in one write transaction, not on the loop; its result, after COMMIT, and when it has been told.

        Once begun it goes through, whoever is cancelled. Raises what `work` raises, and `Problem` as `open`; nothing
        has happened then.
        """
        result, told = await asyncio.shield(self._keep(self._batch(work), "batch"))
        return result, asyncio.shield(told)

    async def _batch(self, work: Callable[[Batch], T]) -> "tuple[T, asyncio.Task[None]]":
        turns: dict[str, _Turn] = {}
        untold: _AllNews = {}

        def body(conn: Connection) -> tuple[T, _AllNews]:
            batch = Batch(conn, self._database.now_ms_sync(conn))
            return work(batch), batch.store()

        def done(outcome: tuple[T, _AllNews]) -> None:
            turns.update({show_id: self._queue(show_id) for show_id in outcome[1]})

        try:
            result, untold = await self._database.write_sync(body, done)
        finally:
            told = self._keep(self._tell_all(turns, untold), "tell of a batch")
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

    def _queue(self, show_id: str) -> _Turn:
        turn = _Turn(self._last.get(show_id), asyncio.Event())
        self._last[show_id] = turn.done
        return turn

    async def _finish(self, commit: AsyncExitStack, turns: dict[str, _Turn], news: dict[str, list[_News]]) -> None:
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
            await self._tell_all(turns, news)

    async def _tell_all(self, turns: dict[str, _Turn], news: _AllNews) -> None:
        for show_id, turn in turns.items():
            await self._tell(show_id, turn, news.get(show_id, []))

    async def _tell(self, show_id: str, turn: _Turn, news: list[_News]) -> None:
        if turn.before is not None:
            await turn.before.wait()
        try:
            # Notices side by side leave together: a batch has one for each of its viewers.
            for are_notices, items in groupby(news, lambda item: item.kind == "notice" and not item.staff):
                if are_notices:
                    await self._outlet.notify(show_id, [(item.key, item.name, item.data) for item in items])
                else:
                    for item in items:
                        await self._send(show_id, item)
        except Exception as error:  # a bug in the outlet must not silence the show, nor fail what is committed
            log.error("news of %s were committed but not told: %r", show_id, error)
        finally:
            turn.done.set()
            if self._last[show_id] is turn.done:
                del self._last[show_id]

    async def _send(self, show_id: str, news: _News) -> None:
        if news.kind == "state":
            await self._outlet.state(show_id, news.name, news.data, key=news.key, staff=news.staff)
        elif news.kind == "notice" and news.staff:
            await self._outlet.staff_notice(show_id, news.name, news.data)
        else:
            await self._outlet.event(show_id, news.at_ms, news.name, news.data, key=news.key)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._finishing.discard(task)
        # Whoever waits gets the error; when nobody does any more, this keeps asyncio from complaining.
        if not task.cancelled():
            task.exception()
