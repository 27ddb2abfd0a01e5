"""Sums put together to a report, as values."""

from hypothesis import given
from hypothesis import strategies as st

from cart.insight.report import (
    EARLIER,
    ORDERS,
    SHIPPING,
    UNPINNED,
    Clock,
    Pinned,
    Proceeds,
    Revenue,
    Sold,
    Sum,
    Taken,
    assemble,
)

CLOCK = Clock(started_at_ms=1_000, ended_at_ms=None, now_ms=9_000)
CUP = Pinned("a1", "cup", "Cup", 2_000, 3_000)
MUG = Pinned("a2", "mug", None, 3_000, None)


def _sum(place: str, gross: int, off: int = 0, currency: str = "EUR", orders: int = 1) -> Sum:
    return Sum(place, currency, orders, 1, 2, 1, gross, off)


def test_a_show_that_sold_nothing() -> None:
    made = assemble("demo", CLOCK, [CUP], [], [])
    assert (made.show, made.at_ms, made.earlier_pins, made.shipping, made.goodwill) == ("demo", 9_000, None, [], [])
    assert made.unpinned == Sold()
    assert (made.total.orders, made.total.revenue) == (0, [])
    assert (made.pins[0].adds, made.pins[0].conversion_bp, made.pins[0].revenue) == (0, None, [])


def test_each_row_gets_what_is_its_own() -> None:
    taken = [Taken("a1", 5, 9, 4), Taken(EARLIER, 1, 1, 1), Taken(UNPINNED, 2, 2, 2)]
    sums = [
        _sum("a1", 1000, 500), _sum("a1", 300, currency="CHF"), _sum(UNPINNED, 700), _sum("gone", 40),
        _sum(SHIPPING, 490, 490, orders=3), _sum(ORDERS, 2230, 1090, orders=3), _sum(ORDERS, 300, currency="CHF"),
    ]  # fmt: skip
    made = assemble("demo", CLOCK, [CUP, MUG], taken, sums)
    cup, mug = made.pins
    assert (cup.pin_id, cup.product_id, cup.title, cup.from_ms, cup.to_ms) == ("a1", "cup", "Cup", 1_000, 2_000)
    assert (cup.adds, cup.units_held, cup.holds, cup.ordered, cup.conversion_bp) == (5, 9, 4, 2, 5_000)
    assert (cup.orders, cup.units_ordered, cup.units_back) == (2, 4, 2)
    assert cup.revenue == [Proceeds("CHF", 300, 0, 300), Proceeds("EUR", 1000, 500, 500)]
    assert (mug.title, mug.from_ms, mug.to_ms, mug.revenue) == (None, 2_000, None, [])
    assert made.unpinned.revenue == [Proceeds("EUR", 700, 0, 700)]
    assert made.earlier_pins is not None and made.earlier_pins.revenue == [Proceeds("EUR", 40, 0, 40)]
    assert made.earlier_pins.adds == 1, "a pin that came between two statements is with them"
    assert made.shipping == [Proceeds("EUR", 490, 490, 0)]
    assert made.goodwill == [Proceeds("EUR", 0, 100, -100)]
    assert (made.total.orders, made.total.revenue[1]) == (4, Proceeds("EUR", 2230, 1090, 1140))


def test_pins_end_with_the_show_at_last() -> None:
    over = Clock(started_at_ms=1_000, ended_at_ms=5_000, now_ms=9_000)
    assert [pin.to_ms for pin in assemble("demo", over, [CUP, MUG], [], []).pins] == [2_000, 4_000]
    early = Clock(started_at_ms=None, ended_at_ms=None, now_ms=9_000)
    assert [(pin.from_ms, pin.to_ms) for pin in assemble("demo", early, [CUP, MUG], [], []).pins] == [(0, 0), (0, None)]
    assert assemble("demo", CLOCK, [], [Taken("x", 1, 1, 1)], []).earlier_pins is not None, "only adds"


def amounts(report: Revenue) -> list[list[Proceeds]]:
    """What must add up to the total."""
    rows = [report.unpinned, *report.pins, *([report.earlier_pins] if report.earlier_pins else [])]
    return [report.shipping, report.goodwill, *(row.revenue for row in rows)]


MONEY = st.integers(0, 10**12)
PARTS = st.lists(
    st.builds(
        _sum, st.sampled_from(["a1", "a2", "gone", EARLIER, UNPINNED, SHIPPING]), MONEY, MONEY,
        st.sampled_from(["EUR", "CHF"]),
    )
)  # fmt: skip


@given(PARTS, st.integers(0, 10**6))
def test_the_rows_add_up_to_the_total(parts: list[Sum], goodwill: int) -> None:
    whole = []
    for currency in {part.currency for part in parts}:
        own = [part for part in parts if part.currency == currency]
        gross, off = sum(part.gross_minor for part in own), sum(part.off_minor for part in own)
        whole.append(_sum(ORDERS, gross, off + goodwill, currency))
    made = assemble("demo", CLOCK, [CUP, MUG], [], [*parts, *whole])
    for total in made.total.revenue:
        rows = [one for row in amounts(made) for one in row if one.currency == total.currency]
        assert sum(one.gross_minor for one in rows) == total.gross_minor
        assert sum(one.off_minor for one in rows) == total.off_minor
        assert sum(one.kept_minor for one in rows) == total.kept_minor
