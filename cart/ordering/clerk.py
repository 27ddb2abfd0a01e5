"""What happens to orders by itself: payments are asked until they are answered, letters are sent until they are taken.

Any number of workers may each run one: a letter is leased by its due time, and a provider knows a payment by its key.
"""

import asyncio

import structlog
from msgspec.structs import replace
from sqlalchemy import Connection

from cart.ordering import mail, payments, post, store, writing
from cart.ordering.checkout import Checkout
from cart.ordering.facts import read_seller
from cart.ordering.mail import Mail
from cart.ordering.orders import Order
from cart.ordering.post import Letter, LetterState
from cart.ordering.seller import Seller
from cart.stockroom import Stockroom
from live.core.database import Database
from live.core.errors import Problem
from live.core.limits import LETTER_DELAYS_S, LETTER_TIMEOUT_S, LETTERS_BATCH, POST_LOOK_S, SWEEP_BATCH

_log = structlog.get_logger(__name__)


class Clerk:
    """See the module. `sender` is the address that letters come from."""

    def __init__(self, database: Database, stockroom: Stockroom, checkout: Checkout, way: Mail, sender: str) -> None:
        self._database = database
        self._stockroom = stockroom
        self._checkout = checkout
        self._mail = way
        self._sender = sender

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(POST_LOOK_S)
            try:
                await self.pay()
                await self.send()
            except Problem as problem:  # the store is out of reach; the next round may find it
                _log.warning("clerk_postponed", problem=problem.kind.name)
            except Exception:  # a bug here must not keep the letters of all later rounds
                _log.exception("clerk_failed")

    async def pay(self) -> int:
        """Ask for the steps of payments whose time has come; how many there were."""

        def find(conn: Connection) -> list[payments.Step]:
            return store.due_steps(conn, self._database.now_ms_sync(conn), SWEEP_BATCH)

        steps = await self._database.read_sync(find)
        for step in steps:
            await self._checkout.due(step)
        return len(steps)

    async def send(self) -> int:
        """Send letters whose time has come; how many were taken."""

        def find(conn: Connection) -> tuple[list[Letter], int]:
            now_ms = self._database.now_ms_sync(conn)
            return post.due(conn, now_ms, LETTERS_BATCH), now_ms

        letters, now_ms = await self._database.read_sync(find)
        taken = 0
        for letter in letters:
            if await self._take(letter, now_ms):
                taken += await self._send(letter)
        return taken

    async def _take(self, letter: Letter, now_ms: int) -> bool:
        until_ms = now_ms + round(3 * LETTER_TIMEOUT_S * 1000)
        return await self._stockroom.change(lambda moves: post.take(moves.tx.conn, letter, until_ms))

    async def _send(self, letter: Letter) -> bool:
        def read(conn: Connection) -> tuple[Order | None, Seller]:
            return store.find_order(conn, letter.order_id), read_seller(conn)

        order, seller = await self._database.read_sync(read)
        assert order is not None, "a letter is about an order"
        written: writing.Written | None = None
        failure: Exception | None = None
        try:
            written = await asyncio.to_thread(writing.write, letter, order, seller)
            message = mail.message(written, letter.id, self._sender, letter.recipient, letter.language)
            async with asyncio.timeout(2 * LETTER_TIMEOUT_S):
                await self._mail.send(message, letter.id)
        except Exception as error:  # whatever it is, the letter is tried again, and the order stays as it is
            failure = error
        await self._stockroom.change(
            lambda moves: post.save(moves.tx.conn, _after(letter, written, failure, moves.tx.now_ms))
        )
        return failure is None


def _after(letter: Letter, written: writing.Written | None, failure: Exception | None, now_ms: int) -> Letter:
    if failure is None and written is not None:
        return replace(
            letter, state=LetterState.sent, due_at_ms=None, sent_at_ms=now_ms, subject=written.subject,
            body=written.text, attempts=letter.attempts + 1,
        )  # fmt: skip
    attempts = letter.attempts + 1
    due_at_ms = payments.retry_at_ms(now_ms, attempts, LETTER_DELAYS_S)
    state = LetterState.dead if due_at_ms is None else LetterState.wanted
    why = payments.reason(failure) if failure is not None else ""
    log = _log.error if state is LetterState.dead else _log.warning
    log("letter_failed", letter=letter.id, order=letter.order_id, state=state.value, why=why)
    return replace(letter, state=state, attempts=attempts, due_at_ms=due_at_ms)
