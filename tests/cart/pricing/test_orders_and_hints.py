"""Conditions, the lanes order and shipping, coupons, budgets, hints and refusals, with figures for the head."""

from typing import Any

import msgspec
import pytest

from cart.pricing.basket import Basket, BasketLine, Context, Use, coupon_code
from cart.pricing.evaluation import coupon_why, evaluate, unit_price
from cart.pricing.priced import APPLIED, Why
from cart.pricing.rules import Rule
from cart.pricing.ruleset import NO_RULES, Ruleset
from live.core.errors import Kind, Problem
from live.core.limits import CART_LINES_MAX, CATEGORIES_MAX, COUPONS_MAX, PRICE_MINOR_MAX, SEGMENTS_MAX
from tests.cart.pricing.rulebook import (
    NOW_MS,
    SHOP,
    amount,
    at_least,
    basket,
    bundle,
    fixed,
    gift,
    line,
    offer,
    offs,
    pct,
    rule,
    rules,
    whys,
)

TEA = {"categories": ["table"]}


# --- conditions, the lanes order and shipping ---------------------------------------------------------------------


def test_thresholds_count_by_category_and_before_discounts() -> None:
    ruleset = rules(
        rule("half", "item", pct(5000)),
        rule("clay", "order", amount(500), when=[at_least("amount", 2000, categories=["clay"])]),
    )
    assert offs(evaluate(basket(line("CUP", 2)), SHOP, ruleset)) == {"half": 1000, "clay": 500}
    assert offs(evaluate(basket(line("CUP"), line("BOOK")), SHOP, ruleset)) == {"half": 1000}


def test_conditions_may_ask_for_little_or_an_exact_number() -> None:
    few = {"fact": "quantity", "op": "le", "value": 2}
    two = {"fact": "quantity", "op": "eq", "value": 2, "filter": {"products": ["cup"]}}
    ruleset = rules(rule("pair", "order", pct(1000), when=[few, two]))
    found = []
    for quantity, books in ((2, 0), (1, 1), (2, 1)):
        lines = [line("CUP", quantity), *([line("BOOK", books)] if books else [])]
        traced = evaluate(basket(*lines), SHOP, ruleset).trace[0]
        found.append((traced.why, traced.condition))
    assert found == [(Why.applied, None), (Why.condition, 1), (Why.condition, 0)]


def test_an_order_discount_is_spread_to_the_last_cent() -> None:
    ruleset = rules(rule("ten", "order", amount(100)))
    priced = evaluate(basket(line("CUP"), line("CUP-L"), line("PLATE")), SHOP, ruleset)
    assert [one.off_minor for one in priced.lines] == [34, 33, 33]
    part = rules(rule("clay", "order", amount(9999, target={"categories": ["clay"]})))
    priced = evaluate(basket(line("CUP"), line("BOOK")), SHOP, part)
    assert [one.line_minor for one in priced.lines] == [0, 1000], "never below zero"


def test_of_the_orders_discounts_the_best_one_and_a_stop_ends_it() -> None:
    ruleset = rules(
        rule("ten", "order", pct(1000)),
        rule("five", "order", amount(500)),
        rule("lamp", "order", pct(1000, target={"skus": ["LAMP"]})),
    )
    assert whys(evaluate(basket(line("CUP")), SHOP, ruleset)) == {
        "ten": Why.outbid,
        "five": Why.applied,
        "lamp": Why.no_target,
    }
    stop = {"group": "first", "mode": "stop"}
    ruleset = rules(
        rule("cup", "order", pct(1000), priority=2, **stop),
        rule("next", "order", pct(1000), priority=1, **stop),
        rule("later", "order", pct(1000)),
        rule("stack", "order", pct(1000), group="sum", mode="stack", when=[at_least("quantity", 1)]),
    )
    found = whys(evaluate(basket(line("CUP")), SHOP, ruleset))
    assert found == {"cup": Why.applied} | dict.fromkeys(("next", "later", "stack"), Why.stopped)


def test_shipping_rules_come_out_for_whoever_knows_the_fee() -> None:
    ruleset = rules(rule("free", "shipping", pct(10_000), when=[at_least("amount", 5000)], budget_minor=900))
    priced = evaluate(basket(line("CUP", 5)), SHOP, ruleset)
    assert [(one.rule, one.left_minor) for one in priced.shipping_off] == [("free", 900)]
    assert evaluate(basket(line("CUP", 4)), SHOP, ruleset).shipping_off == []


# --- coupons and budgets --------------------------------------------------------------------------------------------


