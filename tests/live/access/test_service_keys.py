"""Service keys: what they open, how they end, and what asking costs."""

import asyncio

import pytest
from sqlalchemy import select, text

from live.access.tables import service_key
from live.core.auth import SCOPES, Principal
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import (
    IDEMPOTENCY_KEPT_S,
    SERVICE_KEY_FRESH_S,
    SERVICE_KEY_USED_S,
    SERVICE_KEYS_MAX,
    SERVICE_KEYS_REMEMBERED_MAX,
    SERVICE_KEYS_TRIED_BURST,
)
from tests.live.access.conftest import ADA, HOST, OPS, MakeWorker, Worker, issue, name_of

_NEW = {"label": "ERP", "scopes": ["orders:read", "stock:write", "orders:read"]}


async def test_a_key_from_its_making_to_its_end(worker: Worker, database: Database, clock: ManualClock) -> None:
    made = await worker(OPS, "POST", "/api/service-keys", _NEW | {"expires_in_s": 3600}, key="k")
    assert made.status_code == 201
    secret, view = made.json()["secret"], made.json()["service_key"]
    assert secret.startswith(view["prefix"]) and len(view["prefix"]) == 12
    assert (view["scopes"], view["created_by"]) == (["orders:read", "stock:write"], "ops")
    async with database.read() as conn:
        row = (await conn.execute(select(service_key))).one()
    assert secret not in str(row) and len(row.hash) == 64, "what is stored opens nothing"
    again = await worker(OPS, "POST", "/api/service-keys", _NEW | {"expires_in_s": 3600}, key="k")
    assert again.json() == {"service_key": view, "secret": None} and again.headers["idempotency-replayed"] == "true"
    assert name_of(await worker(OPS, "POST", "/api/service-keys", _NEW, key="k")) == (422, "key_reused")
    assert (await worker(OPS, "GET", "/api/service-keys")).json() == {"service_keys": [view]}

    seen = (await worker(secret, "GET", "/orders")).json()
    assert seen == {
        "subject": f"service-{view['id']}", "role": "ops", "show": "*", "scopes": ["orders:read", "stock:write"],
    }  # fmt: skip
    one = f"/api/service-keys/{view['id']}"
    clock.advance(3600)
    assert name_of(await worker(secret, "GET", "/orders")) == (401, "token_expired")
    assert (await worker(OPS, "DELETE", one)).status_code == 204
    assert (await worker(OPS, "DELETE", one)).status_code == 204, "what is done may be asked for again"
    assert (await worker(OPS, "GET", "/api/service-keys")).json() == {"service_keys": []}
    assert (await worker(OPS, "GET", one)).json()["revoked_at_ms"] == clock.now_ms()
    assert name_of(await worker(OPS, "POST", f"{one}/secret", {})) == (404, "unknown_service_key")
    for strange in ("0" * 32, "%00", "a-b"):
        assert name_of(await worker(OPS, "GET", f"/api/service-keys/{strange}")) == (404, "unknown_service_key")


async def test_a_scope_is_needed_and_named(worker: Worker) -> None:
    secret = await issue(worker, "orders:read")
    refused = await worker(secret, "POST", "/orders")
    assert name_of(refused) == (403, "scope_forbidden")
    assert refused.json()["scope"] == "orders:write" and "orders:write" in refused.json()["detail"]
    assert name_of(await worker(secret, "GET", "/cart")) == (403, "person_required")
    assert name_of(await worker(secret, "GET", "/api/service-keys")) == (403, "person_required")
    as_anybody = (await worker(secret, "GET", "/shows")).json()
    assert as_anybody["role"] == "viewer", "a public page shows a service without the scope what it shows anybody"
    assert (await worker(secret, "GET", "/products")).json()["role"] == "viewer"
    assert (await worker(await issue(worker, "shows:read"), "GET", "/shows")).json()["role"] == "ops"


async def test_a_key_of_one_show_stays_under_it(worker: Worker) -> None:
    secret = await issue(worker, "orders:read", "reports:read", "shows:read", show="demo")
    assert (await worker(secret, "GET", "/shows/demo/revenue")).json()["show"] == "demo"
    assert name_of(await worker(secret, "GET", "/shows/other/revenue")) == (403, "show_forbidden")
    assert name_of(await worker(secret, "GET", "/orders")) == (403, "show_forbidden")
    assert (await worker(secret, "GET", "/shows")).json()["role"] == "viewer"


