"""Product files, whole and broken."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.feeds import rows
from cart.feeds.entries import Entry, LineError
from cart.feeds.formats import Format, read
from cart.feeds.objects import objects
from cart.feeds.rows import COLUMNS
from cart.pricing.reductions import Content, Measure
from live.core.limits import IMPORT_LINE_BYTES_MAX, IMPORT_RECORD_LINES_MAX

HEAD = "product_id,title,sku,price,currency,list_price,stock,variant,description,picture\n"
ROW = "cup,Cup,CUP,49.90,EUR,59.90,12,,Nice,/static/pictures/cup.svg\n"
PRODUCT = {"id": "cup", "title": "Cup", "currency": "EUR", "variants": [{"sku": "CUP", "price_minor": 4990}]}


def run(text: str | bytes, format_: Format | None = "csv") -> tuple[list[Entry], list[LineError]]:
    items = list(read(BytesIO(text.encode() if isinstance(text, str) else text), format_, 0))
    return [i for i in items if isinstance(i, Entry)], [i for i in items if isinstance(i, LineError)]


def row(sku: str) -> str:
    return f"{sku.lower()},Thing,{sku},1.00,EUR,,,,,\n"


# --- CSV ------------------------------------------------------------------------------------------------------


def test_a_row_is_a_variant() -> None:
    [entry], errors = run(HEAD + ROW)
    assert not errors
    product, [variant] = entry.product, entry.product.variants
    assert (entry.line, product.id, product.title, product.description) == (2, "cup", "Cup", "Nice")
    assert (variant.sku, variant.price_minor, variant.list_price_minor, variant.stock) == ("CUP", 4990, 5990, 12)


MORE = "product_id,title,sku,price,currency,categories,tax,content\n"


def test_what_prices_depend_on_comes_with_the_goods() -> None:
    entries, errors = run(
        MORE + 'oil,Oil,OIL,9,EUR,food| food/oil |,7,750 ml\noil,,CAN,20,,,"5,5 %",\nb,B,B,1,EUR,,,\n'
    )
    assert not errors
    [oil, can, other] = entries
    assert oil.product.categories == can.product.categories == ["food", "food/oil"]
    variants = [entry.product.variants[0] for entry in entries]
    assert [one.tax_bp for one in variants] == [700, 550, None]
    assert [one.content for one in variants] == [Content(amount=750, unit=Measure.ml), None, None]
    assert other.product.categories == []


@pytest.mark.parametrize(
    ("cells", "field"),
    [(",abc,", "tax"), (",101,", "tax"), (",-1,", "tax"), (",,0.75 l", "content"), (",,5 oz", "content"),
     (",,0 g", "content"), ("a b,,", "categories"), ("|".join(f"c{n}" for n in range(21)) + ",,", "categories")],
)  # fmt: skip
def test_what_prices_cannot_depend_on(cells: str, field: str) -> None:
    entries, [error] = run(MORE + f"oil,Oil,OIL,9,EUR,{cells}\n")
    assert (entries, error.field, error.line) == ([], field, 2)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_dialects_of_spreadsheets(delimiter: str, end: str) -> None:
    text = (HEAD + ROW).replace(",", delimiter).replace("\n", end)
    entries, errors = run(b"\xef\xbb\xbf" + text.encode())
    assert (len(entries), errors) == (1, [])


def test_only_some_columns_are_needed_in_any_order_and_case() -> None:
    [entry], errors = run("Price,SKU,Currency,Title,Product_ID\n1,CUP,eur,Cup,cup\n")
    assert not errors and entry.product.currency == "EUR"


def test_the_words_of_a_product_stand_once() -> None:
    entries, errors = run(HEAD + ROW + "cup,,CUP-2,10,,,,Large,,\n" + "mug,,MUG,10,EUR,,,,,\n")
    assert [entry.product.title for entry in entries] == ["Cup", "Cup"]
    assert entries[1].product.variants[0].title == "Large"
    assert [(error.line, error.field) for error in errors] == [(4, "title")]


def test_quoted_fields_may_hold_line_breaks() -> None:
    entries, errors = run(HEAD + 'cup,"Cup, ""big""",CUP,1,EUR,,,,"two\nlines",\n' + row("B"))
    assert not errors
    assert (entries[0].product.title, entries[0].product.description) == ('Cup, "big"', "two\nlines")
    assert [entry.line for entry in entries] == [2, 4]


