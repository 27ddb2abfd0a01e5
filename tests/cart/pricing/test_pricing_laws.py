"""What must hold of every price, whatever the rules, the basket and the circumstances."""

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cart.pricing import lanes, plans
from cart.pricing.basket import Basket, Context
from cart.pricing.evaluation import evaluate, unit_price
from cart.pricing.priced import APPLIED, Hint, Priced, Why
from cart.pricing.rules import Lane, Rule
from cart.pricing.ruleset import NO_RULES, Ruleset
from cart.pricing.shipping import charge
from cart.pricing.taxes import Tax, by_rate, included
from live.core.limits import CART_LINES_MAX, HINTS_MAX, RULES_MAX
from tests.cart.pricing.rulebook import NOW_MS, SHOP, line, pct, rule, some_basket, some_context, some_rules

SEEDS = st.integers(0, 2**64)

_OUTRANKED = APPLIED | {Why.outbid, Why.stopped}


def accounted(basket: Basket, priced: Priced) -> None:
    """Every cent is somewhere, and nothing is below zero."""
    assert [one.key for one in priced.lines] == [one.key for one in basket.lines]
    for one, before in zip(priced.lines, basket.lines, strict=True):
        assert 0 <= one.unit_minor <= max(one.list_minor, before.fixed_unit_minor or 0)
        assert one.line_minor == one.unit_minor * one.quantity - one.off_minor == one.net_minor + one.tax_minor
        assert 0 <= one.off_minor <= one.unit_minor * one.quantity
        assert one.tax_minor == included(one.line_minor, one.tax_bp)
    assert priced.subtotal_minor == sum(one.unit_minor * one.quantity for one in priced.lines)
    assert priced.total_minor == sum(one.line_minor for one in priced.lines)
    assert priced.total_minor == priced.subtotal_minor - sum(one.amount_minor for one in priced.discounts)
    assert all(one.amount_minor > 0 for one in priced.discounts)
    assert sum(tax.net_minor + tax.tax_minor for tax in priced.taxes) == priced.total_minor
    assert priced.taxes == by_rate(Tax(one.tax_bp, one.net_minor, one.tax_minor) for one in priced.lines)
    for fee_minor in (0, 1, 499, 10**6):
        fee = charge(fee_minor, "parcel", priced.shipping_off)
        assert fee.charge_minor == fee_minor - sum(one.amount_minor for one in fee.discounts) >= 0


def within_budgets(rules: list[Rule], context: Context, priced: Priced) -> None:
    off = {one.rule: one.amount_minor for one in priced.discounts}
    for one in rules:
        if one.budget_minor is not None and one.id in off:
            use = context.uses.get(one.id)
            assert off[one.id] <= one.budget_minor - (use.spent_minor if use else 0)


@settings(max_examples=400)
@given(SEEDS)
def test_every_cent_is_accounted_for_and_order_means_nothing(seed: int) -> None:
    random = Random(seed)
    rules, basket, context = some_rules(random), some_basket(random), some_context(random)
    priced = evaluate(basket, context, Ruleset(1, rules))
    accounted(basket, priced)
    within_budgets(rules, context, priced)
    assert {one.rule for one in priced.trace} == {one.id for one in rules}
    taken = {one.rule: one.amount_minor for one in priced.discounts}
    for one in priced.trace:
        lane = next(each.lane for each in rules if each.id == one.rule)
        if lane in (Lane.item, Lane.order):
            assert one.amount_minor == taken.get(one.rule, 0)
    shuffled, lines = list(rules), list(basket.lines)
    random.shuffle(shuffled)
    random.shuffle(lines)
    other = evaluate(Basket("EUR", tuple(lines)), context, Ruleset(1, shuffled))
    found = {one.key: one for one in other.lines}
    assert msgspec.structs.replace(other, lines=[found[one.key] for one in basket.lines]) == priced
    bare = evaluate(basket, context, Ruleset(1, rules), hinted=False, traced=False)
    assert bare == msgspec.structs.replace(priced, hints=[], trace=[])


