"""Money, levels, holds, carts and orders as values."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart import prices
from cart.baskets import CouponState, cart_id, cart_of, check_coupons, version
from cart.catalogue import Invalid, ProductEntry, VariantEntry, check, is_id
from cart.pricing.basket import Basket, BasketLine
from cart.pricing.plain import undiscounted
from cart.pricing.taxes import Tax
from cart.stock import EFFECTS, LIVE, TRANSITIONS, Hold, HoldState, Level, Movement, check_quantity, sold_out
from live.core.codec import Malformed, convert
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import CART_LINES_MAX, HOLD_EXTENSIONS_MAX, PRICE_MINOR_MAX, QUANTITY_MAX

HOLD = Hold(
    id="h1", cart="demo:ada", show="demo", viewer_id="ada", sku="CUP", location="main", quantity=2, price_minor=1000,
    currency="EUR", state=HoldState.active, expires_at_ms=1000, claim_until_ms=None, order_id=None, pin_id=None,
    at_ms=0, product_id="cup", title="Cup", variant="", picture="",
)  # fmt: skip


# --- prices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [("49.90", "EUR", 4990), ("49,9", "EUR", 4990), (" 50 ", "EUR", 5000), ("0", "EUR", 0), ("1500", "JPY", 1500),
     ("1.234", "KWD", 1234), ("100000000", "EUR", PRICE_MINOR_MAX)],
)  # fmt: skip
def test_amounts_are_read_as_people_write_them(text: str, currency: str, minor: int) -> None:
    assert prices.parse_amount(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency"),
    [("", "EUR"), ("-1", "EUR"), ("+1", "EUR"), ("1.299,00", "EUR"), ("1e3", "EUR"), ("NaN", "EUR"), ("49.905", "EUR"),
     ("1.5", "JPY"), (".5", "EUR"), ("5.", "EUR"), ("٣", "EUR"), ("100000000.01", "EUR"), ("9" * 400, "EUR")],
)  # fmt: skip
def test_other_amounts_are_refused(text: str, currency: str) -> None:
    with pytest.raises(ValueError, match=r"amount|decimals|minor units"):
        prices.parse_amount(text, currency)


@given(st.integers(0, PRICE_MINOR_MAX), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_what_is_written_is_what_is_read(minor: int, currency: str) -> None:
    digits = prices.minor_digits(currency)
    text = str(minor).zfill(digits + 1)
    text = f"{text[:-digits]}.{text[-digits:]}" if digits else text
    assert prices.parse_amount(text, currency) == minor


def test_the_fullest_cart_is_exact_in_a_browser() -> None:
    line = prices.line_total(PRICE_MINOR_MAX, QUANTITY_MAX)
    full = prices.total([line] * CART_LINES_MAX)
    assert float(full) == full and full == 10**10 * 100 * 50
    with pytest.raises(AssertionError):
        prices.total([2**53])
    with pytest.raises(AssertionError):
        prices.line_total(PRICE_MINOR_MAX + 1, 1)


# --- stock ----------------------------------------------------------------------------------------------------


def test_every_state_has_its_transitions_and_living_ones_end() -> None:
    assert set(TRANSITIONS) == set(HoldState)
    assert {state for state in HoldState if TRANSITIONS[state]} == LIVE
    for state in HoldState:
        for to in HoldState:
            hold = msgspec.structs.replace(HOLD, state=state)
            if to in TRANSITIONS[state]:
                assert hold.to(to) is to
            else:
                with pytest.raises(AssertionError):
                    hold.to(to)


def test_the_last_moment_belongs_to_the_others() -> None:
    assert not HOLD.overdue(999)
    assert HOLD.overdue(1000)


def test_a_hold_gets_so_many_full_times() -> None:
    ttl_ms, since_ms = 1000, 5000
    hold = msgspec.structs.replace(HOLD, id=uuid7(since_ms), expires_at_ms=7000)
    assert hold.held_since_ms == since_ms
    last_ms = since_ms + HOLD_EXTENSIONS_MAX * ttl_ms
    for now_ms in (since_ms, last_ms):
        living = msgspec.structs.replace(hold, expires_at_ms=now_ms + 1)
        assert living.extended(now_ms, ttl_ms) == now_ms + ttl_ms
    assert msgspec.structs.replace(hold, expires_at_ms=9000).extended(6000, ttl_ms) == 9000, "never shorter"
    with pytest.raises(Problem, match="Order it") as caught:
        msgspec.structs.replace(hold, expires_at_ms=last_ms + 2).extended(last_ms + 1, ttl_ms)
    assert (caught.value.kind, caught.value.extra) == (Kind.hold_final, {"sku": "CUP"})
    old = msgspec.structs.replace(hold, expires_at_ms=last_ms + 2)
    assert old.renewed(last_ms + 1, ttl_ms) == last_ms + 2, "growing gives no more time either"
    with pytest.raises(AssertionError):
        hold.extended(7000, ttl_ms)


def test_an_unpaid_hold_goes_back_while_it_has_time() -> None:
    claiming = msgspec.structs.replace(HOLD, state=HoldState.claiming)
    assert claiming.unpaid(999) is HoldState.active
    assert claiming.unpaid(1000) is HoldState.expired


def test_quantities() -> None:
    check_quantity(1)
    check_quantity(QUANTITY_MAX)
    for quantity in (0, -1, QUANTITY_MAX + 1):
        with pytest.raises(Problem):
            check_quantity(quantity)


def test_sold_out_says_how_many_are_left() -> None:
    level = Level(sku="CUP", location="main", on_hand=5, allocated=1, held=4)
    assert (sold_out(level).detail, sold_out(level).extra["available"]) == ("Sold out.", 0)
    assert sold_out(msgspec.structs.replace(level, held=1)).detail == "Only 3 left."


@given(st.lists(st.tuples(st.sampled_from(list(Movement)), st.integers(1, 20))))
def test_no_series_of_movements_promises_more_than_there_is(moves: list[tuple[Movement, int]]) -> None:
    level = Level(sku="CUP", location="main", on_hand=50, allocated=0, held=0)
    sums = {kind: 0 for kind in Movement}
    for kind, quantity in moves:
        after = level.after(kind, quantity)
        if after is None:
            continue
        sums[kind] += quantity
        level = after
        assert min(level.available, level.allocated, level.held) >= 0
    totals = [sum(EFFECTS[kind][place] * sums[kind] for kind in Movement) for place in range(3)]
    assert [level.on_hand - 50, level.allocated, level.held] == totals


def test_only_counts_go_both_ways() -> None:
    level = Level(sku="CUP", location="main", on_hand=5, allocated=2, held=1)
    fewer = level.after(Movement.counted, -2)
    assert fewer is not None and fewer.available == 0
    assert level.after(Movement.counted, -3) is None
    with pytest.raises(AssertionError):
        level.after(Movement.held, -1)


# --- carts ----------------------------------------------------------------------------------------------------


def test_a_cart_is_its_living_holds() -> None:
    other = msgspec.structs.replace(HOLD, id="h2", sku="MUG", quantity=1, price_minor=500)
    cart = cart_of([HOLD, other])
    assert (cart.total_minor, cart.currency, [line.line_minor for line in cart.lines]) == (2500, "EUR", [2000, 500])
    assert cart_of([]).currency == ""
    assert cart_id("demo", "ada") == "demo:ada"


def test_a_cart_says_what_it_comes_to() -> None:
    basket = Basket(
        "EUR",
        (BasketLine(key="h1", sku="CUP", product_id="cup", currency="EUR", list_minor=1200, quantity=2, tax_bp=1900,
                    fixed_unit_minor=1000),),
    )  # fmt: skip
    priced = undiscounted(7, "EUR", basket.lines)
    cart = cart_of([HOLD], priced, [CouponState("ABC", "condition")])
    [line] = cart.lines
    assert (line.list_price_minor, line.price_minor, line.line_minor, line.tax_minor) == (1200, 1000, 2000, 319)
    assert (cart.subtotal_minor, cart.total_minor, cart.coupons[0].code) == (2000, 2000, "ABC")
    assert cart.taxes == [Tax(1900, 1681, 319)]


def test_a_coupon_is_refused_for_what_no_cart_can_change() -> None:
    told = [CouponState("A", "applied"), CouponState("B", "condition"), CouponState("C", "outbid")]
    check_coupons(["A", "B", "C"], told)
    with pytest.raises(Problem):
        check_coupons(["A", "D"], told)
    for why in ("window", "budget_spent", None):
        with pytest.raises(Problem) as caught:
            check_coupons(["A", "B"], [CouponState("A", "no_target"), CouponState("B", why)])
        assert (caught.value.kind, caught.value.extra) == (Kind.coupon_refused, {"code": "B", "why": why})


def test_a_cart_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(Problem) as mixed:
        cart_of([HOLD, msgspec.structs.replace(HOLD, currency="JPY")])
    assert mixed.value.kind is Kind.mixed_currency
    with pytest.raises(Problem) as full:
        cart_of([HOLD] * (CART_LINES_MAX + 1))
    assert full.value.kind is Kind.cart_full
    with pytest.raises(AssertionError):
        cart_of([msgspec.structs.replace(HOLD, state=HoldState.expired)])


# --- catalogue ------------------------------------------------------------------------------------------------

ENTRY = ProductEntry(id="cup", title="Cup", currency="EUR", variants=[VariantEntry(sku="CUP", price_minor=100)])


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("title", {"title": "  "}),
        ("title", {"title": "a\x00b"}),
        ("description", {"description": "a\x9bb"}),
        ("currency", {"currency": "EUX"}),
        ("picture", {"picture": "javascript:alert(1)"}),
        ("picture", {"picture": "//elsewhere.example/x.svg"}),
        ("picture", {"picture": "http://plain.example/x.svg"}),
        ("picture", {"picture": "/a b.svg"}),
        ("variants[0].title", {"variants": [VariantEntry(sku="A", price_minor=1, title="\n\r")]}),
        ("variants[1].sku", {"variants": [VariantEntry(sku="A", price_minor=1), VariantEntry(sku="A", price_minor=2)]}),
        ("variants[0].list_price_minor", {"variants": [VariantEntry(sku="A", price_minor=5, list_price_minor=5)]}),
    ],
)
def test_rules_of_an_entry(field: str, change: dict[str, object]) -> None:
    with pytest.raises(Invalid) as caught:
        check(msgspec.structs.replace(ENTRY, **change))
    assert caught.value.field == field


@pytest.mark.parametrize(
    "change",
    [
        {"description": "two\nlines"},
        {"picture": "/static/pictures/cup.svg"},
        {"picture": "https://cdn.example:8443/a.jpg"},
    ],
)
def test_entries_that_keep_the_rules(change: dict[str, object]) -> None:
    check(msgspec.structs.replace(ENTRY, **change))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variants[0].price_minor", {"sku": "A", "price_minor": PRICE_MINOR_MAX + 1}),
        ("variants[0].price_minor", {"sku": "A", "price_minor": -1}),
        ("variants[0].price_minor", {"sku": "A", "price_minor": 10**30}),
        ("variants[0].price_minor", {"sku": "A", "price_minor": 1.5}),
        ("variants[0].sku", {"sku": "a b", "price_minor": 1}),
        ("variants[0].stock", {"sku": "A", "price_minor": 1, "stock": -1}),
    ],
)
def test_types_of_an_entry(field: str, value: dict[str, object]) -> None:
    with pytest.raises(Malformed) as caught:
        convert({"id": "cup", "title": "Cup", "currency": "EUR", "variants": [value]}, ProductEntry)
    assert caught.value.field.replace("...", "0") == field


def test_ids() -> None:
    assert is_id("CUP-1.a_b")
    for text in ("", "-a", "a b", "a\n", "ä", "x" * 65):
        assert not is_id(text)


def test_a_carts_version_changes_with_its_content_alone() -> None:
    lines = [("CUP", 2, 500), ("MUG", 1, 700)]
    known = version("EUR", lines)
    assert version("EUR", reversed(lines)) == known
    for other in ([("CUP", 2, 501), lines[1]], [("CUP", 1, 500), lines[1]], lines[:1]):
        assert version("EUR", other) != known
    assert version("CHF", lines) != known