async def test_persons_are_as_before(worker: Worker) -> None:
    assert (await worker(OPS, "POST", "/orders")).json()["scopes"] is None
    assert name_of(await worker(HOST, "POST", "/orders")) == (403, "role_forbidden")
    assert (await worker(ADA, "GET", "/cart")).json()["role"] == "viewer"
    assert name_of(await worker(None, "GET", "/cart")) == (401, "token_missing")
    of_one_show = Principal(subject="x", role=OPS.role, show="demo", name="X")
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/a"), ("DELETE", "/a"), ("POST", "/a/secret")):
        answer = await worker(of_one_show, method, f"/api/service-keys{path}", _NEW if not path else {})
        assert name_of(answer) == (403, "show_forbidden"), "it would make a key for all shows"


async def test_a_revoked_key_is_refused_by_every_worker_two_seconds_later(
    make_worker: MakeWorker, clock: ManualClock
) -> None:
    here, there = await make_worker(), await make_worker()
    secret = await issue(here, "orders:read")
    (key,) = await here.keys.all()
    assert (await there(secret, "GET", "/orders")).status_code == 200
    await here.keys.revoke(key.id)
    assert name_of(await here(secret, "GET", "/orders")) == (401, "token_invalid"), "at once where it was revoked"
    clock.advance(SERVICE_KEY_FRESH_S)
    assert SERVICE_KEY_FRESH_S <= 2.0
    assert name_of(await there(secret, "GET", "/orders")) == (401, "token_invalid")


async def test_a_rotated_key_has_two_secrets_for_a_while(worker: Worker, clock: ManualClock) -> None:
    first = await issue(worker, "orders:read")
    (key,) = await worker.keys.all()
    path = f"/api/service-keys/{key.id}/secret"
    turned = await worker(OPS, "POST", path, {"overlap_s": 60}, key="r")
    second = turned.json()["secret"]
    assert turned.json()["service_key"]["old_until_ms"] == clock.now_ms() + 60_000
    repeated = await worker(OPS, "POST", path, {"overlap_s": 60}, key="r")
    assert repeated.json() == turned.json() | {"secret": None}, "a repeated request turns nothing"
    assert name_of(await worker(OPS, "POST", path, {"overlap_s": 61}, key="r")) == (422, "key_reused")
    subjects = {(await worker(secret, "GET", "/orders")).json()["subject"] for secret in (first, second)}
    assert subjects == {f"service-{key.id}"}
    clock.advance(60)
    assert name_of(await worker(first, "GET", "/orders")) == (401, "token_expired")
    third = (await worker(OPS, "POST", path, {"overlap_s": 0})).json()["secret"]
    assert name_of(await worker(second, "GET", "/orders")) == (401, "token_invalid")
    assert (await worker(third, "GET", "/orders")).status_code == 200
    assert name_of(await worker(OPS, "POST", path, {"overlap_s": -1})) == (422, "invalid_field")


async def test_every_rotation_of_a_day_is_remembered(worker: Worker, clock: ManualClock) -> None:
    await issue(worker, "orders:read")
    (key,) = await worker.keys.all()
    path = f"/api/service-keys/{key.id}/secret"
    for name in ("first", "second", "third"):
        assert (await worker(OPS, "POST", path, {"overlap_s": 60}, key=name)).json()["secret"] is not None
    last = (await worker.keys.get(key.id)).prefix
    for name in ("first", "third", "second"):  # somebody's answers were lost on the way
        repeated = await worker(OPS, "POST", path, {"overlap_s": 60}, key=name)
        assert repeated.json()["secret"] is None, "a repeated request turns nothing"
        assert name_of(await worker(OPS, "POST", path, {"overlap_s": 61}, key=name)) == (422, "key_reused")
    assert (await worker.keys.get(key.id)).prefix == last
    clock.advance(IDEMPOTENCY_KEPT_S + 1)
    assert (await worker(OPS, "POST", path, {"overlap_s": 60}, key="another")).json()["secret"] is not None
    assert (await worker(OPS, "POST", path, {"overlap_s": 61}, key="first")).json()["secret"] is not None, "forgotten"


async def test_a_busy_key_costs_one_query_in_two_seconds(worker: Worker, clock: ManualClock) -> None:
    secret = await issue(worker, "orders:read")
    answers = await asyncio.gather(*(worker(secret, "GET", "/orders") for _ in range(20)))
    for _ in range(20):
        answers.append(await worker(secret, "GET", "/orders"))
    assert {answer.status_code for answer in answers} == {200} and worker.holders.queries == 1
    clock.advance(SERVICE_KEY_FRESH_S)
    await worker(secret, "GET", "/orders")
    assert worker.holders.queries == 2


