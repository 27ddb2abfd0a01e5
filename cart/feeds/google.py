"""Google's product data specification: one item is one variant, as XML or as a table.

    id                    the SKU
    item_group_id         the product that it is a variant of; none: a product by itself, of the same id
    title, description    of the product, cut when too long; a variant's title is its colour, size, material, pattern
    link, image_link      https:// addresses
    price                 "49.90 EUR", gross
    sale_price            in force within sale_price_effective_date (ISO 8601, "from/to"), or always without one; the
                          price stands beside it then
    availability          in_stock, out_of_stock, preorder, backorder: all but the first mean that none is there
    quantity              units that are there; also as sell_on_google_quantity or inventory; none: as it was
    gtin, mpn, brand, condition, custom_label_0 … _4, unit_pricing_base_measure
                          are kept with the variant, and exported again; a GTIN's check digit must be right
    unit_pricing_measure  how much a pack holds: "750 ml", "1.5 kg"
    product_type          "Home > Kitchen" becomes the categories home and home/kitchen

Other attributes are not read.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cart import prices
from cart.catalogue import Invalid, ProductEntry, check
from cart.feeds.entries import Entry, LineError
from live.core.codec import Malformed, convert
from live.core.limits import CATEGORIES_MAX, DESCRIPTION_CHARS_MAX, ID_CHARS_MAX, TITLE_CHARS_MAX

_MONEY = re.compile(r"([0-9.,-]+)\s*([A-Za-z]{3})|([A-Za-z]{3})\s*([0-9.,-]+)", re.ASCII)
_MEASURE = re.compile(r"([0-9]{1,9})(?:[.,]([0-9]{1,3}))?\s*([a-zA-Z]{1,4}[23]?)", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,10}", re.ASCII)
_UNITS = {"sqm": "m2", "cbm": "m3"}
_SMALLER = {"kg": "g", "g": "mg", "l": "ml", "m": "mm"}  # a thousandth, for what is no whole number
_AVAILABLE = {"in_stock": True, "out_of_stock": False, "preorder": False, "backorder": False}
_CONDITIONS = ("new", "refurbished", "used", "")
_VARIES = ("color", "size", "material", "pattern")
_QUANTITIES = ("quantity", "sell_on_google_quantity", "inventory")
_FIELDS = {
    "currency": "price", "list_price_minor": "price", "price_minor": "sale_price", "picture": "image_link",
    "content": "unit_pricing_measure", "sku": "id", "categories": "product_type",
}  # fmt: skip


def column_names(row: Sequence[str]) -> list[str]:
    """A table's columns as the specification writes them: people write "image link", programs "g:image_link"."""
    return [name.strip().lower().removeprefix("g:").replace(" ", "_") for name in row]


def entry(line: int, values: Mapping[str, str], now_ms: int) -> Entry | LineError:
    """The item of a line, with the price of `now_ms` (Unix milliseconds), or why it cannot be used."""
    values = {name: value.strip() for name, value in values.items()}
    try:
        product, turns_ms = _product(values, now_ms)
        checked = check(convert(product, ProductEntry))
    except (Malformed, Invalid) as error:
        skus = (values["id"][:ID_CHARS_MAX],) if values.get("id") else ()
        return LineError(line=line, detail=error.detail, field=_field(error.field), skus=skus)
    return Entry(line=line, product=checked, grouped=bool(values.get("item_group_id")), turns_ms=turns_ms)


def _product(values: Mapping[str, str], now_ms: int) -> tuple[dict[str, Any], int | None]:
    for name in ("id", "title", "price"):
        if not values.get(name):
            raise Invalid(name, "is missing")
    group = values.get("item_group_id", "")
    title = " ".join(values["title"].split())
    varies = ", ".join(values[name] for name in _VARIES if values.get(name))
    cost, currency, turns_ms = _cost(values, now_ms)
    variant = {
        "sku": values["id"],
        "title": (varies or (title if group else ""))[:TITLE_CHARS_MAX],
        "facts": _facts(values),
    } | cost
    if (units := _units(values)) is not None:
        variant["stock"] = units
    if measure := values.get("unit_pricing_measure"):
        variant["content"] = _content(measure)
    description = re.sub(r"[\t\r\x0b\x0c\x85\xa0]+", " ", values.get("description", ""))
    return {
        "id": group or values["id"],
        "title": title[:TITLE_CHARS_MAX],
        "currency": currency,
        "description": description[:DESCRIPTION_CHARS_MAX],
        "picture": values.get("image_link", ""),
        "categories": _categories(values.get("product_type", "")),
        "variants": [variant],
    }, turns_ms


