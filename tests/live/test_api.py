"""Shows over HTTP and as commands: shapes, roles, and what bad input gets."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from live import api
from live.core import rest
from live.core.auth import Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.errors import Kind, Problem
from live.realtime.commands import Commands, Context
from live.realtime.protocol import Command, Refused, Reply, Viewer
from live.service import Shows

SHOW = "/api/shows/demo"
NEW: dict[str, Any] = {"id": "x", "title": "X"}


def bearer(tokens: Tokens, role: Role, show: str = "*") -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.sign(Principal('p', role, show, 'P'), 60)}"}


@pytest.fixture
def host(tokens: Tokens) -> dict[str, str]:
    return bearer(tokens, Role.host)


class Rates:
    """A bucket that is as empty as a test wants it."""

    def __init__(self) -> None:
        self.wait_s = 0.0
        self.asked: list[str] = []

    async def take(self, bucket: str, rate_per_s: float, burst: float) -> float:
        self.asked.append(bucket)
        return self.wait_s


@pytest.fixture
def rates() -> Rates:
    return Rates()


@pytest.fixture
async def http(shows: Shows, tokens: Tokens, rates: Rates) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(
        routes=rest.routes(api.operations(shows, tokens, rates.take), tokens),
        exception_handlers={Problem: rest.on_problem},
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@pytest.fixture
async def demo(shows: Shows) -> None:
    await shows.create("demo", "Demo")
    await shows.set_lineup("demo", ["a", "b"])


def named(response: httpx.Response) -> tuple[int, str, str | None]:
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, body["name"], body.get("field")


async def test_a_show_from_its_creation_to_its_replay(http: httpx.AsyncClient, host: dict[str, str]) -> None:
    new = {"id": "demo", "title": "Demo", "scheduled_at_ms": 1_900_000_000_000}
    created = await http.post("/api/shows", json=new, headers=host | {"idempotency-key": "k"})
    assert created.status_code == 201
    assert created.json() | new == created.json()
    again = await http.post("/api/shows", json=new, headers=host | {"idempotency-key": "k"})
    assert again.json() == created.json()
    assert (await http.get("/api/shows")).json() == {"shows": [], "next": None}
    assert len((await http.get("/api/shows", headers=host)).json()["shows"]) == 1

    lineup = await http.put(f"{SHOW}/lineup", json={"product_ids": ["a", "b"]}, headers=host)
    assert [product["id"] for product in lineup.json()["lineup"]] == ["a", "b"]
    patched = await http.patch(SHOW, json={"title": "New", "auto_live": True}, headers=host)
    assert (patched.json()["title"], patched.json()["scheduled_at_ms"]) == ("New", 1_900_000_000_000)
    undated = await http.patch(SHOW, json={"scheduled_at_ms": None}, headers=host)
    assert undated.json()["scheduled_at_ms"] is None

    live = await http.post(f"{SHOW}/state", json={"to": "live"}, headers=host)
    assert (live.status_code, live.json()["state"]) == (200, "live")
    pin = await http.put(f"{SHOW}/pin", json={"product_id": "b"}, headers=host)
    details = (await http.get(SHOW)).json()
    assert details == {"show": live.json(), "lineup": lineup.json()["lineup"], "pin": pin.json()}
    assert (await http.delete(f"{SHOW}/pin", headers=host)).status_code == 204
    for state in ("paused", "live", "ended", "replayable"):
        moved = await http.post(f"{SHOW}/state", json={"to": state}, headers=host)
        assert moved.json()["state"] == state

    page = (await http.get(f"{SHOW}/timeline", params={"after": "3"})).json()
    assert [event["name"] for event in page["events"]] == [
        "show.state", "product.pinned", "product.unpinned", *["show.state"] * 4,
    ]  # fmt: skip
    assert (page["events"][0]["seq"], page["next"]) == (4, None)
    assert (await http.get("/api/shows", params={"state": "replayable,live"})).json()["shows"] == [moved.json()]


async def test_viewers_read_together_and_the_staff_what_was_just_written(
    http: httpx.AsyncClient, host: dict[str, str], tokens: Tokens, demo: None
) -> None:
    viewer, moderator = bearer(tokens, Role.viewer), bearer(tokens, Role.moderator)
    reads = [await http.get(SHOW, headers=headers) for headers in ({}, viewer, bearer(tokens, Role.host, "other"))]
    for number in range(3):
        await http.patch(SHOW, json={"title": f"New {number}"}, headers=host)
        for headers in (host, moderator):
            assert (await http.get(SHOW, headers=headers)).json()["show"]["title"] == f"New {number}"
    assert [read.json()["show"]["title"] for read in reads] == ["Demo"] * 3
    async with asyncio.timeout(5):
        while (await http.get(SHOW, headers=viewer)).json()["show"]["title"] != "New 2":
            await asyncio.sleep(0.01)


async def test_stream_keys_are_told_once(http: httpx.AsyncClient, host: dict[str, str], demo: None) -> None:
    once = host | {"idempotency-key": "first"}
    made = await http.post(f"{SHOW}/stream-keys", json={"label": "OBS"}, headers=once)
    again = await http.post(f"{SHOW}/stream-keys", json={"label": "OBS"}, headers=once)
    assert (made.status_code, again.status_code) == (201, 201)
    assert ("idempotency-replayed" in made.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert again.json() == made.json() | {"key": None}
    secret = made.json().pop("key")
    listed = (await http.get(f"{SHOW}/stream-keys", headers=host)).json()["stream_keys"]
    assert [(key["label"], key["backup"]) for key in listed] == [("OBS", False)]
    path = f"{SHOW}/stream-keys/{made.json()['id']}"
    one = await http.get(path, headers=host)
    assert one.json() == listed[0]
    assert secret not in one.text
    assert (await http.delete(path, headers=host)).status_code == 204
    assert (await http.get(f"{SHOW}/stream-keys", headers=host)).json() == {"stream_keys": []}
    backup = await http.post(f"{SHOW}/stream-keys", json={"backup": True}, headers=host)
    listed = (await http.get(f"{SHOW}/stream-keys", headers=host)).json()["stream_keys"]
    assert [backup.json()["backup"], *(key["backup"] for key in listed)] == [True, True]


async def test_one_address_makes_only_so_many_guests(http: httpx.AsyncClient, rates: Rates) -> None:
    rates.wait_s = 1.2
    refused = await http.post("/api/guests", json={})
    assert (named(refused), refused.headers["retry-after"]) == ((429, "rate_limited", None), "2")
    rates.wait_s = 0.0
    assert (await http.post("/api/guests", json={})).status_code == 201
    assert rates.asked == ["guests:127.0.0.1"] * 2


async def test_a_guest_gets_a_token(http: httpx.AsyncClient, tokens: Tokens) -> None:
    named_guest = (await http.post("/api/guests", json={"name": " A\u202enn\n"})).json()
    assert named_guest["viewer"] | {"name": "Ann", "role": "viewer"} == named_guest["viewer"]
    principal = tokens.verify(named_guest["token"])
    assert (principal.subject, principal.show) == (named_guest["viewer"]["id"], "*")
    other = (await http.post("/api/guests", json={})).json()["viewer"]
    assert other["name"].startswith("Guest ")
    assert other["id"] != principal.subject
    assert named(await http.post("/api/guests", json={"name": "\u200b"})) == (422, "invalid_field", "name")


STAFF_ONLY: list[tuple[str, str, Any]] = [
    ("POST", "/api/shows", {"id": "x", "title": "X"}),
    ("PATCH", SHOW, {"title": "X"}),
    ("POST", f"{SHOW}/state", {"to": "live"}),
    ("PUT", f"{SHOW}/lineup", {"product_ids": []}),
    ("PUT", f"{SHOW}/pin", {"product_id": "a"}),
    ("DELETE", f"{SHOW}/pin", None),
    ("POST", f"{SHOW}/stream-keys", {}),
    ("GET", f"{SHOW}/stream-keys", None),
    ("GET", f"{SHOW}/stream-keys/x", None),
    ("DELETE", f"{SHOW}/stream-keys/x", None),
]


async def test_only_hosts_of_the_show_change_it(
    http: httpx.AsyncClient, tokens: Tokens, shows: Shows, clock: ManualClock, demo: None
) -> None:
    expired = bearer(tokens, Role.host)
    clock.advance(120)
    before = await shows.snapshot("demo")
    for method, path, body in STAFF_ONLY:
        for headers, expected in [
            ({}, (401, "token_missing")),
            ({"authorization": "Basic abc"}, (401, "token_missing")),
            ({"authorization": "Bearer nonsense"}, (401, "token_invalid")),
            (expired, (401, "token_expired")),
            (bearer(tokens, Role.viewer), (403, "role_forbidden")),
            (bearer(tokens, Role.moderator, "demo"), (403, "role_forbidden")),
            (bearer(tokens, Role.host, "other"), (403, "show_forbidden")),
        ]:
            response = await http.request(method, path, json=body, headers=headers)
            assert named(response)[:2] == expected, (method, path, headers)
    assert await shows.snapshot("demo") == before
    of_this_show = bearer(tokens, Role.host, "demo")
    refusal = await http.post("/api/shows", json={"id": "x", "title": "X"}, headers=of_this_show)
    assert named(refusal)[:2] == (403, "show_forbidden")


BAD_INPUT: list[tuple[str, str, Any, tuple[int, str, str | None]]] = [
    ("POST", "/api/shows", {"id": "demo", "title": "X"}, (409, "show_exists", "id")),
    ("POST", "/api/shows", {"id": "No!", "title": "X"}, (422, "invalid_field", "id")),
    ("POST", "/api/shows", {"id": "x"}, (422, "invalid_field", "title")),
    ("POST", "/api/shows", {"id": "x", "title": "X", "date": 1}, (422, "invalid_field", "date")),
    ("POST", "/api/shows", {"id": "x", "title": 5}, (422, "invalid_field", "title")),
    ("POST", "/api/shows", NEW | {"scheduled_at_ms": 0}, (422, "invalid_field", "scheduled_at_ms")),
    ("POST", "/api/shows", NEW | {"scheduled_at_ms": 2**80}, (422, "invalid_field", "scheduled_at_ms")),
    ("POST", "/api/shows", [], (400, "malformed", None)),
    ("PATCH", SHOW, {"title": None}, (422, "invalid_field", "title")),
    ("PATCH", SHOW, {"title": " "}, (422, "invalid_field", "title")),
    ("PATCH", SHOW, {"state": "live"}, (422, "invalid_field", "state")),
    ("PATCH", "/api/shows/nowhere", {"title": "X"}, (404, "unknown_show", "show")),
    ("POST", f"{SHOW}/state", {"to": "on air"}, (422, "invalid_field", "to")),
    ("POST", f"{SHOW}/state", {"to": "paused"}, (409, "illegal_transition", "to")),
    ("POST", f"{SHOW}/state", {"to": "scheduled"}, (422, "invalid_field", "scheduled_at_ms")),
    ("PUT", f"{SHOW}/lineup", {"product_ids": ["a", "a"]}, (422, "invalid_field", "product_ids[1]")),
    ("PUT", f"{SHOW}/lineup", {"product_ids": ["no-1"]}, (404, "unknown_product", "product_ids[0]")),
    ("PUT", f"{SHOW}/lineup", {"product_ids": [1]}, (422, "invalid_field", "product_ids[0]")),
    ("PUT", f"{SHOW}/pin", {"product_id": "z"}, (404, "not_in_lineup", "product_id")),
    ("POST", f"{SHOW}/stream-keys", {"label": "x" * 61}, (422, "invalid_field", "label")),
    ("GET", f"{SHOW}/stream-keys/x%00", None, (404, "unknown_stream_key", "id")),
    ("DELETE", f"{SHOW}/stream-keys/{'0' * 32}", None, (404, "unknown_stream_key", "id")),
    ("GET", "/api/shows/nowhere", None, (404, "unknown_show", "show")),
    ("GET", "/api/shows/%00", None, (404, "unknown_show", "show")),
    ("GET", "/api/shows?state=on", None, (422, "invalid_field", "state")),
    ("GET", "/api/shows?before=nowhere", None, (404, "unknown_show", "show")),
    ("GET", f"{SHOW}/timeline?after=-1", None, (422, "invalid_field", "after")),
    ("GET", f"{SHOW}/timeline?after=%D9%A3", None, (422, "invalid_field", "after")),
    ("GET", f"{SHOW}/timeline?after={'9' * 15}", None, (422, "invalid_field", "after")),
    ("GET", f"{SHOW}/timeline?after={'9' * 5000}", None, (422, "invalid_field", "after")),
]  # fmt: skip


async def test_bad_input_is_named_and_changes_nothing(
    http: httpx.AsyncClient, host: dict[str, str], shows: Shows, demo: None
) -> None:
    before = await shows.snapshot("demo")
    for method, path, body, expected in BAD_INPUT:
        assert named(await http.request(method, path, json=body, headers=host)) == expected, (method, path, body)
    assert await shows.snapshot("demo") == before
    assert len(await shows.list_shows(drafts=True)) == 1


async def test_a_long_timeline_names_its_next_page(http: httpx.AsyncClient, shows: Shows, demo: None) -> None:
    async with shows.transaction() as tx:
        for number in range(600):
            tx.event("demo", "note", {"number": number})
    first = (await http.get(f"{SHOW}/timeline")).json()
    second = (await http.get(f"{SHOW}/timeline", params={"after": first["next"]})).json()
    assert (len(first["events"]), len(second["events"]), second["next"]) == (500, 101, None)


def test_the_operations_are_documented(tokens: Tokens, shows: Shows) -> None:
    document = rest.openapi(api.operations(shows, tokens, Rates().take), "1")
    assert document["paths"]["/api/shows"]["post"]["x-role"] == "host"
    assert "x-role" not in document["paths"]["/api/shows/{show}"]["get"]


async def test_the_commands_of_hosts(shows: Shows, demo: None) -> None:
    registry = Commands()
    api.commands(registry, shows)

    async def run(role: Role, name: str, data: dict[str, Any]) -> Reply | Refused:
        principal = Principal("p", role, "demo", "P")
        context = Context("demo", principal, None, Viewer("p", "P", role.value))
        return await registry.run(context, Command("1", name, data))

    async def done(name: str, data: dict[str, Any]) -> dict[str, Any]:
        reply = await run(Role.host, name, data)
        assert isinstance(reply, Reply)
        return reply.data

    assert (await done("show.go", {"to": "live"}))["show"]["state"] == "live"
    pin = (await done("show.pin", {"product_id": "a"}))["pin"]
    assert (await shows.snapshot("demo"))["pin"] == pin
    assert await done("show.unpin", {}) == {}
    assert [product["id"] for product in (await done("show.lineup", {"product_ids": ["b"]}))["lineup"]] == ["b"]

    before = await shows.snapshot("demo")
    refusals: list[tuple[Role, str, dict[str, Any], Kind]] = [
        (Role.moderator, "show.go", {"to": "ended"}, Kind.role_forbidden),
        (Role.viewer, "show.pin", {"product_id": "b"}, Kind.role_forbidden),
        (Role.host, "show.go", {"to": "lobby"}, Kind.illegal_transition),
        (Role.host, "show.go", {"to": 1}, Kind.invalid_field),
        (Role.host, "show.go", {}, Kind.invalid_field),
        (Role.host, "show.pin", {"product_id": "a"}, Kind.not_in_lineup),
        (Role.host, "show.unpin", {"all": True}, Kind.invalid_field),
    ]
    for role, name, data, kind in refusals:
        refusal = await run(role, name, data)
        assert isinstance(refusal, Refused)
        assert refusal.error["name"] == kind.name
    assert await shows.snapshot("demo") == before
