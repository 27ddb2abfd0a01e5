"""Google's product feeds, whole, broken and hostile."""

import gzip
from io import BytesIO
from typing import Any

import pytest

from cart.catalogue import Facts
from cart.feeds import google
from cart.feeds.entries import Entry, LineError
from cart.feeds.formats import Format, read
from cart.feeds.pace import Pace
from cart.feeds.report import ImportReport
from cart.pricing.reductions import Content, Measure
from live.core.limits import CATEGORIES_MAX, FEED_XML_DEPTH_MAX, IMPORT_ERRORS_SHOWN, IMPORT_LINE_BYTES_MAX

NOVEMBER_MS = 1_793_491_200_000  # 2026-11-01T00:00Z
DAY_MS = 24 * 3600 * 1000
WHOLE = {
    "id": "MUG-BLUE", "item_group_id": "mug", "title": "Mug", "description": "Holds\tcoffee", "color": "Blue",
    "size": "L", "link": "https://shop.example/mug", "image_link": "https://shop.example/mug.jpg", "price": "20.00 EUR",
    "sale_price": "EUR 15,00", "availability": "in stock", "quantity": "7", "gtin": "4006381333931", "mpn": "M1",
    "brand": "Kiln", "condition": "New", "unit_pricing_measure": "1.5 kg", "unit_pricing_base_measure": "1 kg",
    "custom_label_0": "autumn", "custom_label_2": "gift", "product_type": "Home & Garden > Küche > Cups",
}  # fmt: skip


def rss(*items: str, head: str = "") -> bytes:
    body = "".join(f"<item>{item}</item>\n" for item in items)
    space = 'xmlns:g="http://base.google.com/ns/1.0"'
    return f'{head}<rss version="2.0" {space}>\n<channel><title>Shop</title>\n{body}</channel></rss>'.encode()


def item(**values: str) -> str:
    return "".join(f"<g:{name}>{value}</g:{name}>" for name, value in values.items())


def run(body: bytes, format_: Format | None = None, now_ms: int = NOVEMBER_MS) -> tuple[list[Entry], list[LineError]]:
    items = list(read(BytesIO(body), format_, now_ms))
    return [i for i in items if isinstance(i, Entry)], [i for i in items if isinstance(i, LineError)]


def one(now_ms: int = NOVEMBER_MS, **values: Any) -> Entry | LineError:
    return google.entry(1, {"id": "A", "title": "A", "price": "20 EUR"} | values, now_ms)


def variant(now_ms: int = NOVEMBER_MS, **values: Any) -> Any:
    found = one(now_ms, **values)
    assert isinstance(found, Entry), found
    return found.product.variants[0]


# --- what an item says ----------------------------------------------------------------------------------------


def test_an_item_with_everything() -> None:
    found = google.entry(4, WHOLE, NOVEMBER_MS)
    assert isinstance(found, Entry)
    product, [variant] = found.product, found.product.variants
    assert (found.line, found.grouped, found.turns_ms) == (4, True, None)
    assert (product.id, product.title, product.description, product.currency) == ("mug", "Mug", "Holds coffee", "EUR")
    assert product.picture == "https://shop.example/mug.jpg"
    assert product.categories == ["home-garden", "home-garden/kuche", "home-garden/kuche/cups"]
    assert (variant.sku, variant.title, variant.stock) == ("MUG-BLUE", "Blue, L", 7)
    assert (variant.price_minor, variant.list_price_minor) == (1500, 2000)
    assert variant.content == Content(amount=1500, unit=Measure.g)
    assert variant.facts == Facts(
        link="https://shop.example/mug", gtin="4006381333931", mpn="M1", brand="Kiln", condition="new",
        base_measure="1 kg", labels=["autumn", "", "gift"],
    )  # fmt: skip


def test_an_item_with_little() -> None:
    found = one()
    assert isinstance(found, Entry) and not found.grouped
    assert (found.product.id, found.product.variants[0].title, found.product.categories) == ("A", "", [])
    grouped = one(item_group_id="g")
    assert isinstance(grouped, Entry) and grouped.product.variants[0].title == "A"


