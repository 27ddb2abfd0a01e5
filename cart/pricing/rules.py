"""Promotion rules as typed data: what the shop's people write down, and nothing that could be run.

A rule says *where* it holds (window, channels, segments, bind, coupon), *when* a basket qualifies (`when`) and *what*
it does (`then`). Four lanes are gone through in this order, each on what the lanes before have left:

    price      the price of one unit of a SKU, on every screen, in every feed and quote. It must be the same whatever
               else is in a basket, so it has no conditions, coupons or budgets.
    item       units in the basket: "3 for 2", "20 % on shoes from 2 pairs on", a bundle's price, a gift
    order      the sum of the basket, spread over its lines
    shipping   the fee of a shipping option

In a lane, rules are taken by priority (the highest first), then by id; the order in which they are written down means
nothing. Rules of one `group` have one `mode` and are alternatives or companions of each other:

    best       of the group, what saves most: in price and item for each line, in order and shipping as a whole
    stack      all of the group, each on what those before have left
    stop       the first of the group that applies; no later rule of the lane touches the same lines after it

A group comes where the first of its rules comes that may apply; those that may not (another channel, another time) are
as if they were not there. A rule only ever lowers a price. Amounts are minor
units of the rule's `currency`; a basket of another currency is not touched.
"""

from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta

from live.core.limits import (
    BUDGET_MINOR_MAX,
    BUNDLE_PARTS_MAX,
    CART_LINES_MAX,
    COUPON_CHARS_MAX,
    ID_CHARS_MAX,
    LABEL_CHARS_MAX,
    PRICE_MINOR_MAX,
    QUANTITY_MAX,
    RULE_ACTIONS_MAX,
    RULE_CONDITIONS_MAX,
    RULE_ID_CHARS_MAX,
    RULE_NAMES_MAX,
    SHOW_ID_CHARS_MAX,
    TIME_MS_MAX,
)

UNITS_MAX = QUANTITY_MAX * CART_LINES_MAX  # of a basket
AMOUNT_MINOR_MAX = PRICE_MINOR_MAX * UNITS_MAX
LIVE = "live"  # the channel of a show's own screens; the only one on which something can be pinned
SHOP = "shop"  # everywhere else, unless it has a name of its own

_END = r"(?!\n)$"  # "$" alone lets a line's end through

Name = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9][A-Za-z0-9._/-]{{0,{ID_CHARS_MAX - 1}}}{_END}")]
Names = Annotated[tuple[Name, ...], Meta(max_length=RULE_NAMES_MAX)]
RuleId = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{RULE_ID_CHARS_MAX - 1}}}{_END}")]
Code = Annotated[str, Meta(pattern=rf"^[A-Z0-9][A-Z0-9_-]{{2,{COUPON_CHARS_MAX - 1}}}{_END}")]
Moment = Annotated[int, Meta(ge=0, le=TIME_MS_MAX)]
Minor = Annotated[int, Meta(ge=1, le=PRICE_MINOR_MAX)]
Units = Annotated[int, Meta(ge=1, le=UNITS_MAX)]


class Lane(Enum):
    price = "price"
    item = "item"
    order = "order"
    shipping = "shipping"


class Mode(Enum):
    best = "best"
    stack = "stack"
    stop = "stop"


class Fact(Enum):
    """What a condition looks at, of the lines that its filter takes; `amount` at their unit prices, before discounts.

    Both only grow when something is put into the basket: that makes a hint such as "10 € more" true.
    """

    quantity = "quantity"
    amount = "amount"


class Op(Enum):
    at_least = "ge"
    at_most = "le"
    exactly = "eq"


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every part of a rule is; a member that nobody knows is refused."""


class Filter(Data, frozen=True):
    """Lines of a basket: those with one of the SKUs, products or categories (none given: all), less `without_…`."""

    skus: Names = ()
    products: Names = ()
    categories: Names = ()
    without_skus: Names = ()
    without_products: Names = ()
    without_categories: Names = ()


EVERYTHING = Filter()


class Window(Data, frozen=True):
    """When a rule holds: from_ms ≤ now < to_ms, Unix milliseconds; None: open."""

    from_ms: Moment | None = None
    to_ms: Moment | None = None


class Bind(Data, frozen=True):
    """To a show's own screens, to a product or SKU, to the time during which the product is pinned there."""

    show: Annotated[str, Meta(min_length=1, max_length=SHOW_ID_CHARS_MAX)] | None = None
    product: Name | None = None
    sku: Name | None = None
    while_pinned: bool = False


