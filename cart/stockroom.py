"""Where stock moves: every change of carts and levels is one transaction, done here, and the board is kept."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from cart.board import Board
from cart.moves import Moves
from live.core.clock import Clock
from live.core.limits import STATE_INTERVAL_S
from live.service import Batch, Shows

T = TypeVar("T")


class Stockroom:
    """See the module. `stock_interval_s`: what is left of a SKU is told no more often (0: with every change)."""

    def __init__(self, shows: Shows, clock: Clock, *, stock_interval_s: float = STATE_INTERVAL_S) -> None:
        self._shows = shows
        self.board = Board(shows, clock, stock_interval_s)

    async def change(self, work: Callable[[Moves], T]) -> T:
        """Do `work` in one transaction; its result, when it is committed and told.

        Raises what `work` raises, and `Problem` as `Shows.transaction` does; nothing has happened then.
        """
        result, told = await self.begin(work)
        await told
        return result

    async def begin(self, work: Callable[[Moves], T]) -> tuple[T, Awaitable[None]]:
        """As `change`, but the result comes after COMMIT, beside what says when it has been told."""

        def body(tx: Batch) -> T:
            moves = Moves(tx, self.board)
            result = work(moves)
            moves.finish()
            return result

        outcome = await self._shows.batch(body)
        self.board.arm()
        return outcome
