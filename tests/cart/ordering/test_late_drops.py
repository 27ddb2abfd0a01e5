"""Money that comes late takes no more of a drop than the drop has left, and comes before nobody who waits unfairly."""

import pytest

from cart.ordering.orders import OrderState
from cart.ordering.provider import Rehearsal
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import HOLD_TTL_S
from tests.cart.conftest import BOB, level, viewer
from tests.cart.ordering.conftest import HOST, OPS, buy
from tests.cart.ordering.test_faults import late
from tests.cart.waiting.conftest import ANN, held, plan, wait


@pytest.mark.parametrize("limited", [True, False])
async def test_late_money_is_given_back_when_the_drop_is_sold(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal, limited: bool
) -> None:
    await shop.office.stocktake.adjust("MUG-RED", 1, OPS)
    await plan(shop, "MUG-RED", total_limit=1 if limited else None)

    async def faster() -> None:
        await shop.remove("demo", viewer("ada"), "MUG-RED")
        await shop.add("demo", BOB, "MUG-RED")

    if limited:
        with pytest.raises(Problem) as refused:
            await late(shop, clock, payment, faster)
        assert refused.value.kind is Kind.hold_expired
        assert await level(database, "MUG-RED") == (2, 0, 1)
        [account] = payment.accounts.values()
        assert (account.voided, account.kept) == (1500, 0)
    else:
        order = await shop.office.orders.get(await late(shop, clock, payment, faster), HOST)
        assert order.state is OrderState.placed
        assert await level(database, "MUG-RED") == (2, 1, 1)
    [drop] = await shop.planning.drops("demo")
    assert drop.taken == (1 if limited else 2)


async def test_late_money_does_not_take_what_the_next_in_the_queue_got(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    async def wait_and_leave() -> None:
        await wait(shop, ANN)
        await shop.remove("demo", viewer("ada"), "MUG-RED")

    with pytest.raises(Problem, match="too late"):
        await late(shop, clock, payment, wait_and_leave)
    assert await held(shop, ANN) == {"MUG-RED": 1}
    assert await level(database, "MUG-RED") == (1, 0, 1)


async def test_late_money_does_not_take_what_has_run_out_before_those_who_wait(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    async def bob_lets_it_lapse() -> None:
        await shop.remove("demo", viewer("ada"), "MUG-RED")
        await shop.add("demo", BOB, "MUG-RED")
        await wait(shop, ANN)
        clock.advance(HOLD_TTL_S)

    with pytest.raises(Problem, match="too late"):
        await late(shop, clock, payment, bob_lets_it_lapse)
    await shop.keeper.sweep()
    assert (await held(shop, ANN), await held(shop, BOB)) == ({"MUG-RED": 1}, {})
    assert await level(database, "MUG-RED") == (1, 0, 1)


@pytest.mark.parametrize("lapses", [False, True])
async def test_what_was_counted_when_it_was_paid_comes_back_to_a_drop_that_is_younger_than_its_order(
    shop: Shop, clock: ManualClock, payment: Rehearsal, lapses: bool
) -> None:
    """The drop is planned while the buyer pays, and again before money that comes late takes units anew."""

    async def planned() -> None:
        clock.advance(1)
        await plan(shop, "MUG-RED", total_limit=1)

    if lapses:
        order_id = await late(shop, clock, payment, planned)
    else:
        payment.meanwhile = lambda _charge: planned()
        order_id = await buy(shop, skus=(("MUG-RED", 1),))
    assert [drop.taken for drop in await shop.planning.drops("demo")] == [1]
    await shop.office.orders.cancel(order_id, HOST)
    assert [(drop.taken, drop.left) for drop in await shop.planning.drops("demo")] == [(0, 1)]


async def test_what_was_ordered_before_a_drop_was_planned_does_not_come_back_to_it(
    shop: Shop, clock: ManualClock
) -> None:
    order_id = await buy(shop)
    clock.advance(1)
    await plan(shop, "CUP", total_limit=3)
    await shop.add("demo", BOB, "CUP", 3)
    await shop.office.orders.cancel(order_id, HOST)
    assert [drop.taken for drop in await shop.planning.drops("demo")] == [3]
