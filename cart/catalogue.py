"""Products and their variants, and the rules that an imported one must keep."""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cart.prices import CURRENCIES
from cart.pricing.reductions import Content, UnitPrice
from cart.pricing.rules import Name
from live.core.limits import (
    CATEGORIES_MAX,
    DESCRIPTION_CHARS_MAX,
    ID_CHARS_MAX,
    PRICE_MINOR_MAX,
    STOCK_MAX,
    TAX_BP_MAX,
    TITLE_CHARS_MAX,
    VARIANTS_MAX,
)

_ID = rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{ID_CHARS_MAX - 1}}}$"
_SKU = re.compile(_ID.removesuffix("$"), re.ASCII)
_PICTURE = re.compile(r"(?:https://[A-Za-z0-9.-]+(?::[0-9]+)?)?/(?!/)[!#-&(-;=?-~]*", re.ASCII)

Id = Annotated[str, Meta(pattern=_ID)]
Price = Annotated[int, Meta(ge=0, le=PRICE_MINOR_MAX)]
TaxRate = Annotated[int, Meta(ge=0, le=TAX_BP_MAX)]


class Deal(msgspec.Struct, frozen=True):
    """The rule that lowered a price, in the shop's words. `live`: a host started it, and it ends with the pin.

    `until_ms`: when it ends at the latest, Unix milliseconds; None: nobody has said.
    """

    label: str
    live: bool
    until_ms: int | None


class Variant(msgspec.Struct, frozen=True):
    """What can be bought. `title` is "" for a product with a single one.

    `price_minor` is what it costs now. When that is less than it was, `list_price_minor` is what it was (None: not
    reduced), `lowest_30d_minor` the lowest price of the 30 days before, and `off_percent` whole percents off that
    (None: not one). `unit_price` is that of a kilogram and the like (None: none needs to be named), `deal` what
    lowered the price (None: no rule did), `tax_bp` the tax that all of them hold, in basis points.
    """

    sku: str
    title: str
    price_minor: int
    list_price_minor: int | None
    available: int
    lowest_30d_minor: int | None
    off_percent: int | None
    unit_price: UnitPrice | None
    deal: Deal | None
    content: Content | None
    tax_bp: int


class Product(msgspec.Struct, frozen=True):
    """What can be shown and pinned. Prices are gross, taxes included, in minor units of `currency` (ISO 4217)."""

    id: str
    title: str
    description: str
    picture: str
    currency: str
    categories: list[str]
    variants: list[Variant]
    tax_included: bool = True


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What product feeds say of a variant beside what the shop sells by; "" and []: nothing. Kept and exported."""

    link: Annotated[str, Meta(max_length=2000)] = ""
    gtin: Annotated[str, Meta(max_length=14)] = ""
    mpn: Annotated[str, Meta(max_length=70)] = ""
    brand: Annotated[str, Meta(max_length=70)] = ""
    condition: Literal["new", "refurbished", "used", ""] = ""
    base_measure: Annotated[str, Meta(max_length=20)] = ""
    labels: Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=5)] = []


class VariantEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant in a file. `stock` counts the units that are there, ordered ones included; UNSET leaves it alone.

    `tax_bp`: of gross prices' net, in basis points (None: as the product). `content`: how much a pack holds, for the
    price of a kilogram and the like (None: it is not sold by weight, volume, length or area). `facts` UNSET: as they
    are.
    """

    sku: Id
    price_minor: Price
    title: Annotated[str, Meta(max_length=TITLE_CHARS_MAX)] = ""
    list_price_minor: Price | None = None
    stock: Annotated[int, Meta(ge=0, le=STOCK_MAX)] | UnsetType = UNSET
    tax_bp: TaxRate | None = None
    content: Content | None = None
    facts: Facts | UnsetType = UNSET


class ProductEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A product in a file. Variants that the file does not name stay as they are.

    `categories` are all that the product is in, those above included. `tax_bp` None: the installation's own rate.
    """

    id: Id
    title: Annotated[str, Meta(min_length=1, max_length=TITLE_CHARS_MAX)]
    currency: Annotated[str, Meta(min_length=3, max_length=3)]
    variants: Annotated[list[VariantEntry], Meta(min_length=1, max_length=VARIANTS_MAX)]
    description: Annotated[str, Meta(max_length=DESCRIPTION_CHARS_MAX)] = ""
    picture: Annotated[str, Meta(max_length=500)] = ""
    categories: Annotated[list[Name], Meta(max_length=CATEGORIES_MAX)] = []
    tax_bp: TaxRate | None = None


class Invalid(ValueError):
    """An entry breaks a rule; `field` is the member's path."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


def check(entry: ProductEntry) -> ProductEntry:
    """`entry`, when it keeps the rules that its types cannot say; raises `Invalid`."""
    for field, text in (("title", entry.title), ("description", entry.description)):
        _check_text(field, text)
    if not entry.title.strip():
        raise Invalid("title", "must not be blank")
    if entry.currency not in CURRENCIES:
        raise Invalid("currency", f"{entry.currency!r} is not an ISO 4217 currency")
    if entry.picture and _PICTURE.fullmatch(entry.picture) is None:
        raise Invalid("picture", "must be a path such as /static/pictures/cup.svg or an https:// address")
    seen: set[str] = set()
    for place, variant in enumerate(entry.variants):
        path = f"variants[{place}]"
        _check_text(f"{path}.title", variant.title)
        if isinstance(variant.facts, Facts):
            for name in ("link", "gtin", "mpn", "brand", "base_measure"):
                _check_text(f"{path}.facts.{name}", getattr(variant.facts, name))
            for label in variant.facts.labels:
                _check_text(f"{path}.facts.labels", label)
        if variant.sku in seen:
            raise Invalid(f"{path}.sku", f"the SKU {variant.sku} appears twice")
        seen.add(variant.sku)
        if variant.list_price_minor is not None and variant.list_price_minor <= variant.price_minor:
            raise Invalid(f"{path}.list_price_minor", "the list price must be higher than the price")
    return entry


def is_id(text: str) -> bool:
    """Whether `text` could be a SKU or a product's id at all."""
    return _SKU.fullmatch(text) is not None


def _check_text(field: str, text: str) -> None:
    if any((char < " " and char != "\n") or "\x7f" <= char <= "\x9f" for char in text):
        raise Invalid(field, "control characters are not allowed")
