"""The lanes price and item, with figures that can be checked in the head."""

from typing import Any

import msgspec
import pytest

from cart.pricing.basket import Basket, Context, Offer, Pinned
from cart.pricing.evaluation import evaluate, unit_price
from cart.pricing.priced import Why
from cart.pricing.ruleset import Ruleset
from tests.cart.pricing.rulebook import (
    NOW_MS,
    SHOP,
    SHOW,
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


def price(ruleset: Ruleset, context: Context, of: Offer | None = None) -> int:
    return unit_price(of or offer(), context, ruleset).unit_minor


# --- the lane price ---------------------------------------------------------------------------------------------


def test_a_live_price_is_for_the_pinned_product_of_its_show_and_its_screens_alone() -> None:
    ruleset = rules(rule("live", "price", fixed(800), bind={"show": "demo", "while_pinned": True, "product": "cup"}))
    assert price(ruleset, SHOW) == 800
    assert unit_price(offer(), SHOW, ruleset).applied[0].rule == "live"
    plate = Pinned(product_id="plate", pin_id="p2")
    for context, why in (
        (SHOP, Why.show),
        (msgspec.structs.replace(SHOW, channel="shop"), Why.show),
        (msgspec.structs.replace(SHOW, show="other"), Why.show),
        (msgspec.structs.replace(SHOW, pinned=None), Why.not_pinned),
        (msgspec.structs.replace(SHOW, pinned=plate), Why.not_pinned),
    ):
        assert price(ruleset, context) == 1000
        assert whys(evaluate(basket(line()), context, ruleset)) == {"live": why}
    assert price(ruleset, SHOW, offer("PLATE")) == 1000


def test_whatever_is_pinned_can_be_cheaper() -> None:
    ruleset = rules(rule("live", "price", pct(1000), bind={"while_pinned": True}))
    assert (price(ruleset, SHOW), price(ruleset, SHOW, offer("PLATE")), price(ruleset, SHOP)) == (900, 1000, 1000)
    on_screen = msgspec.structs.replace(SHOW, channel="shop")
    assert price(ruleset, on_screen) == 1000, "pins are on the channel live"


def test_a_window_includes_its_first_moment_and_not_its_last() -> None:
    ruleset = rules(rule("sale", "price", pct(1000), window={"from_ms": NOW_MS, "to_ms": NOW_MS + 10}))
    found = [price(ruleset, Context(now_ms=NOW_MS + ms)) for ms in (-1, 0, 9, 10)]
    assert found == [1000, 900, 900, 1000]


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"channels": ["live"]}, Why.channel),
        ({"segments": ["vip"]}, Why.segment),
        ({"currency": "CHF"}, Why.currency),
        ({"bind": {"sku": "CUP-L"}}, Why.no_target),
        ({"bind": {"product": "plate"}}, Why.no_target),
        ({"window": {"to_ms": NOW_MS}}, Why.window),
    ],
)
def test_who_and_where_a_price_is_not_for(members: dict[str, Any], why: Why) -> None:
    ruleset = rules(rule("sale", "price", pct(1000), **members))
    assert price(ruleset, SHOP) == 1000
    assert whys(evaluate(basket(line()), SHOP, ruleset)) == {"sale": why}


def test_who_and_where_it_is_for() -> None:
    ruleset = rules(
        rule("vip", "price", pct(1000), segments=["vip"], channels=["shop", "live"], bind={"sku": "CUP"}),
        rule("table", "price", amount(100), bind={"product": "plate"}),
    )
    vip = msgspec.structs.replace(SHOP, segments=frozenset({"vip", "new"}))
    assert [price(ruleset, vip, offer(sku)) for sku in ("CUP", "CUP-L", "PLATE")] == [900, 1000, 900]


def test_the_best_of_a_group_is_the_price_and_others_are_outbid() -> None:
    ruleset = rules(rule("a", "price", pct(1000)), rule("b", "price", amount(300)), rule("c", "price", fixed(1000)))
    priced = evaluate(basket(line("CUP", 2)), SHOP, ruleset)
    assert (priced.lines[0].unit_minor, priced.lines[0].line_minor) == (700, 1400)
    assert whys(priced) == {"a": Why.outbid, "b": Why.applied, "c": Why.not_cheaper}
    assert [one.amount_minor for one in priced.trace] == [0, 600, 0]
    assert offs(priced) == {}, "the price itself is no discount of the basket"


