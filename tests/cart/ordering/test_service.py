"""What the staff, buyers and time do to orders, on both databases."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cart.ordering import store
from cart.ordering.clerk import Clerk
from cart.ordering.orders import OrderState
from cart.ordering.payments import Charge, Receipt, Step, StepKind, StepState
from cart.ordering.provider import Fault, Rehearsal
from cart.ordering.refunds import Units
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import PAYMENT_DELAYS_S
from tests.cart.conftest import ADA, BOB, level, refused
from tests.cart.ordering.conftest import HOST, Box, buy


async def test_an_order_is_shipped_and_its_money_taken_then(
    shop: Shop, database: Database, payment: Rehearsal, box: Box, clerk: Clerk
) -> None:
    orders = shop.office.orders
    order_id = await buy(shop)
    assert payment.accounts["pay-1"].captured == 0
    answer = await orders.ship(order_id, HOST, key="k")
    assert (answer.body["order"]["state"], payment.accounts["pay-1"].captured) == ("captured", 2000)
    assert await level(database, "CUP") == (8, 0, 0)
    again = await orders.ship(order_id, HOST, key="k")
    assert (again.replayed, again.body) == (True, answer.body)
    assert (await orders.ship(order_id, HOST)).body["order"]["shipped_at_ms"] is not None, "shipping twice is once"
    assert await level(database, "CUP") == (8, 0, 0)
    assert (await refused(orders.cancel(order_id, HOST))).kind is Kind.illegal_order_step
    await clerk.send()
    number = (await orders.get(order_id, ADA)).number
    assert box.subjects == [f"Your order {number}", f"Your order {number} is on its way"]


@pytest.mark.parametrize("at_once", [True])
async def test_money_is_taken_at_once_where_the_shop_says_so(shop: Shop, payment: Rehearsal) -> None:
    order_id = await buy(shop)
    assert (await shop.office.orders.get(order_id, ADA)).state is OrderState.captured
    assert payment.accounts["pay-1"].captured == 2000


async def test_an_order_is_cancelled_once(
    shop: Shop, database: Database, payment: Rehearsal, clerk: Clerk, box: Box
) -> None:
    orders = shop.office.orders
    order_id = await buy(shop)
    answer = await orders.cancel(order_id, ADA, "Changed my mind", key="k")
    assert answer.body["order"]["state"] == "cancelled"
    assert await level(database, "CUP") == (10, 0, 0)
    assert payment.kept(order_id) == 0
    assert (await orders.cancel(order_id, ADA, "Changed my mind", key="k")).replayed
    await orders.cancel(order_id, HOST)
    assert await level(database, "CUP") == (10, 0, 0)
    assert (await refused(orders.cancel(order_id, ADA, "Other words", key="k"))).kind is Kind.key_reused
    await clerk.send()
    assert "Reason: Changed my mind" in box.text()
    trail = await orders.trail(f"order:{order_id}")
    assert [(entry.actor, entry.role, entry.action) for entry in trail] == [
        ("showcart", "server", "order.placed"),
        ("ada", "viewer", "order.cancelled"),
    ]
    assert trail[1].before is not None and trail[1].before["state"] == "placed"


async def test_an_order_is_cancelled_after_its_money_was_taken(
    shop: Shop, database: Database, payment: Rehearsal
) -> None:
    orders = shop.office.orders
    order_id = await buy(shop)
    await orders.capture(order_id, HOST)
    answer = await orders.cancel(order_id, HOST)
    assert (answer.body["order"]["state"], answer.body["order"]["refunded_minor"]) == ("cancelled", 2000)
    assert (payment.kept(order_id), payment.accounts["pay-1"].refunded) == (0, 2000)
    assert await level(database, "CUP") == (10, 0, 0)


async def test_what_is_captured_after_it_was_cancelled_goes_back(
    shop: Shop, payment: Rehearsal, clock: ManualClock, clerk: Clerk
) -> None:
    orders = shop.office.orders
    order_id = await buy(shop)
    payment.script[StepKind.capture].append(Fault.unheard)
    answer = await orders.capture(order_id, HOST)
    assert answer.body["order"]["state"] == "placed", "nobody heard of it"
    await orders.cancel(order_id, HOST)
    assert payment.kept(order_id) == 2000 or payment.kept(order_id) == 0
    for _ in range(3):
        clock.advance(PAYMENT_DELAYS_S[1])
        await clerk.pay()
    assert (payment.kept(order_id), payment.accounts["pay-1"].refunded) == (0, 2000)
    assert (await orders.get(order_id, HOST)).state is OrderState.cancelled


async def test_a_capture_that_is_refused_is_said_and_can_be_tried_again(shop: Shop, payment: Rehearsal) -> None:
    orders = shop.office.orders
    order_id = await buy(shop)
    payment.script[StepKind.capture].append(Fault.refuse)
    problem = await refused(orders.ship(order_id, HOST))
    assert (problem.kind, problem.detail) == (Kind.payment_refused, "The bank said no.")
    assert (await orders.get(order_id, HOST)).shipped_at_ms is None, "what is not paid does not leave"
    assert (await orders.ship(order_id, HOST)).body["order"]["state"] == "captured"


async def test_who_asks_while_money_is_being_taken_hears_what_came_of_it(
    shop: Shop, payment: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the task does that a check-out leaves behind: it may find the capture before the staff's request does."""
    orders = shop.office.orders
    order_id = await buy(shop)
    till, take, ask = shop.office.till, payment.capture, shop.office.till.ask
    asked: list[Step] = []
    answered = asyncio.Event()

    async def counted(step: Step) -> None:
        asked.append(step)
        await ask(step)

    async def slowly(charge: Charge) -> Receipt:
        await answered.wait()
        return await take(charge)

    monkeypatch.setattr(till, "ask", counted)
    monkeypatch.setattr(payment, "capture", slowly)
    both = [asyncio.create_task(orders.capture(order_id, HOST, key=key)) for key in "ab"]
    async with asyncio.timeout(20):
        while len(asked) < 2:
            await asyncio.sleep(0.001)
    early, _ = await asyncio.wait(both, timeout=0.2)
    assert not early, "nobody is answered before the provider is heard"
    answered.set()
    first, second = await asyncio.gather(*both)
    assert first.body == second.body
    assert first.body["order"]["state"] == "captured"
    assert payment.accounts["pay-1"].captured == 2000


