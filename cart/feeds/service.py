"""What can be done with feeds: send one, have one fetched again and again, and see what came of them."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO, Self

import msgspec
import structlog
from sqlalchemy import Connection

from cart import store as shop_store
from cart.answers import Answer, check_key, replay, request_hash
from cart.feeds import records
from cart.feeds.exporting import Export
from cart.feeds.fetching import Fetcher, same_place
from cart.feeds.formats import Format
from cart.feeds.importer import Options
from cart.feeds.pushing import Pushes
from cart.feeds.records import Run, Source
from cart.feeds.report import Missing, StockMeans
from cart.feeds.runner import Runner, begun
from cart.offering.service import Offering
from cart.store import Kept
from cart.webhooks.sealing import Seal
from live.core.addresses import networks
from live.core.auth import Principal
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import (
    FEED_INTERVAL_S_MAX,
    FEED_INTERVAL_S_MIN,
    FEED_NAME_CHARS_MAX,
    FEED_RUNS_LISTED_MAX,
    FEED_SOURCES_MAX,
    FEED_UPLOAD_BYTES_MAX,
    FEED_UPLOADS_MAX,
)
from live.core.settings import Settings
from live.core.tasks import end
from live.service import Shows
from live.shows import clean_line

_log = structlog.get_logger(__name__)
_LOCK = "feeds"  # one change at a time
_BUFFER_BYTES = 1024 * 1024
_Effect = Callable[[Connection, int], dict[str, Any]]


class NewSource(msgspec.Struct, frozen=True):
    """A source to be. `authorization`: the value of that header (None: none is sent)."""

    name: str
    url: str
    format: str = "auto"
    interval_s: int = 3600
    missing: Missing = "kept"
    stock_means: StockMeans = "on_hand"
    authorization: str | None = None


class Feeds:
    """The feeds of this installation: somebody must `run` it."""

    def __init__(self, database: Database, shows: Shows, offering: Offering, secret: str, fetcher: Fetcher) -> None:
        self._database = database
        self._seal = Seal(secret)
        self._fetcher = fetcher
        self.runner = Runner(database, shows, self._seal, fetcher)
        self.export = Export(shows, offering.window)
        self.pushes = Pushes(offering.stockroom, shows.pinning)
        self._uploads = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def of(cls, settings: Settings, database: Database, shows: Shows, offering: Offering) -> Self:
        """The ones that `settings` describe."""
        fetcher = Fetcher(Path(settings.data_dir) / "feeds", networks(settings.webhook_networks))
        return cls(database, shows, offering, settings.secret, fetcher)

    async def run(self) -> None:
        """Fetch until cancelled; what was sent here goes no further then, and its runs say so."""
        try:
            await self.runner.run()
        finally:
            await end(*self._tasks)

    # --- reading ----------------------------------------------------------------------------------------------

    async def sources(self) -> list[Source]:
        """All sources, by name."""
        return await self._database.read_sync(records.sources)

    async def source(self, name: str) -> Source:
        """One source; raises `Problem` unknown_feed."""
        return await self._database.read_sync(lambda conn: _find(conn, name))

    async def runs(self, feed: str | None, before: str | None) -> list[Run]:
        """A page of runs, the newest first; `feed` None: of all."""
        if before is not None and not _is_id(before):
            raise Problem(Kind.unknown_feed_run, field="before")
        if feed is not None and not feed.isprintable():
            raise Problem(Kind.invalid_field, "Not a feed's name.", field="feed")

        def read(conn: Connection) -> list[Run]:
            return records.runs(conn, feed, before, FEED_RUNS_LISTED_MAX, self._database.now_ms_sync(conn))

        return await self._database.read_sync(read)

    async def one_run(self, id_: str) -> Run:
        """One run; raises `Problem` unknown_feed_run."""

        def read(conn: Connection) -> Run | None:
            return records.find_run(conn, id_, self._database.now_ms_sync(conn))

        found = await self._database.read_sync(read) if _is_id(id_) else None
        if found is None:
            raise Problem(Kind.unknown_feed_run, field="run")
        return found

    # --- sources ----------------------------------------------------------------------------------------------

    async def create(self, principal: Principal, key: str | None, new: NewSource) -> Answer:
        """A new source, which is fetched at once: {source}.

        Raises `Problem` invalid_field, feed_forbidden, feed_exists, too_many_feeds, key_reused.
        """
        name = clean_line(new.name, "name", FEED_NAME_CHARS_MAX)
        if "/" in name:
            raise Problem(Kind.invalid_field, "No slash: it is a part of the source's address.", field="name")
        _check_interval(new.interval_s)
        _check_authorization(new.authorization)
        await self._fetcher.check(new.url)

        def effect(conn: Connection, now_ms: int) -> dict[str, Any]:
            if records.find_source(conn, name) is not None:
                raise Problem(Kind.feed_exists, field="name")
            if records.count_sources(conn) >= FEED_SOURCES_MAX:
                raise Problem(Kind.too_many_feeds, f"At most {FEED_SOURCES_MAX}; delete one first.")
            id_ = uuid7(now_ms)
            sealed = None if new.authorization is None else self._seal.seal(new.authorization, id_)
            made = Source(
                id=id_, name=name, url=new.url, format=new.format, interval_s=new.interval_s, missing=new.missing,
                stock_means=new.stock_means, authorization=sealed, state="active", asked=False, etag="",
                last_modified="", turns_at_ms=None, due_at_ms=now_ms, lease="", lease_until_ms=0, failures=0,
                problem="", created_at_ms=now_ms,
            )  # fmt: skip
            records.insert_source(conn, made)
            return {"source": seen(made)}

        return await self._once(principal, ("create", *msgspec.structs.astuple(new)), key, effect)

    async def change(self, principal: Principal, key: str | None, name: str, **asked: Any) -> Answer:
        """Change what is not None of url, format, interval_s, missing, stock_means, authorization ("": none any more),
        state: {source}. An address of another server takes the `authorization` away, unless it is said again.

        Raises `Problem` as `create`, and unknown_feed."""
        values = {member: value for member, value in asked.items() if value is not None}
        if "interval_s" in values:
            _check_interval(values["interval_s"])
        _check_authorization(values.get("authorization"))
        if "url" in values:
            await self._fetcher.check(values["url"])

        def effect(conn: Connection, now_ms: int) -> dict[str, Any]:
            found = _find(conn, name)
            changed = dict(values)
            if "authorization" in changed:
                word = changed["authorization"]
                changed["authorization"] = self._seal.seal(word, found.id) if word else None
            if "url" in changed and "authorization" not in changed and not same_place(found.url, changed["url"]):
                changed["authorization"] = None  # whoever may change an address must not learn it by that
            if changed.keys() - {"state"}:  # it is read anew, whatever the other side says of what was read before
                changed |= {"etag": "", "last_modified": "", "due_at_ms": now_ms, "failures": 0}
                changed["lease"] = ""  # whoever reads it just now goes no further, and has no say in what is next
            if changed:
                records.change_source(conn, found.id, **changed)
            return {"source": seen(_find(conn, name))}

        request = ("change", name, *((member, value) for member, value in sorted(values.items())))
        return await self._once(principal, request, key, effect)

    async def ask(self, principal: Principal, key: str | None, name: str) -> Answer:
        """Have a source fetched now, also when it is paused: {source}. Raises `Problem` unknown_feed."""

        def effect(conn: Connection, _now_ms: int) -> dict[str, Any]:
            records.change_source(conn, _find(conn, name).id, asked=True)
            return {"source": seen(_find(conn, name))}

        return await self._once(principal, ("ask", name), key, effect)

    async def delete(self, principal: Principal, key: str | None, name: str) -> Answer:
        """Fetch a source no longer; what it brought stays: {}. Raises `Problem` unknown_feed."""

        def effect(conn: Connection, _now_ms: int) -> dict[str, Any]:
            found = _find(conn, name)
            # The name is free again; a run that goes on finds its source gone.
            records.change_source(conn, found.id, state="deleted", name=f"{found.id} deleted", lease="")
            return {}

        return await self._once(principal, ("delete", name), key, effect)

    # --- what is sent here ------------------------------------------------------------------------------------

    async def upload(
        self,
        principal: Principal,
        key: str | None,
        body: AsyncIterator[bytes],
        format_: Format | None,
        options: Options,
    ) -> Answer:
        """Take a feed and begin to bring it in: {run}. Raises `Problem` too_large, overloaded, key_reused."""
        check_key(key)
        if self._uploads >= FEED_UPLOADS_MAX:
            raise Problem(Kind.overloaded, "Other feeds are being read; send it again later.", retry_after_s=5)
        self._uploads += 1
        begun_here, file = False, None
        try:
            file = await asyncio.to_thread(tempfile.TemporaryFile)
            digest, size_bytes = await _keep(body, file)
            request = ("upload", digest, format_, options.dry_run, options.stock_means, options.feed, options.missing)

            def effect(conn: Connection, now_ms: int) -> dict[str, Any]:
                return {"run": begun(conn, now_ms, options.feed or "", options.dry_run, size_bytes)}

            answer = await self._once(principal, request, key, effect)
            if not answer.replayed:
                task = asyncio.create_task(self._bring_in(answer.body["run"], file, format_, options), name="feed")
                begun_here = True
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            return answer
        finally:
            if not begun_here:
                self._uploads -= 1
                if file is not None:
                    await asyncio.to_thread(file.close)

    async def idle(self) -> None:
        """Wait until all that was sent here is brought in."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _bring_in(self, run: str, file: BinaryIO, format_: Format | None, options: Options) -> None:
        try:
            await self.runner.bring_in(run, file, format_, options)
        except Problem as problem:  # the store is out of reach; that nobody does the run any more is seen in a minute
            _log.warning("feed_not_brought_in", run=run, problem=problem.kind.name)
        finally:
            self._uploads -= 1
            await asyncio.to_thread(file.close)

    async def _once(self, principal: Principal, request: tuple[Any, ...], key: str | None, effect: _Effect) -> Answer:
        check_key(key)
        hash_, scope = request_hash(request), f"{_LOCK}:{principal.subject}"

        def work(conn: Connection) -> Answer:
            shop_store.lock_carts(conn, [_LOCK])
            now_ms = self._database.now_ms_sync(conn)
            if key is not None:
                kept = shop_store.kept_answers(conn, [(scope, key)]).get((scope, key))
                if (body := replay(kept, hash_, now_ms)) is not None:
                    return Answer(body, replayed=True)
            body = effect(conn, now_ms)
            if key is not None:
                shop_store.keep_answers(conn, {(scope, key): Kept(hash_, body, now_ms)})
            return Answer(body)

        return await self._database.write_sync(work)


