"""A basket's prices, by rules and circumstances: pure, and bounded by the limits of rules and baskets."""

from cart.pricing.basket import Basket, BasketLine, Context, Offer, Pinned, Use, check_basket
from cart.pricing.hints import hints
from cart.pricing.lanes import Walk
from cart.pricing.priced import APPLIED, Priced, Why
from cart.pricing.ruleset import Ruleset
from cart.pricing.taxes import Tax, by_rate
from cart.pricing.units import unit_price

__all__ = [
    "Basket",
    "BasketLine",
    "Context",
    "Offer",
    "Pinned",
    "Priced",
    "Ruleset",
    "Use",
    "coupon_why",
    "evaluate",
    "unit_price",
]


def evaluate(basket: Basket, context: Context, ruleset: Ruleset, *, hinted: bool = True, traced: bool = True) -> Priced:
    """The basket with its prices, what would lower them, and what became of each rule.

    `hinted`, `traced` False leave out hints and trace, for where nobody looks at them: they take longer than the
    prices. Raises `Problem` invalid_field,
    invalid_quantity, mixed_currency and cart_full, and computes nothing then.
    """
    check_basket(basket, context)
    walk = Walk(basket, context, ruleset)
    lines = walk.lines()
    return Priced(
        currency=basket.currency,
        ruleset=ruleset.version,
        lines=lines,
        discounts=walk.discounts,
        shipping_off=walk.shipping_off,
        subtotal_minor=sum(line.line_minor + line.off_minor for line in lines),
        total_minor=sum(line.line_minor for line in lines),
        taxes=by_rate(Tax(line.tax_bp, line.net_minor, line.tax_minor) for line in lines),
        gifts=walk.gifts,
        hints=hints(walk) if hinted else [],
        trace=walk.trace() if traced else [],
    )


def coupon_why(code: str, priced: Priced, ruleset: Ruleset) -> Why | None:
    """What a traced evaluation with the coupon `code` made of it; of several rules, the one that came farthest.

    None: no rule in force knows the code.
    """
    rules = {ready.rule.id for ready in ruleset.ready if ready.rule.coupon and ready.rule.coupon.code == code}
    found = [traced.why for traced in priced.trace if traced.rule in rules]
    order = list(Why)
    return next((why for why in found if why in APPLIED), None) or max(found, key=order.index, default=None)
