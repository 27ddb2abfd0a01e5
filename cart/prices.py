"""Money: integers in minor units (cents) of an ISO 4217 currency; floats never touch it.

Amounts are gross. The bounds of `live/core/limits.py` keep every total below 2**53, so that a browser's numbers hold
it exactly.
"""

import re
from collections.abc import Iterable

from live.core.limits import CART_LINES_MAX, PRICE_MINOR_MAX, QUANTITY_MAX

assert PRICE_MINOR_MAX * QUANTITY_MAX * CART_LINES_MAX < 2**53, "a browser must hold every total exactly"

# ISO 4217 list one: funds, metals and test codes left out.
CURRENCIES = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF
    IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD
    MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB
    RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD
    UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()
)
_MINOR_DIGITS = dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split(), 0)
_MINOR_DIGITS |= dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3)
_AMOUNT = re.compile(r"([0-9]{1,12})(?:[.,]([0-9]{1,4}))?", re.ASCII)


def minor_digits(currency: str) -> int:
    """How many decimals `currency` has: 2 for EUR, 0 for JPY, 3 for KWD."""
    return _MINOR_DIGITS.get(currency, 2)


def parse_amount(text: str, currency: str) -> int:
    """The minor units of an amount as people write it: "49.90", "49,90", "50".

    One decimal mark at most and no thousands separators, because "1.299" means two things. Raises `ValueError` with
    a sentence for the person who wrote it.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not an amount such as 49.90 (no signs, no thousands separators)")
    digits = minor_digits(currency)
    fraction = match[2] or ""
    if len(fraction) > digits:
        raise ValueError(f"{text[:40]!r} has more than the {digits} decimals of {currency}")
    minor = int(match[1] + fraction.ljust(digits, "0"))
    if minor > PRICE_MINOR_MAX:
        raise ValueError(f"{text[:40]!r} is more than {PRICE_MINOR_MAX} minor units")
    return minor


def line_total(price_minor: int, quantity: int) -> int:
    """The price of a line in minor units."""
    assert 0 <= price_minor <= PRICE_MINOR_MAX and 0 < quantity <= QUANTITY_MAX, "checked where they came in"
    return price_minor * quantity


def total(amounts_minor: Iterable[int]) -> int:
    """The sum of lines in minor units."""
    sum_minor = sum(amounts_minor)
    assert sum_minor < 2**53, "the bounds of price, quantity and lines rule this out"
    return sum_minor
