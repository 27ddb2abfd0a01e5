"""Product files against both databases, while a show is on."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from cart.feeds.formats import Format
from cart.feeds.importer import Options, format_of, import_products, import_stream
from cart.feeds.report import ImportReport
from cart.service import Shop
from live.core.database import Database
from live.core.limits import IMPORT_ERRORS_SHOWN
from live.service import Shows
from tests.cart.conftest import Screens, level, viewer

HEAD = "product_id,title,sku,price,currency,stock,variant\n"


async def run(shows: Shows, text: str, format_: Format = "csv", **options: Any) -> ImportReport:
    return (await import_stream(BytesIO(text.encode()), shows, format_, Options(**options))).report


async def test_the_demo_catalogue_lands_once(shows: Shows, shop: Shop, tmp_path: Path) -> None:
    path = Path(__file__).parents[3] / "cart" / "demo_products.json"
    seen: list[tuple[int, int]] = []

    async def progress(done: int, total: int) -> None:
        seen.append((done, total))

    report = await import_products(path, shows, progress=progress)
    assert (report.created, report.changed, report.refused) == (8, 0, 0)
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
    [tote] = await shop.products(["canvas-tote"])
    assert [variant["sku"] for variant in tote["variants"]] == ["TOTE-M", "TOTE-L"]
    again = await import_products(path, shows)
    assert (again.created, again.changed, again.unchanged) == (0, 0, 8)


async def test_good_lines_land_beside_broken_ones(shows: Shows, shop: Shop) -> None:
    text = HEAD + "bag,Bag,BAG-S,10,EUR,5,Small\nbag,,BAG-L,oops,,5,Large\nbag,,BAG-XL,30,,,Extra\n"
    report = await run(shows, text)
    assert (report.created, report.changed, report.refused, report.accepted) == (1, 1, 1, 2)
    assert [(error.line, error.field) for error in report.errors] == [(3, "price")]
    [bag] = await shop.products(["bag"])
    assert [(v["sku"], v["price_minor"], v["available"]) for v in bag["variants"]] == [
        ("BAG-S", 1000, 5),
        ("BAG-XL", 3000, 0),
    ]


async def test_a_dry_run_says_the_same_and_keeps_nothing(
    shows: Shows, shop: Shop, screens: Screens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cart.feeds.importer.IMPORT_BATCH", 1)
    text = HEAD + "bag,Bag,BAG-S,10,EUR,5,\nbag,,BAG-M,10,JPY,5,\nbag,,BAG-L,10,EUR,5,\ncup,Cup,CUP,11,EUR,,\n"
    text += "cup,Cup,MUG-RED,1,EUR,,\n"
    dry = await run(shows, text, dry_run=True)
    assert await shop.products(["bag"]) == [] and screens.events == []
    wet = await run(shows, text)
    assert (dry.created, dry.changed, dry.errors) == (wet.created, wet.changed, wet.errors) == (1, 2, dry.errors)
    assert [(error.line, error.field) for error in wet.errors] == [(3, "currency"), (6, "sku")]
    assert (dry.dry_run, wet.dry_run) == (True, False)


async def test_stock_counts_what_is_there_and_never_less_than_is_promised(
    shows: Shows, shop: Shop, database: Database, screens: Screens
) -> None:
    await shop.add("demo", viewer(), "MUG-BLUE", 2)
    await shop.checkout("demo", viewer(), name="Ada", email="ada@example.com")
    await shop.add("demo", viewer(), "MUG-BLUE", 1)
    screens.clear()
    for stock, short in ((2, 1), (3, 0), (8, 0), (8, 0)):
        report = await run(shows, HEAD + f"mug,Mug,MUG-BLUE,15,EUR,{stock},Blue\n")
        assert (report.refused, report.short, len(report.warnings)) == (0, short, short)
    assert await level(database, "MUG-BLUE") == (8, 2, 1)
    assert screens.stock("MUG-BLUE") == [0, 5]
    assert screens.of("product.sold_out") == [{"sku": "MUG-BLUE"}]
    assert screens.of("product.restocked") == [{"sku": "MUG-BLUE", "available": 5}]


async def test_stock_may_mean_what_can_still_be_sold(shows: Shows, shop: Shop, database: Database) -> None:
    await shop.add("demo", viewer(), "MUG-BLUE", 2)
    await shop.checkout("demo", viewer(), name="Ada", email="ada@example.com")
    await shop.add("demo", viewer(), "MUG-BLUE", 3)
    for stock in (1, 0, 5):
        text = HEAD + f"mug,Mug,MUG-BLUE,15,EUR,{stock},Blue\nmug,,MUG-NEW,1,EUR,{stock},\n"
        report = await run(shows, text, stock_means="available")
        assert report.refused == 0
        assert await level(database, "MUG-BLUE") == (stock + 5, 2, 3)
        assert await level(database, "MUG-NEW") == (stock, 0, 0)


async def test_screens_hear_of_another_price_at_once(shows: Shows, shop: Shop, screens: Screens) -> None:
    report = await run(shows, HEAD + "mug,Mug,MUG-BLUE,12.50,EUR,,Blue\nyen,Cup,YEN,500,JPY,,\n")
    assert (report.changed, report.unchanged) == (1, 1)
    assert screens.of("product.changed") == [{"product": (await shop.products(["mug"]))[0]}]
    assert screens.of("product.changed")[0]["product"]["variants"][0]["price_minor"] == 1250
    assert screens.states == []
    await run(shows, HEAD + "mug,Big mug,MUG-BLUE,12.50,EUR,,Blue\n")
    assert screens.of("product.changed")[1]["product"]["title"] == "Big mug"


async def test_a_product_keeps_its_currency_and_a_sku_its_product(shows: Shows) -> None:
    report = await run(shows, HEAD + "cup,Cup,CUP,10,JPY,,\ncup,Cup,MUG-RED,10,EUR,,\n")
    assert [error.detail for error in report.errors] == [
        "cup is sold in EUR; a currency cannot change",
        "the SKU MUG-RED belongs to mug",
    ]


async def test_only_the_first_errors_are_kept(shows: Shows) -> None:
    report = await run(shows, HEAD + "bad\n" * (IMPORT_ERRORS_SHOWN + 5))
    assert (report.refused, len(report.errors)) == (IMPORT_ERRORS_SHOWN + 5, IMPORT_ERRORS_SHOWN)


async def test_json_lines(shows: Shows, tmp_path: Path) -> None:
    path = tmp_path / "products.jsonl"
    one = {"id": "bag", "title": "Bag", "currency": "EUR", "variants": [{"sku": "BAG", "price_minor": 100}]}
    path.write_text(json.dumps(one) + "\n{\n")
    report = await import_products(path, shows)
    assert (report.created, report.refused) == (1, 1)


@pytest.mark.parametrize(
    ("name", "format_"), [("a.CSV", "csv"), ("a.tsv", "csv"), ("a.json", "json"), ("a.xml.gz", "xml"), ("a.pdf", None)]
)
def test_a_file_s_name_says_what_it_is(name: str, format_: str | None) -> None:
    if format_ is None:
        with pytest.raises(ValueError, match=r"must end with"):
            format_of(Path(name))
    else:
        assert format_of(Path(name)) == format_


async def test_a_file_that_is_not_there(shows: Shows, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await import_products(tmp_path / "none.csv", shows)
