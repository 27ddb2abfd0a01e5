"""Carts over both databases: what a click takes from the shelf, and what is refused and changes nothing."""

import asyncio

import pytest

from cart.catalogue import VariantEntry
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import CART_LINES_MAX, HOLD_TTL_S, QUANTITY_MAX
from live.service import Shows
from tests.cart.conftest import ADA, BOB, Screens, level, product, refused, stock


async def test_one_click_holds_a_unit(shop: Shop, database: Database, screens: Screens, clock: ManualClock) -> None:
    answer = await shop.add("demo", ADA, "MUG-BLUE", 2)
    line = answer.body["hold"]
    assert line["expires_at_ms"] == clock.now_ms() + HOLD_TTL_S * 1000
    assert {name: line[name] for name in ("sku", "product_id", "title", "variant", "quantity", "line_minor")} == {
        "sku": "MUG-BLUE", "product_id": "mug", "title": "Mug", "variant": "Blue", "quantity": 2, "line_minor": 3000,
    }  # fmt: skip
    tax = {"tax_bp": 0, "net_minor": 3000, "tax_minor": 0}
    assert answer.body["cart"] == {
        "lines": [line], "total_minor": 3000, "subtotal_minor": 3000, "currency": "EUR", "taxes": [tax],
    }  # fmt: skip
    assert await level(database, "MUG-BLUE") == (5, 0, 2)
    assert screens.stock("MUG-BLUE") == [3]
    assert screens.notices == [("demo", "ada", "cart.changed", {"cart": answer.body["cart"], "reason": "changed"})]


async def test_a_cart_belongs_to_a_viewer_in_a_show(shop: Shop, shows: Shows) -> None:
    await shows.create("other", "Other")
    await shop.add("demo", ADA, "CUP")
    assert len((await shop.cart("demo", ADA)).lines) == 1
    assert (await shop.cart("demo", BOB)).lines == []
    assert (await shop.cart("other", ADA)).lines == []
    assert (await refused(shop.cart("nowhere", ADA))).kind is Kind.unknown_show


async def test_adding_again_grows_the_hold_and_starts_its_time_again(
    shop: Shop, database: Database, clock: ManualClock
) -> None:
    first = await shop.add("demo", ADA, "CUP")
    clock.advance(60)
    second = await shop.add("demo", ADA, "CUP", 2)
    assert second.body["hold"]["hold_id"] == first.body["hold"]["hold_id"]
    assert second.body["hold"]["quantity"] == 3
    assert second.body["hold"]["expires_at_ms"] == first.body["hold"]["expires_at_ms"] + 60_000
    assert await level(database, "CUP") == (10, 0, 3)


