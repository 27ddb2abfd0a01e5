"""Of every operation of the whole product it is said whether a service may call it, and with which scope."""

import asyncio
from pathlib import Path

import httpx

from app import build, open_parts
from live.core.auth import SCOPES
from live.core.database import migrate
from live.core.settings import Settings

# Whose operations these are: what somebody has, says or decides as a person.
_PERSONS = {
    "one's own cart and orders": {
        "GET /api/orders",
        "GET /api/shows/{show}/cart",
        "POST /api/shows/{show}/cart/lines",
        "PATCH /api/shows/{show}/cart/lines/{sku}",
        "DELETE /api/shows/{show}/cart/lines/{sku}",
        "POST /api/shows/{show}/cart/lines/{sku}/extend",
        "PUT /api/shows/{show}/cart/coupons",
        "GET /api/shows/{show}/cart/shipping",
        "POST /api/shows/{show}/checkout",
        "POST /api/shows/{show}/commands",
    },
    "one's own place in a queue, one's own hand-off": {
        "GET /api/shows/{show}/waitlist",
        "POST /api/shows/{show}/waitlist",
        "DELETE /api/shows/{show}/waitlist/{sku}",
        "GET /api/shows/{show}/cart/handoff",
        "POST /api/shows/{show}/cart/handoff",
        "DELETE /api/shows/{show}/cart/handoff",
    },
    "the chat": {
        "POST /api/shows/{show}/chat",
        "DELETE /api/shows/{show}/chat/{id}",
        "PUT /api/shows/{show}/chat/mutes/{viewer}",
        "DELETE /api/shows/{show}/chat/mutes/{viewer}",
        "PUT /api/shows/{show}/chat/mode",
        "GET /api/shows/{show}/chat/log",
    },
    "who may call, and who sells how": {
        "GET /api/service-keys",
        "POST /api/service-keys",
        "GET /api/service-keys/{id}",
        "DELETE /api/service-keys/{id}",
        "POST /api/service-keys/{id}/secret",
        "PUT /api/shipping-methods",
        "PUT /api/seller",
    },
}


async def test_every_operation_is_for_persons_by_intent_or_has_a_scope(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, secret="x" * 32, media_port=0)
    await migrate(settings.effective_database_url)
    async with open_parts(settings) as parts:
        transport = httpx.ASGITransport(app=await asyncio.to_thread(build, settings, parts))  # it reads files
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            document = (await client.get("/openapi.json")).json()
            issued = await parts.store.access.keys.create("test", "Reports", ["reports:read"])
            client.headers["authorization"] = f"Bearer {issued.secret}"
            answers = [
                (await client.get(path)).status_code for path in ("/api/trail", "/api/all-orders", "/api/orders")
            ]
    assert answers == [200, 403, 403]

    scopes: dict[str, str | None] = {}
    public = set()
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            name = f"{method.upper()} {path}"
            scopes[name] = described.get("x-scope")
            if "x-role" not in described:
                public.add(name)
    undecided = {name for name, scope in scopes.items() if scope is None and name not in public}
    persons = set().union(*_PERSONS.values())
    assert undecided == persons, "give it a scope, or say here whose it is"
    for name, scope in scopes.items():
        method, _, path = name.partition(" ")
        if scope is not None and method != "GET" and not path.endswith(("/quotes", "/check", "/rehearse")):
            assert scope.endswith(":write"), f"{name} changes something"
    used = {scope for scope in scopes.values() if scope is not None}
    assert used <= SCOPES.keys()
    assert SCOPES.keys() - used == set(), "a scope that opens nothing is a promise that is not kept"
