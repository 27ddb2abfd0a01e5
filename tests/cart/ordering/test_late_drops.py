"""Money that comes late takes no more of a drop than the drop has left, and comes before nobody who waits unfairly."""

import pytest

from cart.ordering.orders import OrderState
from cart.ordering.provider import Rehearsal
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from tests.cart.conftest import BOB, level, viewer
from tests.cart.ordering.conftest import HOST, OPS
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