async def test_a_provider_that_is_silent_keeps_the_goods_here(
    shop: Shop, payment: Rehearsal, clock: ManualClock, clerk: Clerk, database: Database
) -> None:
    orders = shop.office.orders
    order_id = await buy(shop)
    payment.script[StepKind.capture].extend([Fault.lost] * 20)
    assert (await refused(orders.ship(order_id, HOST))).kind is Kind.payment_pending
    for delay_s in PAYMENT_DELAYS_S:
        clock.advance(delay_s)
        await clerk.pay()
    steps = await database.read_sync(lambda conn: store.steps(conn, order_id))
    assert (steps[-1].state, steps[-1].reason) == (StepState.dead, "TimeoutError")
    payment.script[StepKind.capture].clear()
    assert (await orders.capture(order_id, HOST)).body["order"]["state"] == "captured"


async def test_lines_shipping_and_goodwill_are_refunded(
    shop: Shop, database: Database, payment: Rehearsal, clerk: Clerk, box: Box
) -> None:
    orders = shop.office.orders
    order_id = await buy(shop, skus=(("CUP", 2), ("MUG-BLUE", 1)))
    assert (await refused(orders.refund(order_id, HOST, [Units("CUP", 1)]))).kind is Kind.illegal_order_step
    await orders.capture(order_id, HOST)
    assert (await shop.keeper.figures("demo")).revenue_minor == 3500
    answer = await orders.refund(order_id, HOST, [Units("CUP", 1)], reason="Chipped", key="r1")
    assert (await shop.keeper.figures("demo")).revenue_minor == 2500
    assert (answer.body["order"]["state"], answer.body["order"]["refunded_minor"]) == ("partly_refunded", 1000)
    assert await level(database, "CUP") == (10, 1, 0), "what was refunded does not leave any more"
    assert (await orders.refund(order_id, HOST, [Units("CUP", 1)], reason="Chipped", key="r1")).replayed
    await orders.ship(order_id, HOST)
    assert await level(database, "CUP") == (9, 0, 0)
    await orders.refund(order_id, HOST, goodwill_minor=500)
    problem = await refused(orders.refund(order_id, HOST, [Units("CUP", 1), Units("MUG-BLUE", 1)]))
    assert (problem.kind, problem.extra["left_minor"]) == (Kind.refund_exceeds, 2000)
    answer = await orders.refund(order_id, HOST, [Units("MUG-BLUE", 1)], goodwill_minor=500)
    assert answer.body["order"]["state"] == "refunded"
    assert payment.kept(order_id) == 0
    await clerk.send()
    assert "we give back €10.00 for your order" in box.text(1)
    assert "Reason: Chipped" in box.text(1)


