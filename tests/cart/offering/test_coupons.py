"""Coupons and budgets: what a cart says of them, and that no race uses them up twice."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from cart import store as carts
from cart.baskets import cart_id
from cart.moves import Moves
from cart.offering.service import Offering
from cart.pricing import store
from cart.pricing.priced import Priced
from cart.pricing.service import Known, shopper_of
from cart.pricing.store import Shopper
from cart.register import Register
from cart.service import Shop
from live.core.auth import Principal, Role
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.service import Shows
from tests.cart.conftest import ADA, BOB, Screens, refused
from tests.cart.offering.conftest import publish, rule

TENTH = {"id": "tenth", "lane": "order"}
KNOWN = Principal(subject="ada", role=Role.viewer, show="*", name="Ada", customer="c1")
UNLIMITED: dict[str, Any] = {"uses_max": None, "amount_max": None}
ONCE = TENTH | {"coupon": {"code": "ONCE", "limit": 1}}


async def use(shop: Shop, principal: Principal, order_id: str, shopper: Shopper | None = None) -> int:
    """Price a cart and use up what an order for it would; the total."""
    cart = cart_id("demo", principal.subject)

    def work(moves: object) -> int:
        register: Register = moves.register  # type: ignore[attr-defined]
        if shopper is not None:
            register.meet({cart: shopper})
        conn: Connection = moves.tx.conn  # type: ignore[attr-defined]
        priced = register.price(cart, "demo", carts.cart_holds(conn, [cart])[cart])
        register.consume(cart, priced, order_id)
        return priced.total_minor

    return await shop.offering.stockroom.change(work)


async def uses(database: Database, rule_id: str = "tenth") -> tuple[int, int]:
    found = await database.read_sync(lambda conn: store.uses(conn, [rule_id], []))
    return found.get((rule_id, store.ALL), (0, 0))


async def test_a_cart_says_what_its_coupons_do(shop: Shop, offering: Offering, screens: Screens) -> None:
    await publish(offering, rule(**TENTH, coupon={"code": "TENTH"}))
    await shop.add("demo", ADA, "MUG-BLUE", 2)
    assert (await refused(shop.coupons("demo", ADA, ["NOPE"]))).kind is Kind.coupon_refused
    assert (await refused(shop.coupons("demo", ADA, ["?"]))).kind is Kind.invalid_field
    assert (await refused(shop.coupons("demo", ADA, [f"C{n:03}" for n in range(9)]))).field == "codes"
    screens.clear()
    cart = (await shop.coupons("demo", ADA, [" tenth"], key="k")).body["cart"]
    assert (await shop.coupons("demo", ADA, [" tenth"], key="k")).replayed
    assert cart["coupons"] == [{"code": "TENTH", "why": "applied"}]
    assert [one["amount_minor"] for one in cart["discounts"]] == [300]
    assert (cart["subtotal_minor"], cart["total_minor"], cart["lines"][0]["line_minor"]) == (3000, 2700, 2700)
    assert screens.notices[-1][3]["cart"] == cart
    again = (await shop.add("demo", ADA, "CUP")).body["cart"]
    assert again["total_minor"] == 3600, "every later view of the cart has them too"
    assert (await shop.cart("demo", ADA)).total_minor == 3600
    assert (await shop.coupons("demo", ADA, [])).body["cart"]["total_minor"] == 4000
    assert (await shop.cart("demo", BOB)).coupons == []


async def test_a_shop_without_coupons_knows_none(shop: Shop) -> None:
    await shop.add("demo", ADA, "MUG-BLUE")
    assert (await refused(shop.coupons("demo", ADA, ["NOPE"]))).kind is Kind.coupon_refused
    assert (await shop.coupons("demo", ADA, [])).body["cart"]["lines"]


async def test_an_order_costs_what_the_cart_says_and_uses_the_coupon(
    shop: Shop, offering: Offering, database: Database
) -> None:
    await publish(offering, rule(**ONCE))
    for who in (ADA, BOB):
        await shop.add("demo", who, "CUP")
        await shop.coupons("demo", who, ["ONCE"])
    assert (await shop.cart("demo", BOB)).total_minor == 900
    answer = await shop.checkout("demo", ADA, name="Ada", email="ada@example.com", total_minor=900)
    assert (answer.body["order"]["total_minor"], await uses(database)) == (900, (1, 100))
    assert (await shop.cart("demo", ADA)).coupons == [], "the next cart begins without"
    cart = await shop.cart("demo", BOB)
    assert (cart.total_minor, cart.coupons[0].why) == (1000, "coupon_used_up")
    problem = await refused(shop.checkout("demo", BOB, name="Bob", email="bob@example.com", total_minor=900))
    assert (problem.kind, problem.extra["total_minor"]) == (Kind.price_changed, 1000)


async def test_the_last_use_of_a_coupon_goes_to_one(
    shop: Shop, offering: Offering, database: Database, shows: Shows
) -> None:
    """Each saw it free and comes through the store's own guard, whatever was read before."""
    await publish(offering, rule(**TENTH, coupon={"code": "THRICE", "limit": 3}))

    def take(conn: Connection) -> bool:
        return store.take(conn, "tenth", store.ALL, 100, uses_max=3, amount_max=None)

    results = await asyncio.gather(*(database.write_sync(take) for _ in range(8)))
    assert (results.count(True), await uses(database)) == (3, (3, 300))