class Coupon(Data, frozen=True):
    """A code that must be given; `limit` in all, `per_customer` for each who is known; None: as often as one likes."""

    code: Code
    limit: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    per_customer: Annotated[int, Meta(ge=1, le=10**6)] | None = None


class Condition(Data, frozen=True):
    fact: Fact
    op: Op
    value: Annotated[int, Meta(ge=0, le=AMOUNT_MINOR_MAX)]
    filter: Filter = EVERYTHING


class Action(Data, frozen=True, tag_field="kind"):
    """Something that a rule does to lines that its `target` takes.

    Only in the lane item: `every` n: to one of each n units; `max_qty`: to so many units at most; the cheapest units
    come first. `cap_minor`: it takes off so much at most, of a unit in the lane price, of the basket elsewhere.
    Only in the lane shipping: `options`, the ids of the shipping options it is for; none given: all.
    """

    target: Filter = EVERYTHING
    every: Annotated[int, Meta(ge=2, le=UNITS_MAX)] | None = None
    max_qty: Units | None = None
    cap_minor: Minor | None = None
    options: Names = ()


class Pct(Action, frozen=True, kw_only=True, tag="pct"):
    """`bp` hundredths of a percent off: 2000 is 20 %, 10 000 is free."""

    bp: Annotated[int, Meta(ge=1, le=10_000)]


class Amount(Action, frozen=True, kw_only=True, tag="amount"):
    """`minor` off: of each unit in the lanes price and item, of the sum in order, of the fee in shipping."""

    minor: Minor


class FixedPrice(Action, frozen=True, kw_only=True, tag="fixed_price"):
    """Each unit, or the fee, costs `minor` if it costs more."""

    minor: Annotated[int, Meta(ge=0, le=PRICE_MINOR_MAX)]


class Part(Data, frozen=True):
    """So many units of a bundle."""

    quantity: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)]
    filter: Filter = EVERYTHING


class BundlePrice(Data, frozen=True, tag="bundle_price", tag_field="kind"):
    """All parts together cost `minor`, as often as the basket holds them, `max_qty` times at most.

    Each part takes the dearest units that it may, in the order of the parts. Only in the lane item.
    """

    parts: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=BUNDLE_PARTS_MAX)]
    minor: Minor
    max_qty: Units | None = None


class Gift(Data, frozen=True, tag="gift", tag_field="kind"):
    """Units that come for nothing, if there are some; they are no line of the basket. In the lanes item and order."""

    sku: Name
    quantity: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)] = 1


Effect = Pct | Amount | FixedPrice | BundlePrice | Gift


class Rule(Data, frozen=True):
    """One promotion. `version` counts its changes; `label` is what shoppers read.

    `currency` is needed as soon as the rule names an amount. `budget_minor` is all it may take off, over all orders;
    the last one gets what is left. A rule that has no end (of its window, its show, its budget, its coupons) must say
    `standing`, so that nothing runs for ever by oversight. Channels and segments: none given, all of them.
    """

    id: RuleId
    version: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    label: Annotated[str, Meta(min_length=1, max_length=LABEL_CHARS_MAX)]
    lane: Lane
    then: Annotated[tuple[Effect, ...], Meta(max_length=RULE_ACTIONS_MAX)]
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    group: Annotated[str, Meta(max_length=LABEL_CHARS_MAX)] = ""
    mode: Mode = Mode.best
    currency: Annotated[str, Meta(min_length=3, max_length=3)] | None = None
    window: Window = Window()
    channels: Names = ()
    segments: Names = ()
    bind: Bind = Bind()
    coupon: Coupon | None = None
    budget_minor: Annotated[int, Meta(ge=1, le=BUDGET_MINOR_MAX)] | None = None
    when: Annotated[tuple[Condition, ...], Meta(max_length=RULE_CONDITIONS_MAX)] = ()
    standing: bool = False
