"""Where stock moves: every change of carts and levels is one transaction, done here, and the board is kept.

Where the store has one writer anyway, changes share their transactions: each has a savepoint of its own, so that one
that is refused leaves nothing behind. With many writers they do not, because each takes its locks in everybody's
order, and several in one transaction would not.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from cart.board import Board
from cart.moves import Moves, Promises
from cart.pricing.service import Pricing
from live.core.clock import Clock
from live.core.lanes import Committed, Lane
from live.core.limits import CHANGES_BATCH_MAX, CHANGES_HERE_MAX, HERE_S_MAX, STATE_INTERVAL_S
from live.service import Batch, Shows

T = TypeVar("T")


class Cost:
    """What batches of commands took lately, by how many there were: whether the loop may do the next by itself.

    A full cart under many rules takes a hundred times what a drop's click does, and who has it may send many.
    """

    def __init__(self, most: int | None = None) -> None:
        """`most`: commands in one batch that the loop does (None: as many as there are)."""
        self._most = most
        self._took_s: dict[int, float] = {}  # by the bits of how many

    def allows(self, count: int) -> bool:
        """Whether so many commands are done within HERE_S_MAX, as far as is known."""
        if self._most is not None and count > self._most:
            return False
        size = count.bit_length()
        return all(took_s <= HERE_S_MAX for bits, took_s in self._took_s.items() if bits <= size)

    def took(self, count: int, took_s: float) -> None:
        """Of CPU. What was slow is forgotten slowly: those who send it may do so by turns."""
        size = count.bit_length()
        self._took_s[size] = max(took_s, 0.98 * self._took_s.get(size, 0.0))


class Stockroom:
    """See the module. `stock_interval_s`: what is left of a SKU is told no more often (0: with every change).

    `shared`: changes share transactions, at the pace of `pace_s` (see `Lane`). `pricing` prices the carts of all;
    `promises` says whom free units go to (None: to anybody).
    """

    def __init__(
        self,
        shows: Shows,
        clock: Clock,
        *,
        stock_interval_s: float = STATE_INTERVAL_S,
        shared: bool = False,
        pace_s: float = 0.0,
        pricing: Pricing | None = None,
        promises: Promises | None = None,
    ) -> None:
        self._shows = shows
        self._pricing = pricing
        self._promises = promises
        self.board = Board(shows, clock, stock_interval_s, None if promises is None else promises.tell)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._cost = Cost(CHANGES_HERE_MAX)
        self._changes: Lane[Callable[[Moves], Any], Any] | None = None
        if shared:
            self._changes = Lane("changes of carts", self._change_all, batch_max=CHANGES_BATCH_MAX, pace_s=pace_s)

    async def change(self, work: Callable[[Moves], T]) -> T:
        """Do `work` in a transaction; its result, when it is committed and told.

        `work` may be done again when the transaction it shared could not be committed; what it did before has not
        happened then. Raises what `work` raises, and `Problem` as `Shows.transaction` does, and overloaded when too
        many wait; nothing has happened then.
        """
        if self._changes is not None:
            result: T = await self._changes.do(work)
            return result
        result, told = await self.begin(work)
        await told
        return result

    async def begin(
        self, work: Callable[[Moves], T], count: int = 1, cost: Cost | None = None
    ) -> tuple[T, Awaitable[None]]:
        """As `change` in a transaction of its own, but the result comes after COMMIT, beside what says when it has
        been told. It does `count` commands, which cost what others of `cost` did (None: as changes do)."""
        known = self._cost if cost is None else cost

        def body(tx: Batch) -> T:
            began_s = time.thread_time()
            moves = Moves(tx, self.board, self._pricing, self._promises)
            result = work(moves)
            moves.finish()
            known.took(count, time.thread_time() - began_s)
            return result

        # In a task of its own: a caller who leaves does not stop it, and what it has changed is told all the same.
        task = asyncio.create_task(self._begin(body, known.allows(count)), name="change of stock")
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def _begin(self, body: Callable[[Batch], T], here: bool) -> tuple[T, Awaitable[None]]:
        try:
            return await self._shows.batch(body, here=here)
        finally:
            self.board.arm()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits gets it

    async def close(self) -> None:
        """Do the changes that were taken, each further one by itself, and tell the screens what is left."""
        if self._changes is not None:
            changes, self._changes = self._changes, None
            await changes.close()
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self.board.close()

    async def _change_all(self, works: Sequence[Callable[[Moves], Any]]) -> Committed[Any]:
        if len(works) == 1:
            result, told = await self.begin(works[0])
            return Committed([result], told)
        results, told = await self.begin(lambda moves: [moves.attempt(work) for work in works], len(works))
        return Committed(results, told)
