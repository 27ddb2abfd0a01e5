"""What the merchant's own check-out reports of a cart that was handed over, and the order that this makes of it.

The merchant has sold it already, so its prices are what we book: an order says what was paid. Goods that were not
handed over are none of our business.
"""

from typing import Literal

import msgspec
from msgspec.structs import replace

from cart import stock
from cart.ordering import shipping
from cart.ordering.orders import Order, OrderLine
from cart.pricing.priced import Discount
from cart.pricing.taxes import Tax, by_rate, included
from live.core.errors import Kind, Problem
from live.core.limits import EXTERNAL_NUMBER_CHARS_MAX, PRICE_MINOR_MAX, QUANTITY_MAX
from live.shows import clean_line

_LABEL = "As sold by the merchant"


class Sold(msgspec.Struct, frozen=True):
    """So many units of a SKU. `line_minor`: what was paid for them, gross (None: what they cost when handed over)."""

    sku: str
    quantity: int
    line_minor: int | None = None


class Facts(msgspec.Struct, frozen=True):
    """What became of a hand-off. Sold: under the merchant's `number`; else "cancelled", and nothing else counts.

    `lines` None: as handed over; what it leaves out was not sold. `shipping_minor` comes on top. `total_minor` and
    `currency` are checked against it (None: not said). `paid` False: the merchant has no money for it yet.
    """

    number: str = ""
    state: Literal["placed", "cancelled"] = "placed"
    currency: str | None = None
    total_minor: int | None = None
    shipping_minor: int = 0
    lines: list[Sold] | None = None
    paid: bool = True
    reason: str = ""


class Report(Facts, frozen=True, forbid_unknown_fields=True):
    """As `Facts`; another member is an error."""


class Told(Facts, frozen=True):
    """As `Facts`, of the hand-off with this id; whoever writes it may say more."""

    handoff: str = ""


def as_sold(order: Order, facts: Facts) -> Order:
    """The order, pending or lapsed, with lines and prices as they were sold.

    Raises `Problem` invalid_field, invalid_quantity, unknown_sku, each with the member's name.
    """
    number = clean_line(facts.number, "number", EXTERNAL_NUMBER_CHARS_MAX)
    if facts.currency is not None and facts.currency != order.currency:
        raise Problem(Kind.invalid_field, f"It was handed over in {order.currency}.", field="currency")
    _check_amount(facts.shipping_minor, PRICE_MINOR_MAX, "shipping_minor")
    lines = order.lines if facts.lines is None else _lines(order, facts.lines)
    goods = by_rate(Tax(line.tax_bp, line.net_minor, line.tax_minor) for line in lines)
    off_minor = sum(line.off_minor for line in lines)
    total_minor = sum(line.line_minor for line in lines) + facts.shipping_minor
    if facts.total_minor is not None and facts.total_minor != total_minor:
        detail = f"Lines and shipping come to {total_minor}."
        raise Problem(Kind.invalid_field, detail, field="total_minor", extra={"total_minor": total_minor})
    kept = off_minor == sum(discount.amount_minor for discount in order.discounts)
    return replace(
        order,
        external_number=number,
        lines=lines,
        subtotal_minor=sum(line.price_minor * line.quantity for line in lines),
        discounts=order.discounts if kept else [Discount("", 0, _LABEL, off_minor)] if off_minor else [],
        shipping_minor=facts.shipping_minor,
        total_minor=total_minor,
        taxes=by_rate([*goods, *shipping.taxes(facts.shipping_minor, goods)]),
    )


def _lines(order: Order, sold: list[Sold]) -> list[OrderLine]:
    """The lines that were sold, in the order of the cart's."""
    if not sold:
        raise Problem(Kind.invalid_field, 'Say what was sold, or that it was "cancelled".', field="lines")
    handed = {line.sku for line in order.lines}
    by_sku: dict[str, Sold] = {}
    for place, one in enumerate(sold):
        if one.sku not in handed:
            raise Problem(Kind.unknown_sku, "It was not handed over.", field=f"lines[{place}].sku")
        if one.sku in by_sku:
            raise Problem(Kind.invalid_field, "One line for each SKU.", field=f"lines[{place}].sku")
        stock.check_quantity(one.quantity)
        if one.line_minor is not None:
            _check_amount(one.line_minor, PRICE_MINOR_MAX * QUANTITY_MAX, f"lines[{place}].line_minor")
        by_sku[one.sku] = one
    return [_line(line, by_sku[line.sku]) for line in order.lines if line.sku in by_sku]


def _line(line: OrderLine, sold: Sold) -> OrderLine:
    """A line as it was sold, with its stamp; a part of its units is worth its part of the line, rounded down."""
    quantity = sold.quantity
    gross_minor = line.line_minor * quantity // line.quantity if sold.line_minor is None else sold.line_minor
    unit_minor = max(line.price_minor, -(-gross_minor // quantity))
    tax_minor = included(gross_minor, line.tax_bp)
    return replace(
        line,
        quantity=quantity,
        price_minor=unit_minor,
        list_minor=max(line.list_minor, unit_minor),
        off_minor=unit_minor * quantity - gross_minor,
        line_minor=gross_minor,
        net_minor=gross_minor - tax_minor,
        tax_minor=tax_minor,
    )


def _check_amount(amount_minor: int, most: int, field: str) -> None:
    if not 0 <= amount_minor <= most:
        raise Problem(Kind.invalid_field, f"Between 0 and {most} minor units.", field=field)
