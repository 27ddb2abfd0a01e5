"""The whole product: whether a service may call each operation, and a guest who becomes a customer of the shop."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app import Parts, build, open_parts
from live.core.auth import SCOPES, Principal, Role
from live.core.settings import Settings
from tests.live.access.shop import claims, document, key, token

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


Client = httpx.AsyncClient


@asynccontextmanager
async def _product(settings: Settings) -> AsyncIterator[tuple[Parts, Client]]:
    async with open_parts(settings) as parts:
        transport = httpx.ASGITransport(app=await asyncio.to_thread(build, settings, parts))  # it reads files
        async with Client(transport=transport, base_url="http://test") as client:
            yield parts, client


@pytest.fixture
def settings(tmp_path: Path, sqlite_template: Path) -> Settings:
    shutil.copy(sqlite_template, tmp_path / "showcart.db")
    (tmp_path / "keys.json").write_bytes(document(key("ec")))
    return Settings(
        data_dir=tmp_path, secret="x" * 32, media_port=0, sign_on_keys_file=str(tmp_path / "keys.json"),
        sign_on_issuer="https://shop.example", sign_on_audience="showcart",
    )  # fmt: skip


async def test_what_a_guest_has_in_the_cart_is_the_customers_on_each_device(settings: Settings) -> None:
    async with _product(settings) as (parts, client):
        cup = {"sku": "CUP", "price_minor": 1000, "stock": 9}
        body = json.dumps({"id": "cup", "title": "Cup", "currency": "EUR", "variants": [cup]})
        issued = await parts.store.access.keys.create("test", "ERP", ["catalogue:write", "shows:write"])
        service = {"authorization": f"Bearer {issued.secret}"}
        assert (
            await client.post("/api/shows", json={"id": "demo", "title": "Demo"}, headers=service)
        ).status_code == 201
        imported = await client.post(
            "/api/products/import", content=body, headers=service | {"content-type": "application/json"}
        )
        assert imported.json()["created"] == 1, imported.text
        guest = (await client.post("/api/guests", json={})).json()["token"]
        line = {"sku": "CUP", "quantity": 2, "price_minor": 1000}
        added = await client.post(
            "/api/shows/demo/cart/lines",
            json=line,
            headers={"authorization": f"Bearer {guest}", "idempotency-key": "k"},
        )
        assert added.status_code == 201, added.text

        now_s = time.time()

        def shop_token() -> str:
            return token(key("ec"), said=claims(iat=now_s, exp=now_s + 60))

        phone = (await client.post("/api/sign-on", json={"token": shop_token(), "guest": guest})).json()
        assert phone["merged"]["moved"] == {"CUP": 2}, phone
        laptop = (await client.post("/api/sign-on", json={"token": shop_token()})).json()
        cart = await client.get("/api/shows/demo/cart", headers={"authorization": f"Bearer {laptop['token']}"})
        assert [(each["sku"], each["quantity"]) for each in cart.json()["cart"]["lines"]] == [("CUP", 2)]


async def test_every_operation_is_for_persons_by_intent_or_has_a_scope(settings: Settings) -> None:
    async with _product(settings) as (parts, client):
        described = (await client.get("/openapi.json")).json()
        issued = await parts.store.access.keys.create("test", "Reports", ["reports:read"])
        client.headers["authorization"] = f"Bearer {issued.secret}"
        answers = [(await client.get(path)).status_code for path in ("/api/trail", "/api/all-orders", "/api/orders")]
    assert answers == [200, 403, 403]

    scopes: dict[str, str | None] = {}
    public = set()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            scopes[name] = operation.get("x-scope")
            if "x-role" not in operation:
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


async def test_staff_of_one_show_has_no_say_in_what_belongs_to_all(settings: Settings) -> None:
    """Beside what is of that show, whatever its address says."""
    ops = Principal(subject="ops", role=Role.ops, show="demo", name="Ops")
    async with _product(settings) as (parts, client):
        described = (await client.get("/openapi.json")).json()
        client.headers["authorization"] = f"Bearer {parts.store.tokens.sign(ops, 60)}"
        let_in = set()
        for path, methods in described["paths"].items():
            for method, operation in methods.items():
                if "{show}" not in path and operation.get("x-role") in ("moderator", "host", "ops"):
                    answer = await client.request(method, path.replace("{", "").replace("}", ""))
                    if (answer.status_code, answer.json().get("name")) != (403, "show_forbidden"):
                        let_in.add(f"{method.upper()} {path}")
    assert let_in == {
        "GET /api/all-orders",  # of that show
        "GET /api/handoffs/{handoff}",
        "POST /api/handoffs/{handoff}/order",
        "PUT /api/customers/{customer}/cart",  # in the show that it names
    }
