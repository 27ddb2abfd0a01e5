"""The keys that a shop publishes (RFC 7517): public ones for signing, each for the algorithms of its kind.

Which key may be used with which algorithm is decided by the key alone, so a public key never serves as the secret of
an HMAC, whatever a token says.
"""

from base64 import urlsafe_b64decode
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from live.core.limits import RSA_BITS_MAX, RSA_BITS_MIN, SIGN_ON_KEYS_BYTES_MAX, SIGN_ON_KEYS_MAX

PublicKey = RSAKey | ECKey | OKPKey
_EXPONENT_CHARS_MAX = 12  # base64 of 8 bytes; 65537 has 3, and a huge one makes each check slow


class Published(NamedTuple):
    """A key with its id (None: it has none) and what it may be used with."""

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey


def parse(document: bytes) -> tuple[Published, ...]:
    """The keys of a JWK set that can be used here; others are left out, as RFC 7517, section 5 has it.

    Raises `ValueError` when it is no such set, or has none.
    """
    if len(document) > SIGN_ON_KEYS_BYTES_MAX:
        raise ValueError(f"more than {SIGN_ON_KEYS_BYTES_MAX} bytes")
    try:
        listed = msgspec.json.decode(document, type=dict[str, Any]).get("keys")
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"not a JWK set: {error}") from None
    if not isinstance(listed, list) or len(listed) > SIGN_ON_KEYS_MAX:
        raise ValueError(f"not a JWK set of up to {SIGN_ON_KEYS_MAX} keys")
    found = tuple(key for each in listed if isinstance(each, dict) and (key := _published(each)) is not None)
    if not found:
        raise ValueError("no key of it can be used: RSA of 2048 bits and more, P-256 or Ed25519, for signatures")
    return found


def choose(keys: Sequence[Published], algorithm: str, kid: str | None) -> PublicKey | None:
    """The key with that id for that algorithm; without an id the only one there is for it. None: there is none."""
    fit = [each for each in keys if algorithm in each.algorithms and kid in (None, each.kid)]
    return fit[0].key if fit and (kid is not None or len(fit) == 1) else None


def _published(jwk: dict[str, Any]) -> Published | None:
    kid, use, operations = jwk.get("kid"), jwk.get("use", "sig"), jwk.get("key_ops", ["verify"])
    if use != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        algorithms, key = _imported(jwk)
        if (algorithm := jwk.get("alg")) is not None:
            algorithms &= {algorithm} if algorithm not in ("EdDSA", "Ed25519") else algorithms
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return Published(kid if isinstance(kid, str) else None, algorithms, key) if algorithms else None


def _imported(jwk: dict[str, Any]) -> tuple[frozenset[str], PublicKey]:
    """Raises what joserfc raises, or `ValueError`. Only public members are looked at."""
    match jwk.get("kty"), jwk.get("crv"):
        case "RSA", _:
            modulus, exponent = jwk["n"], jwk["e"]
            if len(modulus) > RSA_BITS_MAX // 6 + 4 or len(exponent) > _EXPONENT_CHARS_MAX:
                raise ValueError
            if not RSA_BITS_MIN <= int.from_bytes(urlsafe_b64decode(modulus + "==")).bit_length() <= RSA_BITS_MAX:
                raise ValueError
            return frozenset({"RS256"}), RSAKey.import_key({"kty": "RSA", "n": modulus, "e": exponent})
        case "EC", "P-256":
            return frozenset({"ES256"}), ECKey.import_key({"kty": "EC", "crv": "P-256", "x": jwk["x"], "y": jwk["y"]})
        case "OKP", "Ed25519":
            return frozenset({"EdDSA", "Ed25519"}), OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": jwk["x"]})
    raise ValueError
