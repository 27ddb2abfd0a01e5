"""What happens to prices by itself: windows open and close, live prices run out, history is written and forgotten.

Any number of workers may each run one: whoever takes a moment in the clock's row tells it, the others do nothing. What
the catalogue costs is written down page by page; how far that has come is in the clock's row as well, so that another
worker does it when the one that began is no more. What somebody pays never waits for this: a click is priced by the
database's time.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from cart import shelf
from cart.offering.rulesets import lock_shows
from cart.offering.showing import Showing
from cart.pricing import pruning, store
from cart.pricing.service import Known
from live.core.database import Database
from live.core.errors import Problem
from live.core.limits import (
    CART_SHOPPERS_KEPT_S,
    PRICE_HISTORY_KEPT_S,
    PRICE_PRUNE_S,
    PRICE_WATCH_S,
    PRICE_WRITING_S,
    PRODUCTS_PAGE,
)
from live.service import Batch, Shows

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Watch:
    """See the module."""

    def __init__(self, database: Database, shows: Shows, showing: Showing) -> None:
        self._database = database
        self._shows = shows
        self._showing = showing
        self._prune_at_ms = 0

    async def run(self) -> None:
        """Look until cancelled."""
        wait_s = PRICE_WATCH_S
        while True:
            await asyncio.sleep(wait_s)
            try:
                wait_s = await self.look()
            except Problem as problem:  # the store is out of reach; the next look may find it
                _log.warning("prices_not_watched", problem=problem.kind.name)
            except Exception:  # a bug here must not leave all later windows untold
                _log.exception("price_watch_failed")

    async def look(self) -> float:
        """Tell what opened and closed since somebody looked; in how many seconds to look again."""

        def read(conn: Connection) -> tuple[Known, store.ClockRow, int, bool]:
            now_ms = self._database.now_ms_sync(conn)
            over = any(one.ends_at_ms is not None and one.ends_at_ms <= now_ms for one in store.running(conn))
            return self._showing.pricing.rules(conn), store.clock(conn), now_ms, over

        known, clock, now_ms, over = await self._database.read_sync(read)
        passed = any(clock.told_at_ms < edge <= now_ms for edge in known.edges_ms)
        if passed or over:
            await self._tell()
        if _unwritten(clock, now_ms, known):
            await self._write_down()
        if now_ms >= self._prune_at_ms:
            self._prune_at_ms = now_ms + PRICE_PRUNE_S * 1000
            await self._forget()
        coming = next((edge for edge in known.edges_ms if edge > now_ms), None)
        return PRICE_WATCH_S if coming is None else min(PRICE_WATCH_S, (coming - now_ms) / 1000)

    async def _tell(self) -> bool:
        """Whether it was this worker that told it."""

        def work(tx: Batch) -> bool:
            conn = tx.conn
            shows = lock_shows(conn)
            clock = store.clock(conn, lock=True)
            before = self._showing.pricing.rules(conn)
            for one in store.running(conn):
                if one.ends_at_ms is not None and one.ends_at_ms <= tx.now_ms and one.show in shows:
                    store.end_live_price(conn, one.id, "", tx.now_ms)
                    store.advance(conn, tx.now_ms, "live_ended", "", live_price_id=one.id)
            mine = store.told(conn, tx.now_ms)
            if mine:
                self._showing.tell_shows(tx, conn, shows, before, clock.told_at_ms)
            return mine

        return await self._change(work)

    async def _write_down(self) -> None:
        """Keep what the catalogue costs everywhere, where it is another price than before, a page a transaction.

        A rule that comes or goes meanwhile has it done again.
        """
        begun = await self._change(_begin)
        if begun is None:
            return
        after = ""
        while True:
            ids = await self._database.read_sync(partial(shelf.product_ids, after=after, limit=PRODUCTS_PAGE))
            if ids:
                await self._change(partial(self._page, ids))
            if len(ids) < PRODUCTS_PAGE:
                break
            after = ids[-1]
        ruleset, at_ms = begun
        await self._change(lambda tx: store.written(tx.conn, ruleset, at_ms))

    def _page(self, ids: list[str], tx: Batch) -> None:
        store.writing(tx.conn, tx.now_ms + PRICE_WRITING_S * 1000)  # before history: as those who publish lock
        self._showing.write_down(tx.conn, ids, tx.now_ms)

    async def _forget(self) -> None:
        """A page a transaction; who clicks meanwhile waits for one of them at most."""
        for forget, kept_s in ((pruning.history, PRICE_HISTORY_KEPT_S), (pruning.shoppers, CART_SHOPPERS_KEPT_S)):
            after: str | None = ""
            while after is not None:
                after = await self._change(partial(_forgotten, forget, after, kept_s))

    async def _change(self, work: Callable[[Batch], T]) -> T:
        result, told = await self._shows.batch(work, here=False)
        await told
        return result


def _unwritten(clock: store.ClockRow, now_ms: int, known: Known) -> bool:
    """Whether what the catalogue costs has to be written down, and nobody does it."""
    if clock.writing_until_ms > now_ms:
        return False
    turned = any(clock.written_at_ms < edge <= now_ms for edge in known.everywhere_edges_ms)
    return turned or clock.written_ruleset != clock.ruleset


def _begin(tx: Batch) -> tuple[int, int] | None:
    """Take it upon this worker to write down what the catalogue costs by this ruleset at this moment; None: somebody
    does."""
    clock = store.clock(tx.conn, lock=True)
    if clock.writing_until_ms > tx.now_ms:
        return None
    store.writing(tx.conn, tx.now_ms + PRICE_WRITING_S * 1000)
    return clock.ruleset, tx.now_ms


def _forgotten(forget: Callable[[Connection, str, int], str | None], after: str, kept_s: int, tx: Batch) -> str | None:
    return forget(tx.conn, after, tx.now_ms - kept_s * 1000)
