"""Rules, taxes, coupons and shipping meet in an order: each cent has a line, and what is not bought is not used up."""

from collections.abc import AsyncIterator

import pytest

from cart.ordering.office import Trade
from cart.ordering.orders import Order
from cart.ordering.provider import Rehearsal
from cart.ordering.refunds import Units
from cart.ordering.shipping import Choice
from cart.pricing import store as prices
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.service import Shows
from tests.cart.conftest import ADA, BOB
from tests.cart.offering.conftest import publish, rule
from tests.cart.ordering.conftest import HOST, OPS, Box, buy
from tests.cart.ordering.samples import ADDRESS, ENTRY, POST


@pytest.fixture
async def shop(
    database: Database, shows: Shows, clock: ManualClock, payment: Rehearsal, box: Box
) -> AsyncIterator[Shop]:
    clock.advance(3600)
    trade = Trade(payment=payment, mail=box, sender="shop@example.com")
    shop = Shop(database, shows, clock, stock_interval_s=0, pace_s=0, trade=trade, tax_bp=1900)
    shop.attach()
    yield shop
    await shop.office.till.close()


async def uses(database: Database, rule_id: str) -> tuple[int, int]:
    found = await database.read_sync(lambda conn: prices.uses(conn, [rule_id], []))
    return found.get((rule_id, prices.ALL), (0, 0))


def _adds_up(order: Order) -> None:
    off_minor = sum(discount.amount_minor for discount in order.discounts)
    assert order.total_minor == order.subtotal_minor - off_minor + order.shipping_minor
    assert order.total_minor == sum(tax.net_minor + tax.tax_minor for tax in order.taxes)
    for line in order.lines:
        assert line.line_minor == line.price_minor * line.quantity - line.off_minor == line.net_minor + line.tax_minor
    assert sum(line.off_minor for line in order.lines) == off_minor


async def test_an_order_with_everything_adds_up_and_gives_back_what_it_used(
    shop: Shop, database: Database, payment: Rehearsal
) -> None:
    office = shop.office
    await office.facts.save_methods([POST], OPS)
    await publish(
        shop.offering,
        rule(id="third", lane="order", then=[{"kind": "pct", "bp": 3333}], coupon={"code": "THIRD", "limit": 1}),
        rule(id="port", lane="shipping", then=[{"kind": "amount", "minor": 190}], budget_minor=190, currency="EUR"),
    )
    [entry] = await office.orders.trail("price:rules")
    assert (entry.actor, entry.action, entry.after) == ("ops", "price.published", {"version": 1, "ruleset": 1})
    for who in (ADA, BOB):
        await shop.add("demo", who, "CUP", 1)
        await shop.coupons("demo", who, ["THIRD"])
    [option] = await office.facts.options(await shop.cart("demo", ADA), "DE", "10115")
    assert option.price_minor == 300
    order_id = await buy(shop, skus=(("CUP", 2), ("MUG-BLUE", 1)), shipping=Choice("post"), to=ENTRY)
    order = await office.orders.get(order_id, ADA)
    _adds_up(order)
    assert (order.subtotal_minor, order.shipping_minor, order.address) == (4500, 300, ADDRESS)
    assert payment.kept(order_id) == order.total_minor
    assert (await uses(database, "third"), await uses(database, "port")) == ((1, 1500), (1, 190))
    assert (await shop.cart("demo", BOB)).total_minor == 1000, "it was the last one"
    await office.orders.cancel(order_id, HOST)
    assert (await uses(database, "third"), await uses(database, "port")) == ((0, 0), (0, 0))
    again = await buy(shop, "bob", (), shipping=Choice("post"), to=ENTRY)
    order = await office.orders.get(again, BOB)
    _adds_up(order)
    await office.orders.capture(again, HOST)
    await office.orders.refund(again, HOST, [Units("CUP", 1)], shipping_minor=order.shipping_minor)
    assert payment.kept(again) == 0
