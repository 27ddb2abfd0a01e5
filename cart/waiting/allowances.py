"""What drops allow, inside the transactions that move units; the levels of the SKUs are locked."""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace
from sqlalchemy import Connection, select

from cart.moves import Moves
from cart.ordering.tables import orders
from cart.stock import Level, Movement
from cart.store import Part
from cart.tables import hold
from cart.waiting import drop_store as store
from cart.waiting.drop_store import Share
from cart.waiting.drops import Drop

# What one unit of a movement adds to what is taken of a drop. Claimed is taken already; returned stays so.
_TAKES = {
    Movement.held: 1,
    Movement.reserved: 1,
    Movement.released: -1,
    Movement.expired: -1,
    Movement.cancelled: -1,
}


class Gate:
    """The drops of some SKUs and what customers have taken of them, read at once; then kept as units are granted."""

    def __init__(self, conn: Connection, levels: Iterable[Level], wishes: Iterable[tuple[str, str, str]]) -> None:
        """`wishes`: (show, SKU, viewer) of those who may ask. Nothing is read when no level has drops."""
        self._drops: dict[tuple[str, str], Drop] = {}
        self._shares: dict[Share, int] = {}
        skus = {level.sku for level in levels if level.drops}
        if skus:
            self._drops = {(drop.show, drop.sku): drop for drop in store.of_skus(conn, skus)}
            limited = {of: drop.id for of, drop in self._drops.items() if drop.per_customer_limit is not None}
            wanted = {(limited[show, sku], viewer) for show, sku, viewer in wishes if (show, sku) in limited}
            self._shares = store.shares(conn, sorted(wanted))

    def drop(self, show: str, sku: str) -> Drop | None:
        """The drop of a SKU in a show."""
        return self._drops.get((show, sku))

    def own(self, drop: Drop, viewer: str) -> int:
        """What a customer has taken of it."""
        return self._shares.get((drop.id, viewer), 0)

    def shut(self, now_ms: int) -> list[str]:
        """Shows in which nobody gets any at the moment."""
        return sorted(drop.show for drop in self._drops.values() if not drop.open(now_ms) or drop.left(1) == 0)

    def check(self, show: str, sku: str, viewer: str, quantity: int, now_ms: int) -> None:
        """Raises `Problem` as `Drop.check` when a drop is in the way."""
        drop = self._drops.get((show, sku))
        if drop is not None:
            drop.check(now_ms, quantity, self.own(drop, viewer))

    def take(self, show: str, sku: str, viewer: str, quantity: int) -> None:
        """These units are granted."""
        drop = self._drops.get((show, sku))
        if drop is not None:
            self._drops[show, sku] = replace(drop, taken=drop.taken + quantity)
            self._shares[drop.id, viewer] = self.own(drop, viewer) + quantity


def count(moves: Moves, level: Level, kind: Movement, parts: Sequence[Part]) -> None:
    """Count moved units of a SKU that has drops; raises `Problem` as `Drop.check` for units that none allows."""
    sign = _TAKES.get(kind)
    if sign is None:
        return
    conn, now_ms = moves.tx.conn, moves.tx.now_ms
    owners = _owners(conn, parts)
    for drop in store.of_skus(conn, [level.sku]):
        more: dict[str, int] = {}
        for part in parts:
            viewer = part.viewer_id or owners.get(part.hold_id or "")
            if part.show == drop.show and viewer is not None and not _earlier(conn, kind, part, drop):
                more[viewer] = more.get(viewer, 0) + sign * part.quantity
        if not more:
            continue
        if kind is Movement.held:
            _check(conn, drop, more, now_ms)
        store.take(conn, drop, sum(more.values()))
        store.count(conn, drop, more)


def room(moves: Moves, show: str, viewer: str, level: Level, quantity: int) -> bool:
    """Whether a drop, open or not, has room for units of an order whose payment came late."""
    gate = Gate(moves.tx.conn, [level], [(show, level.sku, viewer)])
    drop = gate.drop(show, level.sku)
    if drop is None:
        return True
    own = drop.left_for(gate.own(drop, viewer))
    return drop.left(quantity) == quantity and (own is None or own >= quantity)


def _check(conn: Connection, drop: Drop, more: dict[str, int], now_ms: int) -> None:
    """The last guard: whoever granted the units has looked before, or has them refused here."""
    has = store.shares(conn, [(drop.id, viewer) for viewer in sorted(more)])
    sold = 0
    for viewer, units in more.items():
        so_far = replace(drop, taken=drop.taken + sold)
        so_far.check(now_ms, units, has.get((drop.id, viewer), 0))
        sold += units


def _earlier(conn: Connection, kind: Movement, part: Part, drop: Drop) -> bool:
    """Whether these units come back from an order that was never counted, because it was placed before the drop was
    made. What was being paid then was counted in its cart."""
    if kind is not Movement.cancelled or part.order_id is None:
        return False
    if int(part.order_id[:12], 16) >= drop.created_at_ms:  # of a UUIDv7
        return False
    placed_at_ms = conn.scalar(select(orders.c.placed_at_ms).where(orders.c.id == part.order_id))
    return placed_at_ms is None or placed_at_ms < drop.created_at_ms


def _owners(conn: Connection, parts: Sequence[Part]) -> dict[str, str]:
    """Whose the holds are of which the parts do not say it."""
    ids = [part.hold_id for part in parts if part.viewer_id is None and part.hold_id is not None]
    if not ids:
        return {}
    rows = conn.execute(select(hold.c.id, hold.c.viewer_id).where(hold.c.id.in_(ids)))
    return {row.id: row.viewer_id for row in rows}
