"""A cart is nothing but the living holds of one viewer in one show; this turns them into what the viewer sees."""

from collections.abc import Iterable

import msgspec

from cart import prices
from cart.stock import LIVE, Hold
from live.core.errors import Kind, Problem
from live.core.limits import CART_LINES_MAX


class Line(msgspec.Struct, frozen=True):
    """One SKU in a cart. `variant` is "" for a product with a single one; `expires_at_ms` is Unix milliseconds."""

    hold_id: str
    sku: str
    product_id: str
    title: str
    variant: str
    picture: str
    quantity: int
    price_minor: int
    line_minor: int
    expires_at_ms: int


class Cart(msgspec.Struct, frozen=True):
    """What a viewer is about to buy. `currency` is "" while the cart is empty."""

    lines: list[Line]
    total_minor: int
    currency: str


def cart_id(show: str, viewer_id: str) -> str:
    """The cart of a viewer in a show. It survives a reload because the viewer's token does."""
    return f"{show}:{viewer_id}"


def cart_of(holds: Iterable[Hold]) -> Cart:
    """The cart that these living holds make; raises `Problem` mixed_currency and cart_full."""
    living = list(holds)
    assert all(hold.state in LIVE for hold in living), "other holds have no units"
    if len({hold.currency for hold in living}) > 1:
        raise Problem(Kind.mixed_currency, "Order what is in the cart first; it holds another currency.", field="sku")
    if len(living) > CART_LINES_MAX:
        raise Problem(Kind.cart_full, f"A cart holds {CART_LINES_MAX} different things at most.", field="sku")
    lines = [
        Line(
            hold_id=hold.id,
            sku=hold.sku,
            product_id=hold.product_id,
            title=hold.title,
            variant=hold.variant,
            picture=hold.picture,
            quantity=hold.quantity,
            price_minor=hold.price_minor,
            line_minor=prices.line_total(hold.price_minor, hold.quantity),
            expires_at_ms=hold.expires_at_ms,
        )
        for hold in living
    ]
    return Cart(
        lines=lines,
        total_minor=prices.total(line.line_minor for line in lines),
        currency=living[0].currency if living else "",
    )
