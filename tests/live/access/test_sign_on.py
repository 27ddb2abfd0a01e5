"""A shop signs its shoppers in; nobody else does."""

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization

from live.access.keyring import Keyring
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.limits import SEGMENTS_MAX, SIGN_ON_KEYS_AGAIN_S, SIGN_ON_SEGMENTS_CHARS_MAX, SIGN_ON_TOKEN_BYTES_MAX
from tests.live.access.conftest import ADA, HOST, Rates, Worker, name_of
from tests.live.access.shop import Shop, claims, encoded, key, public, signed_by_ed, token

_RSA, _EC, _ED = key("rsa"), key("ec"), key("ed")


@pytest.fixture
def shop() -> Shop:
    return Shop(_RSA, _EC, _ED)


@pytest.fixture
async def door(database: Database, clock: ManualClock, rates: Rates, shop: Shop) -> AsyncIterator[Worker]:
    """A worker where the shop signs its shoppers in."""
    keyring = Keyring(shop.read, clock)
    made = Worker(database, clock, rates, keyring=keyring)
    yield made
    await made.sign_on.close()
    await made.holders.close()


async def ask(door: Worker, token: str, guest: Principal | str | None = None, key: str = "") -> tuple[int, Any]:
    if isinstance(guest, Principal):
        guest = door.tokens.sign(guest, 60)
    body = {"token": token} | ({} if guest is None else {"guest": guest})
    answer = await door(None, "POST", "/api/sign-on", body, key=key)
    return answer.status_code, answer.json()


async def refused(door: Worker, token: str) -> str:
    status, said = await ask(door, token)
    assert status >= 400, said
    name: str = said["name"]
    return name


async def test_a_customer_is_the_same_on_each_device(door: Worker) -> None:
    said = claims(segments=["vip"], nickname="Ada")
    answers = [await ask(door, token(each, said=said)) for each in (_RSA, _EC, _ED)]
    assert [status for status, _ in answers] == [200, 200, 200]
    viewers = [answer["viewer"] for _, answer in answers]
    assert viewers[0] == viewers[1] == viewers[2]
    assert "customer-7" not in viewers[0]["id"], "others see it"
    first = answers[0][1]
    assert (first["customer"], first["segments"], first["merged"]) == ("customer-7", ["vip"], None)
    principal = door.tokens.verify(first["token"])
    assert (principal.customer, principal.segments, principal.name) == ("customer-7", ("vip",), "Ada")
    assert (principal.role, principal.subject, principal.show) == (Role.viewer, viewers[0]["id"], "*")
    status, other = await ask(door, token(_EC, said=claims(sub="customer-8")))
    assert status == 200 and other["viewer"]["id"] != viewers[0]["id"]
    assert other["viewer"]["name"].startswith("Guest ")
    assert (await door(first["token"], "GET", "/cart")).json()["subject"] == viewers[0]["id"]


async def test_all_that_can_be_said_of_a_customer_fits_into_a_token(door: Worker) -> None:
    segments = [f"{number:036d}" for number in range(SEGMENTS_MAX)]
    said = claims(sub="\U00020000" * 128, segments=segments, nickname="\U00020000" * 24)
    status, answer = await ask(door, token(_EC, said=said))
    assert status == 200 and len("".join(segments)) == SIGN_ON_SEGMENTS_CHARS_MAX
    principal = door.tokens.verify(answer["token"])
    assert (principal.customer, principal.segments) == (said["sub"], tuple(segments))


async def test_the_old_name_of_eddsa_is_taken(door: Worker) -> None:
    status, _ = await ask(door, signed_by_ed({"alg": "EdDSA"}, claims()))
    assert status == 200


