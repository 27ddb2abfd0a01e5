"""Reads feeds by themselves, and those that somebody sends: every reading is a run, whose progress can be seen.

Any number of workers look every FEED_LOOK_S for a source whose turn it is. Whoever claims it holds a lease, and says
again and again that it lives; when it dies, another one begins anew, which does no harm: what has landed is unchanged
then. A source that fails is tried again after a minute, then after twice as long each time.
"""

import asyncio
import tempfile
from typing import BinaryIO

import structlog
from sqlalchemy import Connection

from cart import audit
from cart.feeds import records
from cart.feeds.fetching import Failed, Fetched, Fetcher
from cart.feeds.formats import Format
from cart.feeds.importer import Options, Outcome, Progress, import_stream
from cart.feeds.records import Run, RunState, Source
from cart.webhooks.sealing import Seal
from live.core.database import Database
from live.core.errors import Problem
from live.core.ids import serial7, uuid7
from live.core.limits import (
    FEED_BACKOFF_S_MAX,
    FEED_BACKOFF_S_MIN,
    FEED_BEAT_S,
    FEED_LEASE_S,
    FEED_LOOK_S,
    FEED_RUNS_KEPT,
)
from live.service import Shows

_log = structlog.get_logger(__name__)
_PROBLEM_CHARS_MAX = 200
_OURS = "Our fault; it has been logged."


class Lost(Exception):
    """Somebody else reads this source, or it was deleted."""


