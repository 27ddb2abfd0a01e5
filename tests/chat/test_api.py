"""The chat over HTTP and as commands: shapes, roles, and what bad input gets."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from chat import api
from chat.counting import Reactions
from chat.service import Chat
from live.core import rest
from live.core.auth import Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.errors import Kind, Problem
from live.realtime.commands import Commands, Context
from live.realtime.protocol import Command, Refused, Reply, Viewer
from tests.chat.conftest import person

CHAT = "/api/shows/demo/chat"


@pytest.fixture
def tokens(clock: ManualClock) -> Tokens:
    return Tokens("a secret of the tests", clock)


def bearer(tokens: Tokens, principal: Principal) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.sign(principal, 3600)}"}


@pytest.fixture
def ann(tokens: Tokens) -> dict[str, str]:
    return bearer(tokens, person("ann"))


@pytest.fixture
def mod(tokens: Tokens) -> dict[str, str]:
    return bearer(tokens, person("mod", Role.moderator, "demo"))


@pytest.fixture
async def http(chat: Chat, tokens: Tokens) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=rest.routes(api.operations(chat), tokens), exception_handlers={Problem: rest.on_problem})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


def named(response: httpx.Response) -> tuple[int, str, str | None]:
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, body["name"], body.get("field")


async def test_writing_and_reading(http: httpx.AsyncClient, ann: dict[str, str], clock: ManualClock) -> None:
    first = await http.post(CHAT, json={"text": " Hello "}, headers=ann | {"idempotency-key": "k"})
    assert (first.status_code, first.json()["message"]["text"]) == (201, "Hello")
    again = await http.post(CHAT, json={"text": "Hello"}, headers=ann | {"idempotency-key": "k"})
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    other = await http.post(CHAT, json={"text": "Bye"}, headers=ann | {"idempotency-key": "k"})
    assert named(other) == (422, "key_reused", "key")
    clock.advance(1)
    reply = {"text": "Two", "reply_to": first.json()["message"]["id"]}
    second = await http.post(CHAT, json=reply, headers=ann)
    page = (await http.get(CHAT)).json()
    assert page == {"messages": [first.json()["message"], second.json()["message"]], "next": None}
    newest = (await http.get(CHAT, params={"limit": 1})).json()
    assert newest == {"messages": [second.json()["message"]], "next": second.json()["message"]["id"]}
    older = (await http.get(CHAT, params={"limit": 1, "before": newest["next"]})).json()
    assert older["messages"] == [first.json()["message"]]


async def test_moderating(
    http: httpx.AsyncClient, ann: dict[str, str], mod: dict[str, str], clock: ManualClock
) -> None:
    message = (await http.post(CHAT, json={"text": "Hello"}, headers=ann)).json()["message"]
    assert (await http.delete(f"{CHAT}/{message['id']}", headers=mod)).status_code == 204
    assert (await http.put(f"{CHAT}/mode", json={"seconds": 30}, headers=mod)).status_code == 204
    slow = await http.post(CHAT, json={"text": "Hello"}, headers=ann)
    assert (named(slow)[:2], slow.headers["retry-after"]) == ((429, "slow_mode"), "30")
    await http.put(f"{CHAT}/mutes/ann", json={"seconds": 60, "reason": "caps"}, headers=mod)
    timed_out = await http.post(CHAT, json={"text": "Hello"}, headers=ann)
    assert (named(timed_out)[:2], timed_out.json()["retry_after_s"]) == ((403, "timed_out"), 60)
    assert (await http.put(f"{CHAT}/mutes/ann", json={}, headers=mod)).status_code == 204
    assert named(await http.post(CHAT, json={"text": "Hello"}, headers=ann))[:2] == (403, "banned")
    assert (await http.delete(f"{CHAT}/mutes/ann", headers=mod)).status_code == 204
    clock.advance(30)
    assert (await http.post(CHAT, json={"text": "Hello"}, headers=ann)).status_code == 201
    log = (await http.get(f"{CHAT}/log", headers=mod)).json()
    assert {entry["action"] for entry in log["entries"]} == {"delete", "slow", "timeout", "ban", "unban"}
    assert log["next"] is None


BAD_INPUT: list[tuple[str, str, Any, tuple[int, str, str | None]]] = [
    ("POST", CHAT, {"text": " \u200b "}, (422, "chat_empty", "text")),
    ("POST", CHAT, {"text": "x" * 281}, (422, "chat_too_long", "text")),
    ("POST", CHAT, {}, (422, "invalid_field", "text")),
    ("POST", CHAT, {"text": 5}, (422, "invalid_field", "text")),
    ("POST", CHAT, {"text": "x", "html": "<b>"}, (422, "invalid_field", "html")),
    ("POST", CHAT, {"text": "x", "reply_to": "x"}, (404, "unknown_message", "reply_to")),
    ("POST", "/api/shows/nowhere/chat", {"text": "x"}, (403, "show_forbidden", None)),
    ("GET", f"{CHAT}?limit=0", None, (422, "invalid_field", "limit")),
    ("GET", f"{CHAT}?limit=x", None, (422, "invalid_field", "limit")),
    ("GET", f"{CHAT}?before=x", None, (422, "invalid_field", "before")),
    ("DELETE", f"{CHAT}/x", None, (404, "unknown_message", "id")),
    ("PUT", f"{CHAT}/mutes/nobody", {}, (404, "unknown_viewer", "viewer_id")),
    ("PUT", f"{CHAT}/mutes/%00", {}, (404, "unknown_viewer", "viewer_id")),
    ("PUT", f"{CHAT}/mutes/nobody", {"seconds": 0}, (422, "invalid_field", "seconds")),
    ("PUT", f"{CHAT}/mutes/nobody", {"seconds": True}, (422, "invalid_field", "seconds")),
    ("DELETE", f"{CHAT}/mutes/nobody", None, (404, "unknown_viewer", "viewer_id")),
    ("PUT", f"{CHAT}/mode", {"seconds": -1}, (422, "invalid_field", "seconds")),
    ("PUT", f"{CHAT}/mode", {"seconds": 1.5}, (422, "invalid_field", "seconds")),
    ("GET", f"{CHAT}/log?before=x", None, (422, "invalid_field", "before")),
]


async def test_bad_input_is_named_and_changes_nothing(http: httpx.AsyncClient, mod: dict[str, str], chat: Chat) -> None:
    assert named(await http.get("/api/shows/nowhere/chat")) == (404, "unknown_show", "show")
    for method, path, body, expected in BAD_INPUT:
        assert named(await http.request(method, path, json=body, headers=mod)) == expected, (method, path, body)
    assert await chat.snapshot("demo") == {"messages": [], "slow_s": 0}


async def test_half_a_surrogate_in_json_is_refused(http: httpx.AsyncClient, ann: dict[str, str]) -> None:
    headers = ann | {"content-type": "application/json"}
    response = await http.post(CHAT, content=b'{"text": "\\ud800"}', headers=headers)
    assert response.status_code in (400, 422)
    assert (await http.get(CHAT)).json()["messages"] == []


async def test_who_may_not(http: httpx.AsyncClient, tokens: Tokens, ann: dict[str, str]) -> None:
    assert named(await http.post(CHAT, json={"text": "x"}))[:2] == (401, "token_missing")
    elsewhere = bearer(tokens, person("eve", Role.moderator, "other"))
    assert named(await http.post(CHAT, json={"text": "x"}, headers=elsewhere))[:2] == (403, "show_forbidden")
    staff_only: list[tuple[str, str, Any]] = [
        ("DELETE", f"{CHAT}/x", None), ("PUT", f"{CHAT}/mutes/ann", {}), ("DELETE", f"{CHAT}/mutes/ann", None),
        ("PUT", f"{CHAT}/mode", {"seconds": 1}), ("GET", f"{CHAT}/log", None),
    ]  # fmt: skip
    for method, path, body in staff_only:
        assert named(await http.request(method, path, json=body))[:2] == (401, "token_missing")
        for headers, name in [(ann, "role_forbidden"), (elsewhere, "show_forbidden")]:
            response = await http.request(method, path, json=body, headers=headers)
            assert named(response)[:2] == (403, name)


def test_the_operations_are_documented(chat: Chat) -> None:
    document = rest.openapi(api.operations(chat), "1")
    assert document["paths"]["/api/shows/{show}/chat/mode"]["put"]["x-role"] == "moderator"


async def test_the_commands(chat: Chat, clock: ManualClock) -> None:
    registry = Commands()
    counted: list[dict[str, int]] = []

    async def count(_show: str, _name: str, _member: str, counts: Mapping[str, int]) -> dict[str, int]:
        counted.append(dict(counts))
        return dict(counts)

    reactions = Reactions(count, clock)
    api.commands(registry, chat, reactions)

    async def run(who: Principal, name: str, data: dict[str, Any], key: str | None = None) -> Reply | Refused:
        context = Context("demo", who, key, Viewer(who.subject, who.name, who.role.value))
        return await registry.run(context, Command("1", name, data, key))

    async def done(who: Principal, name: str, data: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        reply = await run(who, name, data, key)
        assert isinstance(reply, Reply), reply
        return reply.data

    ann, mod = person("ann"), person("mod", Role.moderator, "demo")
    message = (await done(ann, "chat.post", {"text": "Hello"}, "k"))["message"]
    assert (await chat.snapshot("demo"))["messages"] == [message]
    again = await run(ann, "chat.post", {"text": "Hello"}, "k")
    assert again == Reply("1", {"message": message, "shown": True}, replayed=True)
    assert await done(ann, "chat.react", {"kind": "clap"}) == {}
    await reactions.close()
    assert counted[-1] == {"heart": 0, "clap": 1, "fire": 0, "wow": 0}
    assert await done(mod, "chat.slow", {"seconds": 5}) == {}
    assert await done(mod, "chat.delete", {"id": message["id"]}) == {}
    assert await done(mod, "chat.timeout", {"viewer_id": "ann", "seconds": 5, "reason": "caps"}) == {}
    assert await done(mod, "chat.ban", {"viewer_id": "ann"}) == {}
    assert await done(mod, "chat.unban", {"viewer_id": "ann"}) == {}
    assert await chat.snapshot("demo") == {"messages": [], "slow_s": 5}

    for who, name, data, kind in [
        (ann, "chat.delete", {"id": message["id"]}, Kind.role_forbidden),
        (ann, "chat.ban", {"viewer_id": "mod"}, Kind.role_forbidden),
        (ann, "chat.post", {"text": "Hello"}, Kind.slow_mode),
        (ann, "chat.post", {"text": None}, Kind.invalid_field),
        (ann, "chat.react", {"kind": "skull"}, Kind.invalid_field),
        (ann, "chat.react", {}, Kind.invalid_field),
        (ann, "chat.post", {"text": "\ud800"}, Kind.chat_empty),
        (mod, "chat.slow", {"seconds": "5"}, Kind.invalid_field),
        (mod, "chat.timeout", {"viewer_id": "ann"}, Kind.invalid_field),
        (mod, "chat.unban", {"viewer_id": "nobody"}, Kind.unknown_viewer),
    ]:
        refusal = await run(who, name, data)
        assert isinstance(refusal, Refused)
        assert refusal.error["name"] == kind.name