@pytest.mark.parametrize(
    ("line", "field", "word"),
    [
        ("cup,Cup,CUP,abc,EUR,,,,,", "price", "amount"),
        ("cup,Cup,CUP,,EUR,,,,,", "price", "amount"),
        ("cup,Cup,CUP,1,EUR,x,,,,", "list_price", "amount"),
        ("cup,Cup,CUP,1,EUR,,-3,,,", "stock", "whole number"),
        ("cup,Cup,CUP,1,EUR,,1_0,,,", "stock", "whole number"),
        ("cup,Cup,CUP,1,EUR,,9999999999,,,", "stock", "<= 1000000000"),
        ("cup,Cup,C P,1,EUR,,,,,", "sku", "regex"),
        ("c p,Cup,CUP,1,EUR,,,,,", "product_id", "regex"),
        ("cup,Cup,CUP,1,XXX,,,,,", "currency", "ISO 4217"),
        ("cup,Cup,CUP,5,EUR,4,,,,", "list_price", "higher"),
        ("cup,Cup,CUP,5,EUR,,,a\x01b,,", "variant", "control"),
        ("cup,Cup,CUP,5,EUR,,,,,ftp://x", "picture", "path"),
        ("cup,Cup,CUP,5,EUR,,,,", "", "9 columns"),
        ('cup,"Cup"x,CUP,5,EUR,,,,,', "", "not CSV"),
    ],
)
def test_a_broken_line_is_named_and_the_others_land(line: str, field: str, word: str) -> None:
    entries, [error] = run(HEAD + row("A") + line + "\n\n , ,,,,,,,,\n" + row("B"))
    assert [entry.line for entry in entries] == [2, 6]
    assert (error.line, error.field) == (3, field)
    assert word in error.detail


def test_a_line_that_is_not_utf8() -> None:
    entries, [error] = run(
        (HEAD + row("A")).encode() + "cup,Größe,C,1,EUR,,,,,\n".encode("latin-1") + row("B").encode()
    )
    assert (len(entries), error.line) == (2, 3)
    assert "UTF-8" in error.detail


def test_a_line_that_is_too_long_is_skipped_without_being_kept() -> None:
    entries, [error] = run(HEAD + row("A") + "x" * (3 * IMPORT_LINE_BYTES_MAX) + "\n" + row("B"))
    assert (len(entries), error.line) == (2, 3)
    assert "longer" in error.detail
    entries, [error] = run(HEAD + row("A") + "x" * (IMPORT_LINE_BYTES_MAX + 1))
    assert (len(entries), error.line) == (1, 3)


def test_a_quote_that_is_never_closed_costs_its_own_line() -> None:
    rows = "".join(row(f"S{number}") for number in range(3 * IMPORT_RECORD_LINES_MAX))
    entries, [error] = run(HEAD + 'cup,"Cup,CUP,5,EUR,,,,,\n' + rows)
    assert (len(entries), error.line) == (3 * IMPORT_RECORD_LINES_MAX, 2)


def test_an_open_quote_does_not_hide_another_broken_line() -> None:
    body = HEAD.encode() + b'cup,"Cup,CUP,5,EUR,,,,,\n' + b"\xff\n" + row("A").encode() + b'x,"'
    entries, errors = run(body)
    assert [entry.line for entry in entries] == [4]
    assert [error.line for error in errors] == [2, 3, 5]


def test_a_quoted_field_is_bounded_in_bytes() -> None:
    big = "x" * (IMPORT_LINE_BYTES_MAX // 2)
    entries, errors = run(HEAD + f'a,"{big}\n{big}\n{big}",A,1,EUR,,,,,\n' + row("B"))
    assert [entry.line for entry in entries] == [5]
    assert [error.line for error in errors] == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("product_id,title,sku,price\n", "lacks currency"),
        ("<html>\n", "lacks product_id"),
        (HEAD.replace("stock", "stok"), "unknown column 'stok'"),
        (HEAD.replace("stock", "sku"), "twice"),
        ("x" * (IMPORT_LINE_BYTES_MAX + 2) + "\n", "longer"),
        ('"a\n', "not CSV"),
    ],
)
def test_a_file_without_a_usable_header_is_refused_at_once(text: str, word: str) -> None:
    entries, [error] = run(text + (ROW if text.strip() else ""))
    assert not entries and word in error.detail


# --- JSON -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([PRODUCT]),
        json.dumps([PRODUCT], indent=2),
        json.dumps(PRODUCT),
        "\ufeff \n" + json.dumps([PRODUCT]),
        "\ufeff" + json.dumps(PRODUCT) + "\n\n",
    ],
)
def test_arrays_and_lines_of_json(text: str) -> None:
    [entry], errors = run(text, "json")
    assert not errors and entry.product.variants[0].sku == "CUP"


def numbered(number: int, **more: Any) -> dict[str, Any]:
    return PRODUCT | {"id": f"p{number}", "variants": [{"sku": f"S{number}", "price_minor": 1}]} | more


