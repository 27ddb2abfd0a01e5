"""How an order reaches its buyer, as data: methods with prices, the places they go to, and where things are picked up.

A method costs `price_minor`, and nothing from `free_from_minor` on, which is compared with what the goods cost after
all discounts. It has a price for each currency that it takes. A delivery goes to its countries (none named: all) and
there to postcodes that begin with one of `postcodes` (none named: all) and with none of `postcodes_not`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta

from cart.ordering.addresses import COUNTRIES, Address
from cart.prices import CURRENCIES
from cart.pricing.priced import Discount, ShippingOff
from cart.pricing.shipping import charge
from cart.pricing.taxes import Tax, by_rate, included, spread
from live.core.errors import Kind, Problem
from live.core.limits import (
    ADDRESS_LINE_CHARS_MAX,
    ID_CHARS_MAX,
    LABEL_CHARS_MAX,
    OPENINGS_MAX,
    POSTCODE_CHARS_MAX,
    PRICE_MINOR_MAX,
    SHIPPING_COUNTRIES_MAX,
    SHIPPING_DAYS_MAX,
    SHIPPING_LOCATIONS_MAX,
    SHIPPING_POSTCODES_MAX,
)

_Id = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{ID_CHARS_MAX - 1}}}$")]
_Label = Annotated[str, Meta(min_length=1, max_length=LABEL_CHARS_MAX)]
_Text = Annotated[str, Meta(max_length=ADDRESS_LINE_CHARS_MAX)]
_Minor = Annotated[int, Meta(ge=0, le=PRICE_MINOR_MAX)]
_Days = Annotated[int, Meta(ge=0, le=SHIPPING_DAYS_MAX)]
_Prefix = Annotated[str, Meta(pattern=rf"^[A-Z0-9][A-Z0-9 -]{{0,{POSTCODE_CHARS_MAX - 1}}}$")]
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00", re.ASCII)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class MethodKind(Enum):
    delivery = "delivery"
    pickup = "pickup"


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a method costs in a currency, gross. `free_from_minor` None: it is never free."""

    currency: str
    price_minor: _Minor
    free_from_minor: _Minor | None = None


class Opening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a location is open on some days of the week, by its own clock: "09:00" to "18:30"."""

    days: tuple[str, ...]
    opens: str
    closes: str


class Location(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where orders can be picked up. `place`: it is the shop's location of this id, which says all the rest itself."""

    id: _Id
    name: Annotated[str, Meta(max_length=LABEL_CHARS_MAX)] = ""
    street: _Text = ""
    city: _Text = ""
    country: str = ""
    postcode: Annotated[str, Meta(max_length=POSTCODE_CHARS_MAX)] = ""
    hours: Annotated[tuple[Opening, ...], Meta(max_length=OPENINGS_MAX)] = ()
    place: bool = False


