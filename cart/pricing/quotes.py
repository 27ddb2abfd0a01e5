"""A quote: a price that we stand by for a while, with what made it, and a MAC so that nobody else makes one.

The MAC is HMAC-SHA256 (RFC 2104) over the quote as JSON without blanks, its members sorted and `mac` left out, in
base64url without padding. Its key is derived from the installation's secret for quotes alone.
"""

import hmac
from base64 import urlsafe_b64encode

import msgspec
from msgspec.structs import replace

from cart.pricing.basket import Context, Offer
from cart.pricing.priced import Applied, Unit
from cart.pricing.reductions import UnitPrice
from cart.pricing.taxes import included
from live.core.errors import Kind, Problem
from live.core.limits import QUANTITY_MAX, QUOTE_BYTES_MAX, QUOTE_TTL_S

_PURPOSE = b"showcart quote v1"
_encoder = msgspec.json.Encoder(order="sorted")


class Quote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A price of `quantity` units of a SKU. Prices are gross, in minor units; times are Unix milliseconds.

    `net_minor` + `tax_minor` = unit_minor × quantity. `lowest_30d_minor`: the one to be named beside a reduction, None:
    nothing is reduced; `unit_price`: of one kg and the like, None: none is needed. `ruleset`: the version that made it.
    `show`, `customer` None: no show's, anybody's. `mac` "": not signed yet.
    """

    id: str
    sku: str
    quantity: int
    currency: str
    list_minor: int
    unit_minor: int
    net_minor: int
    tax_minor: int
    tax_bp: int
    lowest_30d_minor: int | None
    unit_price: UnitPrice | None
    applied: tuple[Applied, ...]
    ruleset: int
    channel: str
    show: str | None
    customer: str | None
    issued_at_ms: int
    expires_at_ms: int
    mac: str = ""


def quote_key(secret: str) -> bytes:
    """The key for quotes of the installation's secret; useless for anything else."""
    return hmac.digest(secret.encode(), _PURPOSE, "sha256")


def issue(
    id_: str,
    offer: Offer,
    quantity: int,
    unit: Unit,
    context: Context,
    *,
    ruleset: int,
    lowest_30d_minor: int | None = None,
    unit_price: UnitPrice | None = None,
    ttl_s: int = QUOTE_TTL_S,
) -> Quote:
    """The unsigned quote for units of `offer` at the price `unit`, as the context has it."""
    assert 1 <= quantity <= QUANTITY_MAX, "checked where it came in"
    gross_minor = unit.unit_minor * quantity
    tax_minor = included(gross_minor, offer.tax_bp)
    return Quote(
        id=id_,
        sku=offer.sku,
        quantity=quantity,
        currency=offer.currency,
        list_minor=unit.list_minor,
        unit_minor=unit.unit_minor,
        net_minor=gross_minor - tax_minor,
        tax_minor=tax_minor,
        tax_bp=offer.tax_bp,
        lowest_30d_minor=lowest_30d_minor,
        unit_price=unit_price,
        applied=unit.applied,
        ruleset=ruleset,
        channel=context.channel,
        show=context.show,
        customer=context.customer,
        issued_at_ms=context.now_ms,
        expires_at_ms=context.now_ms + ttl_s * 1000,
    )


def sign(quote: Quote, key: bytes) -> Quote:
    """`quote` with its MAC under `key`."""
    return replace(quote, mac=_mac(quote, key))


def verify(quote: Quote, key: bytes, now_ms: int) -> Quote:
    """`quote`, if we made it and it still stands; raises `Problem` invalid_quote or quote_expired.

    Whether the price is still the one of now is another question.
    """
    given = quote.mac.encode("utf-8", "replace")
    if not hmac.compare_digest(given, _mac(quote, key).encode()):
        raise Problem(Kind.invalid_quote, field="quote")
    if quote.expires_at_ms <= now_ms:
        raise Problem(Kind.quote_expired, "Ask for a new one.", field="quote")
    return quote


def _mac(quote: Quote, key: bytes) -> str:
    try:
        octets = _encoder.encode(replace(quote, mac=""))
    except (UnicodeEncodeError, OverflowError):  # half a surrogate or a huge number: not of our making
        raise Problem(Kind.invalid_quote, field="quote") from None
    if len(octets) > QUOTE_BYTES_MAX:
        raise Problem(Kind.invalid_quote, field="quote")
    return urlsafe_b64encode(hmac.digest(key, octets, "sha256")).rstrip(b"=").decode()
