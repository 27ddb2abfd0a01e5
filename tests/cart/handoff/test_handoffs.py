"""A cart that the merchant's own check-out sells is one order, whatever is reported, how often and when."""

import asyncio
from typing import Any

from sqlalchemy import insert, select, update

from cart.handoff.parts import Handing
from cart.handoff.reports import Report, Sold
from cart.handoff.syncing import Wish
from cart.ordering import store as order_store
from cart.ordering.orders import Order, OrderState
from cart.service import Shop
from cart.stock import HoldState
from cart.tables import hold
from cart.webhooks.outbox import put_news
from cart.webhooks.tables import webhook_endpoint, webhook_event
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import HOLD_TTL_S
from live.service import Shows
from tests.cart.conftest import ADA, BOB, Screens, level, refused
from tests.cart.handoff.conftest import ONE_STORE, SHOP, TTL_S, hand_over, report
from tests.cart.ordering.conftest import Box
from tests.cart.waiting.conftest import plan


async def _order(database: Database, id_: str) -> Order:
    order = await database.read_sync(lambda conn: order_store.find_order(conn, id_))
    assert order is not None
    return order


async def _holds(database: Database) -> list[tuple[str, str, int]]:
    columns = hold.c.sku, hold.c.state, hold.c.quantity
    statement = select(*columns).order_by(hold.c.sku, hold.c.id)
    return await database.read_sync(lambda conn: [tuple(row) for row in conn.execute(statement)])


async def test_a_cart_is_handed_over_with_its_units(
    shop: Shop, handing: Handing, database: Database, screens: Screens, clock: ManualClock
) -> None:
    await shop.add("demo", ADA, "CUP", 2)
    answer = await handing.handoffs.open("demo", ADA, 2000, key="k1")
    made = answer.body["handoff"]
    assert made["expires_at_ms"] == clock.now_ms() + TTL_S * 1000
    assert made["url"].startswith(f"https://shop.example/checkout?lang=de&handoff={made['id']}&expires=")
    order, handoff, customer = await handing.handoffs.read(made["id"])
    assert (order.state, order.source, order.total_minor, customer) == (OrderState.pending, "external", 2000, None)
    assert handoff.expires_at_ms == made["expires_at_ms"]
    assert await level(database, "CUP") == (10, 0, 2)
    assert screens.notices[-1][3]["reason"] == "handed_over"
    assert (await handing.handoffs.open("demo", ADA, 2000, key="k1")).replayed
    again = await handing.handoffs.open("demo", ADA, None, key="k2")
    assert again.body == answer.body, "the cart is there already"
    current = await handing.handoffs.current("demo", ADA)
    assert current is not None and current.url == made["url"]
    assert await handing.handoffs.current("demo", BOB) is None
    assert (await refused(shop.change("demo", ADA, "CUP", 1))).kind is Kind.checkout_running
    assert (await refused(handing.handoffs.open("demo", BOB, None, key=None))).kind is Kind.cart_empty
    await shop.add("demo", BOB, "CUP", 1)
    assert (await refused(handing.handoffs.open("demo", BOB, 1, key=None))).kind is Kind.price_changed


