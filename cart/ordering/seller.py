"""Who sells: what the law has a shop tell its buyers on a durable medium (EGBGB 246a, DDG 5)."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from cart.ordering.addresses import checked_country, checked_postcode
from cart.ordering.orders import email_address
from live.core.errors import Kind, Problem
from live.core.limits import (
    ADDRESS_LINE_CHARS_MAX,
    BUYER_NAME_CHARS_MAX,
    LABEL_CHARS_MAX,
    PHONE_CHARS_MAX,
    POSTCODE_CHARS_MAX,
    SELLER_TEXT_CHARS_MAX,
)

_SITE = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?", re.ASCII)
_Line = Annotated[str, Meta(max_length=ADDRESS_LINE_CHARS_MAX)]
_Text = Annotated[str, Meta(max_length=SELLER_TEXT_CHARS_MAX)]


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text of the shop in its languages; "": ours is taken, or none."""

    en: _Text = ""
    de: _Text = ""


class Seller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The merchant. `site` is the shop's address; `timezone` (IANA) is for the times in letters.

    `withdrawal` replaces our notice of the right of withdrawal, `terms` are added to every confirmation.
    """

    name: Annotated[str, Meta(max_length=BUYER_NAME_CHARS_MAX)] = ""
    street: _Line = ""
    postcode: Annotated[str, Meta(max_length=POSTCODE_CHARS_MAX)] = ""
    city: _Line = ""
    country: Annotated[str, Meta(max_length=2)] = ""
    email: Annotated[str, Meta(max_length=254)] = ""
    phone: Annotated[str, Meta(max_length=PHONE_CHARS_MAX)] = ""
    register: _Line = ""
    vat_id: Annotated[str, Meta(max_length=LABEL_CHARS_MAX)] = ""
    site: Annotated[str, Meta(max_length=300)] = ""
    timezone: Annotated[str, Meta(max_length=LABEL_CHARS_MAX)] = "UTC"
    withdrawal: Texts = Texts()
    terms: Texts = Texts()


def check(seller: Seller) -> Seller:
    """`seller`, when letters can be written in their name; raises `Problem` invalid_field with the member."""
    for name in ("name", "street", "city"):
        if not getattr(seller, name).strip():
            raise Problem(Kind.invalid_field, "Must not be empty.", field=name)
    country = checked_country(seller.country, "country")
    checked_postcode(seller.postcode, country, "postcode")
    email_address(seller.email)
    if seller.site and _SITE.fullmatch(seller.site) is None:
        raise Problem(Kind.invalid_field, "An address such as https://shop.example.", field="site")
    for name in Seller.__struct_fields__:
        value = getattr(seller, name)
        for text in (value,) if isinstance(value, str) else (value.en, value.de):
            if any((char < " " and char != "\n") or "\x7f" <= char <= "\x9f" for char in text):
                raise Problem(Kind.invalid_field, "Control characters are not allowed.", field=name)
    return seller
