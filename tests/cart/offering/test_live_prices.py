"""A host's price: on all screens at once, for every click from then on, and never longer than the pin."""

import pytest

from cart.catalogue import VariantEntry
from cart.offering.live_prices import Start
from cart.offering.service import Offering
from cart.pricing import store
from cart.pricing.rules import Bind
from cart.pricing.store import Shopper
from cart.service import Shop
from live import timeline
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.service import Shows
from live.shows import ShowState
from tests.cart.conftest import ADA, BOB, Screens, product, refused, stock
from tests.cart.offering.conftest import CUP_PRICE, price, publish, rule, start, stop


async def test_one_click_reaches_every_screen_and_every_click(
    shop: Shop, shows: Shows, offering: Offering, screens: Screens
) -> None:
    await shows.pin("demo", "cup")
    before = await shows.snapshot("demo")
    screens.clear()
    started = await start(offering, Start(price_minor=800, label="Only here"))
    assert (started.rule.bind, started.ends_at_ms) == (Bind(show="demo", product="cup", while_pinned=True), None)
    [event] = screens.of("product.price")
    deal = {"label": "Only here", "live": True, "until_ms": None}
    assert event == {
        "product_id": "cup", "sku": "CUP", "price_minor": 800, "list_price_minor": 1000, "lowest_30d_minor": 1000,
        "off_percent": 20, "unit_price": None, "deal": deal,
    }  # fmt: skip
    after = await shows.snapshot("demo")
    assert timeline.apply(before, "product.price", event) == after
    assert after["pin"]["product"]["variants"][0]["price_minor"] == 800

    problem = await refused(shop.add("demo", ADA, "CUP", price_minor=CUP_PRICE))
    assert (problem.kind, problem.extra["price_minor"], problem.extra["quote"]["unit_minor"]) == (
        Kind.price_changed, 800, 800,
    )  # fmt: skip
    hold = (await shop.add("demo", ADA, "CUP", price_minor=800)).body["hold"]
    assert (hold["price_minor"], hold["list_price_minor"]) == (800, 1000)
    assert (await shop.window.product("cup")).variants[0].price_minor == CUP_PRICE, "it is the show's, not the shop's"

    screens.clear()
    assert await stop(offering) and not await stop(offering)
    assert [data["price_minor"] for data in screens.of("product.price")] == [CUP_PRICE]
    assert (await shop.cart("demo", ADA)).total_minor == 800, "a hold keeps its price"
    assert (await refused(shop.change("demo", ADA, "CUP", 2))).kind is Kind.price_changed
    assert (await shop.add("demo", BOB, "CUP")).body["hold"]["price_minor"] == CUP_PRICE


async def test_a_percentage_of_one_variant(shows: Shows, offering: Offering, screens: Screens) -> None:
    await shows.pin("demo", "mug")
    screens.clear()
    await start(offering, Start(off_bp=2000, sku="MUG-RED"))
    assert [(data["sku"], data["price_minor"]) for data in screens.of("product.price")] == [("MUG-RED", 1200)]
    screens.clear()
    await start(offering, Start(price_minor=900))
    assert [(data["sku"], data["price_minor"]) for data in screens.of("product.price")] == [
        ("MUG-BLUE", 900), ("MUG-RED", 900),
    ]  # fmt: skip
    await stop(offering)
    assert [await price(shows, sku) for sku in ("MUG-BLUE", "MUG-RED")] == [1500, 1500]


@pytest.mark.parametrize("way", ["unpin", "pin", "lineup", "end"])
async def test_it_ends_with_the_pin_and_with_the_show(
    shows: Shows, offering: Offering, screens: Screens, way: str
) -> None:
    await shows.pin("demo", "cup")
    await start(offering, Start(price_minor=800))
    screens.clear()
    if way == "unpin":
        await shows.unpin("demo")
    elif way == "pin":
        await shows.pin("demo", "mug")
    elif way == "lineup":
        await shows.set_lineup("demo", ["mug"])
    else:
        await shows.transition("demo", ShowState.ended)
    assert [data["price_minor"] for data in screens.of("product.price")] == [CUP_PRICE]
    if way != "lineup":
        assert await price(shows) == CUP_PRICE
    if way in ("unpin", "pin"):
        await shows.pin("demo", "cup")
        assert await price(shows) == CUP_PRICE, "it does not come back with the next pin"
    assert not await stop(offering)


