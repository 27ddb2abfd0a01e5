"""Workers that die, receivers that refuse and connections that break, from a seed: nothing is lost or out of order."""

import random

import pytest

from cart.webhooks.sender import Sender
from cart.webhooks.service import Webhooks
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.limits import WEBHOOK_LEASE_S
from tests.cart.webhooks.conftest import MakeSender, asked, endpoint, happen, rounds
from tests.cart.webhooks.receiver import Answer, Message, Receiver

_STEPS = ("order.placed", "order.captured", "order.shipped", "order.refunded", "order.returned")
_REFUSALS = (0, 302, 429, 500, 503)


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_message_arrives_and_each_subject_in_order(
    database: Database, clock: ManualClock, webhooks: Webhooks, make_sender: MakeSender, receiver: Receiver, seed: int
) -> None:
    chance = random.Random(seed)
    taken: list[Message] = []
    well = False

    def choose(message: Message) -> Answer:
        if not well and chance.random() < 0.3:
            return Answer(chance.choice(_REFUSALS))
        taken.append(message)
        return Answer()

    receiver.choose = choose
    id_ = await endpoint(webhooks, receiver.url)
    senders: list[Sender] = [make_sender(), make_sender()]
    told: dict[str, list[str]] = {f"{number:032d}": [] for number in range(4)}  # order → its steps
    left = {"A": 0, "B": 0}
    for _ in range(12):
        happened = []
        for _ in range(chance.randint(1, 4)):
            if chance.random() < 0.4:
                sku = chance.choice(sorted(left))
                left[sku] = chance.randint(0, 99)
                happened.append(("stock.changed", {"sku": sku, "available": left[sku]}))
            elif unfinished := [order for order, steps in told.items() if len(steps) < len(_STEPS)]:
                order = chance.choice(unfinished)
                told[order].append(_STEPS[len(told[order])])
                happened.append((told[order][-1], {"id": order}))
        await happen(database, clock, *happened)
        for sender in chance.sample(senders, 2):
            await sender.turn()
            await sender.answered()
            if chance.random() < 0.2:  # it dies before it can write down what it heard
                sender._results.clear()
        clock.advance(chance.choice((1, 10, WEBHOOK_LEASE_S, 400)))
    well = True
    clock.advance(14 * 3600)
    await rounds(*senders)
    clock.advance(14 * 3600)
    await rounds(*senders)

    assert await webhooks.deliveries(id_, "pending", None) == []
    assert await webhooks.deliveries(id_, "dead", None) == []
    seen: dict[str, list[str]] = {order: [] for order in told}
    stock: dict[str, int] = dict.fromkeys(left, 0)
    known: set[str] = set()
    for message in taken:
        data = message.json["data"]
        if message.id in known:  # as every receiver must
            continue
        known.add(message.id)
        if message.json["type"] == "stock.changed":
            stock[data["sku"]] = data["available"]
        else:
            seen[data["id"]].append(message.json["type"])
    assert seen == told
    assert stock == left
    assert (await webhooks.change(asked(), id_, label="x")).body["endpoint"]["state"] == "active"
