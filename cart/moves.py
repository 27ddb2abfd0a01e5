"""Moves stock within one transaction and tells the screens what is left afterwards."""

from collections.abc import Sequence

from cart import baskets, store
from cart.stock import EFFECTS, Hold, HoldState, Level, Movement
from cart.store import Part
from live.core.codec import plain
from live.service import Shows, Transaction


class Moves:
    """The stock movements of one transaction. `announce` once, when all is moved."""

    def __init__(self, tx: Transaction, shows: Shows) -> None:
        self.tx = tx
        self._shows = shows
        self._before: dict[str, int] = {}  # SKU → what was available when the transaction began
        self._after: dict[str, tuple[str, int]] = {}  # SKU → product, what is available now
        self._sellers: dict[str, set[str]] = {}  # SKU → shows whose holds moved

    async def move(self, product_id: str, sku: str, kind: Movement, parts: Sequence[Part]) -> Level | None:
        """The level after the movement; None: there are not enough units, and nothing was moved."""
        level = await store.move(self.tx.conn, sku, kind, parts, self.tx.now_ms)
        if level is None:
            return None
        on_hand, allocated, held = EFFECTS[kind]
        moved = (on_hand - allocated - held) * sum(part.quantity for part in parts)
        self._before.setdefault(sku, level.available - moved)
        self._after[sku] = product_id, level.available
        self._sellers.setdefault(sku, set()).update(part.show for part in parts if part.show is not None)
        return level

    async def end_holds(
        self, holds: Sequence[Hold], to: HoldState, kind: Movement, *, order_id: str | None = None
    ) -> None:
        """Take holds, all in one state and with their levels locked, to a state without held units."""
        await store.set_state(self.tx.conn, holds, to, order_id=order_id)
        by_sku: dict[str, list[Hold]] = {}
        for hold in holds:
            by_sku.setdefault(hold.sku, []).append(hold)
        for sku in sorted(by_sku):
            parts = [
                Part(quantity=hold.quantity, hold_id=hold.id, order_id=order_id, show=hold.show) for hold in by_sku[sku]
            ]
            level = await self.move(by_sku[sku][0].product_id, sku, kind, parts)
            assert level is not None, "a level holds the units of its holds"

    async def expire(self, skus: Sequence[str], limit: int) -> list[Hold]:
        """Give back the units of up to `limit` expired holds of `skus`; the holds, as they were."""
        await store.lock_levels(self.tx.conn, skus)
        overdue = await store.overdue_holds(self.tx.conn, skus, self.tx.now_ms, limit)
        await self.end_holds(overdue, HoldState.expired, Movement.expired)
        return overdue

    async def tell_owners(self, holds: Sequence[Hold], reason: str) -> None:
        """Show the owners of these holds their carts as they are now."""
        owners = {hold.cart: hold for hold in holds}
        carts = await store.cart_holds(self.tx.conn, list(owners))
        for cart, hold in owners.items():
            data = {"cart": plain(baskets.cart_of(carts[cart])), "reason": reason}
            self.tx.notice(hold.show, hold.viewer_id, "cart.changed", data)

    async def announce(self) -> None:
        """Tell every show that sells what changed how many are left, and the turns to and from sold out."""
        for sku, (product_id, available) in sorted(self._after.items()):
            before = self._before[sku]
            if available == before:
                continue
            selling = await self._shows.shows_with_product(self.tx.conn, [product_id])
            for show in sorted({*selling, *self._sellers[sku]}):
                self.tx.state(show, "stock", {"sku": sku, "available": available}, key=sku)
            for show in selling:
                if available == 0:
                    self.tx.event(show, "product.sold_out", {"sku": sku})
                elif before == 0:
                    self.tx.event(show, "product.restocked", {"sku": sku, "available": available})
