"""How much is given back for what, to the cent.

A line of q units was paid with `line_minor` after its share of all discounts. Its first k units are worth
floor(line_minor × k ÷ q); a refund is the difference between after and before. So whatever the steps, all units
together come to what was paid, and no cent is given back twice. The tax of a refund is what its gross amount holds at
the line's rate; shipping is given back with the taxes that it had, in proportion.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from cart.ordering import shipping
from cart.ordering.orders import Order, OrderLine, OrderState
from cart.pricing.taxes import Tax, by_rate, included
from live.core.errors import Kind, Problem
from live.core.limits import CART_LINES_MAX, PRICE_MINOR_MAX


class Units(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Units of one of an order's SKUs."""

    sku: str
    quantity: int


class RefundLine(msgspec.Struct, frozen=True):
    """What is given back for units of a SKU."""

    sku: str
    quantity: int
    amount_minor: int
    tax_minor: int
    tax_bp: int


class Refund(msgspec.Struct, frozen=True):
    """What is given back: for units, for shipping, and as goodwill, which has no line and no tax of its own."""

    lines: list[RefundLine]
    shipping_minor: int
    goodwill_minor: int
    amount_minor: int
    taxes: list[Tax]


def units(order: Order, wanted: Sequence[Units]) -> dict[str, int]:
    """The units by SKU; raises `Problem` invalid_field, invalid_quantity for what is not the order's."""
    if len(wanted) > CART_LINES_MAX:
        raise Problem(Kind.invalid_field, f"At most {CART_LINES_MAX} lines.", field="lines")
    known = {line.sku for line in order.lines}
    found: dict[str, int] = {}
    for one in wanted:
        if one.sku not in known:
            raise Problem(Kind.unknown_sku, "The order has no such line.", field="lines")
        if one.quantity < 1:
            raise Problem(Kind.invalid_quantity, "At least one.", field="lines")
        found[one.sku] = found.get(one.sku, 0) + one.quantity
    return found


def worth(line: OrderLine, units: int) -> int:
    """What the first `units` units of a line were paid with."""
    return line.line_minor * units // line.quantity


def refund(order: Order, wanted: Mapping[str, int], shipping_minor: int, goodwill_minor: int) -> tuple[Refund, Order]:
    """What is given back, and the order afterwards, in its next state.

    Raises `Problem` illegal_order_step, invalid_field, and refund_exceeds with what is left.
    """
    order.require(_REFUNDABLE, "refunded")
    for field, amount in (("shipping_minor", shipping_minor), ("goodwill_minor", goodwill_minor)):
        if not 0 <= amount <= PRICE_MINOR_MAX:
            raise Problem(Kind.invalid_field, f"Between 0 and {PRICE_MINOR_MAX} minor units.", field=field)
    given, lines = [], []
    for line in order.lines:
        count = wanted.get(line.sku, 0)
        after = line.refunded + count
        if after > line.quantity:
            raise _exceeds(order, f"Only {line.quantity - line.refunded} of {line.sku} can still be refunded.", "lines")
        lines.append(replace(line, refunded=after))
        if count:
            amount_minor = worth(line, after) - worth(line, line.refunded)
            given.append(RefundLine(line.sku, count, amount_minor, included(amount_minor, line.tax_bp), line.tax_bp))
    if shipping_minor > order.shipping_minor - order.shipping_refunded_minor:
        raise _exceeds(order, "This is more than is left of the shipping.", "shipping_minor")
    amount_minor = sum(line.amount_minor for line in given) + shipping_minor + goodwill_minor
    if amount_minor > order.refundable_minor:
        raise _exceeds(order, "This is more than is left of what was paid.", "")
    if amount_minor == 0 and not given:
        raise Problem(Kind.invalid_field, "Say what is to be refunded.", field="lines")
    goods = by_rate(Tax(line.tax_bp, line.net_minor, line.tax_minor) for line in order.lines)
    taxes = [Tax(line.tax_bp, line.amount_minor - line.tax_minor, line.tax_minor) for line in given]
    changed = replace(
        order,
        lines=lines,
        refunded_minor=order.refunded_minor + amount_minor,
        shipping_refunded_minor=order.shipping_refunded_minor + shipping_minor,
    )
    what = Refund(
        given, shipping_minor, goodwill_minor, amount_minor,
        by_rate([*taxes, *shipping.taxes(shipping_minor, goods)]),
    )  # fmt: skip
    return what, changed.to(_after(changed)) if _after(changed) is not changed.state else changed


def everything(order: Order) -> tuple[Refund, Order]:
    """All that is left is given back; the order keeps its state."""
    lines = [replace(line, refunded=line.quantity) for line in order.lines]
    given = [
        RefundLine(
            line.sku, line.quantity - line.refunded, amount, included(amount, line.tax_bp), line.tax_bp
        )
        for line in order.lines
        if (amount := line.line_minor - worth(line, line.refunded)) > 0
    ]  # fmt: skip
    shipping_minor = order.shipping_minor - order.shipping_refunded_minor
    left_minor = order.refundable_minor
    # Goodwill that was given before is part of what these would come to.
    goodwill_minor = left_minor - sum(line.amount_minor for line in given) - shipping_minor
    changed = replace(
        order, lines=lines, refunded_minor=order.captured_minor, shipping_refunded_minor=order.shipping_minor
    )
    return Refund(given, shipping_minor, goodwill_minor, left_minor, []), changed


def _after(order: Order) -> OrderState:
    """Where a refund takes an order."""
    if order.refundable_minor == 0:
        return OrderState.refunded
    return order.state if order.state in _KEPT else OrderState.partly_refunded


_KEPT = frozenset({OrderState.withdrawn, OrderState.returned})
_REFUNDABLE = frozenset({OrderState.captured, OrderState.partly_refunded}) | _KEPT


def _exceeds(order: Order, detail: str, field: str) -> Problem:
    extra = {"left_minor": order.refundable_minor, "currency": order.currency}
    return Problem(Kind.refund_exceeds, detail, field=field, extra=extra)
