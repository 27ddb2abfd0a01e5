"""kill -9 between sending and writing down: the message comes again, under the same id."""

import asyncio
import sys
from pathlib import Path

from cart.webhooks.sender import Sender
from cart.webhooks.service import Webhooks
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.limits import WEBHOOK_LEASE_S
from tests.cart.webhooks.conftest import endpoint, happen, rounds, states
from tests.cart.webhooks.receiver import Answer, Receiver

_ROOT = Path(__file__).parents[3]


async def test_a_message_that_was_sent_and_not_written_down_is_sent_again(
    database: Database, database_url: str, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    id_ = await endpoint(webhooks, receiver.url)
    await happen(database, clock, "order.placed", "show.started")
    killed = asyncio.Event()
    receiver.rest = Answer(after=killed)
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.cart.webhooks.worker", database_url, cwd=_ROOT
    )
    sent = {message.id for message in await receiver.has(2)}
    worker.kill()  # the receiver has taken both, and nobody has heard of it
    await worker.wait()
    killed.set()
    assert {state for _, state, _ in await states(webhooks, id_)} == {"pending"}
    await rounds(sender)
    assert len(receiver.messages) == 2, "as far as anybody knows, they are being sent"
    clock.advance(2 * WEBHOOK_LEASE_S)  # this clock stood still while the worker's went on
    await rounds(sender)
    assert [message.id for message in receiver.messages].count(next(iter(sent))) == 2
    assert {message.id for message in receiver.messages[2:]} == sent
    assert await states(webhooks, id_) == [("order.placed", "delivered", 2), ("show.started", "delivered", 2)]
