"""Postal addresses: bounded, cleaned, and plausible for their country. Whether somebody lives there, nobody knows."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from live.core.errors import Kind, Problem
from live.core.limits import ADDRESS_LINE_CHARS_MAX, BUYER_NAME_CHARS_MAX, PHONE_CHARS_MAX, POSTCODE_CHARS_MAX
from live.shows import clean_line

# ISO 3166-1 alpha-2.
COUNTRIES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA
    CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA
    GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
    KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS
    MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS
    RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW
    TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()
)
# How a postcode looks where a wrong one would go astray most often; elsewhere letters and digits are enough.
_POSTCODES = {
    **dict.fromkeys(("DE", "FR", "ES", "IT", "FI"), re.compile(r"[0-9]{5}", re.ASCII)),
    **dict.fromkeys(("AT", "CH", "BE", "DK", "LU", "NO", "LI"), re.compile(r"[0-9]{4}", re.ASCII)),
    "NL": re.compile(r"[1-9][0-9]{3} ?[A-Z]{2}", re.ASCII),
    "PL": re.compile(r"[0-9]{2}-[0-9]{3}", re.ASCII),
    "GB": re.compile(r"[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2}", re.ASCII),
    "US": re.compile(r"[0-9]{5}(-[0-9]{4})?", re.ASCII),
}
_ANY_POSTCODE = re.compile(r"[A-Z0-9][A-Z0-9 -]*", re.ASCII)
_PHONE = re.compile(r"\+?[0-9][0-9 ()/.-]*", re.ASCII)


class AddressEntry(msgspec.Struct, forbid_unknown_fields=True):
    """An address as it comes in. `country` is ISO 3166-1 alpha-2; `extra` is a second line, "" for none."""

    name: str
    street: str
    city: str
    country: Annotated[str, Meta(max_length=2)]
    postcode: str = ""
    extra: str = ""
    region: str = ""
    phone: str = ""


class Address(msgspec.Struct, frozen=True):
    """A checked address; what is "" was not given."""

    name: str
    street: str
    city: str
    country: str
    postcode: str
    extra: str
    region: str
    phone: str


def address(entry: AddressEntry) -> Address:
    """The checked and cleaned address; raises `Problem` invalid_field that names the member."""
    country = checked_country(entry.country, "address.country")
    phone = _optional(entry.phone, "phone", PHONE_CHARS_MAX)
    if phone and _PHONE.fullmatch(phone) is None:
        raise Problem(Kind.invalid_field, "A number such as +49 30 1234567.", field="address.phone")
    return Address(
        name=clean_line(entry.name, "address.name", BUYER_NAME_CHARS_MAX),
        street=clean_line(entry.street, "address.street", ADDRESS_LINE_CHARS_MAX),
        city=clean_line(entry.city, "address.city", ADDRESS_LINE_CHARS_MAX),
        country=country,
        postcode=checked_postcode(entry.postcode, country, "address.postcode"),
        extra=_optional(entry.extra, "extra", ADDRESS_LINE_CHARS_MAX),
        region=_optional(entry.region, "region", ADDRESS_LINE_CHARS_MAX),
        phone=phone,
    )


def checked_country(text: str, field: str) -> str:
    """A country's code in capitals; raises `Problem` invalid_field."""
    country = text.strip().upper()
    if country not in COUNTRIES:
        raise Problem(Kind.invalid_field, "A country's code such as DE (ISO 3166-1).", field=field)
    return country


def checked_postcode(text: str, country: str, field: str) -> str:
    """A postcode in capitals, as it looks in its country ("": there is none); raises `Problem` invalid_field."""
    postcode = " ".join(text[: 4 * POSTCODE_CHARS_MAX].upper().split())
    pattern = _POSTCODES.get(country)
    if not postcode and pattern is None:
        return ""
    if len(postcode) > POSTCODE_CHARS_MAX or (pattern or _ANY_POSTCODE).fullmatch(postcode) is None:
        raise Problem(Kind.invalid_field, f"This is no postcode of {country}.", field=field)
    return postcode


def _optional(text: str, name: str, chars_max: int) -> str:
    return clean_line(text, f"address.{name}", chars_max) if text.strip() else ""