async def test_goods_that_come_back_can_be_sold_again_unless_they_are_broken(
    shop: Shop, database: Database, payment: Rehearsal
) -> None:
    orders = shop.office.orders
    order_id = await buy(shop, skus=(("CUP", 3),))
    back = [Units("CUP", 1)]
    assert (await refused(orders.take_back(order_id, HOST, back))).kind is Kind.illegal_order_step
    await orders.ship(order_id, HOST)
    await orders.take_back(order_id, HOST, back, refund=True)
    assert await level(database, "CUP") == (8, 0, 0)
    assert payment.kept(order_id) == 2000
    await orders.take_back(order_id, HOST, back, restock=False)
    assert await level(database, "CUP") == (8, 0, 0)
    assert (await refused(orders.take_back(order_id, HOST, [Units("CUP", 2)]))).kind is Kind.refund_exceeds
    assert (await refused(orders.take_back(order_id, HOST, []))).kind is Kind.invalid_field
    answer = await orders.take_back(order_id, HOST, back)
    assert answer.body["order"]["state"] == "returned"
    answer = await orders.refund(order_id, HOST, [Units("CUP", 2)])
    assert (answer.body["order"]["state"], payment.kept(order_id)) == ("refunded", 0)
    assert await shop.keeper.reconcile() == []


async def test_goods_come_back_whose_money_has_gone_back_before(shop: Shop, payment: Rehearsal) -> None:
    orders = shop.office.orders
    order_id = await buy(shop, skus=(("CUP", 1),))
    await orders.ship(order_id, HOST)
    await orders.refund(order_id, HOST, [Units("CUP", 1)])
    answer = await orders.take_back(order_id, HOST, [Units("CUP", 1)], refund=True)
    assert (answer.body["order"]["lines"][0]["returned"], payment.kept(order_id)) == (1, 0)


async def test_who_may_do_what(shop: Shop) -> None:
    orders = shop.office.orders
    order_id = await buy(shop)
    assert (await refused(orders.get(order_id, BOB))).kind is Kind.unknown_order
    assert (await refused(orders.cancel(order_id, BOB))).kind is Kind.unknown_order
    for call in (
        orders.capture(order_id, ADA),
        orders.ship(order_id, ADA),
        orders.refund(order_id, ADA),
        orders.take_back(order_id, ADA, []),
    ):
        assert (await refused(call)).kind is Kind.role_forbidden
    assert [order.id for order in await orders.mine(ADA)] == [order_id]
    assert await orders.mine(BOB) == []
    assert [order.id for order in await orders.of_show("demo", "placed")] == [order_id]
    assert await orders.of_show("demo", "refunded") == [] and await orders.of_show("other") == []
    assert (await refused(orders.of_show("demo", "nowhere"))).field == "state"
    assert (await refused(orders.mine(ADA, "\x00"))).kind is Kind.invalid_field


async def test_the_trail_only_grows(shop: Shop, database: Database) -> None:
    await buy(shop)
    for statement in ("UPDATE audit SET actor = 'eve'", "DELETE FROM audit"):
        with pytest.raises(DBAPIError, match="append-only"):
            async with database.write() as conn:
                await conn.execute(text(statement))
    assert len(await shop.office.orders.trail("")) == 5, "four counts of stock, and the order"