def seen(source: Source) -> dict[str, Any]:
    """A source as people and programs see it: without what authorises us."""
    names = (
        "id", "name", "url", "format", "interval_s", "missing", "stock_means", "state", "due_at_ms", "failures",
        "problem", "created_at_ms",
    )  # fmt: skip
    view = {name: getattr(source, name) for name in names}
    return view | {"authorized": source.authorization is not None}


async def _keep(body: AsyncIterator[bytes], file: BinaryIO) -> tuple[str, int]:
    """Write a body into a file; its SHA-256 and size. Raises `Problem` too_large."""
    digest, size_bytes, waiting = hashlib.sha256(), 0, bytearray()
    async for chunk in body:
        size_bytes += len(chunk)
        if size_bytes > FEED_UPLOAD_BYTES_MAX:
            raise Problem(Kind.too_large, f"At most {FEED_UPLOAD_BYTES_MAX} bytes.")
        digest.update(chunk)
        waiting += chunk
        if len(waiting) >= _BUFFER_BYTES:
            await asyncio.to_thread(file.write, bytes(waiting))
            waiting.clear()
    await asyncio.to_thread(file.write, bytes(waiting))
    await asyncio.to_thread(file.seek, 0)
    return digest.hexdigest(), size_bytes


def _find(conn: Connection, name: str) -> Source:
    found = records.find_source(conn, name) if name.isprintable() else None
    if found is None:
        raise Problem(Kind.unknown_feed, field="feed")
    return found


def _is_id(text: str) -> bool:
    return text.isascii() and text.isalnum()


def _check_interval(interval_s: int) -> None:
    if not FEED_INTERVAL_S_MIN <= interval_s <= FEED_INTERVAL_S_MAX:
        detail = f"Between {FEED_INTERVAL_S_MIN} and {FEED_INTERVAL_S_MAX} seconds."
        raise Problem(Kind.invalid_field, detail, field="interval_s")


def _check_authorization(value: str | None) -> None:
    if value is not None and not (value.isascii() and (value.isprintable() or not value)):
        raise Problem(Kind.invalid_field, "Printable ASCII, as it stands in the header.", field="authorization")
