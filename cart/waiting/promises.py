"""Whom units are promised to, as `Moves` asks for it."""

from collections.abc import Sequence

from cart.moves import Moves
from cart.stock import Level, Movement
from cart.store import Part
from cart.waiting import allowances, drop_store, store, turns
from live.service import Batch


class Promised:
    """See the module; a `Promises`. `hold_ttl_ms`: how long an offer stands.

    `moved_on` are the SKUs whose queues changed by this worker since it told of them; true: places moved up.
    """

    def __init__(self, hold_ttl_ms: int) -> None:
        self._hold_ttl_ms = hold_ttl_ms
        self.moved_on: dict[str, bool] = {}

    def moved(self, moves: Moves, level: Level, kind: Movement, parts: Sequence[Part]) -> None:
        """Raises `Problem` as `allowances.count`."""
        allowances.count(moves, level, kind, parts)

    def serve(self, moves: Moves, sku: str) -> bool:
        """As `turns.serve`."""
        return turns.serve(moves, sku, self._hold_ttl_ms, self.note)

    def note(self, sku: str) -> None:
        """A queue has moved on. It is only looked at later, so it does no harm when this is rolled back."""
        self.moved_on[sku] = True

    def given_up(self, moves: Moves, sku: str, carts: Sequence[str]) -> None:
        """Their places end, as if they had left."""
        waiters = store.of_carts(moves.tx.conn, sku, carts)
        if waiters:
            turns.end(moves, waiters, "left")
            self.note(sku)

    def room(self, moves: Moves, level: Level, show: str, viewer_id: str, quantity: int) -> bool:
        """As `allowances.room`."""
        return allowances.room(moves, show, viewer_id, level, quantity)

    def tell(self, tx: Batch, sku: str, available: int) -> None:
        """What is left of each drop, to the screens of its show."""
        for drop in drop_store.of_skus(tx.conn, [sku]):
            tx.state(drop.show, "drop", {"sku": sku, "left": drop.left(available)}, key=sku)


class ServedLater(Promised):
    """For who counts stock in a transaction that prices no carts: those who wait are served by the next look."""

    def __init__(self) -> None:
        super().__init__(0)

    def serve(self, moves: Moves, sku: str) -> bool:
        """Nobody, now."""
        return False
