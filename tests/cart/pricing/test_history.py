"""What a SKU has cost, as values; and a cart that no rule touches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.pricing.basket import Basket, BasketLine, Context
from cart.pricing.evaluation import evaluate
from cart.pricing.history import EVERYWHERE, Point, reference, seen
from cart.pricing.plain import undiscounted
from cart.pricing.reductions import Change, Reduction
from cart.pricing.ruleset import NO_RULES

DAY = 24 * 3_600_000


def point(at_day: float, price_minor: int | None, place: str = EVERYWHERE) -> Point:
    return Point(place=place, at_ms=int(at_day * DAY), price_minor=price_minor)


def test_a_show_costs_what_it_costs_everywhere_but_while_a_price_of_its_own_holds() -> None:
    points = [point(4, None, "s"), point(1, 100), point(2, 80, "s"), point(3, 90), point(2, 70, "other")]
    assert seen(points, "s") == [Change(1 * DAY, 100), Change(2 * DAY, 80), Change(4 * DAY, 90)]
    assert seen(points, EVERYWHERE) == [Change(1 * DAY, 100), Change(3 * DAY, 90)]


@pytest.mark.parametrize(
    ("points", "price_minor", "expected"),
    [
        ([], 100, Reduction(100, 0)),  # it was never for sale before
        ([point(1, 100)], 100, Reduction(100, 0)),  # it fell long ago, or never
        ([point(1, 100)], 75, Reduction(100, 25)),  # it falls now
        ([point(1, 100), point(50, 75)], 75, Reduction(100, 25)),
        ([point(1, 100), point(45, 60), point(46, 100), point(50, 75)], 75, Reduction(60, 0)),
        ([point(1, 100), point(30, 50, "other"), point(31, None, "other"), point(50, 75)], 75, Reduction(50, 0)),
        ([point(1, 100), point(5, 50, "other"), point(6, None, "other"), point(50, 75)], 75, Reduction(100, 25)),
        ([point(1, 100), point(50, 80, "s")], 80, Reduction(100, 20)),  # of the show itself
    ],
)
def test_all_places_count_for_the_reference(points: list[Point], price_minor: int, expected: Reduction) -> None:
    assert reference(points, "s", price_minor, 60 * DAY) == expected


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 100), st.sampled_from([0, 700, 1900])), max_size=6))
def test_a_cart_that_no_rule_touches_is_what_the_evaluation_says(wanted: list[tuple[int, int, int]]) -> None:
    lines = tuple(
        BasketLine(
            key=str(place), sku=f"S{place}", product_id="p", currency="EUR", list_minor=minor, tax_bp=tax_bp,
            quantity=quantity, fixed_unit_minor=minor,
        )
        for place, (minor, quantity, tax_bp) in enumerate(wanted)
    )  # fmt: skip
    currency = "EUR" if lines else ""
    assert undiscounted(0, currency, lines) == evaluate(Basket(currency, lines), Context(now_ms=0), NO_RULES)
