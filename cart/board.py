"""What is left of each SKU, told to the screens a few times a second however fast it sells.

The first change is told at once, by the transaction that made it. Changes within STATE_INTERVAL_S after that only mark
the SKU; at the end of the interval one transaction reads what is left of all that were marked and tells it. It locks
their levels: a transaction marks what it has changed before its COMMIT, and until then others read the value of before.
Whoever has a level behind the reading marks the SKU again, so the newest value is never lost.

Workers commit in one order and publish in another, so a value that was told is looked at again after the interval, and
told again until it is still what was told. Two faults are left: a worker that ends within the interval after it told
an older value behind another's newer one, and one whose word is on its way to the bus for longer than the interval.
The screens then show the older value until the SKU sells again or they take a snapshot.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cart import store
from live import store as shows_store
from live.core.clock import Clock
from live.core.errors import Problem
from live.core.limits import CHANGES_HERE_MAX, STATE_INTERVAL_S
from live.service import Batch, Shows

log = logging.getLogger(__name__)


def tell_stock(tx: Batch, sku: str, product_id: str, available: int, sellers: Iterable[str]) -> None:
    """How many are left, to the shows that have the product in their lineup and to `sellers`."""
    for show in sorted({*shows_store.shows_with(tx.conn, [product_id]), *sellers}):
        tx.state(show, "stock", {"sku": sku, "available": available}, key=sku)


@dataclass(slots=True)
class _Late:
    """A SKU to look at: whose it is, and what of it was told (None: what is left now must be told)."""

    product_id: str
    sellers: set[str]
    told: int | None


class Board:
    """See the module. `interval_s` 0: every change is told by its own transaction, and not looked at again.

    `also` tells what else there is to tell of a SKU that has drops: its name, and how many are left.
    `take` is called inside transactions, which may be in the writer's thread; everything else on the loop.
    """

    def __init__(
        self,
        shows: Shows,
        clock: Clock,
        interval_s: float = STATE_INTERVAL_S,
        also: Callable[[Batch, str, int], None] | None = None,
    ) -> None:
        self._shows = shows
        self._also = also
        self._clock = clock
        self._interval_s = interval_s
        self._told_s: dict[str, float] = {}  # SKU → when it was told last, for an interval
        self._late: dict[str, _Late] = {}  # by SKU
        self._flushing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def take(self, sku: str, product_id: str, available: int, sellers: Iterable[str], *, anyway: bool) -> bool:
        """Whether the calling transaction, which has the level locked, tells that `available` are left of `sku`;
        otherwise it will be told. `anyway`: it does."""
        now_s = self._clock.monotonic()
        tells = anyway or now_s - self._told_s.get(sku, -self._interval_s) >= self._interval_s
        if tells:
            self._told_s[sku] = now_s
        if self._interval_s:
            self._mark(sku, _Late(product_id, set(sellers), available if tells else None))
        return tells

    def arm(self) -> None:
        """A transaction is over: see to it that what it left to be told is told."""
        if self._late and self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_late(), name="stock states")

    async def flush(self) -> None:
        """Tell what waits to be told; raises `Problem` when the store is out of reach, and it waits on."""
        taken: dict[str, _Late] = {}

        def work(tx: Batch) -> None:
            # Taken in the transaction: whoever marks a SKU from now on commits later, or has its level locked.
            taken.update((sku, self._late.pop(sku)) for sku in list(self._late))
            self._tell(tx, taken)

        try:
            _, told = await self._shows.batch(work, here=len(self._late) <= CHANGES_HERE_MAX)
        except BaseException:
            for sku, late in taken.items():
                newer = self._late.pop(sku, None)
                self._mark(sku, late)
                if newer is not None:
                    self._mark(sku, newer)
            raise
        await told

    async def close(self) -> None:
        """Tell what waits at once; a telling that is under way ends first."""
        self._closing.set()
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        if self._late:
            await self._try()

    def _tell(self, tx: Batch, late: dict[str, _Late]) -> None:
        now_s = self._clock.monotonic()
        self._told_s = {sku: at_s for sku, at_s in self._told_s.items() if now_s - at_s < self._interval_s}
        levels = store.lock_levels(tx.conn, late)
        for sku, one in sorted(late.items()):
            available = levels[sku].available
            if available != one.told:
                tell_stock(tx, sku, one.product_id, available, one.sellers)
                if levels[sku].drops and self._also is not None:
                    self._also(tx, sku, available)
                self._told_s[sku] = now_s
                self._mark(sku, _Late(one.product_id, one.sellers, available))

    def _mark(self, sku: str, newer: _Late) -> None:
        late = self._late.setdefault(sku, newer)
        late.sellers |= newer.sellers
        late.told = None if late.told is None else newer.told

    async def _flush_late(self) -> None:
        try:
            while self._late:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval_s):
                        await self._closing.wait()
                await self._try()
                if self._closing.is_set():
                    break
        finally:
            self._flushing = None

    async def _try(self) -> None:
        try:
            await self.flush()
        except Problem as problem:  # the store is out of reach: the next round may find it
            log.warning("what is left was not told: %s", problem)
