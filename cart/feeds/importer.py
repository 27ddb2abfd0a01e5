"""Brings feeds into the catalogue, while the shop is open.

The good lines land, the others are reported with their numbers. What a feed does not name stays as it is; SKUs that
the same feed has named before are kept, hidden or sold no longer, as it is told. Stock means the units that are there,
those in orders and carts included (`on_hand`), or those that can still be sold (`available`); it never falls below what
carts and orders were promised. Screens hear at once: `product.changed` in the shows that have the product in their
lineup, stock as always.

A feed is read in pieces. What differs from the store is written in transactions that are as long as FEED_CHANGE_S, so
that the clicks of a running show wait no longer than that.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec
from sqlalchemy import Connection

from cart import audit
from cart.feeds import items_store
from cart.feeds.diff import Change, Stored, Task, withdraw
from cart.feeds.entries import Broken, Entry, LineError
from cart.feeds.formats import Format, read
from cart.feeds.pace import Pace
from cart.feeds.report import ImportReport, Missing, StockMeans
from cart.feeds.seen import Seen
from cart.moves import Moves
from cart.waiting.promises import ServedLater
from live.core.limits import (
    FEED_CHANGE_LEAST,
    FEED_CHANGE_S,
    FEED_MISSING_SHARE_MAX,
    FEED_PAGE,
    FEED_REST_S_MAX,
    IMPORT_BATCH,
)
from live.service import Batch, Shows

Progress = Callable[[int, int], Awaitable[None]]  # bytes read, bytes in the file


class Options(msgspec.Struct, frozen=True):
    """How a feed is brought in. `feed`: the name that its SKUs are kept by, so that a later run knows what is missing
    (None: nothing is kept). `dry_run`: only say what would happen. `actor`: who has counted stock, for the trail.
    `gentle`: rest as long as was worked, because a worker has shows to serve."""

    dry_run: bool = False
    stock_means: StockMeans = "on_hand"
    feed: str | None = None
    missing: Missing = "kept"
    actor: audit.Actor = audit.SERVER
    gentle: bool = False


class Outcome(msgspec.Struct):
    """What came of it; `turns_ms`: when the feed has a price change next (Unix milliseconds; None: never)."""

    report: ImportReport
    turns_ms: int | None
    size_bytes: int


def format_of(path: Path) -> Format:
    """The format that a file's name promises; raises `ValueError`."""
    formats: dict[str, Format] = {
        ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json",
        ".xml": "xml",
    }  # fmt: skip
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    format_ = formats.get(name.suffix.lower())
    if format_ is None:
        raise ValueError(f"{path.name}: the name must end with {', '.join(formats)}, or one of these and .gz")
    return format_


