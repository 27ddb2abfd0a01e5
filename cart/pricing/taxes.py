"""The rounding law: where cents come from and where they go.

1. A unit price is a whole number of minor units. A percentage of it is rounded half up, in the shopper's favour: what
   is taken off is rounded, and what is left is the price.
2. A line is unit price × quantity less its share of discounts. In the lane item, a percentage is of the units of a line
   that it is for, rounded half up. In the lane order, and where a cap, a budget or a bundle's price makes a sum for
   several lines, that sum is spread by largest remainder: exact shares are cut to whole minor units, and those that
   are left over go to the largest fractions, ties to the line whose SKU comes first. The shares' sum is the discount.
3. Prices are gross. A line's tax is gross × rate ÷ (100 % + rate), rounded half up; its net is gross less tax.
4. Everything else is a sum of lines: taxes by rate, subtotal, total. Nothing is rounded a second time.
"""

from collections.abc import Iterable, Sequence

import msgspec

_WHOLE_BP = 10_000


class Tax(msgspec.Struct, frozen=True):
    """What lines of one rate come to; gross is the sum of both."""

    tax_bp: int
    net_minor: int
    tax_minor: int


def half_up(numerator: int, denominator: int) -> int:
    """The quotient of two numbers that are not negative, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def percent_of(amount_minor: int, bp: int) -> int:
    """`bp` basis points of an amount, rounded half up; never more than the amount."""
    return half_up(amount_minor * bp, _WHOLE_BP)


def included(gross_minor: int, tax_bp: int) -> int:
    """The tax that a gross amount holds, rounded half up."""
    return half_up(gross_minor * tax_bp, _WHOLE_BP + tax_bp)


def spread(amount_minor: int, weights: Sequence[int]) -> list[int]:
    """`amount_minor` in shares proportional to `weights`, by largest remainder; ties go to the earlier ones.

    No share is larger than its weight, as long as the amount is not larger than the weights' sum.
    """
    whole = sum(weights)
    assert whole > 0 or amount_minor == 0, "there must be something to spread it over"
    if amount_minor == 0:
        return [0] * len(weights)
    if len(weights) == 1:
        return [amount_minor]
    shares = [amount_minor * weight // whole for weight in weights]
    rests = [amount_minor * weight % whole for weight in weights]
    left = amount_minor - sum(shares)
    for place in sorted(range(len(weights)), key=lambda place: -rests[place])[:left]:
        shares[place] += 1
    return shares


def by_rate(lines: Iterable[Tax]) -> list[Tax]:
    """The sums of lines with the same rate, the lowest rate first."""
    sums: dict[int, tuple[int, int]] = {}
    for line in lines:
        net_minor, tax_minor = sums.get(line.tax_bp, (0, 0))
        sums[line.tax_bp] = net_minor + line.net_minor, tax_minor + line.tax_minor
    return [Tax(tax_bp, *sums[tax_bp]) for tax_bp in sorted(sums)]
