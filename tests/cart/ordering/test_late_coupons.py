"""Money that comes late pays for a discount only if the discount can still be had; else it is given back."""

from typing import Any

import pytest

from cart.ordering.orders import OrderState
from cart.ordering.provider import Rehearsal
from cart.pricing.rules import Rule
from cart.pricing.store import Shopper, save_customers
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from tests.cart.conftest import BOB, level, viewer
from tests.cart.offering.conftest import publish, rule
from tests.cart.ordering.conftest import HOST, buy
from tests.cart.ordering.test_faults import late
from tests.cart.ordering.test_prices import uses

ONCE = rule(id="once", lane="order", coupon={"code": "ONCE", "limit": 1})
BUDGET = rule(id="budget", lane="order", currency="EUR", budget_minor=150)


async def _late(shop: Shop, clock: ManualClock, payment: Rehearsal, then: Any = None, code: str = "ONCE") -> str:
    """Ada's order of a red mug with a coupon, whose payment is heard of only after it lapsed."""
    if code:
        await shop.coupons("demo", viewer("ada"), [code])
    order_id = await late(shop, clock, payment, then)
    payment.blind = False
    return order_id


async def _given_back(shop: Shop, database: Database, payment: Rehearsal) -> None:
    """Ada's order stays lapsed, and its money and units went back."""
    await shop.office.till.idle()
    [account] = [one for one in payment.accounts.values() if one.authorised == 1350]
    assert (account.voided, account.kept) == (1350, 0)
    order = await shop.office.orders.get(account.order_id, HOST)
    assert order.state is OrderState.lapsed
    _, allocated, _ = await level(database, "MUG-RED")
    assert allocated == 0
    assert await shop.keeper.reconcile() == []


async def test_a_coupon_that_somebody_else_has_used_since_makes_late_money_surplus(
    shop: Shop,
    database: Database,
    clock: ManualClock,
    payment: Rehearsal,
) -> None:
    await publish(shop.offering, ONCE)

    async def faster() -> None:
        payment.meanwhile = None
        await shop.coupons("demo", BOB, ["ONCE"])
        await buy(shop, "bob", (("CUP", 1),))

    with pytest.raises(Exception, match="too late"):
        await _late(shop, clock, payment, faster)
    await _given_back(shop, database, payment)
    assert await uses(database, "once") == (1, 100)


async def test_a_coupon_that_is_free_is_used_again_and_given_back_with_the_order(
    shop: Shop,
    database: Database,
    clock: ManualClock,
    payment: Rehearsal,
) -> None:
    await publish(shop.offering, ONCE)

    async def free() -> None:
        assert await uses(database, "once") == (0, 0)

    order_id = await _late(shop, clock, payment, free)
    order = await shop.office.orders.get(order_id, HOST)
    assert (order.state, payment.kept(order_id)) == (OrderState.placed, 1350)
    assert await uses(database, "once") == (1, 150)
    await shop.office.orders.cancel(order_id, HOST)
    assert await uses(database, "once") == (0, 0)


async def test_a_coupon_is_free_again_when_there_is_no_stock_for_the_late_order(
    shop: Shop,
    database: Database,
    clock: ManualClock,
    payment: Rehearsal,
) -> None:
    await publish(shop.offering, ONCE)

    async def lose() -> None:
        await shop.remove("demo", viewer("ada"), "MUG-RED")
        await shop.add("demo", BOB, "MUG-RED")

    with pytest.raises(Exception, match="too late"):
        await _late(shop, clock, payment, lose)
    await _given_back(shop, database, payment)
    assert await uses(database, "once") == (0, 0)


async def test_a_budget_that_is_spent_by_now_makes_late_money_surplus(
    shop: Shop,
    database: Database,
    clock: ManualClock,
    payment: Rehearsal,
) -> None:
    await publish(shop.offering, BUDGET)

    async def spend() -> None:
        payment.meanwhile = None
        await buy(shop, "bob", (("CUP", 1),))

    with pytest.raises(Exception, match="too late"):
        await _late(shop, clock, payment, spend, code="")
    await _given_back(shop, database, payment)
    assert await uses(database, "budget") == (1, 100)


@pytest.mark.parametrize("used", [True, False])
async def test_a_limit_holds_after_its_rule_has_ended(
    shop: Shop,
    database: Database,
    clock: ManualClock,
    payment: Rehearsal,
    used: bool,
) -> None:
    await publish(shop.offering, ONCE)

    async def end() -> None:
        payment.meanwhile = None
        if used:
            await shop.coupons("demo", BOB, ["ONCE"])
            await buy(shop, "bob", (("CUP", 1),))
        await publish(shop.offering, rule(id="other"))

    if used:
        with pytest.raises(Exception, match="too late"):
            await _late(shop, clock, payment, end)
        await _given_back(shop, database, payment)
    else:
        assert payment.kept(await _late(shop, clock, payment, end)) == 1350
    assert await uses(database, "once") == ((1, 100) if used else (1, 150))


async def test_once_for_each_customer_holds_for_late_money_too(
    shop: Shop,
    database: Database,
    clock: ManualClock,
    payment: Rehearsal,
) -> None:
    """The same customer used the coupon in another cart while the payment was out."""
    own: Rule = rule(id="once", lane="order", coupon={"code": "MINE", "per_customer": 1})
    await publish(shop.offering, own)
    same = {f"demo:{who}": Shopper(customer="c1") for who in ("ada", "bob")}
    await database.write_sync(lambda conn: save_customers(conn, same, 1))
    await shop.coupons("demo", viewer("ada"), ["MINE"])

    async def elsewhere() -> None:
        payment.meanwhile = None
        await shop.coupons("demo", BOB, ["MINE"])
        await buy(shop, "bob", (("CUP", 1),))

    with pytest.raises(Exception, match="too late"):
        await _late(shop, clock, payment, elsewhere, code="")
    await _given_back(shop, database, payment)
    assert await uses(database, "once") == (1, 100)