class Title(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a method is called, in the languages of the shop."""

    en: _Label
    de: _Label


class Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of shipping. `days_min` to `days_max` is its lead time in days, counted from the order."""

    id: _Id
    kind: MethodKind
    title: Title
    rates: Annotated[tuple[Rate, ...], Meta(min_length=1, max_length=20)]
    days_min: _Days = 0
    days_max: _Days = 0
    countries: Annotated[tuple[str, ...], Meta(max_length=SHIPPING_COUNTRIES_MAX)] = ()
    postcodes: Annotated[tuple[_Prefix, ...], Meta(max_length=SHIPPING_POSTCODES_MAX)] = ()
    postcodes_not: Annotated[tuple[_Prefix, ...], Meta(max_length=SHIPPING_POSTCODES_MAX)] = ()
    locations: Annotated[tuple[Location, ...], Meta(max_length=SHIPPING_LOCATIONS_MAX)] = ()
    active: bool = True


class Option(msgspec.Struct, frozen=True):
    """A method for a cart of now. `missing_minor`: for so much more it would be free; None: it is, or never will be."""

    method: str
    kind: MethodKind
    title: Title
    currency: str
    price_minor: int
    free_from_minor: int | None
    missing_minor: int | None
    days_min: int
    days_max: int
    locations: tuple[Location, ...]


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a buyer chose. `location`: where to pick it up; None for a delivery."""

    method: str
    location: str | None = None


class Chosen(msgspec.Struct, frozen=True):
    """How an order goes, with the words and the price of the moment. `price_minor` is gross, less the discounts."""

    method: str
    kind: MethodKind
    title: Title
    price_minor: int
    days_min: int
    days_max: int
    location: Location | None = None
    discounts: tuple[Discount, ...] = ()


def check(method: Method) -> Method:
    """`method`, when it keeps the rules that its types cannot say; raises `Problem` invalid_field with the member."""
    currencies = [rate.currency for rate in method.rates]
    _all(currencies, CURRENCIES, "rates.currency", "is no ISO 4217 currency")
    if len(set(currencies)) < len(currencies):
        raise _wrong("rates", "A currency appears twice.")
    _all(method.countries, COUNTRIES, "countries", "is no country's code (ISO 3166-1)")
    if method.days_min > method.days_max:
        raise _wrong("days_min", "days_min must not be more than days_max.")
    if (method.postcodes or method.postcodes_not) and len(method.countries) != 1:
        raise _wrong("countries", "Postcodes mean something in one country only; name it.")
    pickup = method.kind is MethodKind.pickup
    if pickup and (method.countries or not method.locations):
        raise _wrong("locations", "A pick-up has locations, and no countries.")
    if not pickup and method.locations:
        raise _wrong("locations", "Only a pick-up has locations.")
    if len({location.id for location in method.locations}) < len(method.locations):
        raise _wrong("locations", "Two locations have the same id.")
    for location in method.locations:
        if not (location.name and location.street and location.city):
            raise _wrong("locations", f"{location.id} needs a name, a street and a city.")
        _all([location.country], COUNTRIES, "locations.country", "is no country's code (ISO 3166-1)")
        for opening in location.hours:
            check_opening(opening, "locations.hours")
    return method


def placed(method: Method, places: Mapping[str, Location]) -> Method:
    """`method` with the words of the shop's own locations; raises `Problem` invalid_field for one that is not there."""
    locations = []
    for location in method.locations:
        if location.place and location.id not in places:
            raise _wrong("locations", f"{location.id} is none of the shop's locations, or it is closed.")
        locations.append(places[location.id] if location.place else location)
    return msgspec.structs.replace(method, locations=tuple(locations))


def reaches(method: Method, country: str, postcode: str) -> bool:
    """Whether a delivery goes there."""
    if method.countries and country not in method.countries:
        return False
    if method.postcodes and not postcode.startswith(method.postcodes):
        return False
    return not (method.postcodes_not and postcode.startswith(method.postcodes_not))


def options(
    methods: Iterable[Method],
    currency: str,
    goods_minor: int,
    offs: Sequence[ShippingOff],
    country: str | None,
    postcode: str,
) -> list[Option]:
    """The methods that a cart of `goods_minor` can take; `country` None: it is not known yet where it goes.

    `offs`: what rules take off a fee.
    """
    found = []
    for method in methods:
        rate = _rate(method, currency)
        if rate is None or not method.active:
            continue
        if method.kind is MethodKind.delivery and country is not None and not reaches(method, country, postcode):
            continue
        price_minor = charge(_fee(rate, goods_minor), method.id, offs).charge_minor
        short = rate.free_from_minor is not None and price_minor > 0
        found.append(
            Option(
                method=method.id,
                kind=method.kind,
                title=method.title,
                currency=currency,
                price_minor=price_minor,
                free_from_minor=rate.free_from_minor,
                missing_minor=rate.free_from_minor - goods_minor if short and rate.free_from_minor else None,
                days_min=method.days_min,
                days_max=method.days_max,
                locations=method.locations,
            )
        )
    return found


def choose(
    methods: Sequence[Method],
    choice: Choice | None,
    address: Address | None,
    currency: str,
    goods_minor: int,
    offs: Sequence[ShippingOff] = (),
) -> Chosen | None:
    """What was chosen, at its price; None: there is nothing to choose from, and the buyer comes to the counter.

    Raises `Problem` shipping_required, unknown_shipping_method, shipping_unavailable and invalid_field.
    """
    offered = [method for method in methods if method.active]
    if choice is None:
        if not offered:
            return None
        raise Problem(Kind.shipping_required, field="shipping")
    method = next((method for method in offered if method.id == choice.method), None)
    if method is None:
        raise Problem(Kind.unknown_shipping_method, field="shipping.method")
    rate = _rate(method, currency)
    if rate is None:
        raise Problem(Kind.shipping_unavailable, f"Not for a cart in {currency}.", field="shipping.method")
    location = None
    if method.kind is MethodKind.pickup:
        location = next((place for place in method.locations if place.id == choice.location), None)
        if location is None:
            raise _wrong("shipping.location", "Choose one of the method's locations.")
    elif address is None:
        raise _wrong("address", "A delivery needs an address.")
    elif not reaches(method, address.country, address.postcode):
        raise Problem(Kind.shipping_unavailable, "It does not go to this address.", field="shipping.method")
    charged = charge(_fee(rate, goods_minor), method.id, offs)
    return Chosen(
        method=method.id,
        kind=method.kind,
        title=method.title,
        price_minor=charged.charge_minor,
        days_min=method.days_min,
        days_max=method.days_max,
        location=location,
        discounts=tuple(charged.discounts),
    )


def taxes(shipping_minor: int, goods: Sequence[Tax]) -> list[Tax]:
    """The taxes of a shipping fee: it shares the rates of the goods, in proportion to what these cost.

    The fee is spread over the rates by largest remainder; the tax of each share is rounded half up.
    """
    if shipping_minor == 0 or not goods:
        return []
    weights = [tax.net_minor + tax.tax_minor for tax in goods]
    if sum(weights) == 0:  # all of it is for nothing
        weights = [1] * len(goods)
    found = []
    for tax, share_minor in zip(goods, spread(shipping_minor, weights), strict=True):
        tax_minor = included(share_minor, tax.tax_bp)
        found.append(Tax(tax.tax_bp, share_minor - tax_minor, tax_minor))
    return by_rate(found)


def _rate(method: Method, currency: str) -> Rate | None:
    return next((rate for rate in method.rates if rate.currency == currency), None)


def _fee(rate: Rate, goods_minor: int) -> int:
    free = rate.free_from_minor is not None and goods_minor >= rate.free_from_minor
    return 0 if free else rate.price_minor


def check_opening(opening: Opening, field: str) -> None:
    """Raises `Problem` invalid_field unless a location could be open then; `field` is the member that says it."""
    _all(opening.days, _DAYS, f"{field}.days", f"is none of {', '.join(_DAYS)}")
    for clock in (opening.opens, opening.closes):
        if _CLOCK.fullmatch(clock) is None:
            raise _wrong(field, f"{clock[:10]!r} is no time such as 09:00.")
    if opening.opens >= opening.closes:
        raise _wrong(field, "It must open before it closes.")


def _all(values: Iterable[str], known: Iterable[str], field: str, what: str) -> None:
    for value in values:
        if value not in known:
            raise _wrong(field, f"{value[:40]!r} {what}.")


def _wrong(field: str, detail: str) -> Problem:
    return Problem(Kind.invalid_field, detail, field=field)
