"""What must stand beside a price in the EU: the lowest one of the last 30 days, and the price of a kilogram.

PAngV, section 11 (Directive 98/6/EC, article 6a; CJEU C-330/23): whoever announces a reduction names the lowest price
of the 30 days before it began, and percentages are computed from that one. A price that falls in several steps,
without a rise between them, may go on naming the lowest price before the first step.

PAngV, sections 4 and 5: goods sold by weight, volume, length or area name the price of 1 kg, 1 l, 1 m, 1 m² or 1 m³,
but not below 10 g or 10 ml, and not when it is the price itself.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta

from cart.pricing.taxes import half_up
from live.core.limits import LOWEST_PRICE_DAYS

_DAYS_MS = LOWEST_PRICE_DAYS * 24 * 3_600_000
CONTENT_MAX = 10**9


class Change(msgspec.Struct, frozen=True):
    """From `at_ms` on (Unix milliseconds) the applied price was `price_minor`; None: it was not for sale."""

    at_ms: int
    price_minor: int | None


class Reduction(msgspec.Struct, frozen=True):
    """A price that may be called reduced: the lowest of the 30 days before, and whole percents off that, rounded down.

    `percent` 0: less than one; say none then.
    """

    lowest_30d_minor: int
    percent: int


class Measure(Enum):
    """Units of content; the value is what people write."""

    mg = "mg"
    g = "g"
    kg = "kg"
    ml = "ml"
    cl = "cl"
    l = "l"  # noqa: E741 (the litre's own name)
    mm = "mm"
    cm = "cm"
    m = "m"
    cm2 = "cm2"
    m2 = "m2"
    m3 = "m3"


# The unit that prices are named in, and how many of the measure it has.
_PER: dict[Measure, tuple[str, int]] = {
    Measure.mg: ("kg", 1_000_000),
    Measure.g: ("kg", 1_000),
    Measure.kg: ("kg", 1),
    Measure.ml: ("l", 1_000),
    Measure.cl: ("l", 100),
    Measure.l: ("l", 1),
    Measure.mm: ("m", 1_000),
    Measure.cm: ("m", 100),
    Measure.m: ("m", 1),
    Measure.cm2: ("m2", 10_000),
    Measure.m2: ("m2", 1),
    Measure.m3: ("m3", 1),
}
_SMALL = {Measure.mg: 10_000, Measure.g: 10, Measure.ml: 10, Measure.cl: 1}  # section 4 (3) 1: below, none is needed


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much one unit of a SKU holds, without its package: 750 ml, not 0.75 l."""

    amount: Annotated[int, Meta(ge=1, le=CONTENT_MAX)]
    unit: Measure


class UnitPrice(msgspec.Struct, frozen=True):
    """The price of one kg, l, m, m2 or m3, gross."""

    price_minor: int
    per: str


def unit_price_of(price_minor: int, content: Content | None) -> UnitPrice | None:
    """The price of one kilogram and the like, rounded half up; None: there is none to be named."""
    if content is None or content.amount < _SMALL.get(content.unit, 0):
        return None
    per, measures = _PER[content.unit]
    if content.amount == measures:
        return None
    return UnitPrice(price_minor=half_up(price_minor * measures, content.amount), per=per)


def lowest(changes: Sequence[Change], before_ms: int) -> int | None:
    """The lowest price that applied at any moment of the 30 days before `before_ms`; None: it was not for sale then.

    `changes` are in the order of their time, and reach back to the last one before those 30 days.
    """
    since_ms = before_ms - _DAYS_MS
    found: int | None = None
    for place, change in enumerate(changes):
        until_ms = changes[place + 1].at_ms if place + 1 < len(changes) else before_ms
        if change.price_minor is None or change.at_ms >= before_ms or until_ms <= max(since_ms, change.at_ms):
            continue
        found = change.price_minor if found is None else min(found, change.price_minor)
    return found


def began(changes: Sequence[Change]) -> int | None:
    """When the present price began to fall: at the first of the steps down that nothing interrupts.

    None: the last change was none downwards, so nothing is reduced.
    """
    start_ms: int | None = None
    for place in range(len(changes) - 1, 0, -1):
        now, before = changes[place].price_minor, changes[place - 1].price_minor
        if now is None or before is None or now > before:
            break
        if now < before:
            start_ms = changes[place].at_ms
    return start_ms


def reduction(changes: Sequence[Change]) -> Reduction | None:
    """The reduction that may be announced for the price of the last change; None: there is none.

    `changes` as for `lowest`, the price of now being the last of them.
    """
    start_ms = began(changes)
    if start_ms is None:
        return None
    reference, price_minor = lowest(changes, start_ms), changes[-1].price_minor
    if reference is None or price_minor is None or price_minor >= reference:
        return None
    return Reduction(lowest_30d_minor=reference, percent=(reference - price_minor) * 100 // reference)
