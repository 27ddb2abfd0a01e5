"""What is on the screens of a show: its products, the pin among them, and the one transaction that turns it.

What a product costs may depend on what is pinned, so whoever keeps the prices is asked for the products as they are
shown, and hears of each turn in the transaction that makes it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection

from live import store, timeline
from live.shows import OVER, Show
from live.timeline import Pin, Product, selling
from live.transaction import Announcements, Transaction

# Product ids → whole products, in their order and without unknown ones, as the screens of a show see them while a pin
# (None: none) is on them.
Products = Callable[[Connection, Sequence[str], str, Pin | None], list[Product]]
# Called in the transaction that changes what is on a show's screens: with the pin of before, and of afterwards.
Turned = Callable[[Announcements, Connection, str, Pin | None, Pin | None], None]


def no_products(_conn: Connection, _ids: Sequence[str], _show_id: str, _pin: Pin | None) -> list[Product]:
    """The products of an installation without a catalogue."""
    return []


# What a snapshot of a show says besides: its further members.
Besides = Callable[[Connection, str], dict[str, Any]]


def nothing_besides(_conn: Connection, _show_id: str) -> dict[str, Any]:
    """A snapshot is the show, its lineup and its pin."""
    return {}


# Called in the transaction that changed products in the catalogue.
Changed = Callable[[Announcements, Connection, Sequence[str]], None]


def not_told(_tx: Announcements, _conn: Connection, _show_id: str, _before: Pin | None, _after: Pin | None) -> None:
    """Nobody wants to know what is on the screens."""


def not_changed(_tx: Announcements, _conn: Connection, _ids: Sequence[str]) -> None:
    """Nobody shows products."""


class Pinning:
    """See the module. `products` and `turned` are the catalogue's; to them nothing is pinned in a show that is over."""

    def __init__(self, products: Products = no_products, turned: Turned = not_told) -> None:
        self.products = products
        self.turned = turned
        self.changed: Changed = not_changed
        self.besides: Besides = nothing_besides

    async def shown(self, tx: Transaction, ids: Sequence[str], show: Show, pin: Pin | None) -> list[Product]:
        """These products, as the show's screens see them while `pin` is on them."""
        pin = selling(show, pin)
        return await tx.conn.run_sync(lambda conn: self.products(conn, ids, show.id, pin))

    async def turn(self, tx: Transaction, show: Show, before: Pin | None, after: Pin | None) -> None:
        """Put `after` in place of `before`, with the show locked. Who puts a pin there tells of it."""
        if before is not None:
            await store.close_pin(tx.conn, before.id, tx.now_ms)
            if after is None:
                tx.event(show.id, "product.unpinned", {"pin_id": before.id})
        if after is not None:
            await store.insert_pin(tx.conn, show.id, after)
        await self._turned(tx, show.id, selling(show, before), selling(show, after))

    async def save(self, tx: Transaction, before: Show, after: Show) -> Show:
        """Write and announce what changed of a locked show, if anything did."""
        if after != before:
            await store.save_show(tx.conn, after)
            tx.event(after.id, "show.state", timeline.show_view(after))
            if (before.state in OVER) != (after.state in OVER):
                pin = await store.current_pin(tx.conn, after.id)
                await self._turned(tx, after.id, selling(before, pin), selling(after, pin))
        return after

    async def _turned(self, tx: Transaction, show_id: str, before: Pin | None, after: Pin | None) -> None:
        if before != after:
            await tx.conn.run_sync(lambda conn: self.turned(tx, conn, show_id, before, after))