@settings(max_examples=300)
@given(SEEDS)
def test_a_unit_costs_the_same_alone_and_among_others(seed: int) -> None:
    random = Random(seed)
    rules, basket, context = some_rules(random), some_basket(random), some_context(random)
    ruleset = Ruleset(1, rules)
    together = {one.key: one for one in evaluate(basket, context, ruleset).lines}
    for one in basket.lines:
        unit = unit_price(one, context, ruleset)
        alone = msgspec.structs.replace(one, fixed_unit_minor=None)
        priced = evaluate(Basket("EUR", (alone,)), context, ruleset).lines[0]
        assert (priced.unit_minor, priced.list_minor, priced.applied) == (
            unit.unit_minor,
            unit.list_minor,
            unit.applied,
        )
        assert together[one.key].unit_minor == (unit.unit_minor if one.fixed_unit_minor is None else 500)


@settings(max_examples=300)
@given(SEEDS)
def test_a_price_is_the_same_on_every_channel_unless_a_rule_names_one(seed: int) -> None:
    random = Random(seed)
    rules, basket, context = some_rules(random, ["price"]), some_basket(random), some_context(random)
    channel = random.choice(["shop", "feed", "mail", "api"])
    plain = [one for one in rules if not (one.channels or one.bind.show or one.bind.while_pinned)]
    elsewhere = Context(now_ms=NOW_MS, channel=channel, segments=context.segments)
    for ruleset in (Ruleset(1, plain), NO_RULES):
        for one in basket.lines:
            assert unit_price(one, context, ruleset) == unit_price(one, elsewhere, ruleset)
    named = [one for one in rules if one not in plain]
    for one in basket.lines:  # a rule that names a channel is not felt where it is not
        there = [each for each in named if channel in each.channels and not each.bind.show]
        there = [each for each in there if not each.bind.while_pinned]
        if not there:
            assert unit_price(one, elsewhere, Ruleset(1, rules)) == unit_price(one, elsewhere, Ruleset(1, plain))


@settings(max_examples=500)
@given(SEEDS)
def test_hints_are_true(seed: int) -> None:
    random = Random(seed)
    rules, basket, context = some_rules(random), some_basket(random), some_context(random)
    price_minor = random.choice([250, 999, 5000])
    for these in (rules, rules[:1]):
        ruleset = Ruleset(1, these)
        priced = evaluate(basket, context, ruleset)
        assert len(priced.hints) <= HINTS_MAX
        for hint in priced.hints:
            after = evaluate(_with(basket, hint, price_minor), context, ruleset)
            why = next(one.why for one in after.trace if one.rule == hint.rule)
            assert why in _OUTRANKED if len(these) > 1 else why in APPLIED


def _with(basket: Basket, hint: Hint, price_minor: int) -> Basket:
    """The basket with what a hint says is missing: goods at some price that it is for."""
    skus = [*hint.of.skus, *basket_skus(basket, hint)]
    own = next((one for one in basket.lines if one.sku in hint.of.skus), None)
    if hint.missing_minor is not None:
        quantity = -(-hint.missing_minor // price_minor)
        own = None
    else:
        assert hint.missing_qty is not None
        quantity = hint.missing_qty
    if own is not None:  # more of the same costs the same
        price_minor = own.list_minor if own.fixed_unit_minor is None else own.fixed_unit_minor
    lines = [
        line(skus[0], min(100, quantity - done), key=f"more {done}", fixed_unit_minor=price_minor)
        for done in range(0, quantity, 100)
    ]
    return Basket("EUR", (*basket.lines, *lines[: CART_LINES_MAX - len(basket.lines)]))


def basket_skus(basket: Basket, hint: Hint) -> list[str]:
    """SKUs that the hint is for, of the basket and of all."""
    probe = rule("probe", "item", pct(10_000, target=msgspec.to_builtins(hint.of)))
    priced = evaluate(basket, SHOP, Ruleset(1, [probe]))
    return [one.sku for one in priced.lines if one.off_minor]


def test_the_largest_basket_and_ruleset_take_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    real = plans.plan

    def counted(*given: object) -> plans.Plan:
        nonlocal calls
        calls += 1
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(lanes, "plan", counted)
    lines = tuple(line(f"S{place:02}", 100, 100 + place) for place in range(CART_LINES_MAX))
    worst = [
        rule(f"r{place}", "item", pct(1 + place, target={"skus": [f"S{place % CART_LINES_MAX:02}", "S00"]}))
        for place in range(RULES_MAX)
    ]
    priced = evaluate(Basket("EUR", lines), SHOP, Ruleset(1, worst))
    accounted(Basket("EUR", lines), priced)
    assert calls <= RULES_MAX * (CART_LINES_MAX + 1)
