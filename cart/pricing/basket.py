"""What a price is made from: SKUs at their own prices, a basket of them, and the circumstances. Values only."""

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from cart.pricing.rules import AMOUNT_MINOR_MAX, LIVE
from live.core.errors import Kind, Problem
from live.core.limits import (
    CART_LINES_MAX,
    CATEGORIES_MAX,
    COUPON_CHARS_MAX,
    COUPONS_MAX,
    PRICE_MINOR_MAX,
    QUANTITY_MAX,
    SEGMENTS_MAX,
    TAX_BP_MAX,
)

assert AMOUNT_MINOR_MAX < 2**53, "a browser must hold every total exactly"


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A SKU at its own price: `list_minor` is gross, for one unit, before any rule.

    `categories` are all that the product is in, those above included. `tax_bp` in basis points: 1900 is 19 %.
    """

    sku: str
    product_id: str
    currency: str
    list_minor: int
    tax_bp: int = 0
    categories: tuple[str, ...] = ()


class BasketLine(Offer, frozen=True, kw_only=True):
    """Units of a SKU. `key` names the line among the basket's, such as by its hold.

    `fixed_unit_minor`: the unit price that a hold keeps from its quote; None: the one of now.
    """

    key: str
    quantity: int
    fixed_unit_minor: int | None = None


class Basket(msgspec.Struct, frozen=True):
    """What somebody is about to buy, in one currency; "" while it is empty."""

    currency: str
    lines: tuple[BasketLine, ...]


class Pinned(msgspec.Struct, frozen=True):
    """What is on screen."""

    product_id: str
    pin_id: str


class Use(msgspec.Struct, frozen=True):
    """What became of a rule so far: times its coupon was used, by this customer too, and what it has taken off."""

    used: int = 0
    mine: int = 0
    spent_minor: int = 0


UNUSED = Use()
_CODE = re.compile(rf"[A-Z0-9][A-Z0-9_-]{{2,{COUPON_CHARS_MAX - 1}}}", re.ASCII)
_NO_USES: Mapping[str, Use] = MappingProxyType({})


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances of a price.

    `now_ms` is the database's clock. `show`: whose screens ask, None: no show's; `pinned`: what is on them, only seen
    on the channel `live`. `segments` are resolved before. `customer` None: nobody knows who it is, and coupons with a
    limit per customer are refused. `coupons` are codes as `coupon_code` makes them. `uses` counts by the rule's id.
    """

    now_ms: int
    channel: str = LIVE
    show: str | None = None
    pinned: Pinned | None = None
    segments: frozenset[str] = frozenset()
    customer: str | None = None
    coupons: tuple[str, ...] = ()
    uses: Mapping[str, Use] = _NO_USES


def coupon_code(text: str) -> str:
    """A code as rules name it, whatever the letters' case and blanks around; raises `Problem` invalid_field."""
    code = text.strip().upper()
    if _CODE.fullmatch(code) is None:
        raise Problem(Kind.invalid_field, "This is no coupon's code.", field="code")
    return code


def check_offer(offer: Offer) -> None:
    """Raises `Problem` invalid_field for figures out of bounds, because a wrong price must not be computed on."""
    if not 0 <= offer.list_minor <= PRICE_MINOR_MAX:
        raise _wrong("list_minor", f"A price is between 0 and {PRICE_MINOR_MAX} minor units.")
    if not offer.currency:
        raise _wrong("currency", "A price has a currency.")
    if not 0 <= offer.tax_bp <= TAX_BP_MAX:
        raise _wrong("tax_bp", f"A tax rate is between 0 and {TAX_BP_MAX} basis points.")
    if len(offer.categories) > CATEGORIES_MAX:
        raise _wrong("categories", f"A product is in {CATEGORIES_MAX} categories at most.")


def check_basket(basket: Basket, context: Context) -> None:
    """Raises `Problem` invalid_field, invalid_quantity, mixed_currency and cart_full."""
    if len(basket.lines) > CART_LINES_MAX:
        raise Problem(Kind.cart_full, f"A cart holds {CART_LINES_MAX} different things at most.", field="lines")
    if len(context.coupons) > COUPONS_MAX:
        raise _wrong("coupons", f"A cart takes {COUPONS_MAX} coupons at most.")
    if len(context.segments) > SEGMENTS_MAX:
        raise _wrong("segments", f"A customer is in {SEGMENTS_MAX} segments at most.")
    if len({line.key for line in basket.lines}) < len(basket.lines):
        raise _wrong("lines", "Two lines have the same key.")
    for line in basket.lines:
        check_offer(line)
        if line.currency != basket.currency:
            raise Problem(Kind.mixed_currency, field="currency")
        if not 1 <= line.quantity <= QUANTITY_MAX:
            detail = f"The quantity must be between 1 and {QUANTITY_MAX}."
            raise Problem(Kind.invalid_quantity, detail, field="quantity")
        if line.fixed_unit_minor is not None and not 0 <= line.fixed_unit_minor <= PRICE_MINOR_MAX:
            raise _wrong("fixed_unit_minor", f"A price is between 0 and {PRICE_MINOR_MAX} minor units.")


def _wrong(field: str, detail: str) -> Problem:
    return Problem(Kind.invalid_field, detail, field=field)
