"""Write transactions that tell the screens: first COMMIT, then publish, in the order of the commits.

Two transactions that touch the same thing are put in order by the database's locks. Their news must keep that order,
or a screen ends with the older value. So a transaction queues for its shows right before COMMIT, while it still holds
its locks; whoever comes behind it in the database comes behind it in the queue, and the head of the queue publishes
once its commit is through. The order is guaranteed within one worker.

A message whose COMMIT succeeded is published even when the request that caused it is cancelled meanwhile. When the
bus is down nothing is lost but time: the outlet has every screen take a fresh snapshot from SQL afterwards.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from live import store
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.timeline import Entry, show_clock

_log = structlog.get_logger(__name__)


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


@dataclass(slots=True)
class _News:
    kind: Literal["timeline", "event", "state", "notice"]
    name: str
    data: dict[str, Any]
    at_ms: int = 0
    key: str = ""  # of an event: makes publishing idempotent; of a state: which one; of a notice: the viewer
    staff: bool = False


class Transaction:
    """One write transaction. What is announced is published after COMMIT, in the order of the calls, or never."""

    def __init__(self, conn: AsyncConnection, now_ms: int) -> None:
        self.conn = conn
        self.now_ms = now_ms  # the database's clock when the transaction began
        self._news: dict[str, list[_News]] = {}

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

    def _add(self, show_id: str, news: _News) -> None:
        self._news.setdefault(show_id, []).append(news)

    async def store(self) -> dict[str, list[_News]]:
        """Write the timelines, as late as possible because it locks the shows; the news by show.

        Raises `Problem` unknown_show.
        """
        for show_id in sorted(self._news):  # one order for all, so that two transactions never wait for each other
            kept = [news for news in self._news[show_id] if news.kind == "timeline"]
            if kept:
                await self._append(show_id, kept)
        return self._news

    async def _append(self, show_id: str, kept: list[_News]) -> None:
        position = await store.timeline_position(self.conn, show_id, lock=True)
        if position is None:
            raise Problem(Kind.unknown_show, field="show")
        clock_ms = show_clock(position.started_at_ms, position.ended_at_ms, self.now_ms)
        at_ms = max(clock_ms, position.timeline_at_ms)
        entries = []
        for seq, news in enumerate(kept, position.timeline_seq + 1):
            news.at_ms = at_ms
            entries.append(Entry(seq=seq, at_ms=at_ms, name=news.name, data=news.data))
        await store.append_events(self.conn, show_id, entries)


@dataclass(slots=True)
class _Turn:
    """A transaction's place in a show's queue. `news` None: its COMMIT is under way."""

    news: list[_News] | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Transactions:
    """Opens transactions over `database` and publishes their news through `outlet`."""

    def __init__(self, database: Database, outlet: Outlet) -> None:
        self._database = database
        self._outlet = outlet
        self._queues: dict[str, deque[_Turn]] = {}
        self._publishing: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Transaction]:
        """A write transaction; when the block ends it commits and publishes, when it raises nothing has happened."""
        turns: dict[str, _Turn] = {}
        news: dict[str, list[_News]] = {}
        try:
            async with self._database.write() as conn:
                transaction = Transaction(conn, await self._database.now_ms(conn))
                yield transaction
                news = await transaction.store()
                turns = self._queue(news)
        except BaseException:
            news = {}
            raise
        finally:
            for show_id, turn in turns.items():
                turn.news = news.get(show_id, [])
                self._publish(show_id)
        for turn in turns.values():
            await turn.done.wait()

    async def close(self) -> None:
        """Wait until everything that was committed has been handed to the outlet."""
        while self._publishing:
            await asyncio.wait(self._publishing.values())

    def _queue(self, shows: Iterable[str]) -> dict[str, _Turn]:
        turns = {show_id: _Turn() for show_id in shows}
        for show_id, turn in turns.items():
            self._queues.setdefault(show_id, deque()).append(turn)
        return turns

    def _publish(self, show_id: str) -> None:
        """Have the head of the queue published by a task of its own, which no request can cancel."""
        if show_id not in self._publishing:
            task = asyncio.get_running_loop().create_task(self._drain(show_id), name=f"publish {show_id}")
            self._publishing[show_id] = task

    async def _drain(self, show_id: str) -> None:
        queue = self._queues[show_id]
        try:
            while queue and (news := queue[0].news) is not None:
                turn = queue.popleft()
                try:
                    for item in news:
                        await self._send(show_id, item)
                except Exception:  # a bug in the outlet must not silence the show, nor fail what is committed
                    _log.exception("publish_failed", show=show_id)
                finally:
                    turn.done.set()
        finally:
            del self._publishing[show_id]
            if not queue:
                del self._queues[show_id]

    async def _send(self, show_id: str, news: _News) -> None:
        if news.kind == "state":
            await self._outlet.state(show_id, news.name, news.data, key=news.key, staff=news.staff)
        elif news.kind == "notice":
            await self._outlet.notice(show_id, news.key, news.name, news.data)
        else:
            await self._outlet.event(show_id, news.at_ms, news.name, news.data, key=news.key)
