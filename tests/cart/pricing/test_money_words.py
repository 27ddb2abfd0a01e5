"""Quotes, taxes, shares, shipping fees, the lowest price of 30 days and the price of a kilogram."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.pricing.basket import Context
from cart.pricing.evaluation import evaluate, unit_price
from cart.pricing.priced import Applied
from cart.pricing.quotes import Quote, issue, quote_key, sign, verify
from cart.pricing.reductions import (
    Change,
    Content,
    Measure,
    Reduction,
    UnitPrice,
    began,
    lowest,
    reduction,
    unit_price_of,
)
from cart.pricing.shipping import Charge, charge
from cart.pricing.taxes import Tax, by_rate, half_up, included, percent_of, spread
from live.core.codec import Malformed, convert, plain
from live.core.errors import Kind, Problem
from live.core.limits import PRICE_MINOR_MAX, QUANTITY_MAX, QUOTE_TTL_S
from tests.cart.pricing.rulebook import NOW_MS, SHOP, SHOW, amount, basket, fixed, line, offer, pct, rule, rules

DAY_MS = 24 * 3_600_000
KEY = quote_key("a secret of the tests")

# --- the rounding law -----------------------------------------------------------------------------------------------


def test_halves_are_rounded_up() -> None:
    assert [half_up(numerator, 2) for numerator in (0, 1, 2, 3, 5)] == [0, 1, 1, 2, 3]
    assert (percent_of(5, 1000), percent_of(4, 1000), percent_of(999, 10_000)) == (1, 0, 999)
    assert (included(11_900, 1900), included(1070, 700), included(100, 0), included(3, 2000)) == (1900, 70, 0, 1)


@given(st.integers(0, PRICE_MINOR_MAX * QUANTITY_MAX), st.integers(0, 10_000))
def test_the_tax_in_a_gross_price_is_the_nearest_cent(gross_minor: int, tax_bp: int) -> None:
    tax_minor = included(gross_minor, tax_bp)
    assert 0 <= tax_minor <= gross_minor
    assert abs(tax_minor * (10_000 + tax_bp) - gross_minor * tax_bp) * 2 <= 10_000 + tax_bp


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20), st.integers(0, 10_000))
def test_shares_add_up_and_are_fair(weights: list[int], part: int) -> None:
    amount_minor = sum(weights) * part // 10_000
    shares = spread(amount_minor, weights)
    assert sum(shares) == amount_minor
    for share, weight in zip(shares, weights, strict=True):
        assert 0 <= share <= weight
        if amount_minor:
            assert abs(share * sum(weights) - amount_minor * weight) < sum(weights), "less than a cent from exact"


def test_ties_go_to_the_first() -> None:
    assert spread(2, [1, 1, 1]) == [1, 1, 0]
    assert spread(0, [0, 0]) == [0, 0]
    with pytest.raises(AssertionError):
        spread(1, [0])


def test_taxes_are_summed_by_rate() -> None:
    lines = [Tax(1900, 100, 19), Tax(700, 100, 7), Tax(1900, 50, 10)]
    assert by_rate(lines) == [Tax(700, 100, 7), Tax(1900, 150, 29)]


# --- shipping ---------------------------------------------------------------------------------------------------------


def fee(minor: int, option: str, *members: Any) -> Charge:
    return charge(minor, option, evaluate(basket(line("CUP", 5)), SHOP, rules(*members)).shipping_off)


def test_the_best_rule_lowers_a_fee() -> None:
    half, less = rule("half", "shipping", pct(5000)), rule("less", "shipping", amount(300))
    found = fee(490, "parcel", half, less)
    assert (found.charge_minor, [(one.rule, one.amount_minor) for one in found.discounts]) == (190, [("less", 300)])
    assert fee(1000, "parcel", half, less).discounts[0].rule == "half"
    assert fee(0, "parcel", half, less) == Charge(fee_minor=0, charge_minor=0, discounts=[])


def test_a_fee_rule_may_be_for_some_options_capped_and_budgeted() -> None:
    free = rule("free", "shipping", pct(10_000, options=["parcel"], cap_minor=400), budget_minor=350)
    assert (fee(490, "parcel", free).charge_minor, fee(490, "express", free).charge_minor) == (140, 490)
    assert fee(490, "parcel", rule("flat", "shipping", fixed(200))).charge_minor == 200


def test_fee_rules_stack_and_stop() -> None:
    stack = {"group": "sum", "mode": "stack"}
    stop = {"group": "first", "mode": "stop", "priority": 3}
    first, second = rule("first", "shipping", pct(1000), **stop), rule("second", "shipping", pct(1000), **stop)
    nothing = rule("a", "shipping", pct(1000, options=["express"]), **stop | {"priority": 4})
    one, two = rule("one", "shipping", pct(5000), **stack), rule("two", "shipping", amount(100), **stack)
    assert fee(1000, "parcel", one, two).charge_minor == 400
    found = fee(1000, "parcel", nothing, first, second, one, two)
    assert (found.charge_minor, [each.rule for each in found.discounts]) == (900, ["first"])
    assert fee(1000, "parcel", nothing, one).charge_minor == 500, "what does nothing stops nothing"


# --- quotes -----------------------------------------------------------------------------------------------------------


def quoted(**members: Any) -> Quote:
    ruleset = rules(rule("live", "price", fixed(800), bind={"show": "demo", "while_pinned": True}))
    unit = unit_price(offer(), SHOW, ruleset)
    made = issue("q1", offer(), 3, unit, SHOW, ruleset=7, lowest_30d_minor=950, unit_price=UnitPrice(1600, "l"))
    return sign(msgspec.structs.replace(made, **members), KEY)


def test_a_quote_says_what_made_its_price_and_for_how_long() -> None:
    quote = quoted()
    assert (quote.list_minor, quote.unit_minor, quote.net_minor, quote.tax_minor) == (1000, 800, 2017, 383)
    assert quote.applied == (Applied(rule="live", version=1, label="Live"),)
    assert (quote.ruleset, quote.channel, quote.show, quote.customer) == (7, "live", "demo", None)
    assert quote.expires_at_ms - quote.issued_at_ms == QUOTE_TTL_S * 1000
    assert verify(quote, KEY, NOW_MS) is quote
    assert verify(convert(plain(quote), Quote), KEY, quote.expires_at_ms - 1) == quote


def test_a_quote_runs_out_at_its_moment() -> None:
    quote = quoted()
    with pytest.raises(Problem) as caught:
        verify(quote, KEY, quote.expires_at_ms)
    assert (caught.value.kind, caught.value.field) == (Kind.quote_expired, "quote")


@pytest.mark.parametrize(
    "forged",
    [
        {"unit_minor": 1}, {"quantity": 1}, {"sku": "CUP-L"}, {"currency": "JPY"}, {"tax_bp": 0}, {"net_minor": 0},
        {"customer": "eve"}, {"show": None}, {"channel": "shop"}, {"expires_at_ms": NOW_MS * 2}, {"ruleset": 8},
        {"lowest_30d_minor": None}, {"unit_price": None}, {"applied": ()}, {"id": "q2"}, {"mac": ""}, {"mac": "Ä"},
        {"mac": "\ud800"}, {"sku": "\ud800"}, {"unit_minor": 2**80}, {"sku": "x" * 10_000},
    ],
)  # fmt: skip
def test_a_forged_quote_is_refused(forged: dict[str, Any]) -> None:
    with pytest.raises(Problem) as caught:
        verify(msgspec.structs.replace(quoted(), **forged), KEY, NOW_MS)
    assert (caught.value.kind, caught.value.field) == (Kind.invalid_quote, "quote")


def test_quotes_of_another_installation_are_not_ours() -> None:
    with pytest.raises(Problem):
        verify(sign(quoted(), quote_key("another secret of tests")), KEY, NOW_MS)
    with pytest.raises(Malformed):
        convert(plain(quoted()) | {"surprise": 1}, Quote)
    assert KEY != quote_key("another secret of tests") and len(KEY) == 32
    early = issue("q1", offer(), 1, unit_price(offer(), SHOP, rules()), SHOP, ruleset=0, ttl_s=60)
    assert (early.applied, early.mac, early.expires_at_ms) == ((), "", NOW_MS + 60_000)


def test_a_quote_is_for_whom_it_was_made() -> None:
    context = Context(now_ms=NOW_MS, channel="shop", customer="ada")
    assert issue("q1", offer(), 1, unit_price(offer(), context, rules()), context, ruleset=0).customer == "ada"


# --- reductions -------------------------------------------------------------------------------------------------------


def history(*steps: tuple[float, int | None]) -> list[Change]:
    """Prices since so many days before NOW_MS."""
    return [Change(NOW_MS - round(days * DAY_MS), price_minor) for days, price_minor in steps]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(100, 1000)], 1000),
        ([(100, 1000), (40, 800), (35, 1000)], 1000),  # over before the 30 days began
        ([(100, 1000), (40, 800), (29, 1000)], 800),  # it still applied when they began
        ([(100, 1000), (10, 700), (9.9, 1000)], 700),  # a live price of some hours counts
        ([(100, 700), (30, 1000)], 1000),  # it ended as they began
        ([(10, None), (5, 1000)], 1000),
        ([(100, 500), (40, None)], None),
        ([], None),
    ],
)
def test_the_lowest_price_of_30_days(steps: list[tuple[float, int | None]], expected: int | None) -> None:
    assert lowest(history(*steps), NOW_MS) == expected


def test_what_comes_later_is_not_before() -> None:
    assert lowest(history((5, 1000), (0, 1), (-1, 2)), NOW_MS) == 1000


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(50, 1000), (0, 800)], Reduction(1000, 20)),
        ([(50, 1000), (20, 900), (10, 800), (0, 700)], Reduction(1000, 30)),  # steps down without a rise
        ([(50, 1000), (20, 900), (15, 900), (0, 800)], Reduction(1000, 20)),  # saying it again is no step
        ([(50, 1000), (20, 700), (19, 1000), (0, 800)], None),  # it was cheaper a fortnight ago
        ([(50, 1000), (20, 700), (19, 1000), (0, 699)], Reduction(700, 0)),
        ([(50, 1000), (0, 1200)], None),  # dearer
        ([(50, 1000), (9, 800), (5, 850)], None),
        ([(5, None), (0, 800)], None),  # new
        ([(9, 1000), (5, None), (0, 800)], None),  # for sale again
        ([(9, 1000), (5, None)], None),
        ([(9, 1000)], None),
        ([], None),
        ([(50, 1000), (0, 667)], Reduction(1000, 33)),  # rounded down
    ],
)
def test_a_reduction_is_from_the_lowest_price_before_it(
    steps: list[tuple[float, int | None]], expected: Reduction | None
) -> None:
    assert reduction(history(*steps)) == expected


def test_a_long_reduction_keeps_the_reference_of_its_first_day() -> None:
    found = history((90, 1000), (60, 800))
    assert began(found) == NOW_MS - 60 * DAY_MS
    assert reduction(found) == Reduction(1000, 20)


# --- unit prices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price_minor", "amount_", "unit", "expected"),
    [
        (799, 750, Measure.ml, UnitPrice(1065, "l")),  # 10.653
        (250, 500, Measure.g, UnitPrice(500, "kg")),
        (1, 400, Measure.g, UnitPrice(3, "kg")),  # 2.5 rounds up
        (999, 70, Measure.cl, UnitPrice(1427, "l")),
        (999, 2, Measure.kg, UnitPrice(500, "kg")),
        (500, 250, Measure.cm, UnitPrice(200, "m")),
        (500, 20_000, Measure.mm, UnitPrice(25, "m")),
        (900, 3, Measure.m2, UnitPrice(300, "m2")),
        (900, 2500, Measure.cm2, UnitPrice(3600, "m2")),
        (900, 2, Measure.m3, UnitPrice(450, "m3")),
        (500, 15_000, Measure.mg, UnitPrice(33_333, "kg")),
        (500, 1, Measure.kg, None),  # it is the price itself
        (500, 1000, Measure.ml, None),
        (500, 9, Measure.g, None),  # too little
        (500, 9999, Measure.mg, None),
        (500, 9, Measure.ml, None),
        (500, 10, Measure.ml, UnitPrice(50_000, "l")),
    ],
)
def test_the_price_of_a_kilogram(price_minor: int, amount_: int, unit: Measure, expected: UnitPrice | None) -> None:
    assert unit_price_of(price_minor, Content(amount=amount_, unit=unit)) == expected
    assert unit_price_of(price_minor, None) is None


def test_content_is_checked_when_it_comes_in() -> None:
    assert convert({"amount": 750, "unit": "ml"}, Content) == Content(amount=750, unit=Measure.ml)
    for wrong in ({"amount": 0, "unit": "ml"}, {"amount": 0.75, "unit": "l"}, {"amount": 1, "unit": "oz"}):
        with pytest.raises(Malformed):
            convert(wrong, Content)
