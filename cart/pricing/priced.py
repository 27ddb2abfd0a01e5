"""What comes out of the evaluation: prices with the rules that made them, and why other rules did not."""

from enum import Enum

import msgspec

from cart.pricing.rules import Amount, Filter, FixedPrice, Mode, Pct
from cart.pricing.taxes import Tax


class Applied(msgspec.Struct, frozen=True):
    """A rule that made a price."""

    rule: str
    version: int
    label: str


class Unit(msgspec.Struct, frozen=True):
    """What one unit of a SKU costs; `list_minor` before any rule."""

    unit_minor: int
    list_minor: int
    applied: tuple[Applied, ...] = ()


class PricedLine(msgspec.Struct, frozen=True):
    """A basket's line. `line_minor` = unit_minor × quantity - off_minor = net_minor + tax_minor.

    `applied`: the rules that made the unit price; empty when a hold keeps the price of its quote.
    """

    key: str
    sku: str
    unit_minor: int
    list_minor: int
    quantity: int
    line_minor: int
    off_minor: int
    net_minor: int
    tax_minor: int
    tax_bp: int
    applied: tuple[Applied, ...] = ()


class Discount(msgspec.Struct, frozen=True):
    """What a rule took off the basket, in the lanes item and order."""

    rule: str
    version: int
    label: str
    amount_minor: int


class Present(msgspec.Struct, frozen=True):
    """Units that come for nothing, if there are some."""

    rule: str
    version: int
    label: str
    sku: str
    quantity: int


class ShippingOff(msgspec.Struct, frozen=True):
    """A rule that lowers a shipping fee, in the order of the lane; `shipping.charge` applies them to a fee.

    `left_minor`: what its budget has left, None: it has none.
    """

    rule: str
    version: int
    label: str
    group: str
    mode: Mode
    then: tuple[Pct | Amount | FixedPrice, ...]
    left_minor: int | None


class Gain(msgspec.Struct, frozen=True):
    """What a near miss would bring: the action's kind with its figure, as far as it has one; `free_shipping` alone."""

    kind: str
    bp: int | None = None
    minor: int | None = None
    sku: str | None = None


class Hint(msgspec.Struct, frozen=True):
    """A rule that nearly applies. One of `missing_minor` and `missing_qty` says what is missing, of what `of` takes."""

    rule: str
    version: int
    label: str
    missing_minor: int | None
    missing_qty: int | None
    of: Filter
    gain: Gain


class Outcome(Enum):
    applied = "applied"
    rejected = "rejected"


class Why(Enum):
    """Why a rule applied or not; the first reason that was met, in this order."""

    applied = "applied"
    budget_cut = "budget_cut"  # applied, with what its budget had left
    currency = "currency"  # the basket is in another one
    window = "window"  # not yet, or not any more
    channel = "channel"
    segment = "segment"
    show = "show"
    not_pinned = "not_pinned"
    coupon_missing = "coupon_missing"
    coupon_used_up = "coupon_used_up"
    coupon_sign_in = "coupon_sign_in"  # its limit per customer needs to know who it is
    coupon_used_by_customer = "coupon_used_by_customer"
    budget_spent = "budget_spent"
    condition = "condition"  # `condition` says which one
    no_target = "no_target"  # the basket holds nothing that it is for
    kept = "kept"  # holds keep the price of their quote
    not_cheaper = "not_cheaper"
    outbid = "outbid"  # another rule of its group saves more
    stopped = "stopped"  # a rule of mode stop came first


APPLIED = frozenset({Why.applied, Why.budget_cut})


class Traced(msgspec.Struct, frozen=True):
    """What became of a rule. `condition`: the place in `when` of the one that did not hold; None: not for that."""

    rule: str
    version: int
    outcome: Outcome
    why: Why
    amount_minor: int = 0
    condition: int | None = None


class Priced(msgspec.Struct, frozen=True):
    """A basket with its prices. `total_minor` = subtotal_minor - discounts = Σ lines; shipping is not in it."""

    currency: str
    ruleset: int
    lines: list[PricedLine]
    discounts: list[Discount]
    shipping_off: list[ShippingOff]
    subtotal_minor: int
    total_minor: int
    taxes: list[Tax]
    gifts: list[Present]
    hints: list[Hint]
    trace: list[Traced]
