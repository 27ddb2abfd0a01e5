"""Rules that contradict themselves, never end or can never apply are refused, with the reason."""

from typing import Any

import msgspec
import pytest

from cart.pricing.checks import check, require
from cart.pricing.rules import AMOUNT_MINOR_MAX, UNITS_MAX, Amount, Lane, Rule
from live.core.codec import Malformed, convert, plain
from live.core.errors import Kind, Problem
from live.core.limits import PRICE_MINOR_MAX, QUANTITY_MAX, RULE_ACTIONS_MAX, RULE_CONDITIONS_MAX, RULES_MAX
from tests.cart.pricing.rulebook import NOW_MS, amount, at_least, bundle, fixed, gift, pct, rule

SALE = rule("sale", "price", pct(1000))


def at_most(fact: str, value: int, **filter_: Any) -> dict[str, Any]:
    return {"fact": fact, "op": "le", "value": value, "filter": filter_}


def exactly(fact: str, value: int, **filter_: Any) -> dict[str, Any]:
    return {"fact": fact, "op": "eq", "value": value, "filter": filter_}


def wrong(*rules: Rule) -> list[tuple[str, str, str]]:
    return [(flaw.rule, flaw.field, flaw.why) for flaw in check(rules)]


GOOD = [
    SALE,
    rule("live", "price", fixed(800), bind={"show": "demo", "while_pinned": True, "product": "cup"}),
    rule("sku", "price", pct(1000, target={"skus": ["CUP"], "products": ["plate"]}), bind={"product": "cup"}),
    rule("bound", "item", pct(1000, target={"skus": ["CUP"]}), bind={"sku": "CUP", "show": "demo"}, channels=["live"]),
    rule("window", "item", pct(10_000, every=3), window={"from_ms": 1, "to_ms": 2}, currency=None),
    rule("coupon", "order", pct(1000), coupon={"code": "TEN", "limit": 2, "per_customer": 2}),
    rule("budget", "order", amount(500), budget_minor=10_000),
    rule("range", "order", pct(1000), when=[at_least("quantity", 2), at_most("quantity", 2)]),
    rule("part", "order", pct(1000), when=[at_most("quantity", 2, skus=["CUP"]), at_least("quantity", 3)]),
    rule("without", "order", pct(1000), when=[exactly("quantity", 0, skus=["CUP"]), at_least("amount", 1)]),
    rule("dear", "order", pct(1), when=[at_most("quantity", 1), at_least("amount", PRICE_MINOR_MAX)]),
    rule("other", "order", pct(1000), when=[at_most("amount", 5), at_least("quantity", 9)]),
    rule("bundle", "item", bundle(1500, (1, {"skus": ["CUP"]}), (1, {"skus": ["PLATE"]}))),
    rule("gift", "item", gift("SPOON"), group="gifts"),
    rule("free", "shipping", pct(10_000, options=["parcel"]), when=[at_least("amount", 5000)]),
]


@pytest.mark.parametrize("good", GOOD, ids=lambda good: good.id)
def test_rules_that_mean_something_may_be_saved(good: Rule) -> None:
    assert check([good]) == []
    require([good])
    assert convert(plain(good), Rule) == good