def test_an_array_names_the_line_of_a_wrong_product_and_goes_on() -> None:
    wrong = {"id": "x", "title": "X", "currency": "EUR", "variants": [{"sku": "X", "price_minor": "1"}]}
    rude = numbered(4, currency="XXX")
    lines = [numbered(1), wrong, numbered(2, colour="red"), numbered(3), rude]
    entries, errors = run("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n", "json")
    assert [entry.line for entry in entries] == [2, 5]
    assert [(error.line, error.field) for error in errors] == [
        (3, "variants[0].price_minor"),
        (4, ""),
        (6, "currency"),
    ]


def test_a_broken_json_line_costs_its_own_line() -> None:
    text = json.dumps(numbered(1)) + '\n{"id": \n' + "x" * (IMPORT_LINE_BYTES_MAX + 1) + "\n" + json.dumps(numbered(2))
    entries, errors = run(text, "json")
    assert ([entry.line for entry in entries], [error.line for error in errors]) == ([1, 4], [2, 3])


@pytest.mark.parametrize(
    ("text", "landed", "line"),
    [
        ("", 0, 1),
        ("  \n", 0, 1),
        ("<products/>", 0, 1),
        ("[", 0, 1),
        ("[]x", 0, 1),
        ("[\n{A}\n", 1, 3),
        ("[\n{A}\n,]", 1, 3),
        ("[\n{A}\n{B}]", 1, 3),
        ("[\n{A},\n{B}] []", 2, 3),
        ('["x",\n{A}]', 0, 2),
        ('[\n{"id": "cup"', 0, 2),
        ('[\n{A},\n{"id": "' + "x" * 3 * IMPORT_LINE_BYTES_MAX, 1, 3),
    ],
)
def test_an_array_is_read_up_to_where_it_breaks(text: str, landed: int, line: int) -> None:
    for name, number in (("A", 1), ("B", 2)):
        text = text.replace(f"{{{name}}}", json.dumps(numbered(number)))
    entries, errors = run(text, "json")
    assert (len(entries), errors[-1].line, len(errors)) == (landed, line, 1)


def test_brackets_and_quotes_are_followed_but_not_judged() -> None:
    entries, errors = run('[{"a": [1, "]}"]},\n{\\ },\n{"a": {"b": [}}},\n' + json.dumps(numbered(1)) + "]", "json")
    assert ([error.line for error in errors], [entry.line for entry in entries]) == ([1, 2, 3], [4])


def test_a_product_that_is_too_long_is_named() -> None:
    long = numbered(1, description="x" * IMPORT_LINE_BYTES_MAX)
    entries, [error] = run(json.dumps([long, numbered(2)], indent=0), "json")
    assert len(entries) == 1 and "longer" in error.detail


def test_an_empty_array_holds_nothing() -> None:
    assert run("[ \n ]".replace(" \n ", ""), "json") == ([], [])


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=100), max_size=12
    ),
    st.sampled_from([None, 1, 2]),
    st.integers(1, 40),
)
def test_any_text_survives_the_splitter(titles: list[str], indent: int | None, chunk: int) -> None:
    products = [numbered(n, title="t" + title, description='\\"{[' + title) for n, title in enumerate(titles)]

    class Crumbs(BytesIO):
        """Reads a few bytes at a time, so that every boundary is met."""

        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or chunk, chunk))

    text = json.dumps(products, indent=indent, ensure_ascii=False)
    entries = [item for item in objects(Crumbs(text.encode())) if isinstance(item, Entry)]
    assert [entry.product.title for entry in entries] == ["t" + title for title in titles]


@given(
    st.binary(max_size=400), st.sampled_from(["csv", "json", "xml", None]), st.sampled_from(["", HEAD, "[", "<rss>"])
)
def test_garbage_never_raises(garbage: bytes, format_: Format | None, start: str) -> None:
    list(read(BytesIO(start.encode() + garbage), format_, 0))


def test_the_demo_catalogue_is_whole() -> None:
    text = (Path(__file__).parents[3] / "cart" / "demo_products.json").read_bytes()
    entries, errors = run(text, "json")
    assert not errors
    assert len(entries) >= 8
    assert all(entry.product.picture == f"/static/pictures/{entry.product.id}.svg" for entry in entries)
    stock = {variant.sku: variant.stock for entry in entries for variant in entry.product.variants}
    assert stock["VASE-STUDIO"] == 3


def test_the_documented_columns_are_the_known_ones() -> None:
    assert rows.__doc__ is not None
    assert all(f"    {column}" in rows.__doc__ for column in COLUMNS)