class Runner:
    """See the module; somebody must `run` it."""

    def __init__(self, database: Database, shows: Shows, seal: Seal, fetcher: Fetcher) -> None:
        self._database = database
        self._shows = shows
        self._seal = seal
        self._fetcher = fetcher

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                while await self.turn():
                    pass
            except Problem as problem:  # the store is out of reach; the next look may find it
                _log.warning("feeds_postponed", problem=problem.kind.name)
            except Exception:  # a bug here must not keep all later feeds from being read
                _log.exception("feeds_failed")
            await asyncio.sleep(FEED_LOOK_S)

    async def turn(self) -> bool:
        """Read one source, if it is one's turn."""
        now_ms = self._database.now_ms_sync
        if not await self._database.read_sync(lambda conn: records.is_due(conn, now_ms(conn))):
            return False
        lease = uuid7()

        def claim(conn: Connection) -> Source | None:
            at_ms = now_ms(conn)
            return records.claim(conn, at_ms, lease, at_ms + round(FEED_LEASE_S * 1000))

        source = await self._database.write_sync(claim)
        if source is not None:
            await self._read(source, lease)
        return source is not None

    async def begin(self, feed: str, *, dry_run: bool, size_bytes: int = 0) -> str:
        """The id of a new run."""
        return await self._database.write_sync(
            lambda conn: begun(conn, self._database.now_ms_sync(conn), feed, dry_run, size_bytes)
        )

    async def bring_in(self, run: str, source: BinaryIO, format_: Format | None, options: Options) -> Outcome | None:
        """Do a run that was begun; what came of it (None: nothing, and the run says why). Raises `Problem`."""
        beat = self._beat(run, None)
        try:
            return await self._import(run, source, format_, options, beat)
        except Problem:
            raise
        except Exception:
            _log.exception("feed_run_failed", run=run)
            await self._end(run, "failed", _OURS)
            return None

    # --- one source

    async def _read(self, source: Source, lease: str) -> None:
        run = await self.begin(source.name, dry_run=False)
        beat = self._beat(run, (source, lease))
        sink = await asyncio.to_thread(tempfile.TemporaryFile)
        try:
            fetched = await self._fetch(source, sink, beat)
            outcome = None
            if fetched.new:
                format_: Format | None = None if source.format == "auto" else source.format  # type: ignore[assignment]
                actor = audit.Actor(f"feed:{source.name}", audit.SERVER.role)
                options = Options(False, source.stock_means, source.name, source.missing, actor, gentle=True)
                outcome = await self._import(run, sink, format_, options, beat)
                if outcome is None:
                    raise Failed((await self._found(run)).problem)
            else:
                await self._end(run, "unchanged")
            await self._settle(source, lease, fetched, outcome)
        except Lost:
            await self._end(run, "failed", "Somebody else reads it, or it was deleted.")
        except Failed as failed:
            await self._end(run, "failed", str(failed))
            await self._fail(source, lease, str(failed))
        except Problem:  # the store is out of reach; the lease runs out
            raise
        except Exception:  # a bug here must not be tried again at once, for ever
            _log.exception("feed_run_failed", run=run)
            await self._end(run, "failed", _OURS)
            await self._fail(source, lease, _OURS)
        except asyncio.CancelledError:
            await self._end(run, "failed", "The worker that read it has ended.")
            await self._database.write_sync(lambda conn: records.settle(conn, source.id, lease, asked=True))
            raise
        finally:
            await asyncio.to_thread(sink.close)

    async def _fetch(self, source: Source, sink: BinaryIO, beat: Progress) -> Fetched:
        authorization = None
        if source.authorization is not None:
            authorization = self._seal.open(source.authorization, source.id)
            if authorization is None:
                raise Failed("What authorises us cannot be read since SHOWCART_SECRET was changed; say it again.")
        turns_ms = source.turns_at_ms
        now_ms = await self._database.read_sync(self._database.now_ms_sync)
        known = ("", "") if turns_ms is not None and turns_ms <= now_ms else (source.etag, source.last_modified)
        return await self._fetcher.fetch(source.url, authorization, *known, sink, beat)

    async def _import(
        self, run: str, source: BinaryIO, format_: Format | None, options: Options, beat: Progress
    ) -> Outcome | None:
        try:
            outcome = await import_stream(source, self._shows, format_, options, progress=beat)
        except Problem as problem:
            await self._end(run, "failed", problem.detail)
            return None
        failed = not outcome.report.accepted and outcome.report.refused > 0
        problem_ = "No line could be used." if failed else ""
        state: RunState = "failed" if failed else "done"
        size = {"size_bytes": outcome.size_bytes, "done_bytes": outcome.size_bytes}
        await self._change(run, state=state, problem=problem_, ended=True, report=outcome.report, **size)
        return None if failed else outcome

    def _beat(self, run: str, held: tuple[Source, str] | None) -> Progress:
        """What writes down, not too often, how far a run is, and that somebody does it; raises `Lost`."""
        told_s = asyncio.get_running_loop().time()

        async def beat(done_bytes: int, size_bytes: int) -> None:
            nonlocal told_s
            now_s = asyncio.get_running_loop().time()
            if now_s < told_s + FEED_BEAT_S:
                return
            told_s = now_s

            def work(conn: Connection) -> bool:
                until_ms = self._database.now_ms_sync(conn) + round(FEED_LEASE_S * 1000)
                values = {"alive_until_ms": until_ms, "done_bytes": done_bytes, "size_bytes": size_bytes}
                records.change_run(conn, run, **values)
                return held is None or records.renew(conn, held[0].id, held[1], until_ms)

            if not await self._database.write_sync(work):
                raise Lost

        return beat

    async def _settle(self, source: Source, lease: str, fetched: Fetched, outcome: Outcome | None) -> None:
        turns_ms = source.turns_at_ms if outcome is None else outcome.turns_ms

        def work(conn: Connection) -> None:
            now_ms = self._database.now_ms_sync(conn)
            due_ms = now_ms + source.interval_s * 1000
            if turns_ms is not None:  # a server that has nothing new even then is not asked again at once, for ever
                soonest_ms = now_ms + FEED_BACKOFF_S_MIN * 1000 if outcome is None else 0
                due_ms = min(due_ms, max(turns_ms, soonest_ms))
            values = {"due_at_ms": due_ms, "turns_at_ms": turns_ms}
            known = {"etag": fetched.etag, "last_modified": fetched.last_modified}
            records.settle(conn, source.id, lease, failures=0, problem="", **values, **known)

        await self._database.write_sync(work)

    async def _fail(self, source: Source, lease: str, problem: str) -> None:
        failures = source.failures + 1
        wait_s = backoff_s(failures, source.interval_s)
        _log.warning("feed_failed", feed=source.name, problem=problem, again_s=wait_s)

        def work(conn: Connection) -> None:
            due_ms = self._database.now_ms_sync(conn) + wait_s * 1000
            values = {"due_at_ms": due_ms, "failures": failures, "problem": problem[:_PROBLEM_CHARS_MAX]}
            records.settle(conn, source.id, lease, **values)

        await self._database.write_sync(work)

    async def _found(self, run: str) -> Run:
        found = await self._database.read_sync(
            lambda conn: records.find_run(conn, run, self._database.now_ms_sync(conn))
        )
        assert found is not None, "the newest runs are kept"
        return found

    async def _end(self, run: str, state: RunState, problem: str = "") -> None:
        await self._change(run, state=state, problem=problem, ended=True)

    async def _change(self, run: str, *, ended: bool, problem: str, **values: object) -> None:
        def work(conn: Connection) -> None:
            more = {"ended_at_ms": self._database.now_ms_sync(conn)} if ended else {}
            records.change_run(conn, run, problem=problem[:_PROBLEM_CHARS_MAX], **values, **more)

        await self._database.write_sync(work)


def begun(conn: Connection, now_ms: int, feed: str, dry_run: bool, size_bytes: int) -> str:
    """The id of a new run."""
    run = Run(
        id=serial7(now_ms), feed=feed, state="running", dry_run=dry_run, began_at_ms=now_ms, ended_at_ms=None,
        alive_until_ms=now_ms + round(FEED_LEASE_S * 1000), size_bytes=size_bytes, done_bytes=0, problem="",
        report=None,
    )  # fmt: skip
    records.insert_run(conn, run, FEED_RUNS_KEPT)
    return run.id


def backoff_s(failures: int, interval_s: int) -> int:
    """How long to wait after so many failures in a row, seconds."""
    return int(min(FEED_BACKOFF_S_MIN * 2 ** min(failures - 1, 20), max(interval_s, FEED_BACKOFF_S_MAX)))
