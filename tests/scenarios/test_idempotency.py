"""Every mutation is done once for a key, or does the same when it is done again and says here why."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import build, open_parts
from live.core.auth import Principal, Role
from live.core.database import migrate
from live.core.errors import Problem
from live.core.limits import IDEMPOTENCY_KEY_CHARS_MAX
from live.core.settings import Settings
from live.realtime.commands import Context
from live.realtime.protocol import Viewer

SETS = "says how something is from now on; said again, it is so already"
NOTHING = "changes nothing that is kept"
WITHOUT_KEY = {
    "DELETE /api/service-keys/{id}": SETS,
    "PATCH /api/shows/{show}": SETS,
    "POST /api/shows/{show}/state": SETS,
    "PUT /api/shows/{show}/lineup": SETS,
    "PUT /api/shows/{show}/pin": SETS,
    "DELETE /api/shows/{show}/pin": SETS,
    "DELETE /api/shows/{show}/stream-keys/{id}": SETS,
    "POST /api/guests": NOTHING,
    "DELETE /api/shows/{show}/chat/{id}": SETS,
    "PUT /api/shows/{show}/chat/mutes/{viewer}": SETS,
    "DELETE /api/shows/{show}/chat/mutes/{viewer}": SETS,
    "PUT /api/shows/{show}/chat/mode": SETS,
    "POST /api/sign-on/whom": NOTHING,
    "POST /api/shows/{show}/quotes": NOTHING,
    "POST /api/quotes": NOTHING,
    "POST /api/rulesets/check": NOTHING,
    "POST /api/rulesets/rehearse": NOTHING,
    "POST /api/handoffs/webhook": "the message's own webhook-id is its key (Standard Webhooks)",
    "POST /api/products/import": SETS,
    "PUT /api/shipping-methods": SETS,
    "PUT /api/seller": SETS,
    "POST /api/withdrawals": NOTHING,
    "POST /api/withdrawals/confirm": "the token of the first step is its key",
    "POST /api/shows/{show}/commands": "each command brings its own key",
}
WITH_KEY_ONLY = {  # said twice by mistake they are done twice: money, or units, are elsewhere
    "POST /api/shows/{show}/checkout",
    "POST /api/orders/{order}/refund",
    "POST /api/orders/{order}/return",
    "POST /api/stock/{sku}/adjust",
    "POST /api/locations/{location}/stock/{sku}/adjust",
    "POST /api/transfers",
}
COMMANDS_WITH_KEY_ONLY = {"cart.checkout"}
COMMANDS_WITHOUT_KEY = {
    "show.go": SETS,
    "show.pin": SETS,
    "show.unpin": SETS,
    "show.lineup": SETS,
    "chat.react": "a heart more or less is nobody's loss, and sockets never repeat one",
    "chat.delete": SETS,
    "chat.timeout": SETS,
    "chat.ban": SETS,
    "chat.unban": SETS,
    "chat.slow": SETS,
    "waitlist.get": NOTHING,
    "cart.get": NOTHING,
    "viewer.rename": SETS,
}


def sample(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    """The least value that fits a schema; patterns are left to the caller."""
    if "$ref" in schema:
        return sample(components[schema["$ref"].rpartition("/")[2]], components)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return sample(schema[several][0], components)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            known = schema.get("properties", {})
            return {name: sample(known[name], components) for name in schema.get("required", ())}
        case "array":
            return [sample(schema["items"], components)] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case "null":
            return None
    return "x" * max(1, schema.get("minLength", 1))


@pytest.mark.timeout(60)
async def test_every_mutation_takes_a_key_or_says_why_not(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, secret="x" * 32, media_port=0)
    await migrate(settings.effective_database_url)
    async with open_parts(settings) as parts:
        ops = Principal("o", Role.ops, "*", "Ops")
        headers = {
            "authorization": f"Bearer {parts.store.tokens.sign(ops, 60)}",
            "idempotency-key": "k" * (IDEMPOTENCY_KEY_CHARS_MAX + 1),
        }
        transport = httpx.ASGITransport(app=await asyncio.to_thread(build, settings, parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as http:
            await _operations(http)
        await _commands(parts.connections.commands, ops)


async def _operations(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    without, unread, refused = set(), [], set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            if method == "get":
                continue
            keys = [one for one in operation["parameters"] if one["name"] == "Idempotency-Key"]
            if not keys:
                without.add(name)
                continue
            body = operation.get("requestBody")
            request: dict[str, Any] = {
                "method": method, "url": path.replace("{number}", "1").replace("{", "").replace("}", ""),
                "json": None if body is None else sample(
                    body["content"]["application/json"]["schema"], document["components"]["schemas"]
                ),
            }  # fmt: skip
            if keys[0]["required"]:
                keyless = await http.request(**request, headers={"idempotency-key": ""})
                assert (keyless.status_code, keyless.json()["name"]) == (400, "key_required"), name
                refused.add(name)
            answer = await http.request(**request)
            if (answer.status_code, answer.json().get("field")) != (422, "Idempotency-Key"):
                unread.append((name, answer.text))
    assert without == set(WITHOUT_KEY)
    assert refused == WITH_KEY_ONLY
    assert unread == [], "a key is documented, and not read"


class _Read(Exception):
    """The handler has looked at the key."""


class _Watched:
    """A context that says when its key is read."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        if name == "key":
            raise _Read
        return getattr(self._context, name)


async def _commands(commands: Any, principal: Principal) -> None:
    context = Context(show="none", principal=principal, key="k", viewer=Viewer(principal.subject, "O", "ops"))
    without = set()
    for name, entry in commands._entries.items():
        body = entry.type_(*[None] * len(entry.type_.__struct_fields__))
        try:
            await entry.handler(_Watched(context), body)
        except _Read:
            continue
        except (Problem, LookupError, TypeError, AttributeError):
            pass  # it came to its work
        without.add(name)
    assert without == set(COMMANDS_WITHOUT_KEY)
    assert {name for name, entry in commands._entries.items() if entry.key_required} == COMMANDS_WITH_KEY_ONLY