async def test_it_ends_by_itself(shows: Shows, offering: Offering, screens: Screens, clock: ManualClock) -> None:
    await shows.pin("demo", "cup")
    started = await start(offering, Start(price_minor=800, duration_s=60))
    assert started.ends_at_ms == clock.now_ms() + 60_000
    screens.clear()
    assert 0 < await offering.watch.look() <= 1
    clock.advance(59.5)
    assert await offering.watch.look() == 0.5, "it looks when the end is due"
    assert screens.of("product.price") == []
    clock.advance(0.5)
    assert await price(shows) == CUP_PRICE, "nobody waits for the look"
    await offering.watch.look()
    await offering.watch.look()
    assert [data["price_minor"] for data in screens.of("product.price")] == [CUP_PRICE]
    assert not await stop(offering)


async def test_what_is_no_live_price(shows: Shows, offering: Offering) -> None:
    asked = Start(price_minor=800)
    assert (await refused(start(offering, asked))).kind is Kind.nothing_pinned
    await shows.pin("demo", "mug")
    for wrong, field in (
        (Start(), "price_minor"),
        (Start(price_minor=1, off_bp=1), "price_minor"),
        (Start(price_minor=1500), "price_minor"),
        (Start(price_minor=1600), "price_minor"),
        (Start(off_bp=100, label="a\x00b"), "label"),
        (Start(price_minor=1, sku="CUP"), "sku"),
    ):
        problem = await refused(start(offering, wrong))
        assert (problem.field, problem.kind in (Kind.invalid_field, Kind.unknown_sku)) == (field, True), wrong
    assert await price(shows, "MUG-BLUE") == 1500
    assert not await stop(offering)


async def test_it_works_on_what_the_rules_have_left_and_is_cheaper_or_none(shows: Shows, offering: Offering) -> None:
    await publish(offering, rule())
    await shows.pin("demo", "cup")
    assert await price(shows) == 900
    assert (await refused(start(offering, Start(price_minor=950)))).field == "price_minor"
    await start(offering, Start(price_minor=850))
    assert await price(shows) == 850, "nothing is taken off what the host said"
    await start(offering, Start(off_bp=2000))
    assert await price(shows) == 720, "20 % less than it costs anyway"


@pytest.mark.parametrize("asked", [Start(price_minor=800), Start(off_bp=2000)])
async def test_it_makes_nothing_dearer_for_anybody(
    shop: Shop, shows: Shows, offering: Offering, screens: Screens, asked: Start
) -> None:
    third = rule(id="vip", segments=["vip"], then=[{"kind": "pct", "bp": 3000}])
    vip = Shopper(customer="c1", segments=("vip",))
    await publish(offering, third)
    await shows.pin("demo", "cup")
    [before] = await shop.window.quotes({"CUP": 1}, vip, show="demo")
    await start(offering, asked)
    [during] = await shop.window.quotes({"CUP": 1}, vip, show="demo")
    assert (before.unit_minor, during.unit_minor) == (700, 700 if asked.off_bp is None else 560)
    assert await price(shows) == 800
    screens.clear()
    await publish(offering, third, rule(then=[{"kind": "pct", "bp": 5000}]))
    assert await price(shows) == (500 if asked.off_bp is None else 400), "a deeper sale applies at once"
    assert [data["price_minor"] for data in screens.of("product.price") if data["sku"] == "CUP"] == [await price(shows)]


async def test_prices_of_a_changed_catalogue_are_told_as_the_screens_show_them(
    shop: Shop, shows: Shows, offering: Offering, screens: Screens
) -> None:
    await shows.pin("demo", "cup")
    await start(offering, Start(off_bp=5000))
    screens.clear()
    await stock(shows, product("cup", VariantEntry(sku="CUP", price_minor=1200)))
    [event] = screens.of("product.changed")
    assert event["product"]["variants"][0]["price_minor"] == 600
    assert event["product"] == (await shows.snapshot("demo"))["pin"]["product"]


async def test_history_follows_a_percentage_of_a_changed_catalogue(
    shows: Shows, offering: Offering, database: Database, clock: ManualClock
) -> None:
    async def asked() -> list[int | None]:
        points = (await database.read_sync(lambda conn: store.history(conn, ["CUP"])))["CUP"]
        return [point.price_minor for point in points if point.place == "demo"]

    await shows.pin("demo", "cup")
    await start(offering, Start(off_bp=5000))
    for price_minor in (1200, 1200, 0, 1000):
        clock.advance(60)
        await stock(shows, product("cup", VariantEntry(sku="CUP", price_minor=price_minor)))
    assert await asked() == [500, 600, None, 500]
    clock.advance(60)
    await stop(offering)
    assert await asked() == [500, 600, None, 500, None]