async def import_products(
    path: Path,
    shows: Shows,
    options: Options = Options(),  # noqa: B008 (it is frozen)
    *,
    format_: Format | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import the file at `path`. `format_` None: by its name.

    Raises `ValueError` for a name without a known ending, `OSError` for a file that cannot be read, and `Problem`
    when the store is out of reach: what was committed before stays.
    """
    format_ = format_ or format_of(path)
    source = await asyncio.to_thread(path.open, "rb")
    try:
        return (await import_stream(source, shows, format_, options, progress=progress)).report
    finally:
        await asyncio.to_thread(source.close)


async def import_stream(
    source: BinaryIO,
    shows: Shows,
    format_: Format | None,
    options: Options = Options(),  # noqa: B008 (it is frozen)
    *,
    progress: Progress | None = None,
) -> Outcome:
    """As `import_products`, from an open, seekable file; `format_` None: by what it begins with."""
    seen = await asyncio.to_thread(Seen)
    try:
        return await _Run(source, shows, options, seen, progress).all(format_)
    finally:
        await asyncio.to_thread(seen.close)


class _DryRun(Exception):
    """Rolls a transaction back."""


class _Run:
    def __init__(self, source: BinaryIO, shows: Shows, options: Options, seen: Seen, progress: Progress | None) -> None:
        self._source = source
        self._shows = shows
        self._options = options
        self._seen = seen
        self._progress = progress
        self._report = ImportReport(dry_run=options.dry_run)
        self._turns_ms: int | None = None
        self._size_bytes = 0
        self._pace = Pace(FEED_CHANGE_S, FEED_CHANGE_LEAST, IMPORT_BATCH)

    async def all(self, format_: Format | None) -> Outcome:
        now_ms = await self._shows.read_sync(self._shows.now_ms)
        self._size_bytes = await asyncio.to_thread(_size_bytes, self._source)
        items = self._unique(read(self._source, format_, now_ms))
        # Reading and parsing may take long: both are a thread's work.
        began_s = time.perf_counter()
        while batch := await asyncio.to_thread(lambda: list(islice(items, IMPORT_BATCH))):
            await self._batch([item for item in batch if isinstance(item, Task)])
            await self._tell()
            if self._options.gentle:
                await asyncio.sleep(min(time.perf_counter() - began_s, FEED_REST_S_MAX))
            began_s = time.perf_counter()
        if self._options.feed is not None:
            await self._look_for_missing(self._options.feed)
        return Outcome(self._report, self._turns_ms, self._size_bytes)

    async def _tell(self) -> None:
        if self._progress is not None:
            done_bytes = await asyncio.to_thread(self._source.tell)
            await self._progress(min(done_bytes, self._size_bytes), self._size_bytes)

    def _unique(self, items: Iterator[Entry | LineError]) -> Iterator[Task | LineError]:
        """Entries whose SKUs were not there before; what is refused is reported."""
        try:
            for item in items:
                error = self._seen.take(item) if isinstance(item, Entry) else item
                if error is not None:
                    self._refuse(error)
                    yield error
                elif isinstance(item, Entry):
                    if item.turns_ms is not None:
                        self._turns_ms = min(item.turns_ms, self._turns_ms or item.turns_ms)
                    yield Task(item, self._seen.first(item.product.id) or not item.grouped)
        except Broken as broken:
            self._refuse(broken.error)

    def _refuse(self, error: LineError) -> None:
        self._report.refuse(error)
        self._seen.refuse(error)

    async def _batch(self, tasks: list[Task]) -> None:
        """Bring in what differs from the store, as many entries a transaction as the pace allows."""
        if not tasks:
            return
        means = self._options.stock_means

        def different(conn: Connection) -> list[Task]:
            stored = Stored(conn, tasks, self._options.feed, lock=False)
            return [task for task in tasks if not stored.says_nothing_new(task, means)]

        new = await self._shows.read_sync(different)
        self._report.unchanged += len(tasks) - len(new)
        while new:
            now, new = new[: self._pace.size], new[self._pace.size :]
            await self._bring_in(now)

    async def _bring_in(self, tasks: list[Task]) -> None:
        options, seen = self._options, self._seen
        made: dict[str, str] = {}
        if options.dry_run:  # nobody finds in the store what it has made
            made = await asyncio.to_thread(seen.made, [task.entry.product.id for task in tasks])
        refused: list[LineError] = []

        def work(moves: Moves) -> None:
            change = Change(moves, tasks, options.feed, options.stock_means, self._report, made)
            change.apply()
            change.announce(self._shows.pinning.changed)
            refused.extend(change.refused)

        await self._write(work, len(tasks))
        if refused or options.dry_run:
            await asyncio.to_thread(seen.learn, made, refused)

    async def _write(self, work: Callable[[Moves], None], count: int) -> None:
        took_ms = 0.0

        def body(tx: Batch) -> None:
            nonlocal took_ms
            began_s = time.perf_counter()
            moves = Moves(tx, promises=ServedLater())
            moves.actor = self._options.actor
            work(moves)
            took_ms = (time.perf_counter() - began_s) * 1000
            if self._options.dry_run:
                raise _DryRun

        with contextlib.suppress(_DryRun):
            _, told = await self._shows.batch(body, here=False)
            await told
        self._pace.took(count, took_ms / 1000)
        self._report.took(took_ms)

    # --- what is not there any more

    async def _look_for_missing(self, feed: str) -> None:
        report, options, told = self._report, self._options, self._shows.pinning.changed
        known = await self._shows.read_sync(lambda conn: items_store.count(conn, feed))
        async for lacking in self._lacking(feed):
            report.missing += len(lacking)
        if options.missing == "kept" or not report.missing:
            return
        if not report.complete:
            report.note = "the feed could not be read to its end, so what is missing is not known"
        elif self._seen.unnamed:
            report.note = f"{self._seen.unnamed} lines do not say which SKU they are about, so it may not be missing"
        elif report.missing > FEED_MISSING_SHARE_MAX * known and report.missing > 1:
            report.note = f"{report.missing} of {known} SKUs are missing: more than a feed may take away at once"
        else:
            async for lacking in self._lacking(feed):
                work = partial(withdraw, skus=lacking, missing=options.missing, report=report, told=told)
                await self._write(work, len(lacking))

    async def _lacking(self, feed: str) -> AsyncIterator[list[str]]:
        after = ""
        while page := await self._shows.read_sync(partial(items_store.page, feed=feed, after=after, limit=FEED_PAGE)):
            if lacking := await asyncio.to_thread(self._seen.lacks, page):
                yield lacking
            await self._tell()
            after = page[-1]


def _size_bytes(source: BinaryIO) -> int:
    size_bytes = source.seek(0, 2)
    source.seek(0)
    return size_bytes
