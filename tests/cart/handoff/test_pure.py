"""Links, signatures of what comes in, and what a report makes of an order."""

import hmac
import time
from base64 import b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec.structs import replace
from standardwebhooks import Webhook

from cart.handoff.inbound import verify
from cart.handoff.links import link
from cart.handoff.reports import Report, Sold, as_sold
from cart.handoff.service import Way
from cart.ordering.orders import OrderState
from cart.pricing.priced import Discount
from live.core.errors import Kind, Problem
from live.core.settings import SettingsError, environment, load
from tests.cart.handoff.conftest import OLD_SECRET, SECRET
from tests.cart.ordering.samples import line, order

ORDER = replace(
    order(line("CUP", 3, 1000, off_minor=300), line("MUG", 1, 1500), state=OrderState.pending),
    discounts=[Discount("r", 1, "Ten", 300)],
)


def _refused(run: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        run()
    return caught.value


# --- links


@pytest.mark.parametrize("url", ["https://shop.example/checkout", "https://shop.example/checkout?lang=de"])
def test_a_link_is_signed_and_keeps_the_query_of_its_address(url: str) -> None:
    made = urlsplit(link(url, "h1", 1_700_000_000_999, SECRET))
    query = {name: values[0] for name, values in parse_qs(made.query).items()}
    signed = hmac.digest(b64decode(SECRET[6:]), b"handoff.h1.1700000000", "sha256")
    assert query.pop("signature") == urlsafe_b64encode(signed).rstrip(b"=").decode()
    assert query.pop("lang", "de") == "de"
    assert query == {"handoff": "h1", "expires": "1700000000"}
    assert made.geturl().startswith(url)


# --- what comes in


def _signed(body: bytes, secret: str = SECRET, now_s: int = 1_700_000_000, id_: str = "m1") -> dict[str, str]:
    stamp = datetime.fromtimestamp(now_s, UTC)
    made = Webhook(secret).sign(id_, stamp, body.decode())
    return {"webhook-id": id_, "webhook-timestamp": str(now_s), "webhook-signature": made}


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_what_the_library_signs_is_believed(secret: str) -> None:
    assert verify(_signed(b"{}", secret), b"{}", (SECRET, OLD_SECRET), 1_700_000_300) == "m1"


def test_one_of_several_signatures_is_enough() -> None:
    headers = _signed(b"{}")
    headers["webhook-signature"] = f"v1,AAAA v1a,zzz {headers['webhook-signature']}"
    assert verify(headers, b"{}", [SECRET], 1_700_000_000) == "m1"


@pytest.mark.parametrize(
    ("change", "body", "now_s", "field"),
    [
        ({}, b"{ }", 1_700_000_000, "webhook-signature"),
        ({"webhook-signature": ""}, b"{}", 1_700_000_000, "webhook-signature"),
        ({"webhook-signature": "v1,ümlaut"}, b"{}", 1_700_000_000, "webhook-signature"),
        ({"webhook-id": "m2"}, b"{}", 1_700_000_000, "webhook-signature"),
        ({"webhook-id": ""}, b"{}", 1_700_000_000, "webhook-id"),
        ({"webhook-id": "x" * 129}, b"{}", 1_700_000_000, "webhook-id"),
        ({"webhook-id": "ü"}, b"{}", 1_700_000_000, "webhook-id"),
        ({"webhook-timestamp": "1.7e9"}, b"{}", 1_700_000_000, "webhook-timestamp"),
        ({"webhook-timestamp": "9" * 16}, b"{}", 1_700_000_000, "webhook-timestamp"),
        ({}, b"{}", 1_700_000_301, "webhook-timestamp"),
        ({}, b"{}", 1_699_999_699, "webhook-timestamp"),
    ],
)
def test_nobody_else_is_believed(change: dict[str, str], body: bytes, now_s: int, field: str) -> None:
    problem = _refused(lambda: verify(_signed(b"{}") | change, body, [SECRET], now_s))
    assert (problem.kind, problem.field) == (Kind.signature_invalid, field)


def test_signatures_beyond_the_bound_are_not_looked_at() -> None:
    headers = _signed(b"{}")
    headers["webhook-signature"] = "v1,AAAA " * 10 + headers["webhook-signature"]
    assert _refused(lambda: verify(headers, b"{}", [SECRET], 1_700_000_000)).kind is Kind.signature_invalid


# --- reports


def test_what_is_sold_as_it_was_handed_over_keeps_its_prices() -> None:
    sold = as_sold(ORDER, Report(number="  S-1 ", total_minor=4200, currency="EUR"))
    assert sold == replace(ORDER, external_number="S-1", total_minor=4200)


def test_a_fee_for_shipping_is_taxed_like_the_goods() -> None:
    sold = as_sold(ORDER, Report(number="S-1", shipping_minor=490))
    assert (sold.shipping_minor, sold.total_minor, sold.discounts) == (490, 4690, ORDER.discounts)
    assert sum(tax.net_minor + tax.tax_minor for tax in sold.taxes) == 4690


@pytest.mark.parametrize(
    ("sold", "unit", "off", "gross"),
    [
        (Sold("CUP", 2), 1000, 200, 1800),  # two thirds of 27 €
        (Sold("CUP", 4), 1000, 400, 3600),
        (Sold("CUP", 3, 2500), 1000, 500, 2500),
        (Sold("CUP", 3, 3100), 1034, 2, 3100),  # dearer than it was: a unit's price is rounded up, never down
        (Sold("CUP", 1, 0), 1000, 1000, 0),
    ],
)
def test_a_line_says_what_was_paid_for_it(sold: Sold, unit: int, off: int, gross: int) -> None:
    order = as_sold(ORDER, Report(number="S-1", lines=[sold]))
    assert [one.sku for one in order.lines] == ["CUP"], "what the report leaves out was not sold"
    made = order.lines[0]
    assert (made.price_minor, made.off_minor, made.line_minor) == (unit, off, gross)
    assert made.net_minor + made.tax_minor == gross and made.list_minor >= made.price_minor
    assert (made.hold_id, made.pin_id, made.at_ms) == (ORDER.lines[0].hold_id, None, 0)
    assert order.subtotal_minor - sum(one.amount_minor for one in order.discounts) == order.total_minor == gross
    assert sum(tax.net_minor + tax.tax_minor for tax in order.taxes) == gross


def test_lines_without_a_discount_need_none() -> None:
    assert as_sold(ORDER, Report(number="S-1", lines=[Sold("MUG", 1)])).discounts == []


@pytest.mark.parametrize(
    ("facts", "kind", "field"),
    [
        ({"number": " "}, Kind.invalid_field, "number"),
        ({"number": "x" * 65}, Kind.invalid_field, "number"),
        ({"number": "a\0b"}, Kind.invalid_field, "number"),
        ({"currency": "USD"}, Kind.invalid_field, "currency"),
        ({"shipping_minor": -1}, Kind.invalid_field, "shipping_minor"),
        ({"shipping_minor": 10**11}, Kind.invalid_field, "shipping_minor"),
        ({"total_minor": 4201}, Kind.invalid_field, "total_minor"),
        ({"lines": []}, Kind.invalid_field, "lines"),
        ({"lines": [Sold("CUP", 1), Sold("PEN", 1)]}, Kind.unknown_sku, "lines[1].sku"),
        ({"lines": [Sold("CUP", 1), Sold("CUP", 1)]}, Kind.invalid_field, "lines[1].sku"),
        ({"lines": [Sold("CUP", 0)]}, Kind.invalid_quantity, "quantity"),
        ({"lines": [Sold("CUP", 10**9)]}, Kind.invalid_quantity, "quantity"),
        ({"lines": [Sold("CUP", 1, -1)]}, Kind.invalid_field, "lines[0].line_minor"),
        ({"lines": [Sold("CUP", 1, 10**13)]}, Kind.invalid_field, "lines[0].line_minor"),
    ],
)
def test_reports_that_cannot_be_booked_name_the_member(facts: dict[str, Any], kind: Kind, field: str) -> None:
    problem = _refused(lambda: as_sold(ORDER, Report(**{"number": "S-1", **facts})))
    assert (problem.kind, problem.field) == (kind, field)


# --- settings


def test_where_carts_go_is_said_with_its_secrets() -> None:
    environ = {"SHOWCART_HANDOFF_URL": "https://shop.example/checkout?lang=de", "SHOWCART_SECRET": "s" * 16}
    settings = load(environ | {"SHOWCART_HANDOFF_SECRETS": f"{SECRET}, {OLD_SECRET}", "SHOWCART_HANDOFF_TTL_S": "900"})
    assert Way.of(settings, str) == Way(environ["SHOWCART_HANDOFF_URL"], (SECRET, OLD_SECRET), 900, str)
    assert load(environment(settings)) == settings


@pytest.mark.parametrize(
    ("url", "secrets", "name"),
    [
        ("http://shop.example/checkout", SECRET, "HANDOFF_URL"),
        ("https://shop.example/#pay", SECRET, "HANDOFF_URL"),
        ("shop.example", SECRET, "HANDOFF_URL"),
        ("http://127.0.0.1:9000/checkout", "", "HANDOFF_SECRETS"),
        ("", "whsec_c2hvcnQ=", "HANDOFF_SECRETS"),
        ("", "a secret without its form but long enough", "HANDOFF_SECRETS"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_without_the_secret(url: str, secrets: str, name: str) -> None:
    environ = {"SHOWCART_HANDOFF_URL": url, "SHOWCART_HANDOFF_SECRETS": secrets, "SHOWCART_SECRET": "s" * 16}
    with pytest.raises(SettingsError, match=f"SHOWCART_{name}") as caught:
        load(environ)
    assert not secrets or secrets not in str(caught.value)


# --- the page


class _Ours:
    """Stands for the client of the page's example."""

    def get(self, path: str) -> "_Ours":
        self.path = path
        return self

    def raise_for_status(self) -> "_Ours":
        return self

    def json(self) -> str:
        return self.path


def test_the_example_of_the_page_knows_our_links_from_others() -> None:
    page = (Path(__file__).parents[3] / "docs" / "handoff.md").read_text()
    example = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {"SERVICE_KEY": "sck_x", "SECRET": SECRET}
    exec(example, names)
    names["SHOWCART"].close()
    names["SHOWCART"] = _Ours()

    def query(expires_s: float) -> dict[str, str]:
        made = urlsplit(link("https://shop.example/", "h1", round(expires_s * 1000), SECRET))
        return {name: values[0] for name, values in parse_qs(made.query).items()}

    good = query(time.time() + 60)
    assert names["arrive"](**good) == "/api/handoffs/h1"
    for bad in (good | {"handoff": "h2"}, good | {"expires": "9999999999"}, query(time.time() - 60)):
        with pytest.raises(PermissionError):
            names["arrive"](**bad)
