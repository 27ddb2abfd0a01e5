"""Which keys of a shop are used, and for what."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey, OctKey

from live.access.jwks import choose, parse
from live.core.limits import SIGN_ON_KEYS_BYTES_MAX, SIGN_ON_KEYS_MAX
from tests.live.access.shop import document, encoded, key, public

_RSA, _EC, _ED = key("rsa"), key("ec"), key("ed")


def _set(*jwks: Any) -> bytes:
    return json.dumps({"keys": jwks}).encode()


def test_each_kind_of_key_has_its_algorithms() -> None:
    keys = parse(document(_RSA, _EC, _ED))
    assert [sorted(each.algorithms) for each in keys] == [["RS256"], ["ES256"], ["Ed25519", "EdDSA"]]
    for algorithm, each in (("RS256", _RSA), ("ES256", _EC), ("EdDSA", _ED), ("Ed25519", _ED)):
        for kid in (each.kid, None):
            found = choose(keys, algorithm, kid)
            assert found is not None and found.key_type == each.key_type
    assert choose(keys, "RS256", _EC.kid) is None, "a key decides what it may be used with"
    assert choose(keys, "HS256", _RSA.kid) is None
    assert choose(keys, "RS256", "../../etc/passwd") is None


def test_without_an_id_there_must_be_one_key_only() -> None:
    two = parse(document(_RSA, key("rsa", 1)))
    assert choose(two, "RS256", None) is None
    assert choose(two, "RS256", "rsa-1") is not None


def test_a_key_says_what_it_is_for() -> None:
    keep = public(_RSA)[0]
    for members in ({"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": 7}, {"alg": "PS256"}, {"alg": ["RS256"]}):
        assert len(parse(_set(keep, public(_EC, **members)[0], keep | members))) == 1
    (found,) = parse(_set(keep | {"alg": "RS256", "use": "sig", "key_ops": ["verify"], "kid": 7}))
    assert found.kid is None and found.algorithms == {"RS256"}
    (found,) = parse(_set(public(_ED, alg="EdDSA")[0]))
    assert found.algorithms == {"EdDSA", "Ed25519"}, "two names of one algorithm"
    private = _RSA.as_dict(private=True)
    assert "d" in private
    (found,) = parse(_set(private))
    assert not found.key.is_private, "who publishes a private key by mistake is believed as before"


@pytest.mark.parametrize(
    "jwk",
    [
        OctKey.import_key("a secret of more than enough characters").as_dict(),
        ECKey.import_key(ec.generate_private_key(ec.SECP384R1())).as_dict(private=False),
        public(_RSA)[0] | {"n": encoded((1 << 2046).to_bytes(256))},  # a bit too few
        public(_RSA)[0] | {"n": encoded((1 << 8192).to_bytes(1025))},
        public(_RSA)[0] | {"n": "A" * 100_000},
        public(_RSA)[0] | {"e": "A" * 100},
        public(_RSA)[0] | {"e": 7},
        public(_RSA)[0] | {"n": None},
        public(_EC)[0] | {"y": public(key("ec", 1))[0]["y"]},
        public(_ED)[0] | {"x": "AA"},
        {"kty": "RSA"},
        {"kty": ["RSA"]},
        {},
    ],
)
def test_keys_that_are_left_out(jwk: dict[str, Any]) -> None:
    assert len(parse(_set(jwk, "no key", *public(_ED)))) == 1
    with pytest.raises(ValueError, match="no key of it"):
        parse(_set(jwk))


@pytest.mark.parametrize(
    "what",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"keys": {}}',
        b"{}",
        b" " * (SIGN_ON_KEYS_BYTES_MAX + 1),
        _set(*[{}] * (SIGN_ON_KEYS_MAX + 1)),
        b'{"keys": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_set_of_keys(what: bytes) -> None:
    with pytest.raises(ValueError, match=r"JWK|bytes"):
        parse(what)
