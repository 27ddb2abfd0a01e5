"""Webhooks that come in, by the rules of Standard Webhooks: whose secret it is decides who speaks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
from collections.abc import Mapping, Sequence

from cart.webhooks.signature import headers as signed
from live.core.errors import Kind, Problem
from live.core.limits import INBOUND_ID_CHARS_MAX, INBOUND_SIGNATURES_MAX, INBOUND_TOLERANCE_S


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_s: int) -> str:
    """The id of a message that was signed with one of `secrets` (whsec_…) at most INBOUND_TOLERANCE_S from `now_s`.

    `headers`: their names in lower case. Raises `Problem` signature_invalid, which names the header.
    """
    id_, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (0 < len(id_) <= INBOUND_ID_CHARS_MAX and id_.isascii() and id_.isprintable()):
        raise Problem(Kind.signature_invalid, "It needs an id.", field="webhook-id")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 15):
        raise Problem(Kind.signature_invalid, "It needs a time in Unix seconds.", field="webhook-timestamp")
    if abs(now_s - int(stamp)) > INBOUND_TOLERANCE_S:
        detail = f"It is more than {INBOUND_TOLERANCE_S} s from our clock."
        raise Problem(Kind.signature_invalid, detail, field="webhook-timestamp")
    given = headers.get("webhook-signature", "").split(" ")[:INBOUND_SIGNATURES_MAX]
    right = signed(id_, int(stamp), body, secrets)["webhook-signature"].split(" ")
    if not any(hmac.compare_digest(one.encode(), other.encode()) for one in given for other in right):
        raise Problem(Kind.signature_invalid, field="webhook-signature")
    return id_
