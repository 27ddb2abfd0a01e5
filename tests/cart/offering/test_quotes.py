"""Quotes: what we signed counts while the price is that, and nothing else does."""

import msgspec

from cart.catalogue import VariantEntry
from cart.offering.service import Offering
from cart.pricing.quotes import Quote, sign
from cart.pricing.reductions import Content, Measure, UnitPrice
from cart.pricing.store import Shopper
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import CART_LINES_MAX, QUOTE_TTL_S
from live.service import Shows
from tests.cart.conftest import ADA, BOB, product, refused, stock
from tests.cart.offering.conftest import publish, rule


async def quoted(shop: Shop, sku: str = "CUP") -> Quote:
    [quote] = await shop.window.quotes({sku: 1}, show="demo")
    return quote


async def test_a_hold_keeps_the_quote_that_the_viewer_saw(shop: Shop, shows: Shows, database: Database) -> None:
    from cart import store

    quote = await quoted(shop)
    await shop.add("demo", ADA, "CUP", quote=quote)
    await shop.add("demo", BOB, "CUP")
    holds = await database.read_sync(lambda conn: store.cart_holds(conn, ["demo:ada", "demo:bob"]))
    kept = [msgspec.json.decode(hold.quote or "", type=Quote) for [hold] in holds.values()]
    assert kept[0] == quote
    assert (kept[1].sku, kept[1].unit_minor, kept[1].show, bool(kept[1].mac)) == ("CUP", 1000, "demo", True)


async def test_a_hold_keeps_no_quote_that_says_something_else(
    shop: Shop, shows: Shows, offering: Offering, database: Database
) -> None:
    """Such a quote is ours and of the version of now, but for another place, of another customer, or of other goods."""
    from cart import store

    async def kept(quote: Quote) -> Quote:
        await shop.add("demo", ADA, "CUP", quote=quote)
        [hold] = (await database.read_sync(lambda conn: store.cart_holds(conn, ["demo:ada"])))["demo:ada"]
        await shop.remove("demo", ADA, "CUP")
        return msgspec.json.decode(hold.quote or "", type=Quote)

    known = Shopper(customer="c1")
    for quote in (
        *await shop.window.quotes({"CUP": 1}),
        *await shop.window.quotes({"CUP": 1}, known, show="demo"),
    ):
        assert ((await kept(quote)).show, (await kept(quote)).customer) == ("demo", None), quote

    await publish(offering, rule(currency="EUR", then=[{"kind": "fixed_price", "minor": 900}]))
    quote = await quoted(shop)
    cup = VariantEntry(sku="CUP", price_minor=1100, tax_bp=700)
    await stock(shows, product("cup", cup))
    mine = await kept(quote)
    assert (quote.list_minor, quote.tax_bp, mine.list_minor, mine.tax_bp) == (1000, 0, 1100, 700)


async def test_the_same_amount_of_another_currency_is_another_price(shop: Shop, offering: Offering) -> None:
    quote = sign(msgspec.structs.replace(await quoted(shop), currency="USD"), offering.showing.pricing.key)
    problem = await refused(shop.add("demo", ADA, "CUP", quote=quote))
    assert (problem.kind, problem.extra["currency"]) == (Kind.price_changed, "EUR")


async def test_quotes_that_are_not_of_now(shop: Shop, shows: Shows, offering: Offering, clock: ManualClock) -> None:
    quote = await quoted(shop)
    forged = msgspec.structs.replace(quote, unit_minor=1)
    assert (await refused(shop.add("demo", ADA, "CUP", quote=forged))).kind is Kind.invalid_quote
    assert (await refused(shop.add("demo", ADA, "MUG-RED", quote=quote))).kind is Kind.invalid_quote
    theirs = await Shop(offering._database, shows, clock).window.quotes({"CUP": 1}, show="demo")
    problem = await refused(shop.add("demo", ADA, "CUP", quote=theirs[0]))
    assert problem.kind is Kind.invalid_quote, "another installation's key"

    await publish(offering, rule())
    problem = await refused(shop.add("demo", ADA, "CUP", quote=quote))
    assert (problem.kind, problem.extra["price_minor"]) == (Kind.price_changed, 900)
    fresh = msgspec.convert(problem.extra["quote"], Quote)
    assert (await shop.add("demo", ADA, "CUP", quote=fresh)).body["hold"]["price_minor"] == 900

    clock.advance(QUOTE_TTL_S)
    problem = await refused(shop.add("demo", BOB, "CUP", quote=fresh))
    assert problem.kind is Kind.quote_expired
    fresh = msgspec.convert(problem.extra["quote"], Quote)
    assert (await shop.add("demo", BOB, "CUP", quote=fresh)).body["hold"]["price_minor"] == 900
    assert (await shop.cart("demo", BOB)).total_minor == 900


async def test_what_cannot_be_quoted(shop: Shop) -> None:
    for wanted, kind in (
        ({}, Kind.invalid_field),
        ({"CUP": 0}, Kind.invalid_quantity),
        ({"CUP": 10**9}, Kind.invalid_quantity),
        ({"NOPE": 1}, Kind.unknown_sku),
        ({"\x00": 1}, Kind.unknown_sku),
        ({f"S{n}": 1 for n in range(CART_LINES_MAX + 1)}, Kind.invalid_field),
    ):
        assert (await refused(shop.window.quotes(wanted))).kind is kind, wanted
    assert (await refused(shop.window.quotes({"CUP": 1}, show="nowhere"))).kind is Kind.unknown_show
    assert (await refused(shop.window.quotes({"CUP": 1}, channel="live"))).field == "channel"


async def test_taxes_categories_and_content_come_with_the_goods(shop: Shop, shows: Shows, offering: Offering) -> None:
    oil = product(
        "oil",
        VariantEntry(sku="OIL", price_minor=1284, tax_bp=700, content=Content(amount=750, unit=Measure.ml), stock=5),
        VariantEntry(sku="CAN", price_minor=2140, stock=5),
    )
    oil = msgspec.structs.replace(oil, categories=["food", "food/oil"], tax_bp=1900)
    await stock(shows, oil)
    await publish(offering, rule(then=[{"kind": "pct", "bp": 2500, "target": {"categories": ["food/oil"]}}]))
    shown = await shop.window.product("oil")
    assert (shown.categories, [one.tax_bp for one in shown.variants]) == (["food", "food/oil"], [700, 1900])
    assert shown.variants[0].unit_price == UnitPrice(price_minor=1284, per="l")
    assert (shown.variants[0].price_minor, shown.variants[1].unit_price) == (963, None)
    [quote] = await shop.window.quotes({"OIL": 2}, show="demo")
    assert (quote.tax_bp, quote.net_minor, quote.tax_minor) == (700, 1800, 126)
    await shop.add("demo", ADA, "OIL", 2)
    cart = (await shop.add("demo", ADA, "CAN")).body["cart"]
    assert [(one["tax_bp"], one["net_minor"], one["tax_minor"]) for one in cart["taxes"]] == [
        (700, 1800, 126), (1900, 1349, 256),
    ]  # fmt: skip
    await stock(shows, msgspec.structs.replace(oil, tax_bp=None))
    assert [one.tax_bp for one in (await shop.window.product("oil")).variants] == [700, 0]