def test_long_texts_are_cut_and_deep_types_too() -> None:
    found = one(title="x" * 200, description="y" * 5000, product_type=" > ".join("abcdefghijklmnopqrstuvwxyz"))
    assert isinstance(found, Entry)
    assert (len(found.product.title), len(found.product.description)) == (140, 2000)
    assert len(found.product.categories) == CATEGORIES_MAX
    assert isinstance(one(product_type="Home > ☃ > Cups"), Entry)


SALE = "2026-11-10T00:00+0100/2026-11-20T00:00Z"
BEGINS_MS, ENDS_MS = NOVEMBER_MS + 9 * DAY_MS - 3_600_000, NOVEMBER_MS + 19 * DAY_MS


@pytest.mark.parametrize(
    ("now_ms", "price", "turns_ms"),
    [
        (BEGINS_MS - 1, (2000, None), BEGINS_MS),
        (BEGINS_MS, (1500, 2000), ENDS_MS),
        (ENDS_MS - 1, (1500, 2000), ENDS_MS),
        (ENDS_MS, (2000, None), None),
    ],
)
def test_a_sale_begins_and_ends(now_ms: int, price: tuple[int, int | None], turns_ms: int | None) -> None:
    found = one(now_ms, sale_price="15 EUR", sale_price_effective_date=SALE)
    assert isinstance(found, Entry)
    sold = found.product.variants[0]
    assert ((sold.price_minor, sold.list_price_minor), found.turns_ms) == (price, turns_ms)


def test_times_without_a_zone_are_utc_and_an_equal_price_is_no_sale() -> None:
    naive = "2026-10-01T00:00/2026-12-01T00:00"
    assert variant(sale_price="15 EUR", sale_price_effective_date=naive).list_price_minor == 2000
    assert variant(sale_price="20 EUR").list_price_minor is None


@pytest.mark.parametrize(
    ("values", "units"),
    [
        ({}, None),
        ({"availability": "in_stock"}, None),
        ({"availability": "out of stock"}, 0),
        ({"availability": "preorder", "quantity": "9"}, 0),
        ({"inventory": "3"}, 3),
        ({"availability": "In Stock", "sell_on_google_quantity": "4"}, 4),
    ],
)
def test_units_that_are_there(values: dict[str, Any], units: int | None) -> None:
    stock = variant(**values).stock
    assert stock == units if units is not None else not isinstance(stock, int)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("750 ml", Content(amount=750, unit=Measure.ml)),
        ("0,75l", Content(amount=750, unit=Measure.ml)),
        ("2.0 sqm", Content(amount=2, unit=Measure.m2)),
        ("1 CBM", Content(amount=1, unit=Measure.m3)),
    ],
)
def test_measures(text: str, content: Content) -> None:
    assert variant(unit_pricing_measure=text).content == content


