"""What others see over both databases: stock on every screen that sells it, the catalogue, a buyer's order."""

import pytest

from cart.service import Shop
from live.core.auth import Principal, Role
from live.core.errors import Kind
from live.service import Shows
from tests.cart.conftest import ADA, BOB, Screens, refused


async def test_every_show_that_sells_a_product_hears_of_its_stock(shop: Shop, shows: Shows, screens: Screens) -> None:
    await shows.create("second", "Second")
    await shows.set_lineup("second", ["mug"])
    await shop.add("demo", ADA, "MUG-RED")
    assert screens.stock("MUG-RED", "demo") == screens.stock("MUG-RED", "second") == [0]
    assert screens.of("product.sold_out", "second") == [{"sku": "MUG-RED"}]


async def test_a_show_hears_of_what_it_sells_without_having_it_in_the_lineup(shop: Shop, screens: Screens) -> None:
    await shop.add("demo", ADA, "YEN", 5)
    assert screens.stock("YEN") == [0]
    assert screens.of("product.sold_out") == []


async def test_products_come_in_the_order_asked_for(shop: Shop) -> None:
    await shop.add("demo", ADA, "MUG-BLUE", 2)
    products = await shop.products(["mug", "nope", "\x00", "cup"])
    assert [one["id"] for one in products] == ["mug", "cup"]
    more = {"off_percent": None, "unit_price": None, "deal": None, "content": None, "tax_bp": 0, "price_minor": 1500}
    blue = {"sku": "MUG-BLUE", "title": "Blue", "list_price_minor": 2000, "lowest_30d_minor": 1500, "available": 3}
    red = {"sku": "MUG-RED", "title": "Red", "list_price_minor": None, "lowest_30d_minor": None, "available": 1}
    assert products[0]["variants"] == [blue | more, red | more]


async def test_the_catalogue_is_read_in_pages(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cart.offering.window.PRODUCTS_PAGE", 2)
    first = await shop.window.page()
    rest = await shop.window.page(first[-1].id)
    assert [one.id for one in (*first, *rest)] == ["cup", "mug", "yen"]
    assert (await refused(shop.window.page("\x00"))).kind is Kind.invalid_field
    assert (await shop.window.product("mug")).title == "Mug"
    for id_ in ("nope", "\x00"):
        assert (await refused(shop.window.product(id_))).kind is Kind.unknown_product


async def test_an_order_is_for_its_buyer_and_the_hosts_of_its_show(shop: Shop) -> None:
    await shop.add("demo", ADA, "CUP")
    order = (await shop.checkout("demo", ADA, name="Ada", email="ada@example.com")).body["order"]
    host = Principal(subject="h", role=Role.host, show="demo", name="Host")
    for who in (ADA, host):
        assert (await shop.office.orders.get(order["id"], who)).number == order["number"]
    stranger = Principal(subject="x", role=Role.host, show="other", name="Host")
    for who in (BOB, stranger):
        assert (await refused(shop.office.orders.get(order["id"], who))).kind is Kind.unknown_order
    for id_ in ("0" * 32, "\x00"):
        assert (await refused(shop.office.orders.get(id_, ADA))).kind is Kind.unknown_order
