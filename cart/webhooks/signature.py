"""Signatures by the rules of Standard Webhooks: HMAC-SHA256 over id, timestamp and body, under `v1`.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence

from live.core.limits import WEBHOOK_SECRET_BYTES

_PREFIX = "whsec_"


def new_secret() -> str:
    """A secret that nobody can guess, in the form that receivers are given."""
    return _PREFIX + b64encode(secrets.token_bytes(WEBHOOK_SECRET_BYTES)).decode("ascii")


def headers(message_id: str, timestamp_s: int, body: bytes, signing: Sequence[str]) -> dict[str, str]:
    """The headers of a message that is sent at `timestamp_s` (Unix seconds); one signature for each secret."""
    signed = b".".join((message_id.encode(), str(timestamp_s).encode(), body))
    made = (b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode("ascii") for secret in signing)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{each}" for each in made),
    }


def _key(secret: str) -> bytes:
    return b64decode(secret.removeprefix(_PREFIX))