def test_rules_stack_by_priority_and_the_first_of_a_stop_group_ends_the_lane() -> None:
    stack = {"group": "sum", "mode": "stack"}
    stop = {"group": "first", "mode": "stop", "priority": 1}
    ruleset = rules(
        rule("half", "price", pct(5000), **stack),
        rule("less", "price", amount(100), priority=2, **stack),
        rule("first", "price", pct(1000, target={"skus": ["PLATE"]}), **stop),
        rule("second", "price", pct(2000, target={"products": ["plate"], "without_skus": ["BOOK"]}), **stop),
        rule("last", "price", pct(1000), priority=-1),
    )
    assert price(ruleset, SHOP) == 405, "(1000 - 100) / 2, less 10 %"
    plate = evaluate(basket(line("PLATE")), SHOP, ruleset)
    assert plate.lines[0].unit_minor == 405, "a group comes with its first rule: the stack before the stop"
    assert whys(plate) == dict.fromkeys(("less", "half", "first"), Why.applied) | dict.fromkeys(
        ("second", "last"), Why.stopped
    )


def test_a_cap_bounds_a_unit_and_a_target_may_leave_something_out() -> None:
    ruleset = rules(rule("sale", "price", pct(5000, cap_minor=120, target={"without_categories": ["books"]})))
    assert (price(ruleset, SHOP), price(ruleset, SHOP, offer("BOOK"))) == (880, 1000)
    ruleset = rules(rule("some", "price", fixed(1, target={"skus": ["BOOK"]}), fixed(500, target=TEA)))
    assert price(ruleset, SHOP) == 500
    assert price(ruleset, SHOP, offer("CUP", 400)) == 400, "nothing gets dearer"


def test_a_hold_keeps_its_price() -> None:
    ruleset = rules(rule("sale", "price", pct(1000)), rule("ten", "order", pct(1000)))
    kept, new = line("CUP", 1, fixed_unit_minor=950), line("CUP-L")
    priced = evaluate(basket(kept, new), SHOP, ruleset)
    assert [(one.unit_minor, one.line_minor) for one in priced.lines] == [(950, 855), (900, 810)]
    assert [one.applied == () for one in priced.lines] == [True, False]
    assert whys(evaluate(basket(kept), SHOP, ruleset))["sale"] is Why.kept


# --- the lane item ------------------------------------------------------------------------------------------------


def test_three_for_two_gives_the_cheapest() -> None:
    ruleset = rules(rule("3for2", "item", pct(10_000, every=3, target=TEA)))
    priced = evaluate(basket(line("CUP", 4, 1000), line("SPOON", 2, 250), line("BOOK", 9)), SHOP, ruleset)
    assert {one.sku: one.off_minor for one in priced.lines} == {"CUP": 0, "SPOON": 500, "BOOK": 0}
    limited = rules(rule("3for2", "item", pct(10_000, every=3, max_qty=1, target=TEA)))
    assert offs(evaluate(basket(line("CUP", 9)), SHOP, limited)) == {"3for2": 1000}
    assert whys(evaluate(basket(line("CUP", 2)), SHOP, ruleset)) == {"3for2": Why.no_target}


def test_few_units_of_a_line_are_cut_off_it_and_later_rules_see_the_rest() -> None:
    stack = {"group": "sum", "mode": "stack"}
    ruleset = rules(
        rule("one", "item", fixed(100, max_qty=1), priority=1, **stack),
        rule("two", "item", amount(300, max_qty=2), **stack),
    )
    priced = evaluate(basket(line("CUP", 3)), SHOP, ruleset)
    assert offs(priced) == {"one": 900, "two": 400}, "the unit that costs 1 € by now, and one of the others"
    assert priced.lines[0].line_minor == 1700


def test_an_item_rule_may_be_bound_to_a_sku() -> None:
    ruleset = rules(rule("cup", "item", pct(1000), bind={"sku": "CUP"}))
    priced = evaluate(basket(line("CUP"), line("CUP-L")), SHOP, ruleset)
    assert [one.off_minor for one in priced.lines] == [100, 0]


def test_a_cap_is_spread_over_the_lines() -> None:
    ruleset = rules(rule("cap", "item", pct(5000, cap_minor=100)))
    priced = evaluate(basket(line("CUP", 1, 1000), line("PLATE", 1, 500)), SHOP, ruleset)
    assert [one.off_minor for one in priced.lines] == [67, 33]


def test_a_bundle_takes_the_dearest_units_as_often_as_it_saves_something() -> None:
    pair = bundle(1500, (1, {"products": ["cup"]}), (1, {"products": ["plate"]}))
    ruleset = rules(rule("pair", "item", pair))
    lines = line("CUP", 1, 900), line("CUP-L", 1, 1200), line("PLATE", 3, 800)
    priced = evaluate(basket(*lines), SHOP, ruleset)
    assert offs(priced) == {"pair": (1200 + 800 - 1500) + (900 + 800 - 1500)}
    few = rules(rule("pair", "item", pair | {"max_qty": 1}))
    assert offs(evaluate(basket(*lines), SHOP, few)) == {"pair": 500}
    cheap = line("CUP", 1, 600), line("CUP-L", 1, 1200), line("PLATE", 3, 800)
    assert offs(evaluate(basket(*cheap), SHOP, ruleset)) == {"pair": 500}, "a second one would cost more"
    assert whys(evaluate(basket(line("CUP", 9)), SHOP, ruleset)) == {"pair": Why.no_target}


