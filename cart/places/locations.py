"""Where stock is: warehouses and stores, and what is moved from one to another."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict, replace

from cart import catalogue
from cart.ordering import shipping
from cart.ordering.addresses import checked_country, checked_postcode
from cart.ordering.shipping import Opening
from cart.stock import MAIN
from live.core.errors import Kind, Problem
from live.core.limits import (
    ADDRESS_LINE_CHARS_MAX,
    LABEL_CHARS_MAX,
    OPENINGS_MAX,
    STOCK_MAX,
    STOCK_REASON_CHARS_MAX,
    TRANSFER_LINES_MAX,
)
from live.shows import clean_line

LocationKind = Literal["warehouse", "store"]
Hours = Annotated[tuple[Opening, ...], Meta(max_length=OPENINGS_MAX)]


class StockLocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place that has stock of its own; what is "" of its address was not said. Closed ones are not `active`."""

    id: str
    name: str
    kind: LocationKind
    street: str = ""
    city: str = ""
    postcode: str = ""
    country: str = ""
    hours: Hours = ()
    active: bool = True


class LocationChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is another way from now on; what is left out stays. `active` false closes an empty location."""

    name: str | UnsetType = UNSET
    kind: LocationKind | UnsetType = UNSET
    street: str | UnsetType = UNSET
    city: str | UnsetType = UNSET
    postcode: str | UnsetType = UNSET
    country: str | UnsetType = UNSET
    hours: Hours | UnsetType = UNSET
    active: bool | UnsetType = UNSET


class TransferLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many units of a SKU."""

    sku: str
    quantity: int


class Transfer(msgspec.Struct, frozen=True):
    """Units that went from one location to another, at once. `at_ms`: Unix milliseconds; `reason` "": none was said."""

    id: str
    source: str = msgspec.field(name="from")
    to: str
    at_ms: int
    reason: str
    lines: tuple[TransferLine, ...]


def check(location: StockLocation) -> StockLocation:
    """`location`, cleaned; raises `Problem` invalid_field with the member."""
    if not catalogue.is_id(location.id):
        raise Problem(Kind.invalid_field, "Letters, digits, `.`, `_` and `-`, 64 at most.", field="id")
    country = checked_country(location.country, "country") if location.country else ""
    if location.postcode and not country:
        raise Problem(Kind.invalid_field, "A postcode is one of a country.", field="country")
    postcode = checked_postcode(location.postcode, country, "postcode") if location.postcode else ""
    for opening in location.hours:
        shipping.check_opening(opening, "hours")
    return replace(
        location,
        name=clean_line(location.name, "name", LABEL_CHARS_MAX),
        street=_line(location.street, "street", ADDRESS_LINE_CHARS_MAX),
        city=_line(location.city, "city", ADDRESS_LINE_CHARS_MAX),
        postcode=postcode,
        country=country,
    )


def changed(location: StockLocation, change: LocationChange) -> StockLocation:
    """The location afterwards; raises `Problem` invalid_field, and location_in_use for closing `main`."""
    values = {name: value for name, value in asdict(change).items() if value is not UNSET}
    after = check(replace(location, **values))
    if after.id == MAIN and not after.active:
        raise Problem(Kind.location_in_use, "Shoppers buy from it.", field="active")
    return after


def merged(lines: Sequence[TransferLine]) -> tuple[TransferLine, ...]:
    """One line for each SKU, in their order; raises `Problem` invalid_field, invalid_quantity, unknown_sku."""
    if not 1 <= len(lines) <= TRANSFER_LINES_MAX:
        raise Problem(Kind.invalid_field, f"1 to {TRANSFER_LINES_MAX} lines.", field="lines")
    units: dict[str, int] = {}
    for place, line in enumerate(lines):
        if not catalogue.is_id(line.sku):
            raise Problem(Kind.unknown_sku, field=f"lines[{place}].sku")
        together = units.get(line.sku, 0) + line.quantity
        if line.quantity < 1 or together > STOCK_MAX:
            raise Problem(Kind.invalid_quantity, f"Between 1 and {STOCK_MAX}.", field=f"lines[{place}].quantity")
        units[line.sku] = together
    return tuple(TransferLine(sku, units[sku]) for sku in sorted(units))


def reason(text: str) -> str:
    """Why stock was changed, cleaned; raises `Problem` invalid_field."""
    return _line(text, "reason", STOCK_REASON_CHARS_MAX)


def as_pickup(location: StockLocation) -> shipping.Location:
    """Where orders are picked up, in the location's own words."""
    return shipping.Location(
        id=location.id,
        name=location.name,
        street=location.street,
        city=location.city,
        country=location.country,
        postcode=location.postcode,
        hours=location.hours,
        place=True,
    )


def _line(text: str, field: str, chars_max: int) -> str:
    return clean_line(text, field, chars_max) if text.strip() else ""
