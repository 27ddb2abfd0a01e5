"""The files of the pages: what they refer to exists, all of them are used, and they stay small."""

import itertools
import re

import httpx
import pytest

from live.core.limits import (
    ADDRESS_LINE_CHARS_MAX,
    BUYER_NAME_CHARS_MAX,
    COUPON_CHARS_MAX,
    EMAIL_CHARS_MAX,
    LABEL_CHARS_MAX,
    ORDER_NOTE_CHARS_MAX,
    POSTCODE_CHARS_MAX,
)
from live.core.metrics import REMEMBERED
from tests.live.web import PAGES, SCRIPTS, STYLES, WEB, Markup, modules, text

PRODUCTS = (
    "espresso-cup", "linen-throw", "walnut-board", "field-lamp", "wool-beanie", "canvas-tote", "ceramic-vase",
    "trail-bottle",
)  # fmt: skip
METRICS = ("live/core", "live/realtime", "stream")
FIRST_PAINT_BYTES_MAX = 100_000
LINES_MAX = 400


@pytest.mark.parametrize("page", PAGES)
async def test_what_a_page_refers_to_exists(browser: httpx.AsyncClient, page: str) -> None:
    markup = Markup(text(page))
    assert markup.inline == []
    assert len(markup.ids) == len(set(markup.ids))
    for url in markup.references:
        if not url.startswith("#"):
            assert (await browser.get(url)).status_code == 200, url
        else:
            assert url[1:] in markup.ids


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_a_heading_for_everybody(page: str) -> None:
    headings = re.findall(r"<h1[^>]*>", text(page))
    assert headings
    assert not any("visually-hidden" in heading for heading in headings)


def test_what_a_script_imports_exists() -> None:
    for path in set().union(*(modules(script, lazy=True) for script in SCRIPTS)):
        assert path.is_file(), path


async def test_what_a_script_mentions_exists(browser: httpx.AsyncClient) -> None:
    for script in SCRIPTS:
        for url in re.findall(r'"(/static/[^"]+)"', script.read_text()):
            assert (await browser.get(url)).status_code == 200, f"{script.name}: {url}"


def test_the_ops_page_asks_for_figures_that_exist() -> None:
    told = "".join(path.read_text() for part in METRICS for path in (WEB.parents[1] / part).rglob("*.py"))
    script = "".join((WEB / f"js/{name}.js").read_text() for name in ("ops", "charts"))
    asked = set(re.findall(r'"((?:showcart|process)_\w+?)(?:_total|_bucket|_sum)?"', script))
    assert asked == REMEMBERED
    for name in asked:
        assert f'"{name}"' in told, name
    dropped = re.findall(r'"(\w+)"', script.split("DROPPED = ")[1].split("]")[0])
    for what in [*re.findall(r'(?:what|how|outcome|lane): "(\w+)"', script), *dropped]:
        assert re.search(rf'"{what}"|\b{what}=', told), what


def test_every_script_and_style_is_used() -> None:
    entries = {
        WEB / url.removeprefix("/static/")
        for page in PAGES
        for url in Markup(text(page)).references
        if url.startswith("/static/")
    }
    used = set(itertools.chain.from_iterable(modules(path, lazy=True) for path in entries if path.suffix == ".js"))
    assert set(SCRIPTS) == used
    late = {WEB / url for script in SCRIPTS for url in re.findall(r'"/static/(css/[^"]+)"', script.read_text())}
    assert set(STYLES) == late | {path for path in entries if path.suffix == ".css"}


def test_every_module_of_the_first_paint_is_loaded_at_once() -> None:
    preloaded = {
        WEB / url.removeprefix("/static/") for url in Markup(text("watch.html")).references if url.endswith(".js")
    }
    assert modules(WEB / "js/watch.js") == preloaded


def test_every_product_of_the_demo_has_a_picture() -> None:
    for product in PRODUCTS:
        assert "<svg" in text(f"pictures/{product}.svg")


def test_no_file_names_a_foreign_address() -> None:
    for path in WEB.rglob("*.*"):
        foreign = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", path.read_text())) - {"http://www.w3.org"}
        assert not foreign, f"{path.name}: {foreign}"


def test_nothing_goes_around_the_content_security_policy() -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style\""
    for path in SCRIPTS:
        assert not re.search(forbidden, path.read_text()), path.name
    for path in (WEB / "pictures").iterdir():
        assert not re.search(r"<script|<style|style=|href=|<foreignObject", path.read_text()), path.name


def test_the_watch_page_paints_with_less_than_100_kb_of_our_code() -> None:
    first = {
        WEB / url.removeprefix("/static/")
        for url in Markup(text("watch.html")).references
        if url.startswith("/static/")
    }
    files = {*first, *modules(WEB / "js/watch.js")}
    page = {WEB / "watch.html": len(text("watch.html").encode())}
    for language in ("en", "de"):
        sizes = page | {path: path.stat().st_size for path in {*files, WEB / f"text/{language}.json"}}
        assert sum(sizes.values()) < FIRST_PAINT_BYTES_MAX, f"{language}: {sum(sizes.values())}"


def test_a_file_stays_small() -> None:
    for path in (*SCRIPTS, *STYLES):
        assert len(path.read_text().splitlines()) < LINES_MAX, path.name


@pytest.mark.parametrize(
    ("script", "name", "most"),
    [
        ("parts/checkout-form", "name", BUYER_NAME_CHARS_MAX),
        ("parts/checkout-form", "email", EMAIL_CHARS_MAX),
        ("parts/checkout-form", "note", ORDER_NOTE_CHARS_MAX),
        ("withdraw", "withdraw-name", BUYER_NAME_CHARS_MAX),
        ("withdraw", "withdraw-email", EMAIL_CHARS_MAX),
        ("parts/shipping-choice", "address-street", ADDRESS_LINE_CHARS_MAX),
        ("parts/shipping-choice", "address-extra", ADDRESS_LINE_CHARS_MAX),
        ("parts/shipping-choice", "address-city", ADDRESS_LINE_CHARS_MAX),
        ("parts/shipping-choice", "address-postcode", POSTCODE_CHARS_MAX),
        ("parts/coupon-field", "coupon", COUPON_CHARS_MAX),
        ("parts/rule-form", "code", COUPON_CHARS_MAX),
        ("parts/rule-form", "label", LABEL_CHARS_MAX),
    ],
)
def test_a_field_takes_no_more_than_the_server(script: str, name: str, most: int) -> None:
    found = re.search(rf'\("{name}",[^{{]*\{{[^}}]*maxlength: "(\d+)"', text(f"js/{script}.js"))
    assert found is not None
    assert int(found[1]) <= most