async def test_what_the_merchant_sold_is_one_order(
    shop: Shop, handing: Handing, database: Database, box: Box, screens: Screens
) -> None:
    id_ = await hand_over(shop, ("CUP", 2), ("MUG-BLUE", 1))
    answers = await asyncio.gather(*(report(shop, id_, number="S-1", total_minor=3500) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["order"]["external_number"] == "S-1"
    order = await _order(database, id_)
    assert (order.state, order.captured_minor, order.payment) == (OrderState.captured, 3500, "external")
    assert await level(database, "CUP") == (10, 2, 0)
    assert {state for _, state, _ in await _holds(database)} == {HoldState.claimed.value}
    assert [data["reason"] for *_, data in screens.notices][-1] == "ordered"
    assert (await shop.cart("demo", ADA)).lines == []
    await shop.office.clerk.send()
    assert box.letters == {}, "the merchant writes to the buyer, whom only the merchant knows"
    nobody = await refused(shop.office.withdrawals.begin(order.number, ""))
    assert nobody.kind is Kind.unknown_order, "no address is not an address that is known"
    other = await refused(report(shop, id_, number="S-2"))
    assert (other.kind, other.extra["number"]) == (Kind.handoff_reported, "S-1")
    assert (await refused(report(shop, id_, number="S-1", shipping_minor=5))).kind is Kind.handoff_reported
    await shop.add("demo", BOB, "CUP", 1)
    second = (await handing.handoffs.open("demo", BOB, None, key=None)).body["handoff"]["id"]
    taken = await refused(report(shop, second, number="S-1"))
    assert (taken.kind, taken.field) == (Kind.handoff_reported, "number")
    assert await shop.keeper.reconcile() == []


async def test_an_order_has_prices_and_units_as_they_were_sold(shop: Shop, database: Database, shows: Shows) -> None:
    await shows.pin("demo", "cup")
    id_ = await hand_over(shop, ("CUP", 2), ("MUG-BLUE", 3), ("MUG-RED", 1))
    lines = [Sold("MUG-BLUE", 1), Sold("CUP", 4, 3200)]
    body = await report(shop, id_, number="S-1", lines=lines, shipping_minor=490, total_minor=5190, paid=False)
    order = await _order(database, id_)
    assert (order.state, order.captured_minor, body["state"]) == (OrderState.placed, 0, "placed")
    lines_sold = {one.sku: (one.quantity, one.line_minor, one.pin_id is not None) for one in order.lines}
    assert lines_sold == {"CUP": (4, 3200, True), "MUG-BLUE": (1, 1500, False)}, "what sold it stays on the line"
    assert await level(database, "CUP") == (10, 4, 0)
    assert await level(database, "MUG-BLUE") == (5, 1, 0)
    assert await level(database, "MUG-RED") == (1, 0, 0), "what was left out is on the shelf again"
    assert (await shop.cart("demo", ADA)).lines == []
    shipped = await shop.office.orders.ship(id_, SHOP)
    assert shipped.body["order"]["captured_minor"] == 5190
    refund = await shop.office.orders.refund(id_, SHOP, shipping_minor=490)
    assert refund.body["order"]["refunded_minor"] == 490
    assert await shop.keeper.reconcile() == []


async def test_more_than_there_is_was_not_sold(shop: Shop, handing: Handing, database: Database) -> None:
    await shop.add("demo", BOB, "CUP", 7)
    id_ = await hand_over(shop, ("CUP", 2), ("MUG-RED", 1))
    problem = await refused(report(shop, id_, number="S-1", lines=[Sold("MUG-RED", 3), Sold("CUP", 4)]))
    assert (problem.kind, problem.extra["missing"]) == (
        Kind.sold_out,
        [{"sku": "CUP", "missing": 1}, {"sku": "MUG-RED", "missing": 2}],
    )
    assert (await _order(database, id_)).state is OrderState.pending
    assert await level(database, "CUP") == (10, 0, 9)
    first = await handing.handoffs.report(id_, Report(number="S-1"), SHOP, "k")
    again = await handing.handoffs.report(id_, Report(number="S-1"), SHOP, "k")
    assert again.replayed and again.body == first.body
    other = await refused(handing.handoffs.report(id_, Report(number="S-2"), SHOP, "k"))
    assert other.kind is Kind.key_reused and await level(database, "CUP") == (10, 2, 7)
    await shop.office.till.idle()


async def test_an_abandoned_hand_off_gives_its_units_back(
    shop: Shop, handing: Handing, database: Database, clock: ManualClock
) -> None:
    await shop.add("demo", ADA, "CUP", 2)
    await database.write_sync(lambda conn: conn.execute(update(hold).values(price_minor=0)))  # so nothing is to pay
    id_ = (await handing.handoffs.open("demo", ADA, 0, key=None)).body["handoff"]["id"]
    clock.advance(HOLD_TTL_S + 1)
    await shop.keeper.sweep()
    assert await level(database, "CUP") == (10, 0, 2), "until the link expires nobody else gets them"
    clock.advance(TTL_S - HOLD_TTL_S)
    assert await shop.keeper.sweep() == 1
    assert (await _order(database, id_)).state is OrderState.lapsed
    assert await level(database, "CUP") == (10, 0, 0)
    assert await handing.handoffs.current("demo", ADA) is None


async def test_what_was_sold_after_the_deadline_takes_stock_again(
    shop: Shop, database: Database, clock: ManualClock
) -> None:
    id_ = await hand_over(shop, ("CUP", 2), ("MUG-RED", 1))
    clock.advance(TTL_S + 1)
    await shop.keeper.sweep()
    await shop.add("demo", BOB, "MUG-RED", 1)
    problem = await refused(report(shop, id_, number="S-1"))
    assert (problem.kind, problem.extra["missing"]) == (Kind.sold_out, [{"sku": "MUG-RED", "missing": 1}])
    assert (await _order(database, id_)).state is OrderState.lapsed, "nothing was booked"
    assert await level(database, "CUP") == (10, 0, 0)
    await report(shop, id_, number="S-1", lines=[Sold("CUP", 2)])
    assert (await _order(database, id_)).state is OrderState.captured
    assert await level(database, "CUP") == (10, 2, 0)
    assert await level(database, "MUG-RED") == (1, 0, 1)


async def test_a_drop_sells_no_more_elsewhere_than_here(shop: Shop, database: Database, clock: ManualClock) -> None:
    await plan(shop, "CUP", total_limit=3)
    id_ = await hand_over(shop, ("CUP", 2))
    problem = await refused(report(shop, id_, number="S-1", lines=[Sold("CUP", 4)]))
    assert problem.extra["missing"] == [{"sku": "CUP", "missing": 2}], "the shelf has them, the drop has not"
    clock.advance(TTL_S + 1)
    await shop.keeper.sweep()
    await shop.add("demo", BOB, "CUP", 2)
    late = await refused(report(shop, id_, number="S-1"))
    assert (late.kind, late.extra["missing"]) == (Kind.sold_out, [{"sku": "CUP", "missing": 2}])
    await report(shop, id_, number="S-1", lines=[Sold("CUP", 1)])
    assert await level(database, "CUP") == (10, 1, 2)
    assert [drop.taken for drop in await shop.planning.drops("demo")] == [3]


@ONE_STORE
async def test_a_shopper_who_comes_back_has_the_cart_again(shop: Shop, handing: Handing, database: Database) -> None:
    id_ = await hand_over(shop)
    back = await handing.handoffs.take_back("demo", ADA, key="k")
    assert [line["quantity"] for line in back.body["cart"]["lines"]] == [2]
    assert (await handing.handoffs.take_back("demo", ADA, key="k")).replayed
    await shop.change("demo", ADA, "CUP", 3)
    await report(shop, id_, number="S-1")
    assert (await _order(database, id_)).state is OrderState.captured, "the merchant has sold it all the same"
    assert await level(database, "CUP") == (10, 2, 1), "of the units that the cart holds"
    assert await shop.keeper.reconcile() == []


@ONE_STORE
async def test_what_was_cancelled_there_is_free_here(shop: Shop, database: Database, clock: ManualClock) -> None:
    id_ = await hand_over(shop)
    clock.advance(HOLD_TTL_S + 1)
    first = await report(shop, id_, state="cancelled")
    assert first["state"] == "refused" and await level(database, "CUP") == (10, 0, 0)
    assert await report(shop, id_, state="cancelled") == first
    assert (await refused(report(shop, id_, number="S-1"))).kind is Kind.handoff_over
    sold = await hand_over(shop, ("CUP", 3))
    await report(shop, sold, number="S-2")
    ended = await report(shop, sold, state="cancelled", reason="Changed my mind")
    assert ended["state"] == "cancelled" and await level(database, "CUP") == (10, 0, 0)
    assert await report(shop, sold, state="cancelled", reason="Changed my mind") == ended
    order = await _order(database, sold)
    assert order.refunded_minor == order.captured_minor == 3000, "the merchant gives the money back"


@ONE_STORE
async def test_nothing_is_known_of_what_was_never_handed_over(shop: Shop, handing: Handing) -> None:
    own = (await shop.add("demo", BOB, "CUP")).body
    bought = await shop.checkout("demo", BOB, name="Bob", email="bob@example.com")
    for id_ in ("nobody", "a\0b", own["hold"]["hold_id"], bought.body["order"]["id"]):
        assert (await refused(report(shop, id_, number="S-1"))).kind is Kind.unknown_handoff
        assert (await refused(handing.handoffs.read(id_))).kind is Kind.unknown_handoff


async def test_a_deadline_and_a_report_at_once_end_in_one_way(
    shop: Shop, database: Database, clock: ManualClock
) -> None:
    id_ = await hand_over(shop)
    clock.advance(TTL_S + 1)
    outcomes: list[Any] = await asyncio.gather(
        *(report(shop, id_, number="S-1") for _ in range(3)), shop.keeper.sweep(), shop.keeper.sweep()
    )
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert (await _order(database, id_)).state is OrderState.captured
    assert await level(database, "CUP") == (10, 2, 0)
    assert await shop.keeper.reconcile() == []


@ONE_STORE
async def test_other_systems_are_told_of_it_and_of_the_order(
    shop: Shop, shows: Shows, database: Database, clock: ManualClock
) -> None:
    shows.transactions.also = put_news

    def listen(conn: Any) -> None:
        conn.execute(
            insert(webhook_endpoint).values(
                id="e", url="https://x", label="", types=["handoff.changed", "order.placed", "cart.changed"],
                state="active", reason="", secret=b"", created_at_ms=1,
            )
        )  # fmt: skip

    await database.write_sync(listen)
    clock.advance(2)
    id_ = await hand_over(shop)
    await report(shop, id_, number="S-1")
    columns = webhook_event.c.type, webhook_event.c.data
    rows = await database.read_sync(
        lambda conn: conn.execute(select(*columns).order_by(webhook_event.c.position)).all()
    )
    told = [(row.type, row.data.get("state"), row.data.get("external_number")) for row in rows]
    assert ("handoff.changed", "pending", None) in told and ("handoff.changed", "placed", None) in told
    assert ("order.placed", "placed", "S-1") in told
    carts = [row.data for row in rows if row.type == "cart.changed"]
    assert carts[-1]["reason"] == "ordered" and carts[-1]["origin"] == "" and carts[-1]["customer"] is None
    await hand_over(shop, ("CUP", 1))
    await shop.handing.handoffs.take_back("demo", ADA, key=None)
    states = await database.read_sync(
        lambda conn: conn.scalars(
            select(webhook_event.c.data)
            .where(webhook_event.c.type == "handoff.changed")
            .order_by(webhook_event.c.position)
        ).all()
    )
    assert [data["state"] for data in states] == ["pending", "placed", "pending", "lapsed"]
    synced = await shop.handing.sync.put("c42", "demo", [Wish("CUP", 1)], SHOP, version="*", key=None)
    told_of = await database.read_sync(
        lambda conn: conn.scalars(select(webhook_event.c.data).where(webhook_event.c.type == "cart.changed")).all()
    )
    [cart] = [data for data in told_of if data["customer"] == "c42"]
    assert (cart["origin"], cart["version"], cart["viewer_id"]) == ("shop-system", synced.body["version"], "c-c42")
