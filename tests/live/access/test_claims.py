"""What comes before and after the signature of a shop's token."""

from typing import Any

import msgspec
import pytest

from live.access.claims import Header, header, shopper
from live.core.errors import Problem
from live.core.limits import SEGMENTS_MAX, SIGN_ON_LEEWAY_S, SIGN_ON_TOKEN_BYTES_MAX
from tests.live.access.conftest import POLICY
from tests.live.access.shop import NOW_S, claims, encoded

_NO_TIMES: list[Any] = ["1800000000", True, -1, 1e300, []]
_ONCE = msgspec.structs.replace(POLICY, once=True)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA", "Ed25519"])
def test_headers_that_are_understood(algorithm: str) -> None:
    said = {"alg": algorithm, "kid": "k", "typ": "JWT", "x5t": "a"}
    assert header(f"{encoded(said)}.e30.AA") == Header(algorithm, "k")
    assert header(f"{encoded({'alg': algorithm})}..") == Header(algorithm, None)


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("", "sign_on_malformed"),
        ("a.b", "sign_on_malformed"),
        ("a.b.c.d.e", "sign_on_malformed"),
        ("é.b.c", "sign_on_malformed"),
        ("a.b.c", "sign_on_malformed"),
        ("!!!!.b.c", "sign_on_malformed"),
        (f"{encoded([])}.b.c", "sign_on_malformed"),
        (f"{encoded(b'[' * 6000)}.b.c", "sign_on_malformed"),
        ("a" * (SIGN_ON_TOKEN_BYTES_MAX + 1), "sign_on_malformed"),
        (f"{encoded({'alg': 'RS256', 'crit': ['exp']})}.b.c", "sign_on_malformed"),
        (f"{encoded({'alg': 'RS256', 'b64': False})}.b.c", "sign_on_malformed"),
        (f"{encoded({'alg': 'RS256', 'kid': 7})}.b.c", "sign_on_malformed"),
        (f"{encoded({'alg': 'RS256', 'kid': ''})}.b.c", "sign_on_malformed"),
        (f"{encoded({'alg': 'RS256', 'kid': 'x' * 257})}.b.c", "sign_on_malformed"),
        (f"{encoded({})}.b.c", "sign_on_algorithm"),
        *(
            (f"{encoded({'alg': name})}.b.c", "sign_on_algorithm")
            for name in ("none", "None", "HS256", "rs256", "PS256")
        ),
        (f"{encoded({'alg': ['RS256']})}.b.c", "sign_on_algorithm"),
    ],
)
def test_headers_that_are_refused(token: str, name: str) -> None:
    with pytest.raises(Problem) as caught:
        header(token)
    assert (caught.value.kind.name, caught.value.field) == (name, "token")


def test_a_shopper_with_all_there_is_to_know() -> None:
    said = claims(
        aud=["other", "showcart"],
        jti="t",
        nickname="Ada",
        segments=["vip", "b2b/gold", "vip", "two words", ""],
        nbf=NOW_S,
    )
    found = shopper(said, _ONCE, NOW_S)
    assert (found.customer, found.name, found.id) == ("customer-7", "Ada", "t")
    assert found.segments == ("vip", "b2b/gold"), "what no rule can name is left out"
    assert found.until_s == NOW_S + 300 + SIGN_ON_LEEWAY_S
    assert shopper(claims(segments="vip", nickname=["Ada"]), POLICY, NOW_S).segments == ("vip",)
    assert shopper(claims(), POLICY, NOW_S).name is None
    assert shopper(claims(exp=NOW_S + 10**6), POLICY, NOW_S).until_s == NOW_S + 600 + SIGN_ON_LEEWAY_S


def test_clocks_may_differ_by_half_a_minute() -> None:
    for now_s in (NOW_S - SIGN_ON_LEEWAY_S, NOW_S + 300 + SIGN_ON_LEEWAY_S - 0.1):
        assert shopper(claims(nbf=NOW_S), POLICY, now_s).customer == "customer-7"
    for now_s, name in ((NOW_S - SIGN_ON_LEEWAY_S - 0.1, "sign_on_early"), (NOW_S + 330, "sign_on_expired")):
        with pytest.raises(Problem, match=name):
            shopper(claims(), POLICY, now_s)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"iss": "https://other.example"}, "sign_on_issuer"),
        ({"iss": None}, "sign_on_issuer"),
        ({"iss": ["https://shop.example"]}, "sign_on_issuer"),
        ({"aud": "other"}, "sign_on_audience"),
        ({"aud": None}, "sign_on_audience"),
        ({"aud": []}, "sign_on_audience"),
        ({"aud": "showcart-2"}, "sign_on_audience"),
        ({"aud": {"showcart": 1}}, "sign_on_audience"),
        ({"exp": NOW_S - 30}, "sign_on_expired"),
        ({"nbf": NOW_S + 31}, "sign_on_early"),
        ({"iat": NOW_S + 31, "exp": NOW_S + 600}, "sign_on_early"),
        ({"iat": NOW_S - 630, "exp": NOW_S + 600}, "sign_on_old"),
    ],
)
def test_tokens_that_are_not_for_us_or_not_for_now(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(Problem) as caught:
        shopper(claims(**changes), POLICY, NOW_S)
    assert caught.value.kind.name == name


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        *(({name: value}, name) for name in ("exp", "iat", "nbf") for value in _NO_TIMES),
        ({"exp": None}, "exp"),
        ({"iat": None}, "iat"),
        *(({"sub": value}, "sub") for value in (None, 7, "", "x" * 129, "a\0b", "a\nb")),
        *(({"jti": value}, "jti") for value in (7, "", "x" * 257)),
        *(({"segments": value}, "segments") for value in (7, {"vip": 1}, ["vip", 7])),
        ({"segments": [f"s{number}" for number in range(SEGMENTS_MAX + 1)]}, "segments"),
        ({"segments": [f"{number:064d}" for number in range(32)]}, "segments"),
    ],
)
def test_claims_that_are_missing_or_wrong_are_named(changes: dict[str, Any], claim: str) -> None:
    with pytest.raises(Problem) as caught:
        shopper(claims(**changes), POLICY, NOW_S)
    assert (caught.value.kind.name, caught.value.extra["claim"]) == ("sign_on_claim", claim)


def test_a_token_that_is_good_once_needs_an_id() -> None:
    with pytest.raises(Problem, match="jti"):
        shopper(claims(), _ONCE, NOW_S)
