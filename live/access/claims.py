"""What a shop's token says of a shopper, and whether it may be believed (RFC 7519; RFC 8725 says what goes wrong).

The signature is checked elsewhere; here is what comes before it (which algorithm, which key) and after it.
"""

import math
import re
from base64 import urlsafe_b64decode
from typing import Any, NoReturn

import msgspec

from live.core.auth import is_subject
from live.core.errors import Kind, Problem
from live.core.limits import (
    ID_CHARS_MAX,
    SEGMENTS_MAX,
    SIGN_ON_ID_CHARS_MAX,
    SIGN_ON_LEEWAY_S,
    SIGN_ON_SEGMENTS_CHARS_MAX,
    SIGN_ON_TOKEN_BYTES_MAX,
    TIME_MS_MAX,
)

ALGORITHMS = ("RS256", "ES256", "EdDSA", "Ed25519")  # what has a public key; RFC 9864 renames EdDSA
_SEGMENT = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._/-]{{0,{ID_CHARS_MAX - 1}}}")  # what a price rule can name
_PARTS = 3


class Policy(msgspec.Struct, frozen=True):
    """Which tokens are believed. `age_s`: how long after it was made; `once`: each opens the door one time.

    `segments` and `name` are the claims with the shopper's segments and the name to be shown in the chat.
    """

    issuer: str
    audience: str
    age_s: int
    segments: str
    name: str
    once: bool


class Header(msgspec.Struct, frozen=True):
    """How a token says that it is signed. `kid` None: it names no key."""

    algorithm: str
    kid: str | None


class Shopper(msgspec.Struct, frozen=True):
    """Whom the shop has signed in. `name` None: it told none; `id`: the token's own, None: it has none.

    `until_s`: from then on nobody believes the token (Unix seconds).
    """

    customer: str
    name: str | None
    segments: tuple[str, ...]
    id: str | None
    until_s: int


def header(token: str) -> Header:
    """How `token` is signed; raises `Problem` sign_on_malformed, sign_on_algorithm. Nothing in it is true yet."""
    if len(token) > SIGN_ON_TOKEN_BYTES_MAX:
        raise _refusal(Kind.sign_on_malformed, f"At most {SIGN_ON_TOKEN_BYTES_MAX} bytes.")
    parts = token.split(".")
    if len(parts) != _PARTS or not token.isascii():
        raise _refusal(Kind.sign_on_malformed, "Not a signed JWT in its compact form.")
    try:
        found = msgspec.json.decode(urlsafe_b64decode(parts[0] + "=="), type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _refusal(Kind.sign_on_malformed, "The header is not JSON.") from None
    algorithm, kid = found.get("alg"), found.get("kid")
    if algorithm not in ALGORITHMS:
        raise _refusal(Kind.sign_on_algorithm, f"One of {', '.join(ALGORITHMS)}.")
    if "crit" in found or "b64" in found:
        raise _refusal(Kind.sign_on_malformed, "Nothing critical is understood here.")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= SIGN_ON_ID_CHARS_MAX):
        raise _refusal(Kind.sign_on_malformed, "The kid is not the name of a key.")
    return Header(algorithm, kid)


def shopper(claims: dict[str, Any], policy: Policy, now_s: float) -> Shopper:
    """Whom the claims of a token with a good signature sign in, now.

    Raises `Problem` sign_on_issuer, sign_on_audience, sign_on_expired, sign_on_early, sign_on_old, sign_on_claim.
    """
    if claims.get("iss") != policy.issuer:
        raise _refusal(Kind.sign_on_issuer, f"The claim iss must be {policy.issuer!r}.")
    audience = claims.get("aud")
    if policy.audience not in (audience if isinstance(audience, list) else [audience]):
        raise _refusal(Kind.sign_on_audience, f"The claim aud must hold {policy.audience!r}.")
    expires_s, made_s, begins_s = _time(claims, "exp"), _time(claims, "iat"), _time(claims, "nbf", needed=False)
    until_s = min(expires_s, made_s + policy.age_s) + SIGN_ON_LEEWAY_S
    if now_s >= expires_s + SIGN_ON_LEEWAY_S:
        raise _refusal(Kind.sign_on_expired)
    if max(begins_s, made_s) > now_s + SIGN_ON_LEEWAY_S:
        raise _refusal(Kind.sign_on_early)
    if now_s >= until_s:
        raise _refusal(Kind.sign_on_old, f"At most {policy.age_s} seconds ago.")
    customer, id_ = claims.get("sub"), claims.get("jti")
    if not (isinstance(customer, str) and is_subject(customer)):
        _refuse_claim("sub", "it must be the customer's id in the shop")
    if (id_ is not None or policy.once) and not (isinstance(id_, str) and 0 < len(id_) <= SIGN_ON_ID_CHARS_MAX):
        _refuse_claim("jti", "it must be a text of its own in every token")
    name = claims.get(policy.name)
    segments = _segments(claims.get(policy.segments), policy.segments)
    return Shopper(customer, name if isinstance(name, str) else None, segments, id_, math.ceil(until_s))


def _time(claims: dict[str, Any], name: str, *, needed: bool = True) -> float:
    value = claims.get(name)
    if value is None and not needed:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= TIME_MS_MAX / 1000:
        _refuse_claim(name, "it must be Unix seconds")
    return value


def _segments(value: Any, name: str) -> tuple[str, ...]:
    """Those that a price rule could name; others can never matter."""
    listed = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        _refuse_claim(name, "it must be a list of texts")
    found = tuple(dict.fromkeys(each for each in listed if _SEGMENT.fullmatch(each)))
    if len(found) > SEGMENTS_MAX or sum(map(len, found)) > SIGN_ON_SEGMENTS_CHARS_MAX:
        _refuse_claim(name, f"at most {SEGMENTS_MAX} segments of {SIGN_ON_SEGMENTS_CHARS_MAX} characters together")
    return found


def _refuse_claim(name: str, why: str) -> NoReturn:
    raise Problem(Kind.sign_on_claim, f"The claim {name}: {why}.", field="token", extra={"claim": name})


def _refusal(kind: Kind, detail: str = "") -> Problem:
    return Problem(kind, detail, field="token")
