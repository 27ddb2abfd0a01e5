"""A cart is nothing but the living holds of one viewer in one show, with the prices that they kept and the discounts
of now; this turns them into what the viewer sees."""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from cart.pricing.basket import BasketLine
from cart.pricing.plain import undiscounted
from cart.pricing.priced import Discount, Hint, Present, Priced, ShippingOff, Why
from cart.pricing.taxes import Tax
from cart.stock import LIVE, Hold
from live.core.errors import Kind, Problem
from live.core.limits import CART_LINES_MAX


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One SKU in a cart. `variant` is "" for a product with a single one; `expires_at_ms` is Unix milliseconds.

    `price_minor` is that of one unit, as the hold keeps it, `list_price_minor` what it was before any rule (None: the
    same). `line_minor` = price_minor × quantity less `off_minor`, its share of the discounts; it holds `tax_minor` at
    `tax_bp` basis points.
    """

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
    list_price_minor: int | None = None
    off_minor: int = 0
    tax_bp: int = 0
    tax_minor: int = 0


_REFUSED = {
    None: "It is no coupon of now.",
    Why.window.value: "It is not valid now.",
    Why.channel.value: "It is not for this channel.",
    Why.segment.value: "It is for other customers.",
    Why.show.value: "It is for another show.",
    Why.coupon_used_up.value: "It is used up.",
    Why.coupon_used_by_customer.value: "You have used it.",
    Why.coupon_sign_in.value: "It is for customers who have signed in.",
    Why.budget_spent.value: "It is used up.",
}  # what nothing that is put into the cart can change


class CouponState(msgspec.Struct, frozen=True):
    """A code that the viewer gave. `why` it does nothing, as the trace says it; "applied": it does, None: no rule
    knows it any more."""

    code: str
    why: str | None


class Cart(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a viewer is about to buy. `currency` is "" while the cart is empty.

    `total_minor` is the sum of the lines: `subtotal_minor` less what `discounts` take off; shipping is not in it.
    """

    lines: list[Line]
    total_minor: int
    currency: str
    subtotal_minor: int = 0
    discounts: list[Discount] = []
    taxes: list[Tax] = []
    coupons: list[CouponState] = []
    gifts: list[Present] = []
    shipping_off: list[ShippingOff] = []
    hints: list[Hint] = []


def version(currency: str, lines: Iterable[tuple[str, int, int]]) -> str:
    """What a cart's content is known by: the same exactly as long as it holds the same units at the same prices.

    `lines`: SKU, quantity and the price of one unit; when they expire does not matter.
    """
    said = [currency, *(f"{sku}:{quantity}:{price_minor}" for sku, quantity, price_minor in sorted(lines))]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def cart_id(show: str, viewer_id: str) -> str:
    """The cart of a viewer in a show. It survives a reload because the viewer's token does."""
    return f"{show}:{viewer_id}"


def check(holds: Sequence[Hold]) -> None:
    """Raises `Problem` mixed_currency and cart_full when no cart can be of these living holds."""
    assert all(hold.state in LIVE for hold in holds), "other holds have no units"
    if len({hold.currency for hold in holds}) > 1:
        raise Problem(Kind.mixed_currency, "Order what is in the cart first; it holds another currency.", field="sku")
    if len(holds) > CART_LINES_MAX:
        raise Problem(Kind.cart_full, f"A cart holds {CART_LINES_MAX} different things at most.", field="sku")


def check_coupons(codes: Sequence[str], told: Sequence[CouponState]) -> None:
    """Raises `Problem` coupon_refused, with `why`, for the first that cannot do anything whatever the cart holds.

    Where no rule asks for coupons, nothing is `told` of them.
    """
    whys = {coupon.code: coupon.why for coupon in told}
    for code in codes:
        why = whys.get(code)
        if why in _REFUSED:
            extra = {"code": code, "why": why}
            raise Problem(Kind.coupon_refused, f"{code}: {_REFUSED[why]}", field="codes", extra=extra)


def cart_of(holds: Sequence[Hold], priced: Priced | None = None, coupons: Sequence[CouponState] = ()) -> Cart:
    """The cart that these living holds make at these prices, whose keys are the holds' ids.

    `priced` None: at the prices that they kept, of which no tax is known; raises `Problem` as `check` then, which
    whoever prices holds has asked before.
    """
    if priced is None:
        check(holds)
        priced = undiscounted(0, holds[0].currency if holds else "", [_line(hold) for hold in holds])
    prices = {line.key: line for line in priced.lines}
    lines = []
    for hold in holds:
        price = prices[hold.id]
        lines.append(
            Line(
                hold_id=hold.id,
                sku=hold.sku,
                product_id=hold.product_id,
                title=hold.title,
                variant=hold.variant,
                picture=hold.picture,
                quantity=hold.quantity,
                price_minor=hold.price_minor,
                line_minor=price.line_minor,
                expires_at_ms=hold.expires_at_ms,
                list_price_minor=price.list_minor if price.list_minor > hold.price_minor else None,
                off_minor=price.off_minor,
                tax_bp=price.tax_bp,
                tax_minor=price.tax_minor,
            )
        )
    return Cart(
        lines=lines,
        total_minor=priced.total_minor,
        currency=priced.currency,
        subtotal_minor=priced.subtotal_minor,
        discounts=priced.discounts,
        taxes=priced.taxes,
        coupons=list(coupons),
        gifts=priced.gifts,
        shipping_off=priced.shipping_off,
        hints=priced.hints,
    )


def _line(hold: Hold) -> BasketLine:
    return BasketLine(
        key=hold.id,
        sku=hold.sku,
        product_id=hold.product_id,
        currency=hold.currency,
        list_minor=hold.price_minor,
        quantity=hold.quantity,
        fixed_unit_minor=hold.price_minor,
    )