def test_parts_of_a_bundle_that_overlap_share_a_line() -> None:
    both = bundle(1500, (1, {"products": ["cup"]}), (1, {"categories": ["clay"]}))
    ruleset = rules(rule("both", "item", both))
    assert offs(evaluate(basket(line("CUP", 1)), SHOP, ruleset)) == {}
    assert offs(evaluate(basket(line("CUP", 3)), SHOP, ruleset)) == {"both": 500}
    assert offs(evaluate(basket(line("CUP", 2), line("PLATE", 2)), SHOP, ruleset)) == {"both": 1000}


def test_each_line_gets_the_rule_that_is_best_for_it() -> None:
    ruleset = rules(
        rule("all", "item", pct(1000)),
        rule("clay", "item", pct(2000, target={"categories": ["clay"]})),
        rule("plate", "item", pct(1500, target={"skus": ["PLATE"]})),
        rule("none", "item", pct(1500, target={"skus": ["LAMP"]})),
    )
    priced = evaluate(basket(line("CUP"), line("PLATE"), line("SPOON")), SHOP, ruleset)
    assert {one.sku: one.off_minor for one in priced.lines} == {"CUP": 200, "PLATE": 200, "SPOON": 100}
    assert whys(priced) == {"all": Why.applied, "clay": Why.applied, "plate": Why.outbid, "none": Why.no_target}
    apart = rules(
        rule("cup", "item", pct(1000, target={"skus": ["CUP"]})),
        rule("plate", "item", pct(500, target={"skus": ["PLATE"]})),
    )
    assert offs(evaluate(basket(line("CUP"), line("PLATE")), SHOP, apart)) == {"cup": 100, "plate": 50}


def test_a_stop_locks_its_lines_for_the_rest_of_the_lane() -> None:
    stop = {"group": "first", "mode": "stop", "priority": 5}
    ruleset = rules(
        rule("empty", "item", pct(5000, target={"skus": ["LAMP"]}), **stop | {"priority": 6}),
        rule("cup", "item", pct(5000, target={"skus": ["CUP"]}), **stop),
        rule("else", "item", pct(1000, target={"skus": ["PLATE"]}), **stop | {"priority": 4}),
        rule("cups", "item", pct(1000, target={"products": ["cup"]}), priority=1, group="sum", mode="stack"),
        rule("all", "item", pct(1000), group="sum", mode="stack"),
        rule("ten", "order", pct(1000)),
    )
    priced = evaluate(basket(line("CUP"), line("PLATE")), SHOP, ruleset)
    assert {one.sku: one.off_minor for one in priced.lines} == {"CUP": 550, "PLATE": 190}
    found = whys(priced)
    assert (found["empty"], found["else"], found["cups"]) == (Why.no_target, Why.stopped, Why.stopped)


def test_gifts_come_beside_the_basket() -> None:
    stack = {"group": "gifts", "mode": "stack"}
    ruleset = rules(
        rule("spoon", "item", gift("SPOON"), when=[at_least("amount", 2000)], **stack),
        rule("clay", "item", pct(1000, target={"skus": ["PLATE"]}), gift("CUP"), **stack),
        rule("bound", "item", gift("BOOK"), bind={"product": "plate"}, **stack),
        rule("free", "order", gift("LAMP")),
    )
    priced = evaluate(basket(line("CUP", 2)), SHOP, ruleset)
    assert [(one.rule, one.sku, one.quantity) for one in priced.gifts] == [("spoon", "SPOON", 1), ("free", "LAMP", 1)]
    assert priced.total_minor == 2000
    assert whys(priced)["clay"] is Why.no_target, "no reduction, no gift"
    assert evaluate(Basket("", ()), SHOP, ruleset).gifts == []


def test_a_gift_that_slipped_into_a_best_group_comes_when_nothing_is_saved() -> None:
    both = rule("gift", "item", gift("SPOON")), rule("sale", "item", pct(1000, target={"skus": ["CUP"]}))
    more = (*both, rule("other", "item", gift("BOOK")))
    ruleset = Ruleset(1, more)  # `checks` would refuse it
    assert whys(evaluate(basket(line("CUP")), SHOP, ruleset)) == {
        "gift": Why.outbid,
        "sale": Why.applied,
        "other": Why.outbid,
    }
    priced = evaluate(basket(line("PLATE")), SHOP, ruleset)
    assert [one.rule for one in priced.gifts] == ["gift"]
    assert whys(priced) == {"gift": Why.applied, "sale": Why.no_target, "other": Why.outbid}
