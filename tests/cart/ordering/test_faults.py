"""Whatever a provider of payments does, every cent and every unit is accounted for, on both databases."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cart.catalogue import VariantEntry
from cart.ordering import post, store
from cart.ordering.orders import SOLD, Order, OrderState
from cart.ordering.payments import StepKind, StepState, Verdict
from cart.ordering.provider import Fault, Rehearsal
from cart.ordering.refunds import Units
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.limits import CLAIM_TTL_S, PAYMENT_LATE_S
from live.service import Shows
from tests.cart.conftest import level, product, stock, viewer
from tests.cart.ordering.conftest import HOST, buy

SOFT = st.sampled_from([Fault.none, Fault.lost, Fault.unheard])
STORY = st.fixed_dictionaries(
    {
        "authorise": st.sampled_from(list(Fault)),
        "late": st.booleans(),
        "blind": st.booleans(),
        "taken": st.booleans(),
        "dropped": st.booleans(),
        "notices": st.integers(0, 2),
        "void": st.lists(SOFT, max_size=2),
        "capture": st.lists(st.sampled_from([Fault.none, Fault.lost, Fault.unheard, Fault.refuse]), max_size=2),
        "refund": st.lists(SOFT, max_size=2),
        "then": st.lists(st.sampled_from(["capture", "ship", "cancel", "refund", "return"]), max_size=3),
    }
)


class Stage:
    """A shop over whose cup stories are told, one buyer after the other."""

    def __init__(self, shop: Shop, shows: Shows, database: Database, clock: ManualClock, payment: Rehearsal) -> None:
        self.shop, self.shows, self.database, self.clock, self.payment = shop, shows, database, clock, payment
        self.told = 0

    async def tell(self, story: dict[str, Any]) -> None:
        self.told += 1
        buyer, other = f"buyer{self.told}", f"other{self.told}"
        _, allocated, held = await level(self.database, "CUP")
        await stock(self.shows, product("cup", VariantEntry(sku="CUP", price_minor=1000, stock=allocated + held + 2)))
        for kind in (StepKind.authorise, StepKind.void, StepKind.capture, StepKind.refund):
            script = self.payment.script[kind]
            script.clear()
            script.extend([story[kind.value]] if kind is StepKind.authorise else story[kind.value])
        self.payment.blind = story["blind"]

        async def meanwhile(_charge: object) -> None:
            if story["late"]:
                self.clock.advance(CLAIM_TTL_S)
                await self.shop.keeper.sweep()
                if story["dropped"]:
                    await self._try(self.shop.remove("demo", viewer(buyer), "CUP"))
                if story["taken"]:
                    await self._try(self.shop.add("demo", viewer(other), "CUP", 1))

        self.payment.meanwhile = meanwhile
        await self._try(buy(self.shop, buyer))
        self.payment.meanwhile = None
        await self._notices(story["notices"])
        [order] = await self._orders(buyer)
        for verb in story["then"]:
            await self._do(verb, order.id)
        await self._settle()
        await self._notices(1)
        await self._settle()
        await self._check((await self._orders(buyer))[0])
        await self._try(self.shop.remove("demo", viewer(other), "CUP"))
        await self._try(self.shop.remove("demo", viewer(buyer), "CUP"))

    async def _notices(self, times: int) -> None:
        for order_id, receipt in self.payment.notices * times:
            await self.shop.office.checkout.heard(order_id, receipt)
        await self.shop.office.till.idle()

    async def _do(self, verb: str, order_id: str) -> None:
        orders = self.shop.office.orders
        one = [Units("CUP", 1)]
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "capture": lambda: orders.capture(order_id, HOST),
            "ship": lambda: orders.ship(order_id, HOST),
            "cancel": lambda: orders.cancel(order_id, HOST),
            "refund": lambda: orders.refund(order_id, HOST, one),
            "return": lambda: orders.take_back(order_id, HOST, one, refund=True),
        }
        await self._try(calls[verb]())

    async def _try(self, awaitable: Any) -> None:
        try:
            await awaitable
        except Problem:
            pass

    async def _settle(self) -> None:
        self.payment.blind = False
        for _ in range(12):
            await self.shop.office.till.idle()
            self.clock.advance(PAYMENT_LATE_S)
            await self.shop.keeper.sweep()
            if not await self.shop.office.clerk.pay():
                return
        raise AssertionError("it never settles")

    async def _orders(self, buyer: str) -> list[Order]:
        return await self.database.read_sync(lambda conn: store.list_orders(conn, before="", viewer_id=buyer))

    async def _all(self) -> list[Order]:
        rows: list[Order] = []
        while True:
            before = rows[-1].id if rows else ""
            page = await self.database.read_sync(partial(store.list_orders, before=before))
            if not page:
                return rows
            rows += page

    async def _check(self, order: Order) -> None:
        steps = await self.database.read_sync(lambda conn: store.steps(conn, order.id))
        assert not [step for step in steps if step.state is StepState.wanted or step.due_at_ms is not None], steps
        owed = order.total_minor if order.state is OrderState.placed else order.refundable_minor
        if order.state in (OrderState.cancelled, OrderState.refused, OrderState.lapsed):
            owed = 0
        assert self.payment.kept(order.id) == owed, (order, self.payment.accounts, steps)
        for account in self.payment.accounts.values():
            assert 0 <= account.kept and account.voided + account.captured <= account.authorised
        letters = await self.database.read_sync(lambda conn: post.of_order(conn, order.id))
        confirmed = sum(letter.kind is post.LetterKind.confirmation for letter in letters)
        assert confirmed == (order.placed_at_ms is not None)
        assert await self.shop.keeper.reconcile() == []
        rows = await self._all()
        sold = [one for one in rows if one.state in SOLD and one.shipped_at_ms is None]
        allocated = sum(line.quantity - line.cancelled for one in sold for line in one.lines)
        assert (await level(self.database, "CUP"))[1] == allocated


@pytest.mark.parametrize("at_once", [False, True])
async def test_every_cent_is_accounted_for(
    shop: Shop, shows: Shows, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    loop = asyncio.get_running_loop()
    stage = Stage(shop, shows, database, clock, payment)

    @settings(max_examples=7)
    @given(STORY)
    def tell(story: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(stage.tell(story), loop).result()

    await asyncio.to_thread(tell)


# --- the same, one story at a time ------------------------------------------------------------------------------


async def late(shop: Shop, clock: ManualClock, payment: Rehearsal, then: Any = None) -> str:
    """An order whose payment is heard of only after it lapsed; its id."""

    async def dawdle(_charge: object) -> None:
        payment.blind = True
        clock.advance(CLAIM_TTL_S)
        assert await shop.keeper.sweep() == 1
        if then is not None:
            await then()

    payment.meanwhile = dawdle
    try:
        return await buy(shop, skus=(("MUG-RED", 1),))
    finally:
        payment.meanwhile = None
        await shop.office.till.idle()


async def test_a_late_payment_takes_the_stock_that_its_cart_still_holds(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    order_id = await late(shop, clock, payment)
    order = await shop.office.orders.get(order_id, HOST)
    assert (order.state, payment.kept(order_id)) == (OrderState.placed, 1500)
    assert await level(database, "MUG-RED") == (1, 1, 0)
    assert (await shop.cart("demo", viewer("ada"))).lines == []


async def test_a_late_payment_takes_stock_from_the_shelf(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    async def leave() -> None:
        await shop.remove("demo", viewer("ada"), "MUG-RED")

    order_id = await late(shop, clock, payment, leave)
    assert (await shop.office.orders.get(order_id, HOST)).state is OrderState.placed
    assert await level(database, "MUG-RED") == (1, 1, 0)


async def test_a_late_payment_finds_nothing_left_and_is_given_back_once(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    async def lose() -> None:
        await shop.remove("demo", viewer("ada"), "MUG-RED")
        await shop.add("demo", viewer("bob"), "MUG-RED")

    payment.script[StepKind.void].extend([Fault.unheard, Fault.lost])
    with pytest.raises(Problem):
        await late(shop, clock, payment, lose)
    [account] = payment.accounts.values()
    assert (account.authorised, account.voided) == (1500, 1500)
    [order] = await database.read_sync(lambda conn: store.list_orders(conn, before="", viewer_id="ada"))
    for _ in range(4):
        clock.advance(600)
        await shop.office.clerk.pay()
    for _ in range(2):  # the provider says it again
        [(reference, _account)] = payment.accounts.items()
        receipt = payment._answers[f"{order.id}:authorise"]
        assert receipt.reference == reference
        assert await shop.office.checkout.heard(order.id, receipt) is Verdict.known
    steps = await database.read_sync(lambda conn: store.steps(conn, order.id))
    assert [(step.kind, step.state) for step in steps] == [
        (StepKind.authorise, StepState.done),
        (StepKind.void, StepState.done),
    ]
    assert (account.voided, payment.kept(order.id), order.state) == (1500, 0, OrderState.lapsed)
    assert await level(database, "MUG-RED") == (1, 0, 1)


async def test_a_late_payment_of_a_cart_that_was_ordered_again_is_given_back(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    again: list[str] = []

    async def order_again() -> None:
        payment.meanwhile = None
        answer = await shop.checkout("demo", viewer("ada"), name="Ada", email="ada@example.com")
        again.append(answer.body["order"]["id"])

    with pytest.raises(Problem):
        await late(shop, clock, payment, order_again)
    await shop.office.till.idle()
    assert payment.kept(again[0]) == 1500
    assert sum(account.kept for account in payment.accounts.values()) == 1500
    assert await level(database, "MUG-RED") == (1, 1, 0)


async def test_a_payment_that_is_being_let_go_buys_nothing_any_more(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    payment.script[StepKind.authorise].append(Fault.unheard)
    payment.script[StepKind.void].extend([Fault.lost, Fault.lost])
    with pytest.raises(Problem):
        await late(shop, clock, payment)
    [(order_id, receipt)] = payment.notices
    assert await shop.office.checkout.heard(order_id, receipt) is Verdict.surplus
    for _ in range(3):
        clock.advance(PAYMENT_LATE_S)
        await shop.office.clerk.pay()
    assert (payment.kept(order_id), await level(database, "MUG-RED")) == (0, (1, 0, 1)), "the cart still has it"


async def test_a_worker_that_dies_between_the_payment_and_its_commit_leaves_a_placed_order(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorise = payment.authorise

    async def die(charge: Any) -> Any:
        await authorise(charge)
        raise asyncio.CancelledError

    monkeypatch.setattr(payment, "authorise", die)
    with pytest.raises(asyncio.CancelledError):
        await buy(shop)
    assert await level(database, "CUP") == (10, 0, 2)
    clock.advance(CLAIM_TTL_S)
    assert await shop.keeper.sweep() == 1
    [order] = await shop.office.orders.mine(viewer("ada"))
    assert (order.state, payment.kept(order.id), len(payment.accounts)) == (OrderState.placed, 2000, 1)
    assert await level(database, "CUP") == (10, 2, 0)


async def test_an_authorisation_that_is_never_heard_of_is_voided(
    shop: Shop, database: Database, clock: ManualClock, payment: Rehearsal
) -> None:
    async def die(_charge: object) -> None:
        raise asyncio.CancelledError

    payment.meanwhile = die
    with pytest.raises(asyncio.CancelledError):
        await buy(shop)
    clock.advance(CLAIM_TTL_S)
    await shop.keeper.sweep()
    clock.advance(PAYMENT_LATE_S)
    assert await shop.office.clerk.pay() == 1
    await shop.office.till.idle()
    [order] = await database.read_sync(lambda conn: store.list_orders(conn, before=""))
    assert order.state is OrderState.lapsed
    assert payment.asked[-1] == (StepKind.void, f"{order.id}:void:")
    assert await shop.office.clerk.pay() == 0


async def test_another_amount_is_given_back_and_the_cart_stays(
    shop: Shop, database: Database, payment: Rehearsal
) -> None:
    payment.script[StepKind.authorise].append(Fault.wrong)
    with pytest.raises(Problem, match="another amount"):
        await buy(shop)
    await shop.office.till.idle()
    [account] = payment.accounts.values()
    assert (account.authorised, account.voided) == (2001, 2001)
    assert await level(database, "CUP") == (10, 0, 2)


async def test_a_double_payment_is_given_back_once(shop: Shop, payment: Rehearsal) -> None:
    payment.script[StepKind.authorise].append(Fault.double)
    order_id = await buy(shop)
    [(_, notice)] = payment.notices
    assert await shop.office.checkout.heard(order_id, notice) is Verdict.surplus
    assert await shop.office.checkout.heard(order_id, notice) is Verdict.known
    await shop.office.till.idle()
    assert payment.kept(order_id) == 2000
    assert len({key for kind, key in payment.asked if kind is StepKind.void}) == 1
    with pytest.raises(Problem):
        await shop.office.checkout.heard("0" * 32, notice)
