"""What can be done with shows; every verb is one transaction, and the screens hear of it after COMMIT."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from live import shows, store, timeline
from live.core.auth import Tokens
from live.core.clock import Clock
from live.core.codec import digest
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import (
    LINEUP_MAX,
    PRODUCT_ID_CHARS_MAX,
    SHOWS_LISTED_MAX,
    STATE_INTERVAL_S,
    TIMELINE_EVENTS_LISTED_MAX,
)
from live.core.shared import Shared
from live.pinning import Pinning, Products, no_products
from live.shows import OVER, Show, ShowState
from live.stream_keys import StreamKeys
from live.teller import Outlet
from live.timeline import Entry, Pin, Product
from live.transaction import Batch, Transaction, Transactions

__all__ = ["Batch", "Outlet", "Products", "Shows", "Transaction"]

T = TypeVar("T")


class Shows:
    """The shows of this installation.

    `products` turns product ids into whole products (see `Pinning`, whose members app.py sets to the catalogue's).
    `tokens` None: only stream keys may publish. `when_over` hears of each show that has ended; app.py
    sets it to what hangs up the show's video.
    """

    def __init__(
        self,
        database: Database,
        outlet: Outlet,
        clock: Clock,
        *,
        tokens: Tokens | None = None,
        products: Products = no_products,
    ) -> None:
        self._database = database
        self._clock = clock
        self.stream_keys = StreamKeys(database, self.find, self._changing, tokens)
        self.transactions = Transactions(database, outlet)
        self.pinning = Pinning(products)
        self._seen = Shared(self.snapshot, STATE_INTERVAL_S)
        self.when_over: Callable[[str], None] = lambda _show_id: None

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A write transaction whose announcements are published after COMMIT, in commit order.

        When COMMIT succeeded and the bus is down, the block still succeeds: SQL is the truth. Raises `Problem`
        overloaded or unavailable, and unknown_show for an event in a show that does not exist.
        """
        return self.transactions.open()

    async def batch(self, work: Callable[[Batch], T], *, here: bool = False) -> tuple[T, Awaitable[None]]:
        """A write transaction that is a plain function, for what is hot: its result after COMMIT, and when it is told.

        As `transaction`, but it goes through once it has begun. The function must not touch the loop; `here`: it takes
        few milliseconds.
        """
        return await self.transactions.batch(work, here=here)

    async def close(self) -> None:
        """Wait until all that was committed is published."""
        await self._seen.close()
        await self.transactions.close()

    # --- reading ----------------------------------------------------------------------------------------------

    async def get(self, show_id: str) -> Show:
        """The show; raises `Problem` unknown_show."""
        return (await self._database.glance(lambda conn: self.on_screen(conn, show_id)))[0]

    async def read_sync(self, work: Callable[[Connection], T]) -> T:
        """As `Database.read_sync`, for those who write by `batch` what they have read."""
        return await self._database.read_sync(work)

    def now_ms(self, conn: Connection) -> int:
        """The database's clock, inside a plain function."""
        return self._database.now_ms_sync(conn)

    def on_screen(self, conn: Connection, show_id: str) -> tuple[Show, Pin | None]:
        """The show and what is pinned, inside a plain function; raises `Problem` unknown_show."""
        # An id that cannot be one never reaches SQL, where a NUL or half a surrogate would be our error.
        found = store.on_screen(conn, [show_id]) if shows.is_show_id(show_id) else {}
        if not found:
            raise Problem(Kind.unknown_show, field="show")
        return found[show_id]

    async def find(self, conn: AsyncConnection, show_id: str, *, lock: bool = False) -> Show:
        """As `get`, inside a transaction; `lock`: nobody else changes it before the transaction ends."""
        show = await store.find_show(conn, show_id, lock=lock) if shows.is_show_id(show_id) else None
        if show is None:
            raise Problem(Kind.unknown_show, field="show")
        return show

    async def list_shows(
        self, *, states: Sequence[ShowState] | None = None, before: str | None = None, drafts: bool = False
    ) -> list[Show]:
        """A page of shows, the newest first.

        `states` None: all; `drafts`: also those that are not announced yet; `before`: the last show's id of the
        page before, None for the first page. Raises `Problem` unknown_show for `before`.
        """
        wanted = [s for s in states or ShowState if drafts or s is not ShowState.draft]
        async with self._database.read() as conn:
            last = None if before is None else await self.find(conn, before)
            return await store.list_shows(conn, wanted, last, SHOWS_LISTED_MAX)

    async def snapshot(self, show_id: str) -> timeline.Snapshot:
        """The show's part of a snapshot: `show`, `lineup`, `pin`, `drops`; raises `Problem` unknown_show."""

        def read(conn: Connection) -> timeline.Snapshot:
            show, pin = self.on_screen(conn, show_id)
            lineup = self.pinning.products(conn, store.lineup(conn, show_id), show_id, timeline.selling(show, pin))
            return timeline.compose(show, lineup, _pinned(pin, lineup)) | self.pinning.besides(conn, show_id)

        return await self._database.read_sync(read)

    async def seen(self, show_id: str) -> timeline.Snapshot:
        """As `snapshot`, for viewers: as old as what their screens show, up to STATE_INTERVAL_S, and read-only."""
        return await self._seen.get(show_id)

    async def timeline(self, show_id: str, after: int = 0, limit: int = TIMELINE_EVENTS_LISTED_MAX) -> list[Entry]:
        """Up to `limit` entries after number `after`; raises `Problem` unknown_show or invalid_field."""
        if not 0 <= after < 2**31:
            raise Problem(Kind.invalid_field, "A number of 0 or more.", field="after")
        if not 1 <= limit <= TIMELINE_EVENTS_LISTED_MAX:
            raise Problem(Kind.invalid_field, f"Between 1 and {TIMELINE_EVENTS_LISTED_MAX}.", field="limit")
        async with self._database.read() as conn:
            await self.find(conn, show_id)
            return await store.events_after(conn, show_id, after, limit)

    async def shows_with_product(self, conn: AsyncConnection | None, product_ids: Sequence[str]) -> list[str]:
        """Ids of the shows that are not over and whose lineup holds one of `product_ids`.

        `conn` None: in a transaction of its own.
        """
        if not product_ids:
            return []
        if conn is not None:
            return await conn.run_sync(store.shows_with, product_ids)
        async with self._database.read() as own:
            return await own.run_sync(store.shows_with, product_ids)

    # --- the show ---------------------------------------------------------------------------------------------

    async def create(
        self,
        show_id: str,
        title: str,
        *,
        scheduled_at_ms: int | None = None,
        auto_live: bool = False,
        key: str | None = None,
        subject: str = "",
    ) -> Show:
        """A new draft. `key`, of the client `subject`, makes it idempotent.

        Raises `Problem` invalid_field, show_exists, or key_reused when `key` made another show.
        """
        show = Show(
            id=shows.check_show_id(show_id),
            title=shows.clean_title(title),
            state=ShowState.draft,
            created_at_ms=0,
            scheduled_at_ms=shows.check_date(scheduled_at_ms),
            auto_live=auto_live,
        )
        asked = digest(show)
        create_key = None if key is None else digest(subject, key)
        async with self.transaction() as tx:
            show = msgspec.structs.replace(show, created_at_ms=tx.now_ms)
            if await store.insert_show(tx.conn, show, create_key, asked):
                return show
            made = None if create_key is None else await store.created_under(tx.conn, create_key)
        if made is None:
            raise Problem(Kind.show_exists, field="id")
        if made[1] != asked:
            raise Problem(Kind.key_reused, field="Idempotency-Key")
        return made[0]

    async def update(
        self,
        show_id: str,
        *,
        title: str | msgspec.UnsetType = msgspec.UNSET,
        scheduled_at_ms: int | msgspec.UnsetType | None = msgspec.UNSET,
        auto_live: bool | msgspec.UnsetType = msgspec.UNSET,
    ) -> Show:
        """Change what is set; raises `Problem` unknown_show, and what `shows.edit` raises."""
        async with self._changing(show_id) as (tx, show):
            changed = shows.edit(show, title=title, scheduled_at_ms=scheduled_at_ms, auto_live=auto_live)
            return await self.pinning.save(tx, show, changed)

    async def transition(self, show_id: str, to: ShowState) -> Show:
        """The host moves the show; raises `Problem` unknown_show, and what `shows.transition` raises."""
        async with self._changing(show_id) as (tx, show):
            changed = await self.pinning.save(tx, show, shows.transition(show, to, tx.now_ms))
        if changed.state in OVER:
            self.when_over(show_id)
        return changed

    async def publisher_changed(self, show_id: str, present: bool) -> Show:
        """Video arrives now, or no longer; the show may go live by it. Raises `Problem` unknown_show."""
        async with self._changing(show_id) as (tx, show):
            return await self.pinning.save(tx, show, shows.with_publisher(show, present, tx.now_ms))

    async def publishing(self) -> list[str]:
        """Ids of the shows that somebody publishes to, as far as `publisher_changed` has been told."""
        async with self._database.read() as conn:
            return await store.publishing_shows(conn)

    async def restage(self, show_id: str) -> Show:
        """Make an ended show (the demo's) a lobby that was never on air; its timeline starts again.

        No transition leads here: what viewers could replay is gone afterwards. Raises `Problem` unknown_show.
        """
        async with self._changing(show_id) as (tx, show):
            await store.forget_events(tx.conn, show_id)
            fresh = msgspec.structs.replace(
                show, state=ShowState.lobby, started_at_ms=None, ended_at_ms=None, publisher_lost_at_ms=None
            )
            return await self.pinning.save(tx, show, fresh)

    # --- lineup and pin ---------------------------------------------------------------------------------------

    async def set_lineup(self, show_id: str, product_ids: Sequence[str]) -> list[Product]:
        """Put these products, in this order, in place of the lineup; a pin that is not among them goes.

        Raises `Problem` unknown_show, invalid_field for too many or doubles, unknown_product.
        """
        if len(product_ids) > LINEUP_MAX:
            raise Problem(Kind.invalid_field, f"At most {LINEUP_MAX} products.", field="product_ids")
        seen: set[str] = set()
        for index, product_id in enumerate(product_ids):
            _check_product_id(product_id, f"product_ids[{index}]")
            if product_id in seen:
                raise Problem(Kind.invalid_field, "Twice in the lineup.", field=f"product_ids[{index}]")
            seen.add(product_id)
        async with self._changing(show_id) as (tx, show):
            pin = await store.current_pin(tx.conn, show_id)
            if pin is not None and pin.product_id not in seen:
                await self.pinning.turn(tx, show, pin, None)
                pin = None
            lineup = await self.pinning.shown(tx, product_ids, show, pin)
            known = {product["id"] for product in lineup}
            for index, product_id in enumerate(product_ids):
                if product_id not in known:
                    raise Problem(Kind.unknown_product, field=f"product_ids[{index}]")
            await store.replace_lineup(tx.conn, show_id, product_ids)
            tx.event(show_id, "show.lineup", {"lineup": lineup})
            return lineup

    async def pin(self, show_id: str, product_id: str) -> dict[str, Any]:
        """Put a product of the lineup on screen in place of another; the pin that is there already stays.

        Raises `Problem` unknown_show, not_in_lineup, unknown_product (it left the catalogue), and
        illegal_transition when the show is over.
        """
        async with self._changing(show_id) as (tx, show):
            if show.state in OVER:
                raise Problem(Kind.illegal_transition, "The show is over.", extra={"state": show.state.value})
            if product_id not in await tx.conn.run_sync(store.lineup, show_id):
                raise Problem(Kind.not_in_lineup, field="product_id")
            current = await store.current_pin(tx.conn, show_id)
            pin = Pin(id=uuid7(tx.now_ms), product_id=product_id, pinned_at_ms=tx.now_ms)
            if current is not None and current.product_id == product_id:
                pin = current
            else:
                await self.pinning.turn(tx, show, current, pin)
            product = next(iter(await self.pinning.shown(tx, [product_id], show, pin)), None)
            if product is None:
                raise Problem(Kind.unknown_product, field="product_id")
            view = timeline.pin_view(pin, product)
            if pin is current:
                return view
            tx.event(show_id, "product.pinned", view)
            return view

    async def unpin(self, show_id: str) -> None:
        """Take the pinned product off the screen, if there is one; raises `Problem` unknown_show."""
        async with self._changing(show_id) as (tx, show):
            pin = await store.current_pin(tx.conn, show_id)
            if pin is not None:
                await self.pinning.turn(tx, show, pin, None)

    # --- who may publish --------------------------------------------------------------------------------------

    async def check_open(self, show_id: str) -> None:
        """Raises `Problem` unknown_show, and illegal_transition when the show is over: nobody publishes to it."""
        show = await self.get(show_id)
        if show.state in OVER:
            raise Problem(Kind.illegal_transition, "The show is over.", extra={"state": show.state.value})

    @asynccontextmanager
    async def _changing(self, show_id: str) -> AsyncIterator[tuple[Transaction, Show]]:
        """A transaction with the show locked; raises `Problem` unknown_show."""
        async with self.transaction() as tx:
            yield tx, await self.find(tx.conn, show_id, lock=True)


def _pinned(pin: Pin | None, lineup: list[Product]) -> dict[str, Any] | None:
    """The pin with its product; a pinned product is always in the lineup, unless it left the catalogue."""
    if pin is None:
        return None
    product = next((product for product in lineup if product["id"] == pin.product_id), None)
    return None if product is None else timeline.pin_view(pin, product)


def _check_product_id(product_id: str, field: str) -> None:
    if not 1 <= len(product_id) <= PRODUCT_ID_CHARS_MAX or not product_id.isprintable():
        raise Problem(Kind.unknown_product, field=field)