async def test_impossible_quantities_change_nothing(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP")
    for quantity in (0, -1, QUANTITY_MAX + 1, 10**9, 10**30):
        for call in (shop.add, shop.change):
            problem = await refused(call("demo", ADA, "CUP", quantity))
            assert (problem.kind, problem.field) == (Kind.invalid_quantity, "quantity")
    assert await level(database, "CUP") == (10, 0, 1)


async def test_an_unknown_sku_is_named(shop: Shop) -> None:
    for sku in ("NOPE", "", "cup", "CUP\x00", "\ud800", "x" * 1000, "' OR 1=1 --"):
        for call in (shop.add("demo", ADA, sku), shop.change("demo", ADA, sku, 1), shop.remove("demo", ADA, sku)):
            problem = await refused(call)
            assert (problem.kind, problem.field) == (Kind.unknown_sku, "sku")


@pytest.mark.parametrize("sku", ["", "CUP\x00", "\ud800", "x" * 3000])
async def test_what_cannot_be_a_sku_takes_no_place_in_the_lane(shop: Shop, sku: str) -> None:
    waiting = [asyncio.create_task(refused(shop.add("demo", ADA, sku))) for _ in range(3)]
    await asyncio.sleep(0)
    assert (shop.adds.waiting, list(shop.adds._queues)) == (0, [])
    assert {(await each).kind for each in waiting} == {Kind.unknown_sku}
    assert shop.adds.batches == 0


async def test_an_unknown_show_is_refused(shop: Shop) -> None:
    assert (await refused(shop.add("nowhere", ADA, "CUP"))).kind is Kind.unknown_show


async def test_the_last_unit_goes_to_one(shop: Shop, screens: Screens) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    problem = await refused(shop.add("demo", BOB, "MUG-RED"))
    assert (problem.kind, problem.extra) == (Kind.sold_out, {"sku": "MUG-RED", "available": 0})
    assert screens.of("product.sold_out") == [{"sku": "MUG-RED"}]
    await shop.remove("demo", ADA, "MUG-RED")
    assert screens.of("product.restocked") == [{"sku": "MUG-RED", "available": 1}]
    await shop.add("demo", BOB, "MUG-RED")


async def test_a_wish_beyond_stock_says_how_many_are_left(shop: Shop, database: Database) -> None:
    problem = await refused(shop.add("demo", ADA, "MUG-BLUE", 6))
    assert (problem.kind, problem.extra["available"]) == (Kind.sold_out, 5)
    await shop.add("demo", ADA, "MUG-BLUE", 2)
    problem = await refused(shop.change("demo", ADA, "MUG-BLUE", 6))
    assert (problem.kind, problem.extra["available"]) == (Kind.sold_out, 3)
    assert await level(database, "MUG-BLUE") == (5, 0, 2)


async def test_one_cart_takes_so_many_of_a_sku(shop: Shop, shows: Shows) -> None:
    await stock(shows, product("cup", VariantEntry(sku="CUP", price_minor=1000, stock=500)))
    await shop.add("demo", ADA, "CUP", QUANTITY_MAX)
    assert (await refused(shop.add("demo", ADA, "CUP"))).kind is Kind.invalid_quantity


async def test_change_sets_the_quantity_and_keeps_the_time(
    shop: Shop, database: Database, screens: Screens, clock: ManualClock
) -> None:
    hold = (await shop.add("demo", ADA, "CUP", 2)).body["hold"]
    clock.advance(10)
    for quantity in (5, 1, 1):
        line = (await shop.change("demo", ADA, "CUP", quantity)).body["cart"]["lines"][0]
        assert (line["quantity"], line["expires_at_ms"]) == (quantity, hold["expires_at_ms"])
    assert await level(database, "CUP") == (10, 0, 1)
    assert screens.stock("CUP") == [8, 5, 9]


async def test_change_needs_a_living_hold(shop: Shop, clock: ManualClock) -> None:
    assert (await refused(shop.change("demo", ADA, "CUP", 1))).kind is Kind.not_in_cart
    await shop.add("demo", ADA, "CUP")
    clock.advance(HOLD_TTL_S)
    assert (await refused(shop.change("demo", ADA, "CUP", 2))).kind is Kind.hold_expired
    await shop.keeper.sweep()
    assert (await refused(shop.change("demo", ADA, "CUP", 2))).kind is Kind.hold_expired


async def test_remove_gives_the_units_back_and_is_content_with_nothing(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP", 4)
    await shop.add("demo", ADA, "MUG-RED")
    answer = await shop.remove("demo", ADA, "CUP")
    assert [line["sku"] for line in answer.body["cart"]["lines"]] == ["MUG-RED"]
    assert await level(database, "CUP") == (10, 0, 0)
    again = await shop.remove("demo", ADA, "CUP")
    assert again.body == answer.body


async def test_a_cart_holds_one_currency(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP")
    assert (await refused(shop.add("demo", ADA, "YEN"))).kind is Kind.mixed_currency
    assert await level(database, "YEN") == (5, 0, 0)


async def test_a_cart_holds_so_many_lines(shop: Shop, shows: Shows, database: Database) -> None:
    skus = [f"S{number}" for number in range(CART_LINES_MAX + 1)]
    await stock(shows, product("many", *(VariantEntry(sku=sku, price_minor=1, stock=1) for sku in skus)))
    for sku in skus[:-1]:
        await shop.add("demo", ADA, sku)
    assert (await refused(shop.add("demo", ADA, skus[-1]))).kind is Kind.cart_full
    assert await level(database, skus[-1]) == (1, 0, 0)


async def test_a_price_that_changed_is_never_silent(shop: Shop, shows: Shows) -> None:
    problem = await refused(shop.add("demo", ADA, "CUP", price_minor=900))
    quote = problem.extra.pop("quote")
    assert (problem.kind, problem.extra) == (
        Kind.price_changed, {"sku": "CUP", "price_minor": 1000, "currency": "EUR"},
    )  # fmt: skip
    assert (quote["sku"], quote["unit_minor"], quote["show"]) == ("CUP", 1000, "demo")
    await shop.add("demo", ADA, "CUP", price_minor=1000)
    await stock(shows, product("cup", VariantEntry(sku="CUP", price_minor=1200)))
    assert (await refused(shop.add("demo", ADA, "CUP", price_minor=1200))).kind is Kind.price_changed
    assert (await refused(shop.change("demo", ADA, "CUP", 2))).kind is Kind.price_changed
    assert (await shop.cart("demo", ADA)).total_minor == 1000, "a hold keeps its price"
    await shop.remove("demo", ADA, "CUP")
    assert (await shop.add("demo", ADA, "CUP")).body["cart"]["total_minor"] == 1200


async def test_a_hold_is_stamped_with_what_was_on_screen(shop: Shop, shows: Shows, clock: ManualClock) -> None:
    pin = await shows.pin("demo", "cup")
    clock.advance(42)
    await shop.add("demo", ADA, "CUP")
    await shop.add("demo", ADA, "MUG-RED")
    order = (await shop.checkout("demo", ADA, name="Ada", email="ada@example.com")).body["order"]
    stamps = {line["sku"]: (line["pin_id"], line["at_ms"]) for line in order["lines"]}
    assert stamps == {"CUP": (pin["pin_id"], 42_000), "MUG-RED": (None, 42_000)}
