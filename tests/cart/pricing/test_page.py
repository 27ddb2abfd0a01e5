"""What docs/pricing.md shows is what the product takes and does."""

import json
import re
from pathlib import Path

from cart.pricing.checks import check
from cart.pricing.evaluation import evaluate
from cart.pricing.priced import Why
from cart.pricing.quotes import Quote
from cart.pricing.rules import Rule
from live.core.codec import convert
from live.core.limits import HINTS_MAX, QUOTE_TTL_S, RULE_ACTIONS_MAX, RULE_CONDITIONS_MAX, RULES_MAX
from tests.cart.pricing.rulebook import SHOP, amount, basket, line, rule, rules

PAGE = (Path(__file__).parents[3] / "docs/pricing.md").read_text(encoding="utf-8")


def test_the_pages_rules_may_be_saved_together() -> None:
    found: list[Rule] = []
    for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL):
        shown = json.loads(block)
        found += [convert(one, Rule) for one in (shown if isinstance(shown, list) else [shown])]
    assert len(found) >= 7
    assert check(found) == []


def test_the_page_knows_all_members_and_reasons() -> None:
    for name in (*Rule.__struct_fields__, *Quote.__struct_fields__, *(why.value for why in Why)):
        assert f"`{name}`" in PAGE, name
    assert (RULES_MAX, RULE_ACTIONS_MAX, RULE_CONDITIONS_MAX, HINTS_MAX, QUOTE_TTL_S) == (200, 4, 8, 3, 15 * 60)


def test_the_pages_example_of_the_rounding_law() -> None:
    lines = [line(sku) for sku in ("CUP", "CUP-L", "PLATE")]
    priced = evaluate(basket(*lines), SHOP, rules(rule("one", "order", amount(100))))
    assert [one.line_minor for one in priced.lines] == [966, 967, 967]
    assert [one.tax_minor for one in priced.lines] == [154, 154, 154]
    assert (priced.total_minor, priced.taxes[0].tax_minor) == (2900, 462)