def test_a_coupon_counts_for_all_and_for_each() -> None:
    ruleset = rules(rule("ten", "order", pct(1000), coupon={"code": "TEN", "limit": 2, "per_customer": 1}))
    given = Context(now_ms=NOW_MS, customer="ada", coupons=("TEN",))
    cases = [
        (SHOP, Why.coupon_missing),
        (given, Why.applied),
        (msgspec.structs.replace(given, customer=None), Why.coupon_sign_in),
        (msgspec.structs.replace(given, uses={"ten": Use(used=2)}), Why.coupon_used_up),
        (msgspec.structs.replace(given, uses={"ten": Use(used=1, mine=1)}), Why.coupon_used_by_customer),
        (msgspec.structs.replace(given, uses={"ten": Use(used=1)}), Why.applied),
    ]
    for context, why in cases:
        priced = evaluate(basket(line("CUP")), context, ruleset)
        assert whys(priced) == {"ten": why}
        assert coupon_why("TEN", priced, ruleset) is why
        assert coupon_why("NONE", priced, ruleset) is None
    easy = rules(rule("ten", "order", pct(1000), coupon={"code": "TEN"}))
    assert whys(evaluate(basket(line("CUP")), msgspec.structs.replace(given, customer=None), easy))["ten"] in APPLIED


def test_an_empty_cart_may_have_a_coupon() -> None:
    ruleset = rules(rule("ten", "order", pct(1000), coupon={"code": "TEN", "limit": 1}))
    context = msgspec.structs.replace(SHOP, coupons=("TEN",))
    empty = evaluate(Basket("", ()), context, ruleset)
    assert (empty.total_minor, empty.lines, whys(empty)) == (0, [], {"ten": Why.no_target})
    with pytest.raises(Problem, match="has a currency"):
        evaluate(Basket("", (line("CUP", currency=""),)), context, ruleset)


def test_a_code_is_read_as_people_write_it() -> None:
    assert coupon_code(" sommer-26 ") == "SOMMER-26"
    for text in ("", "AB", "A B C", "Ä" * 5, "X" * 33, "-ABC", "A\x00BC"):
        with pytest.raises(Problem) as caught:
            coupon_code(text)
        assert (caught.value.kind, caught.value.field) == (Kind.invalid_field, "code")


def test_the_last_order_gets_what_a_budget_has_left() -> None:
    ruleset = rules(rule("ten", "order", pct(1000), budget_minor=150))
    for spent, off, why in ((0, 100, Why.applied), (120, 30, Why.budget_cut), (150, 0, Why.budget_spent)):
        context = msgspec.structs.replace(SHOP, uses={"ten": Use(spent_minor=spent)})
        priced = evaluate(basket(line("CUP")), context, ruleset)
        assert (sum(offs(priced).values()), whys(priced)) == (off, {"ten": why})


# --- hints ----------------------------------------------------------------------------------------------------------


def hinted(ruleset: Ruleset, *lines: BasketLine) -> list[tuple[str, int | None, int | None, str]]:
    found = evaluate(basket(*lines), SHOP, ruleset).hints
    return [(one.rule, one.missing_minor, one.missing_qty, one.gain.kind) for one in found]


def test_ten_more_for_free_shipping() -> None:
    free = rule("free", "shipping", pct(10_000), when=[at_least("amount", 5000)])
    assert hinted(rules(free), line("CUP", 4)) == [("free", 1000, None, "free_shipping")]
    assert hinted(rules(free), line("CUP", 2)) == [], "not half way there"
    assert hinted(rules(free), line("CUP", 5)) == []
    always = rule("always", "shipping", fixed(0, options=["parcel"]), group="x", mode="stack")
    zero = rule("zero", "shipping", fixed(0), when=[at_least("amount", 5000)])
    assert hinted(rules(free, always), line("CUP", 4)) == [("free", 1000, None, "free_shipping")]
    assert hinted(rules(zero), line("CUP", 4)) == [("zero", 1000, None, "free_shipping")]
    everything = rule("always", "shipping", pct(10_000), group="x", mode="stack")
    assert hinted(rules(free, everything), line("CUP", 4)) == [], "it is free already"
    parcel = rule("parcel", "shipping", pct(5000, options=["parcel"]), when=[at_least("amount", 5000)])
    assert hinted(rules(parcel), line("CUP", 4)) == [("parcel", 1000, None, "pct")]


@pytest.mark.parametrize(
    ("effect", "kind"),
    [(pct(1000), "pct"), (amount(50), "amount"), (fixed(900), "fixed_price"), (gift("SPOON"), "gift")],
)
def test_one_more_for_a_discount(effect: dict[str, Any], kind: str) -> None:
    ruleset = rules(rule("two", "item", effect, when=[at_least("quantity", 2, categories=["clay"])]))
    assert hinted(ruleset, line("CUP")) == [("two", None, 1, kind)]
    assert hinted(ruleset, line("BOOK")) == []
    assert hinted(ruleset, line("CUP", 1, 0)) == [], "nothing that costs something could be added"


