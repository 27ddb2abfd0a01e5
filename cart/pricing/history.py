"""What a SKU has cost, everywhere and in shows, and what of it must be named beside a reduction.

History is kept by *places*: "" is everywhere, a show's id is that show's own screens. A show costs what it costs
everywhere, except while a price of its own holds; that price's end is kept as None. The reference of a reduction counts
all places, because a price that was asked in another show was asked as well.
"""

from collections.abc import Iterable, Sequence

import msgspec

from cart.pricing.reductions import Change, Reduction, began, lowest

EVERYWHERE = ""


class Point(msgspec.Struct, frozen=True):
    """From `at_ms` on (Unix milliseconds) a SKU cost `price_minor` in a place; None: what it costs everywhere."""

    place: str
    at_ms: int
    price_minor: int | None


def seen(points: Iterable[Point], place: str) -> list[Change]:
    """The changes of the price that applied in `place`, in the order of their time."""
    everywhere: int | None = None
    own: int | None = None
    changes: list[Change] = []
    for point in sorted(points, key=_when):
        if point.place == EVERYWHERE:
            everywhere = point.price_minor
        elif point.place == place:
            own = point.price_minor
        else:
            continue
        price_minor = everywhere if own is None else own
        if not changes or changes[-1].price_minor != price_minor:
            changes.append(Change(at_ms=point.at_ms, price_minor=price_minor))
    return changes


def reference(points: Sequence[Point], place: str, price_minor: int, now_ms: int) -> Reduction:
    """What stands beside the struck price of a SKU that costs `price_minor` now in `place`.

    When nothing fell within memory, the lowest price is that of the last 30 days, which may be the one of now.
    """
    changes = seen(points, place)
    if not changes or changes[-1].price_minor != price_minor:
        changes.append(Change(at_ms=now_ms, price_minor=price_minor))
    start_ms = began(changes)
    if start_ms is None:
        start_ms = now_ms
    places = {point.place for point in points} - {EVERYWHERE, place}
    elsewhere = ([_change(point) for point in points if point.place == other] for other in sorted(places))
    found = [lowest(changes, start_ms), *(lowest(sorted(one, key=_at), start_ms) for one in elsewhere)]
    least = min((one for one in found if one is not None), default=price_minor)
    percent = (least - price_minor) * 100 // least if least > price_minor else 0
    return Reduction(lowest_30d_minor=least, percent=percent)


def _change(point: Point) -> Change:
    return Change(at_ms=point.at_ms, price_minor=point.price_minor)


def _when(point: Point) -> tuple[int, str]:
    return point.at_ms, point.place


def _at(change: Change) -> int:
    return change.at_ms