BAD: list[tuple[Rule, str, str]] = [
    # endless, empty
    (rule("r", "price", pct(1000), standing=False), "window", "never ends"),
    (rule("r", "order", pct(1), standing=False, coupon={"code": "TEN"}), "window", "never ends"),
    (rule("r", "price", pct(1000), standing=True, window={"to_ms": 1}), "standing", "stands for good"),
    (rule("r", "price", pct(1000), window={"from_ms": 5, "to_ms": 5}), "window", "before it begins"),
    (rule("r", "price"), "then", "does nothing"),
    (rule("r", "price", pct(1), label=" "), "label", "line of text"),
    (rule("r", "price", pct(1), label="a\nb"), "label", "line of text"),
    (rule("r", "price", pct(1), group="a\x00"), "group", "line of text"),
    # the lane price knows no basket
    (rule("r", "price", pct(1), when=[at_least("quantity", 2)]), "when", "whatever is in a basket"),
    (rule("r", "price", pct(1), coupon={"code": "TEN", "limit": 1}), "coupon", "whatever is in a basket"),
    (rule("r", "price", pct(1), budget_minor=100), "budget_minor", "overdrawn"),
    (rule("r", "price", pct(1, max_qty=1)), "then[0].max_qty", "counts units"),
    (rule("r", "price", gift("CUP")), "then[0]", "gift is not possible in the lane price"),
    (rule("r", "price", bundle(1, (2, {}))), "then[0]", "bundle_price is not possible"),
    # kinds and lanes
    (rule("r", "order", fixed(100)), "then[0]", "fixed_price is not possible in the lane order"),
    (rule("r", "order", pct(1, every=2)), "then[0].every", "counts units"),
    (rule("r", "order", pct(1, options=["parcel"])), "then[0].options", "are of shipping"),
    (rule("r", "shipping", gift("CUP")), "then[0]", "gift is not possible"),
    (rule("r", "shipping", pct(1, target={"skus": ["CUP"]})), "then[0].target", "whole basket"),
    (rule("r", "shipping", pct(1, max_qty=2)), "then[0].max_qty", "counts units"),
    (rule("r", "item", bundle(1, (1, {}))), "then[0].parts", "two units"),
    # bind
    (rule("r", "item", pct(1), bind={"while_pinned": True}), "bind.while_pinned", "only in the lane price"),
    (rule("r", "order", pct(1), bind={"sku": "CUP"}), "bind", "use a condition"),
    (rule("r", "shipping", pct(1), bind={"product": "cup"}), "bind", "use a condition"),
    (rule("r", "price", pct(1), bind={"show": "demo"}, channels=["shop"]), "channels", "channel live"),
    (rule("r", "price", pct(1), bind={"while_pinned": True}, channels=["shop"]), "channels", "channel live"),
    (rule("r", "price", pct(1, target={"skus": ["PLATE"]}), bind={"sku": "CUP"}), "then[0].target", "leaves out CUP"),
    (
        rule("r", "item", pct(1, target={"without_products": ["cup"]}), bind={"product": "cup"}),
        "then[0].target",
        "leav",
    ),
    # money
    (rule("r", "item", amount(1), currency=None), "currency", "then[0] is an amount"),
    (rule("r", "item", pct(1, cap_minor=5), currency=None), "currency", "then[0] is an amount"),
    (rule("r", "item", pct(1), when=[at_least("amount", 5)], currency=None), "currency", "when[0] is an amount"),
    (rule("r", "item", pct(1), budget_minor=5, currency=None), "currency", "budget_minor is an amount"),
    (rule("r", "item", pct(1), currency="EUX"), "currency", "not an ISO 4217"),
    (rule("r", "order", pct(1), coupon={"code": "TEN", "limit": 1, "per_customer": 2}), "coupon.per_customer", "more"),
    # conditions that cannot hold
    (rule("r", "order", pct(1), when=[at_least("quantity", UNITS_MAX + 1)]), "when[0].value", "no basket holds"),
    (rule("r", "order", pct(1), when=[at_most("quantity", 0)]), "when[0]", "only an empty basket"),
    (rule("r", "order", pct(1), when=[at_most("quantity", 2), at_least("quantity", 3)]), "when[0]", "when[1]"),
    (rule("r", "order", pct(1), when=[at_most("amount", 9), exactly("amount", 10, skus=["A"])]), "when[0]", "when[1]"),
    (
        rule("r", "order", pct(1), when=[at_least("amount", 1, skus=["A"]), exactly("quantity", 0, skus=["A", "B"])]),
        "when[1]",
        "contradicts when[0]",
    ),
    (
        rule("r", "order", pct(1), when=[at_most("quantity", 1), at_least("amount", PRICE_MINOR_MAX + 1)]),
        "when[0]",
        "contradicts when[1]",
    ),
    (
        rule("r", "order", pct(1), when=[at_least("quantity", 1, skus=["A"], without_skus=["A"])]),
        "when[0].filter",
        "takes nothing",
    ),
    # actions that can find nothing
    (rule("r", "item", pct(1, target={"products": ["a"], "without_products": ["a"]})), "then[0].target", "takes nothi"),
    (
        rule("r", "item", pct(1, target={"skus": ["A"]}), when=[exactly("quantity", 0, skus=["A"])]),
        "then[0].target",
        "when[0]",
    ),
    (rule("r", "item", pct(1, every=3), when=[at_most("quantity", 2)]), "then[0].target", "cannot hold it"),
    (rule("r", "item", pct(1), when=[at_most("amount", 0)]), "when[0]", "only an empty basket"),
    (rule("r", "item", bundle(1, (5, {})), when=[at_most("quantity", 4)]), "then[0].parts[0].filter", "cannot hold"),
]