def test_one_more_completes_a_bundle_if_that_saves_something() -> None:
    ruleset = rules(rule("three", "item", bundle(2500, (3, {"products": ["cup"]}))))
    assert hinted(ruleset, line("CUP", 2)) == [("three", None, 1, "bundle_price")]
    assert hinted(ruleset, line("CUP", 1)) == []
    assert hinted(ruleset, line("CUP", 2, 700)) == []
    pair = rules(rule("pair", "item", bundle(1500, (1, {"skus": ["CUP"]}), (1, {"skus": ["PLATE"]}))))
    assert hinted(pair, line("CUP", 1)) == [], "what a plate costs is not known here"
    twice = rules(rule("twice", "item", bundle(1, (1, {"skus": ["CUP"]}), (9, {}), (9, TEA))))
    assert hinted(twice, line("CUP", 1)) == []


def test_no_hint_where_more_might_not_help() -> None:
    need = at_least("amount", 2000)
    few = {"fact": "quantity", "op": "le", "value": 3}
    assert hinted(rules(rule("few", "order", pct(1000), when=[need, few])), line("CUP")) == []
    other = at_least("quantity", 1, skus=["PLATE"])
    assert hinted(rules(rule("other", "order", pct(1000), when=[need, other])), line("CUP")) == []
    better = rule("better", "order", pct(2000))
    assert hinted(rules(rule("worse", "order", pct(1000), when=[need]), better), line("CUP")) == []
    assert hinted(rules(rule("gone", "order", pct(1000), when=[need], coupon={"code": "TEN"})), line("CUP")) == []


def test_only_the_nearest_misses_are_told() -> None:
    near = [
        rule(f"r{value}", "order", pct(value), when=[at_least("amount", value)], group=f"{value}", mode="stack")
        for value in range(1100, 1900, 100)
    ]
    assert [one[0] for one in hinted(rules(*near), line("CUP"))] == ["r1100", "r1200", "r1300"]


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "kind", "field"),
    [
        ([line("CUP", 0)], Kind.invalid_quantity, "quantity"),
        ([line("CUP", -1)], Kind.invalid_quantity, "quantity"),
        ([line("CUP", 101)], Kind.invalid_quantity, "quantity"),
        ([line("CUP", 1, PRICE_MINOR_MAX + 1)], Kind.invalid_field, "list_minor"),
        ([line("CUP", 1, -1)], Kind.invalid_field, "list_minor"),
        ([line("CUP", tax_bp=10_001)], Kind.invalid_field, "tax_bp"),
        ([line("CUP", fixed_unit_minor=-1)], Kind.invalid_field, "fixed_unit_minor"),
        ([line("CUP"), line("CUP")], Kind.invalid_field, "lines"),
        ([line("CUP"), line("PLATE", currency="CHF")], Kind.mixed_currency, "currency"),
        ([line(f"S{place}") for place in range(CART_LINES_MAX + 1)], Kind.cart_full, "lines"),
        ([msgspec.structs.replace(line(), categories=("x",) * (CATEGORIES_MAX + 1))], Kind.invalid_field, "categories"),
    ],
)
def test_figures_out_of_bounds_are_refused(lines: list[BasketLine], kind: Kind, field: str) -> None:
    with pytest.raises(Problem) as caught:
        evaluate(basket(*lines), SHOP, NO_RULES)
    assert (caught.value.kind, caught.value.field) == (kind, field)


def test_circumstances_are_bounded_too() -> None:
    many = msgspec.structs.replace(SHOP, coupons=("TEN",) * (COUPONS_MAX + 1))
    more = msgspec.structs.replace(SHOP, segments=frozenset(map(str, range(SEGMENTS_MAX + 1))))
    for context, field in ((many, "coupons"), (more, "segments")):
        with pytest.raises(Problem) as caught:
            evaluate(basket(line()), context, NO_RULES)
        assert caught.value.field == field
    with pytest.raises(Problem, match="between"):
        unit_price(offer("CUP", -1), SHOP, NO_RULES)


def test_the_dearest_basket_is_exact() -> None:
    lines = [line(f"S{place}", 100, PRICE_MINOR_MAX) for place in range(CART_LINES_MAX)]
    priced = evaluate(basket(*lines), SHOP, rules(rule("cent", "order", amount(1))))
    assert priced.total_minor == PRICE_MINOR_MAX * 100 * CART_LINES_MAX - 1
    assert float(priced.total_minor) == priced.total_minor


def test_a_ruleset_has_its_version_in_what_it_prices() -> None:
    made: list[Rule] = []
    assert evaluate(basket(line()), SHOP, Ruleset(41, made)).ruleset == 41