async def test_a_race_for_a_coupon_is_refused_and_changes_nothing(
    shop: Shop, offering: Offering, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(offering, rule(**ONCE))
    for who in (ADA, BOB):
        await shop.add("demo", who, "CUP")
        await shop.coupons("demo", who, ["ONCE"])
    monkeypatch.setattr(store, "uses", lambda _conn, _rules, _customers: {})  # both read before either has written
    assert await use(shop, ADA, "o1") == 900
    with pytest.raises(Problem) as caught:
        await use(shop, BOB, "o2")
    monkeypatch.undo()
    assert caught.value.kind is Kind.price_changed
    assert await uses(database) == (1, 100)


async def test_what_an_order_used_comes_back_once(shop: Shop, offering: Offering, database: Database) -> None:
    await publish(offering, rule(**ONCE))
    await shop.add("demo", ADA, "CUP")
    await shop.coupons("demo", ADA, ["ONCE"])
    assert await use(shop, ADA, "o1", Shopper(customer="c1")) == 900
    for _ in range(2):
        await database.write_sync(lambda conn: store.give_back(conn, "o1"))
    assert await uses(database) == (0, 0)
    assert await use(shop, ADA, "o2") == 900


async def test_what_can_do_nothing_for_a_cart_is_refused_with_the_reason(
    shop: Shop, offering: Offering, database: Database, screens: Screens
) -> None:
    for customer in (store.ALL, "c1"):  # somebody has used it
        await database.write_sync(partial(store.take, rule="tenth", customer=customer, amount_minor=1, **UNLIMITED))
    cases: dict[str, dict[str, Any]] = {
        "window": {"window": {"to_ms": 1}, "standing": False},
        "channel": {"channels": ["till"]},
        "segment": {"segments": ["club"]},
        "show": {"bind": {"show": "other"}},
        "coupon_used_up": {"coupon": {"code": "TENTH", "limit": 1}},
        "coupon_used_by_customer": {"coupon": {"code": "TENTH", "per_customer": 1}},
        "coupon_sign_in": {"coupon": {"code": "TENTH", "per_customer": 1}},
        "budget_spent": {"currency": "EUR", "budget_minor": 1},
    }
    for why, members in cases.items():
        who = BOB if why == "coupon_sign_in" else KNOWN
        await publish(offering, rule(**TENTH | {"coupon": {"code": "TENTH"}} | members))
        for full in (False, True):
            if full:
                await shop.add("demo", who, "CUP")
            screens.clear()
            problem = await refused(shop.coupons("demo", who, ["TENTH"]))
            assert (problem.kind, problem.field) == (Kind.coupon_refused, "codes")
            assert problem.extra == {"code": "TENTH", "why": why}
            assert (await shop.cart("demo", who)).coupons == [] and screens.notices == []
        await shop.remove("demo", who, "CUP")


async def test_a_coupon_that_ends_in_a_cart_keeps_nobody_from_changing_the_others(
    shop: Shop, offering: Offering
) -> None:
    plate = rule(id="plate", lane="order", coupon={"code": "PLATE"}, currency="EUR", group="plates",
                 when=[{"fact": "amount", "op": "ge", "value": 5000}])  # fmt: skip
    await publish(offering, rule(**ONCE), plate)
    await shop.add("demo", ADA, "CUP")
    cart = (await shop.coupons("demo", ADA, ["ONCE", "PLATE"])).body["cart"]
    assert [one["why"] for one in cart["coupons"]] == ["applied", "condition"], "what may still come is no refusal"
    await publish(offering, rule(**ONCE, window={"to_ms": 1}, standing=False), plate)
    cart = (await shop.coupons("demo", ADA, ["ONCE"])).body["cart"]
    assert cart["coupons"] == [{"code": "ONCE", "why": "window"}]
    await publish(offering, plate)
    cart = (await shop.coupons("demo", ADA, ["ONCE", "PLATE"])).body["cart"]
    assert [one["why"] for one in cart["coupons"]] == [None, "condition"]


async def test_so_often_for_each_customer(shop: Shop, offering: Offering) -> None:
    await publish(offering, rule(**TENTH, coupon={"code": "MINE", "per_customer": 1}))
    await shop.add("demo", ADA, "CUP")
    cart = (await shop.coupons("demo", KNOWN, ["MINE"])).body["cart"]
    assert cart["coupons"] == [{"code": "MINE", "why": "applied"}]
    assert await use(shop, ADA, "o1", Shopper(customer="c1")) == 900
    assert await use(shop, ADA, "o2", Shopper(customer="c1")) == 1000
    assert await use(shop, ADA, "o3", Shopper(customer="c2")) == 900


async def test_an_order_uses_its_coupon_up_by_the_rules_that_priced_it(
    shop: Shop, offering: Offering, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody publishes others between the two; on PostgreSQL each statement sees what was committed before it."""
    await publish(offering, rule(**ONCE))
    await shop.add("demo", ADA, "CUP")
    await shop.coupons("demo", ADA, ["ONCE"])
    checkout = shop.office.checkout
    price = checkout._price

    def turned(*args: Any) -> Priced:
        priced = price(*args)
        monkeypatch.setattr(offering.showing.pricing, "rules", lambda _conn: Known(9, "others", ()))
        return priced

    monkeypatch.setattr(checkout, "_price", turned)
    answer = await shop.checkout("demo", ADA, name="Ada", email="ada@example.com")
    assert (answer.body["order"]["total_minor"], await uses(database)) == (900, (1, 100))


async def test_orders_that_share_a_transaction_see_what_those_before_them_used(shop: Shop, offering: Offering) -> None:
    await publish(offering, rule(**ONCE))
    for who in (ADA, BOB):
        await shop.add("demo", who, "CUP")
        await shop.coupons("demo", who, ["ONCE"])

    def totals(moves: Moves) -> list[int]:
        found = []
        holds = carts.cart_holds(moves.tx.conn, ["demo:ada", "demo:bob"])
        for cart in ("demo:ada", "demo:bob"):
            priced = moves.register.price(cart, "demo", holds[cart])
            moves.register.consume(cart, priced, cart)
            found.append(priced.total_minor)
        moves.register.release("demo:ada")
        return [*found, moves.register.price("demo:bob", "demo", holds["demo:bob"]).total_minor]

    assert await offering.stockroom.change(totals) == [900, 1000, 900]


async def test_a_budget_gives_what_it_has_left(shop: Shop, offering: Offering, database: Database) -> None:
    await publish(offering, rule(**TENTH, currency="EUR", budget_minor=150))
    await shop.add("demo", ADA, "CUP")
    totals: Sequence[int] = [await use(shop, ADA, f"o{number}") for number in range(3)]
    assert (totals, await uses(database)) == ([900, 950, 1000], (2, 150))


async def test_why_is_only_asked_of_carts_that_have_coupons(shop: Shop, offering: Offering) -> None:
    await publish(offering, rule(**ONCE))

    def traced(moves: Moves) -> list[int]:
        moves.register.give_coupons("demo:bob", ["ONCE"])
        return [len(moves.register.price(cart, "demo", []).trace) for cart in ("demo:ada", "demo:bob")]

    assert await offering.stockroom.change(traced) == [0, 1]


async def test_who_a_cart_belongs_to_is_remembered(shop: Shop, offering: Offering, database: Database) -> None:
    await publish(offering, rule(id="club", lane="order", segments=["club"]))
    await shop.add("demo", ADA, "CUP")
    cart = cart_id("demo", "ada")
    shoppers = {cart: Shopper(customer="c1", segments=("club",))}
    await database.write_sync(lambda conn: store.save_customers(conn, shoppers, 1))
    [seen] = (await shop.carts("demo", ["ada"])).values()
    assert seen.total_minor == 900
    await database.write_sync(lambda conn: store.save_coupons(conn, cart, ["A23"], 2))
    found = await database.read_sync(lambda conn: store.shoppers(conn, [cart]))
    assert found == {cart: Shopper("c1", ("club",), ("A23",))}


async def test_members_of_a_segment_have_their_price_everywhere(
    shop: Shop, shows: Shows, offering: Offering, screens: Screens
) -> None:
    club = Principal(subject="cleo", role=Role.viewer, show="*", name="Cleo", customer="c7", segments=("club",))
    await publish(offering, rule(id="club", segments=["club"]), rule(id="vip", lane="order", segments=["club"]))
    screens.clear()
    [cup, *mugs] = await offering.personal("demo", club)
    assert (cup["sku"], cup["price_minor"], cup["deal"]["label"], len(mugs)) == ("CUP", 900, "Sale", 2)
    assert await offering.personal("demo", ADA) == []
    shopper = shopper_of(club)
    [quote] = await shop.window.quotes({"CUP": 1}, shopper, show="demo")
    assert (quote.unit_minor, quote.customer) == (900, "c7")
    assert (await shop.window.product("cup", shopper)).variants[0].price_minor == 900
    assert (await refused(shop.add("demo", ADA, "CUP", quote=quote))).kind is Kind.price_changed
    cart = (await shop.add("demo", club, "CUP", quote=quote)).body["cart"]
    assert (cart["lines"][0]["price_minor"], cart["total_minor"]) == (900, 810)
    assert (await shop.change("demo", club, "CUP", 2)).body["cart"]["total_minor"] == 1620
    assert (await shop.carts("demo", ["cleo"]))["cleo"].total_minor == 1620, "without them being there"
    assert (await shop.cart("demo", club)).total_minor == 1620
    order = await shop.checkout("demo", club, name="Cleo", email="cleo@example.com", total_minor=1620)
    assert order.body["order"]["total_minor"] == 1620