async def test_guessing_is_slow_and_what_is_no_key_is_not_looked_up(worker: Worker) -> None:
    secret = await issue(worker, "orders:read")
    for strange in ("sck_", "sck_" + "a" * 44, "sck_" + "a" * 42 + "=", "sck_" + "a" * 100_000):
        assert name_of(await worker(strange, "GET", "/orders")) == (401, "token_invalid")
    assert worker.holders.queries == 0
    guesses = [(f"sck_{number:043d}", f"2001:db8::{number:x}") for number in range(SERVICE_KEYS_TRIED_BURST)]
    found = await asyncio.gather(*(worker.holders.find(*guess) for guess in guesses), return_exceptions=True)
    assert {getattr(problem, "kind", None) for problem in found} == {Kind.token_invalid}
    refused = await worker("sck_" + "x" * 43, "GET", "/orders", ip="2001:db8::ffff")
    assert name_of(refused) == (429, "rate_limited"), "a network of IPv6 is one address"
    assert (await worker(secret, "GET", "/orders", ip="2001:db9::1")).status_code == 200
    assert SERVICE_KEYS_TRIED_BURST < SERVICE_KEYS_REMEMBERED_MAX


async def test_its_last_use_is_written_down_once_a_minute(
    make_worker: MakeWorker, database: Database, clock: ManualClock
) -> None:
    here, there = await make_worker(), await make_worker()
    secret = await issue(here, "orders:read")
    began_ms = clock.now_ms()

    async def used(worker: Worker) -> int | None:
        await worker(secret, "GET", "/orders")
        await worker.holders.note_used()
        (key,) = await worker.keys.all()
        return key.last_used_at_ms

    (key,) = await here.keys.all()
    assert key.last_used_at_ms is None
    assert await used(here) == began_ms
    clock.advance(SERVICE_KEY_USED_S - 1)
    assert [await used(here), await used(there)] == [began_ms, began_ms]
    clock.advance(SERVICE_KEY_FRESH_S)
    assert await used(there) == clock.now_ms()
    await there.holders.note_used()


async def test_a_key_is_good_for_two_seconds_while_the_database_is_away(
    worker: Worker, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await issue(worker, "orders:read")
    assert (await worker(secret, "GET", "/orders")).status_code == 200

    async def away(work: object) -> object:
        raise Problem(Kind.unavailable, retry_after_s=1)

    monkeypatch.setattr(database, "glance", away)
    assert (await worker(secret, "GET", "/orders")).status_code == 200
    clock.advance(SERVICE_KEY_FRESH_S)
    assert name_of(await worker(secret, "GET", "/orders")) == (503, "unavailable")
    monkeypatch.undo()
    assert (await worker(secret, "GET", "/orders")).status_code == 200


async def test_there_are_so_many_keys_at_most(worker: Worker, database: Database) -> None:
    await issue(worker, *SCOPES)
    names = ", ".join(column.name for column in service_key.c if column.name not in ("id", "hash"))
    copy = f"INSERT INTO service_key (id, hash, {names}) SELECT :id, :id, {names} FROM service_key LIMIT 1"
    async with database.write() as conn:
        for number in range(SERVICE_KEYS_MAX - 1):
            await conn.execute(text(copy), {"id": f"k{number}"})
    assert name_of(await worker(OPS, "POST", "/api/service-keys", _NEW)) == (409, "too_many_service_keys")
    await worker.keys.revoke("k0")
    assert (await worker(OPS, "POST", "/api/service-keys", _NEW)).status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"label": " ", "scopes": ["orders:read"]}, "label"),
        ({"label": "x" * 61, "scopes": ["orders:read"]}, "label"),
        ({"label": "x\0", "scopes": ["orders:read"]}, "label"),
        ({"label": "x", "scopes": []}, "scopes"),
        ({"label": "x", "scopes": ["orders:read", "all"]}, "scopes[1]"),
        ({"label": "x", "scopes": ["orders:read"], "show": "No Show"}, "show"),
        ({"label": "x", "scopes": ["orders:read"], "expires_in_s": 59}, "expires_in_s"),
        ({"label": "x", "scopes": ["orders:read"], "expires_in_s": 10**12}, "expires_in_s"),
        ({"label": "x", "scopes": ["orders:read"], "role": "ops"}, "role"),
    ],
)
async def test_bad_input_is_named(worker: Worker, body: dict[str, object], field: str) -> None:
    answer = await worker(OPS, "POST", "/api/service-keys", body)
    assert answer.status_code in (400, 422) and answer.json().get("field", "") == field, answer.json()
    assert await worker.keys.all() == []
