"""The link that takes a shopper to the merchant's own check-out.

It names the hand-off and when it ends, with an HMAC-SHA256 over both, so the merchant's page refuses what is forged or
late without asking anybody. What was in the cart is not in it: prices that travel through a browser have to be guarded
there and grow with the cart; the merchant's server reads them from ours with its service key.
"""

import hashlib
import hmac
from base64 import b64decode, urlsafe_b64encode
from urllib.parse import urlencode, urlsplit

_PREFIX = "whsec_"


def link(url: str, handoff_id: str, expires_at_ms: int, secret: str) -> str:
    """`url`, whose own query stays, with the signed hand-off; it is good until `expires_at_ms`, cut to seconds."""
    expires_s = expires_at_ms // 1000
    query = urlencode(
        {"handoff": handoff_id, "expires": expires_s, "signature": signature(handoff_id, expires_s, secret)}
    )
    parts = urlsplit(url)
    return parts._replace(query=f"{parts.query}&{query}" if parts.query else query).geturl()


def signature(handoff_id: str, expires_s: int, secret: str) -> str:
    """HMAC-SHA256 over `handoff.<id>.<expires>`, base64url without padding. `secret`: whsec_ and base64."""
    key = b64decode(secret.removeprefix(_PREFIX))
    made = hmac.digest(key, f"handoff.{handoff_id}.{expires_s}".encode(), hashlib.sha256)
    return urlsafe_b64encode(made).rstrip(b"=").decode("ascii")