def _cost(values: Mapping[str, str], now_ms: int) -> tuple[dict[str, int], str, int | None]:
    """The price members of a variant, their currency, and when the feed has them change next."""
    price_minor, currency = _money("price", values["price"])
    sale = values.get("sale_price", "")
    if not sale:
        return {"price_minor": price_minor}, currency, None
    sale_minor, other = _money("sale_price", sale)
    if other != currency:
        raise Invalid("sale_price", f"is in {other}, the price in {currency}")
    if sale_minor > price_minor:
        raise Invalid("sale_price", "is higher than the price")
    begins_ms, ends_ms = _times(values.get("sale_price_effective_date", ""))
    coming = [at_ms for at_ms in (begins_ms, ends_ms) if at_ms is not None and at_ms > now_ms]
    turns_ms = min(coming, default=None)
    on = (begins_ms is None or begins_ms <= now_ms) and (ends_ms is None or now_ms < ends_ms)
    if not on or sale_minor == price_minor:
        return {"price_minor": price_minor}, currency, turns_ms
    return {"price_minor": sale_minor, "list_price_minor": price_minor}, currency, turns_ms


def _money(field: str, text: str) -> tuple[int, str]:
    match = _MONEY.fullmatch(text)
    if match is None:
        raise Invalid(field, f"{text[:40]!r} is not a price such as 49.90 EUR")
    currency = (match[2] or match[3]).upper()
    if currency not in prices.CURRENCIES:
        raise Invalid(field, f"{currency!r} is not an ISO 4217 currency")
    try:
        return prices.parse_amount(match[1] or match[4], currency), currency
    except ValueError as error:
        raise Invalid(field, str(error)) from None


def _times(text: str) -> tuple[int | None, int | None]:
    """When a sale begins and ends, Unix milliseconds; (None, None): always."""
    if not text:
        return None, None
    parts = text.split("/")
    try:
        begins, ends = (datetime.fromisoformat(part.strip()) for part in parts)
        begins_ms, ends_ms = (
            round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000) for at in (begins, ends)
        )
    except (ValueError, OverflowError):
        detail = f"{text[:80]!r} is not two times such as 2026-11-01T00:00+0100/2026-11-30T23:59+0100"
        raise Invalid("sale_price_effective_date", detail) from None
    if ends_ms <= begins_ms:
        raise Invalid("sale_price_effective_date", "ends before it begins")
    return begins_ms, ends_ms


def _units(values: Mapping[str, str]) -> int | None:
    """Units that are there; None: nothing is said."""
    availability = values.get("availability", "").lower().replace(" ", "_")
    if availability and availability not in _AVAILABLE:
        raise Invalid("availability", f"{availability[:40]!r} is none of {', '.join(_AVAILABLE)}")
    if not _AVAILABLE.get(availability, True):
        return 0
    for name in _QUANTITIES:
        if quantity := values.get(name):
            if _COUNT.fullmatch(quantity) is None:
                raise Invalid(name, f"{quantity[:40]!r} is not a whole number of units")
            return int(quantity)
    return None


def _content(text: str) -> dict[str, Any]:
    match = _MEASURE.fullmatch(text)
    if match is None:
        raise Invalid("unit_pricing_measure", f"{text[:40]!r} is not a measure such as 750 ml")
    amount, unit = int(match[1]), match[3].lower()
    unit = _UNITS.get(unit, unit)
    fraction = (match[2] or "").rstrip("0")
    if fraction:
        if unit not in _SMALLER:
            raise Invalid("unit_pricing_measure", f"{text[:40]!r}: whole numbers only in this unit")
        amount, unit = amount * 1000 + int(fraction.ljust(3, "0")), _SMALLER[unit]
    return {"amount": amount, "unit": unit}


def _facts(values: Mapping[str, str]) -> dict[str, Any]:
    gtin = values.get("gtin", "")
    if gtin and not _is_gtin(gtin):
        raise Invalid(
            "gtin", f"{gtin[:40]!r} is not a GTIN: 8, 12, 13 or 14 digits, the last of which checks the others"
        )
    condition = values.get("condition", "").lower()
    if condition not in _CONDITIONS:
        raise Invalid("condition", f"{condition[:40]!r} is none of new, refurbished, used")
    labels = [values.get(f"custom_label_{number}", "")[:100] for number in range(5)]
    while labels and not labels[-1]:
        labels.pop()
    facts: dict[str, Any] = {name: values.get(name, "") for name in ("link", "mpn", "brand")}
    facts["base_measure"] = values.get("unit_pricing_base_measure", "")
    return facts | {"gtin": gtin, "condition": condition, "labels": labels}


def _is_gtin(text: str) -> bool:
    """GS1 General Specifications, section 7.9.1."""
    if not (text.isascii() and text.isdigit() and len(text) in (8, 12, 13, 14)):
        return False
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(text[:-1])))
    return (total + int(text[-1])) % 10 == 0


def _categories(product_type: str) -> list[str]:
    found: list[str] = []
    path = ""
    for part in product_type.split(">"):
        plain = unicodedata.normalize("NFKD", part).encode("ascii", "ignore").decode().lower()
        word = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
        path = f"{path}/{word}" if path else word
        if not word or len(path) > ID_CHARS_MAX or len(found) == CATEGORIES_MAX:
            break
        found.append(path)
    return found


def _field(path: str) -> str:
    """The attribute of a member's path."""
    if ".content" in path:
        return "unit_pricing_measure"
    name = path.rpartition(".")[2].partition("[")[0]
    return _FIELDS.get(name, name)
