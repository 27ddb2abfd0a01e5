"""A shop that signs its shoppers in, as an honest one does and as an attacker would like it to."""

import json
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jwt
from joserfc.jwk import ECKey, Key, KeyParameters, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

NOW_S = 1_800_000_000
_ALGORITHMS = ["RS256", "ES256", "Ed25519", "HS256", "PS256"]


@cache
def key(kind: str, number: int = 0) -> Key:
    """A private key: rsa, ec or ed; each `number` another one. Made once, because RSA takes its time."""
    kid: KeyParameters = {"kid": f"{kind}-{number}"}
    if kind == "rsa":
        return RSAKey.import_key(rsa.generate_private_key(65537, 2048), kid)
    if kind == "ec":
        return ECKey.import_key(ec.generate_private_key(ec.SECP256R1()), kid)
    return OKPKey.import_key(ed25519.Ed25519PrivateKey.generate(), kid)


def public(*keys: Key, **members: Any) -> list[dict[str, Any]]:
    """The keys' public halves as JWKs."""
    return [each.as_dict(private=False) | {"kid": each.kid} | members for each in keys]


def document(*keys: Key) -> bytes:
    """A JWK set."""
    return json.dumps({"keys": public(*keys)}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """What an honest shop says of a shopper, with changes; None takes a claim away."""
    said = {"iss": "https://shop.example", "aud": "showcart", "sub": "customer-7", "iat": NOW_S, "exp": NOW_S + 300}
    return {name: value for name, value in (said | changes).items() if value is not None}


def token(by: Key, algorithm: str = "", said: dict[str, Any] | None = None, **header: Any) -> str:
    """A signed token of the shop. `algorithm` "": the one of the key's kind; `said` None: what an honest shop says."""
    named = algorithm or {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519"}[by.key_type]
    head = {"alg": named, "kid": by.kid} | header
    registry = JWSRegistry(algorithms=_ALGORITHMS, strict_check_header=False)
    return jwt.encode(head, claims() if said is None else said, by, registry=registry)


def signed_by_ed(header: dict[str, Any], payload: Any) -> str:
    """A token with any header and payload, signed well with the key `ed`."""
    private = key("ed").raw_value
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    signed = f"{encoded({'kid': 'ed-0'} | header)}.{encoded(payload)}"
    return f"{signed}.{encoded(private.sign(signed.encode()))}"


def encoded(part: Any) -> str:
    """A part of a token, however wrong."""
    octets = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


class Shop:
    """Publishes keys; counts how often it is asked."""

    def __init__(self, *keys: Key) -> None:
        self.document: bytes | Exception = document(*keys)
        self.asked = 0

    async def read(self) -> bytes:
        self.asked += 1
        if isinstance(self.document, Exception):
            raise self.document
        return self.document
