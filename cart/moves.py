"""Moves stock within one transaction, writes it down, and tells the screens what is left afterwards."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from cart import audit, store
from cart.board import Board, tell_stock
from cart.pricing.service import Pricing
from cart.register import Register
from cart.stock import EFFECTS, Hold, HoldState, Level, Movement
from cart.store import Moved, Part
from cart.webhooks import outbox
from live import store as shows_store
from live.core.codec import plain
from live.core.errors import Problem
from live.service import Batch

T = TypeVar("T")


class Moves:
    """The stock movements of one transaction; `finish` them once, when all is moved.

    `board` says of which SKUs the screens hear by this transaction (None: of all). `register` prices its carts.
    `actor` is who the trail says has counted stock.
    """

    def __init__(self, tx: Batch, board: Board | None = None, pricing: Pricing | None = None) -> None:
        self.tx = tx
        self._pricing = pricing or Pricing()
        self.forget_prices()
        self._board = board
        self.actor = audit.SERVER
        self._moved: list[Moved] = []
        self._counted: list[tuple[audit.Actor, audit.Change]] = []
        self._before: dict[str, int] = {}  # SKU → what was available when the transaction began
        self._after: dict[str, tuple[str, int]] = {}  # SKU → product, what is available now
        self._sellers: dict[str, set[str]] = {}  # SKU → shows whose holds moved

    def attempt(self, work: "Callable[[Moves], T]") -> T | Problem:
        """Do `work`; when it refuses, nothing of it has happened, and the refusal is given back."""
        said, moved, counted = self.tx.said(), len(self._moved), len(self._counted)
        before, after = dict(self._before), dict(self._after)
        sellers = {sku: set(shows) for sku, shows in self._sellers.items()}
        self.actor = audit.SERVER
        savepoint = self.tx.conn.begin_nested()
        try:
            result = work(self)
        except Problem as problem:
            savepoint.rollback()
            self.tx.unsay(said)
            del self._moved[moved:], self._counted[counted:]
            self._before, self._after, self._sellers = before, after, sellers
            self.forget_prices()
            return problem
        savepoint.commit()
        return result

    def forget_prices(self) -> None:
        """Ask again by which rules carts are priced, and who they belong to."""
        self.register = Register(self._pricing, self.tx.conn, self.tx.now_ms)

    def move(self, product_id: str, sku: str, kind: Movement, parts: Sequence[Part]) -> Level | None:
        """The level after the movement; None: there are not enough units, and nothing was moved."""
        quantity = sum(part.quantity for part in parts)
        level = store.change_level(self.tx.conn, sku, kind, quantity)
        if level is None:
            return None
        self._moved += [Moved(sku, kind, part) for part in parts]
        if kind is Movement.counted:
            before, after = {"on_hand": level.on_hand - quantity}, {"on_hand": level.on_hand}
            self._counted.append((self.actor, audit.Change("stock.counted", f"sku:{sku}", before, after)))
        on_hand, allocated, held = EFFECTS[kind]
        moved = (on_hand - allocated - held) * quantity
        self._before.setdefault(sku, level.available - moved)
        self._after[sku] = product_id, level.available
        self._sellers.setdefault(sku, set()).update(part.show for part in parts if part.show is not None)
        return level

    def end_holds(self, holds: Sequence[Hold], to: HoldState, kind: Movement, *, order_id: str | None = None) -> None:
        """Take holds, all in one state and with their levels locked, to a state without held units."""
        store.set_state(self.tx.conn, holds, to, order_id=order_id)
        if to is HoldState.expired:
            outbox.put_holds(self.tx.conn, self.tx.now_ms, "hold.expired", holds)
        by_sku: dict[str, list[Hold]] = {}
        for hold in holds:
            by_sku.setdefault(hold.sku, []).append(hold)
        for sku in sorted(by_sku):
            parts = [
                Part(quantity=hold.quantity, hold_id=hold.id, order_id=order_id, show=hold.show) for hold in by_sku[sku]
            ]
            level = self.move(by_sku[sku][0].product_id, sku, kind, parts)
            assert level is not None, "a level holds the units of its holds"

    def expire(self, skus: Sequence[str], limit: int) -> list[Hold]:
        """Give back the units of up to `limit` expired holds of `skus`; the holds, as they were."""
        store.lock_levels(self.tx.conn, skus)
        overdue = store.overdue_holds(self.tx.conn, skus, self.tx.now_ms, limit)
        self.end_holds(overdue, HoldState.expired, Movement.expired)
        return overdue

    def tell_owners(self, holds: Sequence[Hold], reason: str) -> None:
        """Show the owners of these holds their carts as they are now."""
        owners = {hold.cart: hold for hold in holds}
        carts = store.cart_holds(self.tx.conn, list(owners))
        self.register.look(owners)
        for cart, hold in owners.items():
            data = {"cart": plain(self.register.cart(cart, hold.show, carts[cart])), "reason": reason}
            self.tx.notice(hold.show, hold.viewer_id, "cart.changed", data)

    def finish(self) -> None:
        """Write the movements down, and tell every show that sells what changed how many are left.

        The turns to and from sold out are events, and are told at once.
        """
        store.insert_movements(self.tx.conn, self._moved, self.tx.now_ms)
        for actor in dict.fromkeys(actor for actor, _ in self._counted):  # changes of several may share a transaction
            audit.write(self.tx.conn, self.tx.now_ms, actor, *(what for who, what in self._counted if who == actor))
        changed = [
            ({"sku": sku, "product_id": product_id, "available": available}, None)
            for sku, (product_id, available) in self._after.items()
            if available != self._before[sku]
        ]
        outbox.put_all(self.tx.conn, self.tx.now_ms, "stock.changed", changed)
        for sku, (product_id, available) in sorted(self._after.items()):
            before = self._before[sku]
            if available == before:
                continue
            turned = available == 0 or before == 0
            if self._board is None or self._board.take(sku, product_id, available, self._sellers[sku], anyway=turned):
                tell_stock(self.tx, sku, product_id, available, self._sellers[sku])
            if not turned:
                continue
            for show in shows_store.shows_with(self.tx.conn, [product_id]):
                if available == 0:
                    self.tx.event(show, "product.sold_out", {"sku": sku})
                else:
                    self.tx.event(show, "product.restocked", {"sku": sku, "available": available})