@pytest.mark.parametrize(
    ("values", "field", "word"),
    [
        ({"id": ""}, "id", "missing"),
        ({"id": "A B"}, "id", "regex"),
        ({"title": " "}, "title", "missing"),
        ({"price": ""}, "price", "missing"),
        ({"price": "20"}, "price", "49.90 EUR"),
        ({"price": "-20 EUR"}, "price", "no signs"),
        ({"price": "1,299.00 USD"}, "price", "no signs"),
        ({"price": "999999999999 EUR"}, "price", "more than"),
        ({"price": "20 XXX"}, "price", "ISO 4217"),
        ({"sale_price": "15 USD"}, "sale_price", "is in USD"),
        ({"sale_price": "25 EUR"}, "sale_price", "higher"),
        ({"sale_price": "15 EUR", "sale_price_effective_date": "soon"}, "sale_price_effective_date", "two times"),
        ({"sale_price": "15 EUR", "sale_price_effective_date": "2026-13-01/x"}, "sale_price_effective_date", "two"),
        ({"sale_price": "15 EUR", "sale_price_effective_date": "2026-11-02/2026-11-01"}, "sale_price_effective_date",
         "before"),
        ({"availability": "maybe"}, "availability", "none of"),
        ({"quantity": "-3"}, "quantity", "whole number"),
        ({"quantity": "99999999999"}, "quantity", "whole number"),
        ({"quantity": "9999999999"}, "stock", "<= 1000000000"),
        ({"gtin": "4006381333932"}, "gtin", "not a GTIN"),
        ({"gtin": "400638"}, "gtin", "not a GTIN"),
        ({"condition": "mint"}, "condition", "none of"),
        ({"unit_pricing_measure": "a lot"}, "unit_pricing_measure", "750 ml"),
        ({"unit_pricing_measure": "1.5 m2"}, "unit_pricing_measure", "whole numbers"),
        ({"unit_pricing_measure": "1 ct"}, "unit_pricing_measure", "enum"),
        ({"image_link": "http://shop.example/a.jpg"}, "image_link", "https"),
        ({"brand": "a\x01b"}, "brand", "control"),
        ({"custom_label_0": "a\x01b"}, "labels", "control"),
        ({"link": "x" * 2001}, "link", "length"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(values: dict[str, Any], field: str, word: str) -> None:
    error = one(**values)
    assert isinstance(error, LineError)
    assert (error.field, error.line, error.ends) == (field, 1, False)
    assert word in error.detail
    assert error.skus == ((values.get("id", "A"),) if values.get("id", "A") else ())


# --- tables ---------------------------------------------------------------------------------------------------


def test_google_s_columns_in_a_table() -> None:
    text = "ID\ttitle\tg:price\timage link\tsale price effective date\tcolour of the year\nA\tA\t20 EUR\t\t\tgrey\n"
    [entry], errors = run(text.encode() + b"B\tB\t-1 EUR\t\t\t\n")
    assert entry.product.id == "A" and [(error.line, error.field) for error in errors] == [(3, "price")]


# --- XML ------------------------------------------------------------------------------------------------------


def test_rss_item_by_item() -> None:
    body = rss(
        item(**{**WHOLE, "product_type": "Cups", "title": "Mug &amp; more"}),
        item(id="B", title="B", price="x EUR"),
        "<title>Plain</title><g:id>C</g:id><description><![CDATA[<b>Bold</b>]]></description><g:price>1 EUR</g:price>"
        "<g:shipping><g:price>9 EUR</g:price>lost</g:shipping><g:price>2 EUR</g:price>",
        head='<?xml version="1.0"?>\n<!-- ours -->\n',
    )
    entries, [error] = run(body)
    assert [(one.line, one.product.title) for one in entries] == [(5, "Mug & more"), (7, "Plain")]
    assert entries[1].product.description == "<b>Bold</b>"
    assert entries[1].product.variants[0].price_minor == 100
    assert (error.line, error.field, error.skus) == (6, "price", ("B",))


def test_atom() -> None:
    body = b"""<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0">
    <entry><id>tag:1</id><g:id>A</g:id><title>A</title><link href="https://shop.example/a"/><summary>Nice</summary>
    <g:price>1 EUR</g:price></entry><entry><g:id>B</g:id><title>B</title><link/><g:price>1 EUR</g:price></entry>
    </feed>"""
    [first, second], errors = run(body)
    assert not errors and first.product.description == "Nice"
    facts = [found.product.variants[0].facts for found in (first, second)]
    assert [one.link for one in facts if isinstance(one, Facts)] == ["https://shop.example/a", ""]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_the_encodings_that_xml_declares(encoding: str) -> None:
    body = rss(item(id="A", title="Größe", price="1 EUR")).decode()
    [entry], errors = run(f'<?xml version="1.0" encoding="{encoding}"?>'.encode(encoding) + body.encode(
        "utf-16-le" if encoding == "utf-16" else encoding), "xml")  # fmt: skip
    assert not errors and entry.product.title == "Größe"


GOOD = item(id="A", title="A", price="1 EUR")
BOMB = '<!DOCTYPE rss [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
FILE = '<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
DEEP = "<a>" * FEED_XML_DEPTH_MAX
LONG = "x" * (3 * IMPORT_LINE_BYTES_MAX)


@pytest.mark.parametrize(
    ("body", "landed", "word"),
    [
        (rss(GOOD, head=BOMB), 0, "DOCTYPE"),
        (rss(GOOD, head=FILE), 0, "DOCTYPE"),
        (rss(GOOD, DEEP), 1, "inside each other"),
        (rss(GOOD, f'<a b="{LONG}"/>'), 1, "a tag is longer"),
        (rss(GOOD, f"<!--{LONG}-->"), 1, "a tag is longer"),
        (rss(GOOD, "<b>&nbsp;</b>"), 1, "undefined entity"),
        (rss(GOOD, "<b></c>"), 1, "mismatched"),
        (rss(GOOD)[:-10], 1, "not XML"),
        (rss(GOOD, "\x01"), 1, "not well-formed"),
        (rss(GOOD).replace(b"<g:title>A", b"<g:title>\xff"), 0, "invalid token"),
        (b'<?xml version="1.0" encoding="x-ours"?><rss/>', 0, "encoding"),
        (b'<?xml version="1.0" encoding="utf-7"?><rss/>', 0, "encoding"),
        (b"<html><body>Not found</body></html>", 0, "not a product feed"),
        (rss(), 0, "not a product feed"),
    ],
)
def test_xml_that_ends_the_reading(body: bytes, landed: int, word: str) -> None:
    entries, [error] = run(body, "xml")
    assert (len(entries), error.ends) == (landed, True)
    assert word in error.detail


def test_an_item_that_is_too_long_costs_itself() -> None:
    entries, [error] = run(rss(GOOD, f"<g:title>{LONG}</g:title>", item(id="B", title="B", price="1 EUR")))
    assert [entry.product.id for entry in entries] == ["A", "B"]
    assert (error.line, error.ends) == (4, False) and "longer" in error.detail


# --- packed ---------------------------------------------------------------------------------------------------


def test_packed_feeds_of_each_format() -> None:
    table = b"id,title,price\nA,A,1 EUR\n"
    lines = b'\xef\xbb\xbf {"id":"A","title":"A","currency":"EUR","variants":[{"sku":"A","price_minor":100}]}\n'
    for body in (table, lines, b"[" + lines.strip(b"\xef\xbb\xbf ") + b"]", rss(GOOD)):
        for packed in (body, gzip.compress(body)):
            [entry], errors = run(packed)
            assert (entry.product.id, errors) == ("A", [])


def test_a_packed_feed_that_ends_early_or_is_broken() -> None:
    table = b"id,title,price\n" + b"".join(b"A%d,A,1 EUR\n" % number for number in range(8_000))
    packed = gzip.compress(table)
    entries, errors = run(packed[: len(packed) // 2])
    assert entries and errors[-1].ends and "ends early" in errors[-1].detail
    entries, errors = run(packed[:1000] + b"\x00" * 50 + packed[1050:])
    assert errors[-1].ends
    assert run(b"\x1f\x8bnothing")[1][-1].detail == "the packed file is broken, or ends early"


def test_a_packed_bomb_is_read_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cart.feeds.formats.FEED_BYTES_MAX", 1_000_000)
    bomb = gzip.compress(b"id,title,price\nA,A,1 EUR\n" + b"\0" * 10_000_000)
    entries, errors = run(bomb)
    assert len(entries) == 1
    assert (errors[-1].ends, errors[-1].detail) == (True, "more than 1000000 bytes, unpacked")


def test_utf_16_is_named() -> None:
    _, [error] = run("product_id,title\n".encode("utf-16"), "csv")
    assert error.ends and "UTF-16" in error.detail


# --- how much at a time ---------------------------------------------------------------------------------------


def test_the_pace_follows_how_long_transactions_take() -> None:
    pace = Pace(0.02, 5, 100)
    assert pace.size == 5
    pace.took(5, 0.001)
    assert pace.size == 10
    pace.took(1, 0.001)  # too few to say
    assert pace.size == 10
    pace.took(10, 0.02)
    assert pace.size == 10
    pace.took(10, 2.0)
    assert pace.size == 5
    for _ in range(10):
        pace.took(pace.size, 0.0)
    assert pace.size == 100


def test_a_report_keeps_the_first_of_what_it_counts() -> None:
    report = ImportReport(dry_run=False, created=1, changed=2, unchanged=3)
    for line in range(IMPORT_ERRORS_SHOWN + 1):
        report.refuse(LineError(line=line, detail="wrong", ends=line == 0))
        report.warn(LineError(line=line, detail="short"))
    report.took(2.04)
    report.took(1.0)
    assert (report.accepted, report.complete, len(report.errors), len(report.warnings)) == (6, False, 100, 100)
    assert (report.refused, report.short) == (101, 101)
    assert (report.transactions, report.transaction_ms_max) == (2, 2.0)