async def test_tokens_that_an_attacker_would_like(door: Worker, shop: Shop) -> None:
    body = encoded(claims())
    for alg in ("none", "None", "NONE", "", None):
        assert await refused(door, f"{encoded({'alg': alg})}.{body}.") == "sign_on_algorithm"
    pem = _RSA.raw_value.public_key().public_bytes(  # type: ignore[union-attr]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for secret in (pem, json.dumps(public(_RSA)[0]).encode()):
        for alg, expected in (("HS256", "sign_on_algorithm"), ("RS256", "sign_on_signature")):
            signed = f"{encoded({'alg': alg, 'kid': _RSA.kid})}.{body}"
            made = hmac.HMAC(secret, hashes.SHA256())
            made.update(signed.encode())
            assert await refused(door, f"{signed}.{encoded(made.finalize())}") == expected, "a public key as a secret"
    mallory = key("ec", 9)
    for header in (
        {"kid": _EC.kid},
        {"kid": _EC.kid, "jwk": public(mallory)[0]},
        {"kid": _EC.kid, "jku": "https://evil.example/jwks"},
        {"kid": _EC.kid, "x5u": "https://evil.example/cert"},
    ):
        assert await refused(door, token(mallory, **header)) == "sign_on_signature"
    for kid in ("../../../../dev/null", "'; DROP TABLE service_key; --", "https://evil.example/jwks", "\0"):
        assert await refused(door, token(mallory, kid=kid)) == "sign_on_key"
    assert await refused(door, token(_RSA, "PS256")) == "sign_on_algorithm"
    assert await refused(door, token(_EC, kid=_RSA.kid)) == "sign_on_key", "a key is for its own algorithm"
    good = token(_ED)
    head, payload, signature = good.split(".")
    changed = encoded(claims(sub="customer-8"))
    for forged in (f"{head}.{changed}.{signature}", f"{head}.{payload}.", f"{head}.{payload}.{signature[:-4]}"):
        assert await refused(door, forged) == "sign_on_signature"
    assert await refused(door, "a" * (SIGN_ON_TOKEN_BYTES_MAX + 1)) == "sign_on_malformed"
    assert (await ask(door, "a" * 300_000))[0] == 413
    assert shop.asked == 1, "nothing of this made the shop work"


async def test_what_is_signed_well_and_says_the_wrong_thing(door: Worker) -> None:
    for changes, expected in (
        ({"aud": "another service"}, "sign_on_audience"),
        ({"iss": "https://evil.example"}, "sign_on_issuer"),
        ({"exp": claims()["iat"] - 31}, "sign_on_expired"),
        ({"nbf": claims()["iat"] + 60}, "sign_on_early"),
        ({"iat": claims()["iat"] - 3600}, "sign_on_old"),
        ({"sub": 7}, "sign_on_claim"),
    ):
        assert await refused(door, token(_EC, said=claims(**changes))) == expected
    for payload in (b"[]", b'"x"', b"{", b"", b"[" * 5000):
        assert await refused(door, signed_by_ed({"alg": "Ed25519"}, payload)) == "sign_on_malformed"
    outcomes = {name: count for name, count in door.sign_on.outcomes.items() if count}
    assert outcomes["sign_on_audience"] == 1 and outcomes["sign_on_malformed"] == 5
    (family,) = door.sign_on.collect()
    assert {sample.labels["outcome"] for sample in family.samples} == {"done", *outcomes}


async def test_a_shop_out_of_reach_is_our_503(door: Worker, shop: Shop, clock: ManualClock) -> None:
    good, shop.document = shop.document, OSError("no route")
    status, said = await ask(door, token(_EC))
    assert (status, said["name"], said["retry_after_s"]) == (503, "sign_on_unreachable", 10)
    shop.document = good
    clock.advance(SIGN_ON_KEYS_AGAIN_S)
    assert (await ask(door, token(_EC)))[0] == 200


async def test_where_no_shop_signs_in_there_is_nothing(worker: Worker) -> None:
    for path in ("/api/sign-on", "/api/sign-on/whom"):
        assert name_of(await worker(None, "POST", path, {"token": "x"})) == (404, "sign_on_off")


async def test_a_page_can_ask_first_whom_a_token_signs_in(
    database: Database, clock: ManualClock, rates: Rates, shop: Shop
) -> None:
    door = Worker(database, clock, rates, keyring=Keyring(shop.read, clock), once=True)
    given = token(_EC, said=claims(jti="1", nickname=" Mia  M "))
    asked = [await door(None, "POST", "/api/sign-on/whom", {"token": given}) for _ in range(2)]
    status, answer = await ask(door, given)
    assert status == 200, "asking does not use it up"
    whom = {"viewer_id": answer["viewer"]["id"], "name": "Mia M", "customer": "customer-7",
            "issuer": "https://shop.example"}  # fmt: skip
    assert [(each.status_code, each.json()) for each in asked] == [(200, whom), (200, whom)]
    assert answer["viewer"]["name"] == "Mia M"
    for name in (None, "\u200b", 7):
        unnamed = token(_EC, said=claims(jti="2", nickname=name))
        assert (await door(None, "POST", "/api/sign-on/whom", {"token": unnamed})).json()["name"] is None
    for bad, expected in ((token(key("ec", 9), kid=_EC.kid), "sign_on_signature"), ("x", "sign_on_malformed")):
        assert name_of(await door(None, "POST", "/api/sign-on/whom", {"token": bad})) == (401, expected)
        assert door.sign_on.outcomes[expected] == 1
    await door.sign_on.close()
    await door.holders.close()


async def test_the_guests_cart_goes_along(door: Worker, clock: ManualClock) -> None:
    merged: list[tuple[str, str]] = []

    class Moved(msgspec.Struct):
        units: int

    async def merge(guest: str, customer: Principal) -> Moved:
        merged.append((guest, customer.subject))
        return Moved(3)

    door.sign_on.merge = merge
    status, answer = await ask(door, token(_EC), ADA)
    assert (status, answer["merged"], answer["viewer"]["name"]) == (200, {"units": 3}, "Ada")
    assert merged == [("ada", answer["viewer"]["id"])]
    for guest in (answer["token"], None):
        assert (await ask(door, token(_EC), guest))[1]["merged"] is None, "a customer's cart is not a guest's"
    late = door.tokens.sign(ADA, 60)
    clock.advance(120)
    assert (await ask(door, token(_EC), late))[1]["merged"] is None, "nobody is turned away for an old guest"
    for guest, expected in ((HOST, "role_forbidden"), ("x", "token_invalid")):
        _, said = await ask(door, token(_EC), guest)
        assert (said["name"], said["field"]) == (expected, "guest")
    assert len(merged) == 1


async def test_a_name_that_cannot_be_shown_is_no_reason(door: Worker) -> None:
    for name in ("\u200b", "x" * 1000, 7):
        status, answer = await ask(door, token(_EC, said=claims(nickname=name)), ADA)
        assert (status, answer["viewer"]["name"]) == (200, "Ada")


async def test_a_token_can_be_good_once(database: Database, clock: ManualClock, rates: Rates, shop: Shop) -> None:
    workers = [Worker(database, clock, rates, keyring=Keyring(shop.read, clock), once=True) for _ in range(2)]
    here, there = workers
    first = token(_EC, said=claims(jti="1"))
    assert (await ask(here, first, ADA, key="k"))[0] == 200
    assert (await ask(there, first, ADA, key="k"))[0] == 200, "the same request, because its answer was lost"
    for guest, key_ in ((ADA, "other"), (ADA, ""), (None, "k")):
        assert (await ask(there, first, guest, key=key_))[1]["name"] == "sign_on_used"
    second = token(_EC, said=claims(jti="2"))
    assert [(await ask(here, second))[0] for _ in range(2)] == [200, 409], "without a key it is another request"
    assert (await ask(here, token(_EC)))[1]["claim"] == "jti"
    for each in workers:
        await each.sign_on.close()
        await each.holders.close()
