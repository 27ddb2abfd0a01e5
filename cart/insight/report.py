"""What each pin of a show sold: sums by what was on screen, put together to a report that leaves no cent out.

Every hold is stamped with the pin of its product that was on screen when it was taken (none: it was not this product's
turn), and hands the stamp to the line of its order. So each line is in one row: its pin's, that of the pins before
the ones that are listed, or that of sales without a pin. What an order has beside its lines are its shipping, and
goodwill, which is given back for no line; both have rows of their own. Hence, in each currency,

    Σ pins + earlier_pins + unpinned + shipping + goodwill  ==  total

What an order came to (`gross_minor`) is all of it, as soon as it was placed. What is taken off (`off_minor`) is what
was given back; of an order that was cancelled, withdrawn or returned it is everything.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from live.timeline import show_clock

T = TypeVar("T")

# Where a sum belongs when it is no listed pin's: ids of pins are 32 hexadecimal digits.
UNPINNED = "unpinned"
EARLIER = "earlier"
SHIPPING = "shipping"
ORDERS = "orders"  # the sum over whole orders


class Proceeds(msgspec.Struct, frozen=True):
    """Money of one currency, in minor units: what was ordered, what of it was taken off, and what is left.

    Off is what was given back, and all of an order that was cancelled, withdrawn or returned.
    """

    currency: str
    gross_minor: int
    off_minor: int
    kept_minor: int


class Sold(msgspec.Struct, frozen=True, kw_only=True):
    """What came of what was on screen.

    `adds`: how often something was put into a cart, `units_held` of it; `holds`: how many cart lines that made, and
    `ordered` of these came to an order, which is `conversion_bp` in basis points (None: there are none). `orders` are
    those that were placed, whatever became of them, with `units_ordered`; `units_back` of them did not leave, or came
    back. An order with lines of several pins counts for each.
    """

    adds: int = 0
    units_held: int = 0
    holds: int = 0
    ordered: int = 0
    conversion_bp: int | None = None
    orders: int = 0
    units_ordered: int = 0
    units_back: int = 0
    revenue: list[Proceeds] = []


class PinSold(Sold, frozen=True, kw_only=True):
    """What one pin sold.

    `title` is the product's (None: it left the catalogue). `from_ms` and `to_ms` are on the show's clock; `to_ms`
    None: it is still on screen.
    """

    pin_id: str
    product_id: str
    title: str | None
    from_ms: int
    to_ms: int | None


class Total(msgspec.Struct, frozen=True):
    """All orders of a show that were placed, and what they came to."""

    orders: int
    revenue: list[Proceeds]


class Revenue(msgspec.Struct, frozen=True, kw_only=True):
    """What each pin of a show sold, the first pin first; every amount by currency.

    In each currency `pins`, `earlier_pins` (None: all pins are listed), `unpinned` (nothing of the product was on
    screen), `shipping` and `goodwill` (given back for no line) add up to `total`, to the cent. `at_ms` is when it was
    put together, in Unix milliseconds.
    """

    show: str
    at_ms: int
    pins: list[PinSold]
    earlier_pins: Sold | None
    unpinned: Sold
    shipping: list[Proceeds]
    goodwill: list[Proceeds]
    total: Total


class Pinned(msgspec.Struct, frozen=True):
    """A pin; times are Unix milliseconds, `unpinned_at_ms` None: nobody took it off the screen."""

    id: str
    product_id: str
    title: str | None
    pinned_at_ms: int
    unpinned_at_ms: int | None


class Taken(msgspec.Struct, frozen=True):
    """What was put into carts at `place`: a pin's id, EARLIER or UNPINNED."""

    place: str
    adds: int
    units: int
    holds: int


class Sum(msgspec.Struct, frozen=True):
    """What was ordered at `place`, in one currency: a pin's id, EARLIER, UNPINNED; SHIPPING, and ORDERS for all."""

    place: str
    currency: str
    orders: int
    holds: int
    units: int
    units_back: int
    gross_minor: int
    off_minor: int


class Clock(msgspec.Struct, frozen=True):
    """What a show's clock is made of (see `show_clock`), and now."""

    started_at_ms: int | None
    ended_at_ms: int | None
    now_ms: int


def assemble(show: str, clock: Clock, pins: Sequence[Pinned], taken: Iterable[Taken], sums: Iterable[Sum]) -> Revenue:
    """The report; `pins` are those to list, the oldest first. Sums of other pins go to `earlier_pins`."""
    listed = {pin.id for pin in pins}

    def row(place: str) -> str:
        return place if place in listed or place in (UNPINNED, SHIPPING, ORDERS) else EARLIER

    adds = _grouped(taken, lambda one: row(one.place))
    sold = _grouped(sums, lambda one: row(one.place))
    orders, shipping = sold.pop(ORDERS, []), sold.pop(SHIPPING, [])
    lines = [one for found in sold.values() for one in found]

    def figures(place: str) -> Sold:
        return _sold(adds.get(place, []), sold.get(place, []))

    return Revenue(
        show=show,
        at_ms=clock.now_ms,
        pins=[_pin(pin, clock, figures(pin.id)) for pin in pins],
        earlier_pins=figures(EARLIER) if EARLIER in adds or EARLIER in sold else None,
        unpinned=figures(UNPINNED),
        shipping=_amounts(shipping),
        goodwill=_goodwill(orders, [*lines, *shipping]),
        total=Total(sum(one.orders for one in orders), _amounts(orders)),
    )


def _pin(pin: Pinned, clock: Clock, sold: Sold) -> PinSold:
    def on_clock(at_ms: int) -> int:
        return show_clock(clock.started_at_ms, clock.ended_at_ms, at_ms)

    gone_at_ms = clock.ended_at_ms if pin.unpinned_at_ms is None else pin.unpinned_at_ms
    return PinSold(
        pin_id=pin.id,
        product_id=pin.product_id,
        title=pin.title,
        from_ms=on_clock(pin.pinned_at_ms),
        to_ms=None if gone_at_ms is None else on_clock(gone_at_ms),
        **msgspec.structs.asdict(sold),
    )


def _sold(taken: Sequence[Taken], sums: Sequence[Sum]) -> Sold:
    holds, ordered = sum(one.holds for one in taken), sum(one.holds for one in sums)
    return Sold(
        adds=sum(one.adds for one in taken),
        units_held=sum(one.units for one in taken),
        holds=holds,
        ordered=ordered,
        conversion_bp=ordered * 10_000 // holds if holds else None,
        orders=sum(one.orders for one in sums),
        units_ordered=sum(one.units for one in sums),
        units_back=sum(one.units_back for one in sums),
        revenue=_amounts(sums),
    )


def _goodwill(orders: Sequence[Sum], parts: Sequence[Sum]) -> list[Proceeds]:
    """What was taken off orders, but off none of their parts."""
    off = {amount.currency: amount.off_minor for amount in _amounts(parts)}
    rest = {amount.currency: amount.off_minor - off.get(amount.currency, 0) for amount in _amounts(orders)}
    return [Proceeds(currency, 0, minor, -minor) for currency, minor in rest.items() if minor]


def _amounts(sums: Sequence[Sum]) -> list[Proceeds]:
    found = _grouped(sums, lambda one: one.currency)
    made = []
    for currency in sorted(found):
        gross, off = sum(one.gross_minor for one in found[currency]), sum(one.off_minor for one in found[currency])
        if gross or off:
            made.append(Proceeds(currency, gross, off, gross - off))
    return made


def _grouped(found: Iterable[T], by: Callable[[T], str]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = {}
    for one in found:
        groups.setdefault(by(one), []).append(one)
    return groups
