"""A cart that no rule touches: the same as `evaluate` gives for it, at a tenth of the cost.

It is in the answer to every click, and while nobody has published a rule for carts it is the only one.
"""

from collections.abc import Sequence

from cart.pricing.basket import BasketLine
from cart.pricing.priced import Priced, PricedLine
from cart.pricing.taxes import Tax, by_rate, included


def undiscounted(version: int, currency: str, lines: Sequence[BasketLine]) -> Priced:
    """What lines that keep their prices come to, by a ruleset of `version` without rules for carts."""
    priced = []
    for line in lines:
        assert line.fixed_unit_minor is not None, "holds keep their prices"
        line_minor = line.fixed_unit_minor * line.quantity
        tax_minor = included(line_minor, line.tax_bp)
        priced.append(
            PricedLine(
                key=line.key,
                sku=line.sku,
                unit_minor=line.fixed_unit_minor,
                list_minor=line.list_minor,
                quantity=line.quantity,
                line_minor=line_minor,
                off_minor=0,
                net_minor=line_minor - tax_minor,
                tax_minor=tax_minor,
                tax_bp=line.tax_bp,
            )
        )
    total_minor = sum(line.line_minor for line in priced)
    return Priced(
        currency=currency,
        ruleset=version,
        lines=priced,
        discounts=[],
        shipping_off=[],
        subtotal_minor=total_minor,
        total_minor=total_minor,
        taxes=by_rate(Tax(line.tax_bp, line.net_minor, line.tax_minor) for line in priced),
        gifts=[],
        hints=[],
        trace=[],
    )
