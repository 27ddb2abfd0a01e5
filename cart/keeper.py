"""What happens in a shop by itself: holds end, queues move on, the staff sees figures, the books are checked."""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import structlog
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from cart import sales, shelf, store
from cart.moves import Moves
from cart.ordering.checkout import Checkout
from cart.stock import Hold
from cart.stockroom import Stockroom
from cart.waiting.service import Waiting
from live.core.clock import Clock
from live.core.codec import plain
from live.core.collector import Family, gauges
from live.core.database import Database
from live.core.errors import Problem
from live.core.limits import (
    ANSWERS_FORGOTTEN_MAX,
    FIGURES_WINDOW_S,
    HOLD_SWEEP_INTERVAL_S,
    IDEMPOTENCY_KEPT_S,
    RECONCILE_INTERVAL_S,
    SWEEP_BATCH,
)
from live.service import Shows

_log = structlog.get_logger(__name__)


class Figures(msgspec.Struct, frozen=True):
    """How a show sells: carts that hold something, placed orders, and what was put into carts within a minute.

    `currency` is the one with most orders; the revenue is in its minor units.
    """

    carts: int
    orders: int
    revenue_minor: int
    currency: str
    adds_per_minute: int


class Keeper(Collector):
    """Looks after the carts of all shows. Any number of workers may each run one: the levels' locks keep order.

    `drift`: how many levels miscounted what is held, and who waits, when it looked last.
    """

    def __init__(
        self,
        database: Database,
        shows: Shows,
        clock: Clock,
        stockroom: Stockroom,
        checkout: Checkout,
        waiting: Waiting,
    ) -> None:
        self._database = database
        self._shows = shows
        self._stockroom = stockroom
        self._clock = clock
        self._checkout = checkout
        self._waiting = waiting
        self.drift = {"stock": 0, "waitlist": 0}
        self._sells_until: dict[str, float] = {}  # show → until when its figures may change, on the monotonic clock

    async def run(self) -> None:
        """Sweep, send figures and reconcile until cancelled."""
        reconcile_at = self._clock.monotonic() + RECONCILE_INTERVAL_S
        while True:
            await asyncio.sleep(HOLD_SWEEP_INTERVAL_S)
            try:
                await self.sweep()
                await self._waiting.look()
                await self._waiting.tell()
                await self.send_figures()
                await self.prune()
                if self._clock.monotonic() >= reconcile_at:
                    reconcile_at = self._clock.monotonic() + RECONCILE_INTERVAL_S
                    await self.reconcile()
            except Problem as problem:  # the store is out of reach; the next round may find it
                _log.warning("sweep_postponed", problem=problem.kind.name)
            except Exception:  # a bug here must not keep the units of all later rounds
                _log.exception("sweep_failed")

    async def sweep(self) -> int:
        """Give back what nobody bought in time; how many holds and check-outs were ended."""
        ended = 0
        while True:
            async with self._database.read() as conn:
                now_ms = await self._database.now_ms(conn)
                order_ids = await conn.run_sync(store.overdue_claims, now_ms, SWEEP_BATCH)
                skus = await conn.run_sync(store.overdue_skus, now_ms, SWEEP_BATCH)
            for order_id in order_ids:
                ended += await self._checkout.lapse(order_id)
            if skus:
                ended += await self._expire(skus)
            if not skus and len(order_ids) < SWEEP_BATCH:
                return ended

    async def _expire(self, skus: list[str]) -> int:
        def expire(moves: Moves) -> list[Hold]:
            holds = moves.expire(skus, SWEEP_BATCH)
            moves.tell_owners(holds, "hold_expired")
            return holds

        holds = await self._stockroom.change(expire)
        for hold in holds:
            self.selling(hold.show)
        return len(holds)

    # --- figures ----------------------------------------------------------------------------------------------

    def selling(self, show: str) -> None:
        """Something happened in a show: send its figures for as long as they change by it."""
        self._sells_until[show] = self._clock.monotonic() + FIGURES_WINDOW_S + 2 * HOLD_SWEEP_INTERVAL_S

    async def figures(self, show: str) -> Figures:
        """How a show sells; raises `Problem` unknown_show."""

        def read(conn: Connection) -> Figures:
            self._shows.on_screen(conn, show)
            return _figures(conn, show, self._database.now_ms_sync(conn))

        return await self._database.read_sync(read)

    async def send_figures(self) -> None:
        """Tell the staff of every show that this worker sold something in lately how the show sells."""
        now = self._clock.monotonic()
        self._sells_until = {show: until for show, until in self._sells_until.items() if until > now}
        for show in list(self._sells_until):
            await self._send(show, plain(await self.figures(show)))

    async def _send(self, show: str, figures: dict[str, Any]) -> None:
        await self._stockroom.change(lambda moves: moves.tx.state(show, "figures", figures, staff=True))

    # --- books ------------------------------------------------------------------------------------------------

    async def reconcile(self) -> list[store.Drift]:
        """The levels whose `held` is not the sum of their holds: none, or an alarm is logged for each.

        So it is for the levels that miscount their queues (see `Waiting.check`).
        """
        async with self._database.read() as conn:
            found = await conn.run_sync(store.drift)
        for one in found:
            _log.error("stock_drift", sku=one.sku, location=one.location, held=one.held, holds=one.holds)
        self.drift["stock"] = len(found)
        self.drift["waitlist"] = len(await self._waiting.check())
        return found

    def collect(self) -> Iterator[Family]:
        """Prometheus figures of the books, as they were when somebody looked last."""
        text = "Levels that are not what carts and queues say, by what is miscounted; more than 0 is a bug"
        yield gauges("showcart_books_drift", text, "of", self.drift)

    async def prune(self) -> None:
        """Forget the oldest answers of those that were kept long enough.

        A day after a rush these are hundreds of thousands, and clicks wait for who forgets them: 8 s for all at once.
        """

        def find(conn: Connection) -> int | None:
            before_ms = self._database.now_ms_sync(conn) - IDEMPOTENCY_KEPT_S * 1000
            return store.oldest_answers(conn, before_ms, ANSWERS_FORGOTTEN_MAX)

        until_ms = await self._database.read_sync(find)
        if until_ms is not None:
            await self._database.write_sync(lambda conn: store.prune_answers(conn, until_ms))


def _figures(conn: Connection, show: str, now_ms: int) -> Figures:
    orders = sales.sales(conn, show)
    currency = orders[0][0] if orders else shelf.currency(conn)
    return Figures(
        carts=sales.count_carts(conn, show),
        orders=sum(count for _, count, _ in orders),
        revenue_minor=orders[0][2] if orders else 0,
        currency=currency or "EUR",
        adds_per_minute=sales.count_adds(conn, show, now_ms - FIGURES_WINDOW_S * 1000),
    )
