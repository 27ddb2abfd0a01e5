"""What is left of each SKU, told to the screens a few times a second however fast it sells.

The first change is told at once, by the transaction that made it. Changes within STATE_INTERVAL_S after that only mark
the SKU; at the end of the interval one transaction reads what is left of all that were marked and tells it. So the
newest value is never lost: whoever commits after that reading has marked the SKU again.
"""

import asyncio
import logging
from collections.abc import Iterable

from cart import store
from live import store as shows_store
from live.core.clock import Clock
from live.core.errors import Problem
from live.core.limits import STATE_INTERVAL_S
from live.core.tasks import end
from live.service import Batch, Shows

log = logging.getLogger(__name__)


def tell_stock(tx: Batch, sku: str, product_id: str, available: int, sellers: Iterable[str]) -> None:
    """How many are left, to the shows that have the product in their lineup and to `sellers`."""
    for show in sorted({*shows_store.shows_with(tx.conn, [product_id]), *sellers}):
        tx.state(show, "stock", {"sku": sku, "available": available}, key=sku)


class Board:
    """See the module. `interval_s` 0: every change is told by its own transaction.

    `take` is called inside transactions, which may be in the writer's thread; everything else on the loop.
    """

    def __init__(self, shows: Shows, clock: Clock, interval_s: float = STATE_INTERVAL_S) -> None:
        self._shows = shows
        self._clock = clock
        self._interval_s = interval_s
        self._told_s: dict[str, float] = {}  # SKU → when it was told last, for an interval
        self._late: dict[str, tuple[str, set[str]]] = {}  # SKU → product and sellers, to be told
        self._flushing: asyncio.Task[None] | None = None

    def take(self, sku: str, product_id: str, sellers: Iterable[str], *, anyway: bool) -> bool:
        """Whether the calling transaction tells what is left of `sku`; otherwise it will be told. `anyway`: it does."""
        now_s = self._clock.monotonic()
        if anyway or now_s - self._told_s.get(sku, -self._interval_s) >= self._interval_s:
            self._told_s[sku] = now_s
            return True
        self._mark(sku, product_id, sellers)
        return False

    def arm(self) -> None:
        """A transaction is over: see to it that what it left to be told is told."""
        if self._late and self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_late(), name="stock states")

    async def flush(self) -> None:
        """Tell what waits to be told; raises `Problem` when the store is out of reach, and it waits on."""
        taken: dict[str, tuple[str, set[str]]] = {}

        def work(tx: Batch) -> None:
            # Taken in the transaction: whoever marks a SKU from now on commits later.
            taken.update((sku, self._late.pop(sku)) for sku in list(self._late))
            self._tell(tx, taken)

        try:
            _, told = await self._shows.batch(work)
        except BaseException:
            for sku, (product_id, sellers) in taken.items():
                self._mark(sku, product_id, sellers)
            raise
        await told

    async def close(self) -> None:
        """Tell what waits, and stop."""
        await end(self._flushing)
        if self._late:
            await self._try()

    def _tell(self, tx: Batch, late: dict[str, tuple[str, set[str]]]) -> None:
        now_s = self._clock.monotonic()
        self._told_s = {sku: at_s for sku, at_s in self._told_s.items() if now_s - at_s < self._interval_s}
        levels = store.levels(tx.conn, late)
        for sku, (product_id, sellers) in sorted(late.items()):
            tell_stock(tx, sku, product_id, levels[sku].available, sellers)
            self._told_s[sku] = now_s

    def _mark(self, sku: str, product_id: str, sellers: Iterable[str]) -> None:
        self._late.setdefault(sku, (product_id, set()))[1].update(sellers)

    async def _flush_late(self) -> None:
        try:
            while self._late:
                await asyncio.sleep(self._interval_s)
                await self._try()
        finally:
            self._flushing = None

    async def _try(self) -> None:
        try:
            await self.flush()
        except Problem as problem:  # the store is out of reach: the next round may find it
            log.warning("what is left was not told: %s", problem)
