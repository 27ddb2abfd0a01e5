"""Check-out: one order from the holds of a cart, exactly once, whatever the payment does."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from cart.ordering.office import Trade
from cart.ordering.orders import OrderState
from cart.ordering.payments import Charge, PaymentRefused, StepKind
from cart.ordering.provider import Rehearsal
from cart.service import Answer, Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import CLAIM_TTL_S, HOLD_TTL_S
from live.service import Shows
from tests.cart.conftest import ADA, BOB, Screens, level, refused, viewer


@pytest.fixture
def payment() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
async def shop(database: Database, shows: Shows, clock: ManualClock, payment: Rehearsal) -> AsyncIterator[Shop]:
    made = Shop(database, shows, clock, trade=Trade(payment=payment), pace_s=0)
    yield made
    await made.office.till.close()


async def buy(shop: Shop, who: str = "ada", key: str | None = None, total_minor: int | None = None) -> Answer:
    return await shop.checkout(
        "demo",
        viewer(who),
        name=" Ada  Lovelace ",
        email="ada@example.com",
        note="  ",
        key=key,
        total_minor=total_minor,
    )


async def test_a_cart_becomes_one_order(
    shop: Shop, database: Database, screens: Screens, clock: ManualClock, payment: Rehearsal
) -> None:
    await shop.add("demo", ADA, "CUP", 2)
    await shop.add("demo", ADA, "MUG-RED")
    screens.clear()
    order = (await buy(shop, total_minor=3500)).body["order"]
    assert (order["state"], order["total_minor"], order["currency"]) == ("placed", 3500, "EUR")
    assert (order["name"], order["email"], order["note"]) == ("Ada Lovelace", "ada@example.com", "")
    assert (order["created_at_ms"], order["placed_at_ms"]) == (clock.now_ms(), clock.now_ms())
    assert sorted((line["sku"], line["quantity"], line["line_minor"]) for line in order["lines"]) == [
        ("CUP", 2, 2000),
        ("MUG-RED", 1, 1500),
    ]
    assert await level(database, "CUP") == (10, 2, 0)
    assert await level(database, "MUG-RED") == (1, 1, 0)
    assert payment.asked == [(StepKind.authorise, f"{order['id']}:authorise")]
    assert payment.kept(order["id"]) == 3500
    assert screens.states == [] and screens.events == [], "what is left did not change"
    empty = {"lines": [], "total_minor": 0, "currency": ""}
    assert screens.notices == [("demo", "ada", "cart.changed", {"cart": empty, "reason": "ordered"})]
    assert await shop.keeper.reconcile() == []


async def test_an_empty_cart_is_not_ordered(shop: Shop) -> None:
    assert (await refused(buy(shop))).kind is Kind.cart_empty
    await shop.add("demo", ADA, "CUP")
    await buy(shop)
    assert (await refused(buy(shop))).kind is Kind.cart_empty


async def test_an_expired_hold_is_not_ordered_and_nothing_changes(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    await shop.add("demo", ADA, "CUP")
    clock.advance(HOLD_TTL_S / 2)
    await shop.add("demo", ADA, "MUG-RED")
    clock.advance(HOLD_TTL_S / 2)
    problem = await refused(buy(shop))
    assert (problem.kind, problem.extra) == (Kind.hold_expired, {"skus": ["CUP"]})
    assert await level(database, "CUP") == (10, 0, 1)
    await shop.keeper.sweep()
    assert (await refused(buy(shop, total_minor=2500))).kind is Kind.price_changed, "the buyer saw more than is left"
    clock.advance(HOLD_TTL_S)
    await shop.keeper.sweep()
    assert (await refused(buy(shop))).kind is Kind.hold_expired
    assert payment.asked == []


async def test_a_form_that_is_wrong_is_refused_by_the_field(shop: Shop) -> None:
    await shop.add("demo", ADA, "CUP")
    problem = await refused(shop.checkout("demo", ADA, name="Ada", email="nowhere"))
    assert (problem.kind, problem.field) == (Kind.invalid_field, "email")


async def test_a_refused_payment_leaves_the_cart(
    shop: Shop, database: Database, screens: Screens, payment: Rehearsal
) -> None:
    async def refuse(_charge: Charge) -> None:
        raise PaymentRefused("No money.")

    await shop.add("demo", ADA, "CUP")
    payment.meanwhile = refuse
    problem = await refused(buy(shop, key="k1"))
    assert (problem.kind, problem.detail) == (Kind.payment_refused, "No money.")
    assert await level(database, "CUP") == (10, 0, 1)
    assert len((await shop.cart("demo", ADA)).lines) == 1
    payment.meanwhile = None
    assert (await buy(shop, key="k1")).body["order"]["state"] == "placed", "the key was not used up"


async def test_a_refused_payment_after_the_time_gives_the_units_back(
    shop: Shop, database: Database, screens: Screens, clock: ManualClock, payment: Rehearsal
) -> None:
    async def refuse(_charge: Charge) -> None:
        clock.advance(HOLD_TTL_S)
        raise PaymentRefused

    await shop.add("demo", ADA, "MUG-RED")
    payment.meanwhile = refuse
    assert (await refused(buy(shop))).kind is Kind.payment_refused
    assert await level(database, "MUG-RED") == (1, 0, 0)
    assert screens.notices[-1][3]["reason"] == "hold_expired"
    assert screens.of("product.restocked") == [{"sku": "MUG-RED", "available": 1}]


async def test_the_cart_cannot_be_touched_while_it_is_paid_for(
    shop: Shop, database: Database, payment: Rehearsal, clock: ManualClock
) -> None:
    kinds = []

    async def meddle(_charge: Charge) -> None:
        calls = [
            shop.add("demo", ADA, "CUP"),
            shop.change("demo", ADA, "CUP", 5),
            shop.remove("demo", ADA, "CUP"),
            buy(shop),
            buy(shop, key="k1"),
        ]
        kinds.extend([(await refused(call)).kind for call in calls])
        clock.advance(CLAIM_TTL_S - 1)
        await shop.keeper.sweep()  # the hold's own time is over or not: whoever is paying is not swept

    shop_cart = await shop.add("demo", ADA, "CUP")
    clock.advance(HOLD_TTL_S - 1)
    payment.meanwhile = meddle
    answer = await buy(shop, key="k1")
    assert kinds == [Kind.checkout_running] * 4 + [Kind.key_in_flight]
    assert answer.body["order"]["lines"][0]["hold_id"] == shop_cart.body["hold"]["hold_id"]
    assert await level(database, "CUP") == (10, 1, 0)


async def test_a_payment_that_answers_too_late_is_given_back(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    async def dawdle(_charge: Charge) -> None:
        clock.advance(CLAIM_TTL_S)
        with capture_logs():
            assert await shop.keeper.sweep() == 1
        await shop.remove("demo", ADA, "MUG-RED")
        await shop.add("demo", BOB, "MUG-RED")

    await shop.add("demo", ADA, "MUG-RED")
    payment.meanwhile = dawdle
    assert (await refused(buy(shop, key="k1"))).kind is Kind.hold_expired
    await shop.office.till.idle()
    [account] = payment.accounts.values()
    assert (account.authorised, account.voided) == (1500, 1500), "somebody else has it by now"
    assert await level(database, "MUG-RED") == (1, 0, 1)
    [line] = (await shop.cart("demo", BOB)).lines
    assert line.sku == "MUG-RED"


async def test_a_refusal_that_comes_too_late_is_void_as_well(
    shop: Shop, clock: ManualClock, payment: Rehearsal
) -> None:
    async def dawdle(_charge: Charge) -> None:
        clock.advance(CLAIM_TTL_S)
        with capture_logs():
            await shop.keeper.sweep()
        raise PaymentRefused

    await shop.add("demo", ADA, "CUP")
    payment.meanwhile = dawdle
    assert (await refused(buy(shop))).kind is Kind.hold_expired


async def test_a_payment_that_never_answers_is_refused(
    shop: Shop, payment: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cart.ordering.till.PAYMENT_TIMEOUT_S", 0.01)

    async def hang(_charge: Charge) -> None:
        await asyncio.Event().wait()

    await shop.add("demo", ADA, "CUP")
    payment.meanwhile = hang
    assert (await refused(buy(shop))).kind is Kind.payment_refused
    await shop.office.till.idle()
    assert [kind for kind, _ in payment.asked] == [StepKind.authorise, StepKind.void]
    assert len((await shop.cart("demo", ADA)).lines) == 1


async def test_a_check_out_whose_worker_died_gives_the_cart_back(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    charges: list[Charge] = []

    async def die(charge: Charge) -> None:
        charges.append(charge)
        raise asyncio.CancelledError

    await shop.add("demo", ADA, "CUP")
    payment.meanwhile = die
    with pytest.raises(asyncio.CancelledError):
        await buy(shop, key="k1")
    assert (await refused(buy(shop, key="k1"))).kind is Kind.key_in_flight
    clock.advance(CLAIM_TTL_S)
    with capture_logs() as logs:
        assert await shop.keeper.sweep() == 1
        assert await shop.keeper.sweep() == 0
    assert [entry["event"] for entry in logs] == ["payment_lapsed"]
    assert (await shop.office.orders.get(charges[0].order_id, ADA)).state is OrderState.lapsed
    payment.meanwhile = None
    answer = await buy(shop, key="k1")
    assert answer.body["order"]["id"] != charges[0].order_id
    assert await level(database, "CUP") == (10, 1, 0)


async def test_a_claim_that_was_paid_meanwhile_does_not_lapse(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP")
    order = (await buy(shop)).body["order"]
    assert await shop.keeper._checkout.lapse(order["id"]) is False
    assert await level(database, "CUP") == (10, 1, 0)


async def test_the_same_key_orders_once(shop: Shop, database: Database, payment: Rehearsal) -> None:
    await shop.add("demo", ADA, "CUP")
    first = await buy(shop, key="k1")
    await shop.add("demo", ADA, "CUP")
    again = await buy(shop, key="k1")
    assert (again.replayed, again.body) == (True, first.body)
    assert (await refused(buy(shop, key="k1", total_minor=1))).kind is Kind.key_reused
    assert await level(database, "CUP") == (10, 1, 1)
    assert len(payment.accounts) == 1


async def test_many_check_outs_at_once_make_one_order(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP", 3)
    results = await asyncio.gather(*(buy(shop) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, Answer) for result in results) == 1
    assert await level(database, "CUP") == (10, 3, 0)
