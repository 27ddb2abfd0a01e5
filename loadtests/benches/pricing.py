"""What a price costs: one unit of a SKU, as every click and screen asks for it, and a whole basket.

CPU time against a floor in the same run, which gives out the same values and knows one kind of rule alone: for a unit,
a percentage is looked up by the SKU and its window compared; for a basket, two percentages are taken off each line.
Rounds of both are interleaved and the median taken.
"""

import time
from collections.abc import Callable
from statistics import median

from cart.pricing.basket import Basket, BasketLine, Context, Pinned
from cart.pricing.evaluation import evaluate, unit_price
from cart.pricing.priced import Priced, PricedLine, Unit
from cart.pricing.rules import Rule
from cart.pricing.ruleset import Ruleset
from cart.pricing.taxes import Tax
from live.core.codec import convert
from live.core.limits import CART_LINES_MAX, QUANTITY_MAX, RULES_MAX
from loadtests.benches.figure import figure

ROUNDS = 21
NOW_MS = 1_800_000_000_000
UNIT_RATIO_MAX = 30.0
BASKET_RATIO_MAX = 60.0
LARGEST_MS_MAX = 50.0  # no callback holds the loop longer
_SHOW = Context(now_ms=NOW_MS, show="demo", pinned=Pinned(product_id="p1", pin_id="pin"))
_FREE = {"fact": "amount", "op": "ge", "value": 5000}
_FEW = {"fact": "quantity", "op": "ge", "value": 2}


def _rule(id_: str, lane: str, then: list[dict[str, object]], **members: object) -> Rule:
    given = {"version": 1, "label": id_, "currency": "EUR", "standing": True}
    return convert({"id": id_, "lane": lane, "then": then} | given | members, Rule)


def _shop() -> list[Rule]:
    """A shop's ordinary evening: a live price, a hundred reduced SKUs, three promotions."""
    live = _rule("live", "price", [{"kind": "fixed_price", "minor": 800}], bind={"show": "demo", "product": "p1"})
    sale = [
        _rule(f"sale{place}", "price", [{"kind": "pct", "bp": 1000, "target": {"skus": [f"S{place}"]}}])
        for place in range(100)
    ]
    threes: dict[str, object] = {"kind": "pct", "bp": 10_000, "every": 3, "target": {"categories": ["clay"]}}
    return [
        live,
        *sale,
        _rule("threes", "item", [threes]),
        _rule("ten", "order", [{"kind": "pct", "bp": 1000}], when=[_FEW]),
        _rule("free", "shipping", [{"kind": "pct", "bp": 10_000}], when=[_FREE]),
    ]


def _line(place: int, quantity: int = 1) -> BasketLine:
    return BasketLine(
        key=f"h{place}", sku=f"S{place}", product_id=f"p{place}", currency="EUR", quantity=quantity,
        list_minor=1000 + place, tax_bp=1900, categories=("table", "clay"),
    )  # fmt: skip


def _unit_floor() -> Callable[[], object]:
    sale, line = {f"S{place}": (NOW_MS - 1, NOW_MS + 1, 1000) for place in range(100)}, _line(1)

    def floor() -> Unit:
        found, price, applied = sale.get(line.sku), line.list_minor, ()
        if found is not None and found[0] <= _SHOW.now_ms < found[1]:
            price -= (price * found[2] + 5000) // 10_000
        return Unit(unit_minor=price, list_minor=line.list_minor, applied=applied)

    return floor


def _basket_floor(basket: Basket) -> Callable[[], object]:
    def floor() -> Priced:
        lines: list[PricedLine] = []
        for line in basket.lines:
            unit = line.list_minor - (line.list_minor * 1000 + 5000) // 10_000
            full = unit * line.quantity
            gross = full - (full * 1000 + 5000) // 10_000
            tax = gross * line.tax_bp // (10_000 + line.tax_bp)
            off, net, rate = full - gross, gross - tax, line.tax_bp
            lines.append(
                PricedLine(line.key, line.sku, unit, line.list_minor, line.quantity, gross, off, net, tax, rate)
            )
        total = sum(line.line_minor for line in lines)
        taxes = [Tax(1900, sum(line.net_minor for line in lines), sum(line.tax_minor for line in lines))]
        return Priced(basket.currency, 1, lines, [], [], total, total, taxes, [], [], [])

    return floor


def _ratio(name: str, ours: Callable[[], object], floor: Callable[[], object], budget: float, times: int) -> None:
    costs: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        for call, found in zip((ours, floor), costs, strict=True):
            before = time.process_time()
            for _ in range(times):
                call()
            found.append((time.process_time() - before) / times)
    figure(f"pricing_{name}_us", median(costs[0]) * 1e6, "µs CPU")
    figure(f"pricing_{name}_ratio", median(costs[0]) / median(costs[1]), "× floor", budget)


def _largest() -> None:
    """The largest basket under the most rules that all want it."""
    lines = tuple(_line(place, QUANTITY_MAX) for place in range(CART_LINES_MAX))
    worst = [
        _rule(f"r{place}", "item", [{"kind": "pct", "bp": 1 + place, "target": {"categories": ["clay"]}}], when=[_FEW])
        for place in range(RULES_MAX)
    ]
    ruleset, basket = Ruleset(1, worst), Basket("EUR", lines)
    before = time.process_time()
    evaluate(basket, _SHOW, ruleset)
    figure("pricing_largest_ms", (time.process_time() - before) * 1e3, "ms CPU", LARGEST_MS_MAX)


if __name__ == "__main__":
    rules = Ruleset(1, _shop())
    two = Basket("EUR", (_line(1, 2), _line(2)))
    _ratio("unit", lambda: unit_price(two.lines[0], _SHOW, rules), _unit_floor(), UNIT_RATIO_MAX, 5_000)
    floor = _basket_floor(two)
    _ratio("basket", lambda: evaluate(two, _SHOW, rules, hinted=False, traced=False), floor, BASKET_RATIO_MAX, 1_000)
    _ratio("explained", lambda: evaluate(two, _SHOW, rules), floor, 4 * BASKET_RATIO_MAX, 500)
    _largest()