@pytest.mark.parametrize(("bad", "field", "why"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_rules_that_mean_nothing_are_refused_with_the_reason(bad: Rule, field: str, why: str) -> None:
    assert any(found[1] == field and why in found[2] for found in wrong(bad)), wrong(bad)
    with pytest.raises(Problem) as caught:
        require([bad])
    assert caught.value.kind is Kind.invalid_rules
    assert caught.value.extra["flaws"][0]["rule"] == "r" and caught.value.detail.startswith("r: ")


def test_names_that_are_left_out_only_in_part_still_take_something() -> None:
    filters = [
        {"skus": ["A", "B"], "without_skus": ["A"]},
        {"products": ["a"], "categories": ["c"], "without_products": ["a"]},
        {"without_skus": ["A"], "without_products": ["b"], "without_categories": ["c"]},
    ]
    for filter_ in filters:
        assert wrong(rule("r", "item", pct(1, target=filter_))) == []
    narrow = at_least("quantity", 3, skus=["A"], without_skus=["B"])
    assert wrong(rule("r", "order", pct(1), when=[narrow, at_most("quantity", 2, skus=["B"])])) == []
    assert wrong(rule("r", "order", pct(1), when=[narrow, at_most("quantity", 2, without_skus=["C"])])) == []
    assert wrong(rule("r", "order", pct(1), when=[narrow, at_most("quantity", 2, without_skus=["B"])])) != []


def test_rules_are_checked_together() -> None:
    twice = wrong(SALE, SALE)
    assert ("sale", "id", "two rules have this id") in twice
    mixed = wrong(SALE, rule("stack", "price", pct(1), mode="stack"))
    assert [found[:2] for found in mixed] == [("sale", "mode"), ("stack", "mode")] and "best, stack" in mixed[0][2]
    assert wrong(SALE, rule("stack", "price", pct(1), mode="stack", group="sum")) == []
    beside = wrong(rule("gift", "item", gift("CUP")), rule("off", "item", pct(1)))
    assert beside == [
        ("gift", "mode", "the group '' of the lane item takes what saves most, and a gift cannot be compared")
    ]
    many = [msgspec.structs.replace(SALE, id=f"r{place}") for place in range(RULES_MAX + 1)]
    assert wrong(*many) == [("", "", f"there are {RULES_MAX + 1} rules; {RULES_MAX} can be in force at once")]
    with pytest.raises(Problem, match="there are"):
        require(many)


def test_figures_out_of_bounds_are_found_in_what_was_made_by_hand() -> None:
    huge = Rule(id="huge", version=1, label="Huge", lane=Lane.item, then=(Amount(minor=PRICE_MINOR_MAX + 1),))
    ((id_, field, why),) = wrong(huge)
    assert (id_, field) == ("huge", "then[...].minor") or (id_, field) == ("huge", "then[0].minor"), why


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("then", [pct(0)]), ("then", [pct(10_001)]), ("then", [pct(-1)]), ("then", [pct(1) | {"surprise": 1}]),
        ("then", [amount(0)]), ("then", [amount(10**30)]), ("then", [fixed(-1)]), ("then", [{"kind": "python"}]),
        ("then", [pct(1, every=1)]), ("then", [pct(1, max_qty=0)]), ("then", [pct(1)] * (RULE_ACTIONS_MAX + 1)),
        ("then", [bundle(1)]), ("then", [bundle(1, (0, {}))]), ("then", [bundle(1, (QUANTITY_MAX + 1, {}))]),
        ("then", [pct(1, target={"skus": ["A B"]})]), ("then", [pct(1, target={"skus": ["x" * 65]})]),
        ("when", [at_least("quantity", -1)]), ("when", [at_least("amount", AMOUNT_MINOR_MAX + 1)]),
        ("when", [at_least("weather", 1)]), ("when", [at_least("quantity", 1)] * (RULE_CONDITIONS_MAX + 1)),
        ("when", [{"fact": "quantity", "op": "gt", "value": 1}]), ("lane", "gift"), ("mode", "worst"),
        ("version", 0), ("priority", 1001), ("label", ""), ("id", ""), ("id", "a b"), ("currency", "EURO"),
        ("window", {"from_ms": -1}), ("window", {"to_ms": 10**18}), ("coupon", {"code": "ten"}),
        ("coupon", {"code": "TEN", "limit": 0}), ("budget_minor", 0), ("channels", [""]),
        ("channels", ["live\n"]), ("id", "r\n"), ("coupon", {"code": "TEN\n"}),
        ("bind", {"sku": "CUP\n"}), ("bind", {"show": ""}),
        ("code", "print()"),
    ],
)  # fmt: skip
def test_what_the_types_already_refuse(member: str, value: object) -> None:
    given = plain(rule("r", "item", pct(1000))) | {member: value}
    with pytest.raises(Malformed):
        convert(given, Rule)


def test_a_rule_reads_and_writes_as_json() -> None:
    made = rule("r", "item", pct(1000, target={"skus": ["CUP"]}), gift("SPOON"), window={"to_ms": NOW_MS})
    text = msgspec.json.encode(made)
    assert msgspec.json.decode(text, type=Rule) == made
    assert b'"kind":"pct"' in text and b"cap_minor" not in text, "what is not said is not written"
