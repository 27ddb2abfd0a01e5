"""Sending: signed, in order, again until it has arrived, and nobody waits for a slow one."""

import asyncio
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from cart.webhooks.sealing import Seal
from cart.webhooks.sender import Sender
from cart.webhooks.service import Webhooks
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import (
    WEBHOOK_DELAYS_S,
    WEBHOOK_FAILING_S,
    WEBHOOK_JITTER,
    WEBHOOK_LEASE_S,
    WEBHOOK_OVERLAP_S,
    WEBHOOK_PARALLEL,
)
from live.core.tasks import running
from tests.cart.webhooks.conftest import SECRET, MakeSender, asked, endpoint, happen, rounds, states, stored
from tests.cart.webhooks.receiver import Answer, Message, Receiver


def _stock(available: int, sku: str = "A") -> tuple[str, dict[str, object]]:
    return "stock.changed", {"available": available, "sku": sku}


def _order(number: int, type_: str = "order.placed") -> tuple[str, dict[str, object]]:
    return type_, {"id": f"{number:032d}"}


async def test_a_message_is_signed_as_the_standards_own_library_has_it(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    made = (await webhooks.create(asked(), receiver.url, [], "Shop")).body
    old = Webhook(made["secret"])
    await happen(database, clock, "order.placed")
    await rounds(sender)
    (message,) = receiver.messages
    told = old.verify(message.body, message.headers)
    assert (told["type"], told["show"], told["data"]["number"]) == ("order.placed", "gala", "7K3M-9QXA")
    assert message.headers["content-type"] == "application/json"
    assert await states(webhooks, made["endpoint"]["id"]) == [("order.placed", "delivered", 1)]

    new = Webhook((await webhooks.rotate(asked(), made["endpoint"]["id"])).body["secret"])
    await happen(database, clock, "order.placed")
    await rounds(sender)
    for secret in (old, new):
        secret.verify(receiver.messages[1].body, receiver.messages[1].headers)
    tampered = receiver.messages[1].body.replace(b"3000", b"3001")
    with pytest.raises(WebhookVerificationError):
        new.verify(tampered, receiver.messages[1].headers)

    clock.advance(WEBHOOK_OVERLAP_S)
    await happen(database, clock, "order.placed")
    await rounds(sender)
    assert len(receiver.messages[1].headers["webhook-signature"].split()) == 2
    assert len(receiver.messages[2].headers["webhook-signature"].split()) == 1
    assert len({message.id for message in receiver.messages}) == 3


async def test_it_is_tried_again_for_days_and_then_is_dead(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    id_ = await endpoint(webhooks, receiver.url)
    receiver.rest = Answer(500, body=b"no\0 luck" + b"x" * 5000)
    await happen(database, clock, "order.placed")
    for tries, delay_s in enumerate(WEBHOOK_DELAYS_S[1:], 1):
        await rounds(sender)
        assert await states(webhooks, id_) == [("order.placed", "pending", tries)]
        clock.advance(delay_s - 1)
        await rounds(sender)
        assert len(receiver.messages) == tries, "not before its time"
        clock.advance(delay_s * WEBHOOK_JITTER + 1)
    await rounds(sender)
    assert await states(webhooks, id_) == [("order.placed", "dead", len(WEBHOOK_DELAYS_S))]
    assert {message.id for message in receiver.messages} == {receiver.messages[0].id}
    assert {message.body for message in receiver.messages} == {receiver.messages[0].body}
    assert len({message.headers["webhook-timestamp"] for message in receiver.messages}) == len(WEBHOOK_DELAYS_S)
    detail = await webhooks.delivery(id_, receiver.messages[0].id)
    assert detail.attempts[0].status == 500
    assert detail.attempts[0].response.startswith("no\ufffd luck") and len(detail.attempts[0].response) == 1024
    assert (sender.figures.failed, sender.figures.dead, sender.figures.delivered) == (len(WEBHOOK_DELAYS_S), 1, 0)
    await rounds(sender)
    assert len(receiver.messages) == len(WEBHOOK_DELAYS_S)


async def test_what_is_no_answer_of_2xx_has_not_arrived(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    id_ = await endpoint(webhooks, receiver.url)
    elsewhere = f"location: {receiver.url}/elsewhere"
    receiver.answers = [Answer(302, (elsewhere,)), Answer(0), Answer(304, body=b""), Answer(204, body=b"")]
    await happen(database, clock, "order.placed")
    for delay_s in (0, *WEBHOOK_DELAYS_S[1:4]):
        clock.advance(delay_s * (1 + WEBHOOK_JITTER))
        await rounds(sender)
    assert await states(webhooks, id_) == [("order.placed", "delivered", 4)]
    assert {message.path for message in receiver.messages} == {"/hook"}, "nobody goes where a redirect leads"
    tried = (await webhooks.delivery(id_, receiver.messages[0].id)).attempts
    assert [attempt.status for attempt in reversed(tried)] == [302, None, 304, 204]
    assert tried[2].problem.startswith("RemoteProtocolError")
    assert (await stored(database, id_)).failing_since_ms is None


async def test_patience_that_is_asked_for_is_had(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    await endpoint(webhooks, receiver.url)
    receiver.answers = [Answer(429, ("retry-after: 120",))]
    await happen(database, clock, "order.placed")
    await rounds(sender)
    clock.advance(119)
    await rounds(sender)
    assert len(receiver.messages) == 1
    clock.advance(1)
    await rounds(sender)
    assert len(receiver.messages) == 2


async def test_who_is_gone_is_left_alone_until_somebody_says_otherwise(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    id_ = await endpoint(webhooks, receiver.url)
    receiver.answers = [Answer(410)]
    await happen(database, clock, _order(1))
    await rounds(sender)
    found = await stored(database, id_)
    assert (found.state, "410" in found.reason, sender.figures.disabled) == ("disabled", True, 1)
    await happen(database, clock, _order(2))
    clock.advance(3600)
    await rounds(sender)
    assert len(receiver.messages) == 1
    assert len(await states(webhooks, id_)) == 1, "nothing more waits for it"
    await webhooks.change(asked(), id_, state="active")
    await rounds(sender)
    assert [message.id for message in receiver.messages] == [receiver.messages[0].id] * 2


async def test_a_slow_endpoint_holds_up_nobody_else_and_never_has_more_than_its_places(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    go_on = asyncio.Event()
    async with Receiver.open() as slow:
        slow.rest = Answer(after=go_on)
        await endpoint(webhooks, slow.url)
        quick = await endpoint(webhooks, receiver.url)
        await happen(database, clock, *(_order(number) for number in range(WEBHOOK_PARALLEL + 2)))
        # What a turn sends may have arrived when it ends, and the next turn may still find its places taken.
        while len(receiver.messages) < WEBHOOK_PARALLEL + 2:
            await sender.turn()
            await asyncio.sleep(0.01)
        await slow.has(WEBHOOK_PARALLEL)
        await sender.turn()
        assert sender.figures.sending <= 2 * WEBHOOK_PARALLEL
        assert len(slow.messages) == WEBHOOK_PARALLEL
        go_on.set()
        await rounds(sender)
        assert len(slow.messages) == WEBHOOK_PARALLEL + 2
        assert {state for _, state, _ in await states(webhooks, quick)} == {"delivered"}


async def test_a_body_that_never_ends_costs_no_delivery(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    id_ = await endpoint(webhooks, receiver.url)
    receiver.rest = Answer(body=b"y" * 2000, drips=True)
    await happen(database, clock, _order(1), _order(2))
    await rounds(sender)
    assert {state for _, state, _ in await states(webhooks, id_)} == {"delivered"}


async def test_what_concerns_one_subject_arrives_in_order_and_holds_up_no_other(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    id_ = await endpoint(webhooks, receiver.url)

    def choose(message: Message) -> Answer:
        first = (message.json["type"], message.json["data"]["id"]) == ("order.placed", f"{1:032d}")
        again = sum(each.id == message.id for each in receiver.messages) > 1
        return Answer(500 if first and not again else 200)

    receiver.choose = choose
    await happen(database, clock, _order(1), _order(2), _order(1, "order.cancelled"), _order(2, "order.cancelled"))
    await rounds(sender)
    told = [(message.json["type"], message.json["data"]["id"][-1]) for message in receiver.messages]
    assert sorted(told[:2]) == [("order.placed", "1"), ("order.placed", "2")]
    assert told[2:] == [("order.cancelled", "2")], "the other order's news wait for its first"
    clock.advance(10)
    await rounds(sender)
    told = [(message.json["type"], message.json["data"]["id"][-1]) for message in receiver.messages]
    assert told[3:] == [("order.placed", "1"), ("order.cancelled", "1")]
    assert {state for _, state, _ in await states(webhooks, id_)} == {"delivered"}


async def test_a_value_that_waits_gives_way_to_a_newer_one(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    id_ = await endpoint(webhooks, receiver.url)
    receiver.answers = [Answer(503)]
    for available in (9, 8, 7):
        await happen(database, clock, _stock(available))
        await rounds(sender)
    assert [message.json["data"]["available"] for message in receiver.messages] == [9, 8, 7]
    assert [state for _, state, _ in await states(webhooks, id_)] == ["superseded", "delivered", "delivered"]


async def test_several_workers_send_each_message_once(
    database: Database, clock: ManualClock, webhooks: Webhooks, make_sender: MakeSender, receiver: Receiver
) -> None:
    await endpoint(webhooks, receiver.url)
    senders = [make_sender() for _ in range(3)]
    await happen(database, clock, *(_order(number) for number in range(14)))
    for _ in range(4):  # the first ones may find nothing spread yet
        await asyncio.gather(*(sender.turn() for sender in senders))
        await asyncio.gather(*(sender.answered() for sender in senders))
    await rounds(*senders)
    assert len(receiver.messages) == len({message.id for message in receiver.messages}) == 14
    assert sum(sender.figures.delivered for sender in senders) == 14


async def test_what_a_dead_worker_had_begun_is_sent_again_under_the_same_id(
    database: Database, clock: ManualClock, webhooks: Webhooks, make_sender: MakeSender, receiver: Receiver
) -> None:
    id_ = await endpoint(webhooks, receiver.url)
    dead, other = make_sender(), make_sender()
    await happen(database, clock, "order.placed")
    await dead.turn()
    await dead.answered()  # it is never settled
    await rounds(other)
    assert len(receiver.messages) == 1
    clock.advance(WEBHOOK_LEASE_S)
    await rounds(other)
    assert [message.id for message in receiver.messages] == [receiver.messages[0].id] * 2
    assert await states(webhooks, id_) == [("order.placed", "delivered", 2)]
    await dead.turn()  # comes back, and its lease is another's
    assert await states(webhooks, id_) == [("order.placed", "delivered", 2)]


async def test_a_worker_that_ends_leaves_to_others_what_has_no_answer(
    database: Database, clock: ManualClock, webhooks: Webhooks, make_sender: MakeSender, receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("cart.webhooks.sender.WEBHOOK_END_S", 0.1)
    id_ = await endpoint(webhooks, receiver.url)
    late = asyncio.Event()
    receiver.answers = [Answer(), Answer(after=late)]
    ends, stays = make_sender(), make_sender()
    await happen(database, clock, _order(1), _order(2))
    await ends.turn()
    await receiver.has(2)
    while ends.figures.sending > 1:  # the first answer is on its way
        await asyncio.sleep(0.01)
    await ends.close()
    assert sorted(state for _, state, _ in await states(webhooks, id_)) == ["delivered", "pending"]
    await rounds(stays)
    late.set()
    assert sorted(await states(webhooks, id_), key=lambda each: each[2]) == [
        ("order.placed", "delivered", 1), ("order.placed", "delivered", 2),
    ]  # fmt: skip
    assert len({message.id for message in receiver.messages}) == 2 and len(receiver.messages) == 3


async def test_an_endpoint_that_takes_nothing_for_days_is_disabled(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    id_ = await endpoint(webhooks, receiver.url)
    receiver.rest = Answer(500)
    await happen(database, clock, _order(1))
    await rounds(sender)
    clock.advance(WEBHOOK_FAILING_S)
    await happen(database, clock, _order(2))
    await rounds(sender)
    assert len(receiver.messages) == 1
    assert (await stored(database, id_)).state == "disabled"
    await webhooks.change(asked(), id_, state="active")
    receiver.rest = Answer()
    await rounds(sender)
    assert {state for _, state, _ in await states(webhooks, id_)} == {"delivered"}


async def test_messages_wait_for_a_paused_endpoint_and_are_forgotten_in_time(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    id_ = await endpoint(webhooks, receiver.url)
    await webhooks.change(asked(), id_, state="paused")
    await happen(database, clock, _order(1), _order(2))
    await rounds(sender)
    clock.advance(60)
    await sender.count()
    assert (receiver.messages, sender.figures.pending, sender.figures.oldest_ms) == ([], 2, 60_000)
    await webhooks.change(asked(), id_, state="active")
    await rounds(sender)
    assert len(receiver.messages) == 2
    await sender.prune()
    assert len(await states(webhooks, id_)) == 2
    clock.advance(14 * 24 * 3600 + 1)
    await sender.prune()
    assert await states(webhooks, id_) == []
    await webhooks.change(asked(), id_, state="paused")
    await happen(database, clock, _order(3))
    await rounds(sender)
    monkeypatch.setattr("cart.webhooks.sender.WEBHOOK_BACKLOG_MAX", 0)
    await sender.count()
    assert (await stored(database, id_)).state == "disabled"


async def test_it_runs_by_itself_and_a_store_that_is_away_costs_time_only(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    id_ = await endpoint(webhooks, receiver.url)
    await happen(database, clock, _order(1), _order(1, "order.cancelled"))
    write, refused = database.write_sync, asyncio.Event()

    async def away(*arguments: Any, **named: Any) -> Any:
        if receiver.messages and not refused.is_set():  # what became of the first cannot be written down
            refused.set()
            raise Problem(Kind.unavailable)
        return await write(*arguments, **named)

    monkeypatch.setattr(database, "write_sync", away)
    async with running(sender.run()):
        await receiver.has(2)
    assert refused.is_set()
    assert [message.json["type"] for message in receiver.messages] == ["order.placed", "order.cancelled"]
    assert {state for _, state, _ in await states(webhooks, id_)} == {"delivered"}


async def test_nobody_gets_what_waited_for_one_who_is_gone(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    first = await endpoint(webhooks, receiver.url)
    await happen(database, clock, "order.placed")
    await webhooks.delete(asked(), first)
    await rounds(sender)
    second = await endpoint(webhooks, receiver.url)
    await rounds(sender)
    assert (receiver.messages, await states(webhooks, second)) == ([], [])


async def test_an_endpoint_whose_secret_cannot_be_read_is_sent_nothing(
    database: Database, clock: ManualClock, webhooks: Webhooks, sender: Sender, receiver: Receiver
) -> None:
    id_ = await endpoint(webhooks, receiver.url)
    sender._seal = Seal("another secret of the installation")
    await happen(database, clock, "order.placed")
    await rounds(sender)
    (delivery,) = await webhooks.deliveries(id_, None, None)
    assert "SHOWCART_SECRET" in (await webhooks.delivery(id_, delivery.id)).attempts[0].problem
    assert receiver.messages == []
    assert Seal(SECRET).open((await stored(database, id_)).secret, "another endpoint") is None
