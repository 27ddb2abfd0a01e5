"""Locations over HTTP: who may do what, and what bad input gets."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from cart.places import api
from cart.service import Shop
from live.core.auth import Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.errors import Problem
from live.core.rest import on_problem, openapi, routes
from tests.cart.conftest import keys_of_their_own, viewer
from tests.cart.places.conftest import OPS

HOST = Principal(subject="host", role=Role.host, show="*", name="Host")
GUEST_HOST = Principal(subject="guest host", role=Role.host, show="demo", name="Guest host")
STORE = {"id": "berlin", "name": "Berlin", "kind": "store"}


@pytest.fixture
async def client(shop: Shop, clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    tokens = Tokens("a secret of the tests", clock)
    app = Starlette(routes=routes(api.operations(shop.places), tokens), exception_handlers={Problem: on_problem})
    signed = {who.subject: f"Bearer {tokens.sign(who, 60)}" for who in (OPS, HOST, GUEST_HOST, viewer("ada"))}

    async def sign(request: httpx.Request) -> None:
        request.headers["authorization"] = signed[request.headers.get("x-who", "ops")]

    transport = httpx.ASGITransport(app=app)
    hooks: dict[str, list[Any]] = {"request": [sign, keys_of_their_own()]}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", event_hooks=hooks) as client:
        yield client


async def test_a_store_gets_stock_and_gives_it_back(client: httpx.AsyncClient) -> None:
    made = await client.post("/api/locations", json=STORE | {"hours": []}, headers={"idempotency-key": "1"})
    assert made.status_code == 201 and made.json()["location"]["active"]
    again = await client.post("/api/locations", json=STORE, headers={"idempotency-key": "1"})
    assert (again.content, again.headers["idempotency-replayed"]) == (made.content, "true")
    wish = {"from": "main", "to": "berlin", "lines": [{"sku": "CUP", "quantity": 4}], "reason": "for Saturday"}
    sent = await client.post("/api/transfers", json=wish, headers={"idempotency-key": "2"})
    assert sent.status_code == 201
    transfer = sent.json()["transfer"]
    assert {name: transfer[name] for name in wish} == wish
    assert (await client.get(f"/api/transfers/{transfer['id']}")).json() == sent.json()
    levels = (await client.get("/api/stock/CUP")).json()["levels"]
    assert [(one["location"], one["on_hand"], one["available"]) for one in levels] == [("berlin", 4, 4), ("main", 6, 6)]
    counted = await client.post("/api/locations/berlin/stock/CUP/adjust", json={"change": -1, "reason": "broken"})
    assert (counted.status_code, counted.json()["on_hand"]) == (200, 3)
    there = (await client.get("/api/locations/berlin/stock")).json()
    assert ([one["sku"] for one in there["levels"]], there["next"]) == (["CUP"], None)
    closed = await client.patch("/api/locations/berlin", json={"active": False})
    assert (closed.status_code, closed.json()["name"], closed.json()["units"]) == (409, "location_in_use", 3)
    assert (await client.patch("/api/locations/berlin", json={"name": "Mitte"})).json()["location"]["name"] == "Mitte"
    listed = (await client.get("/api/locations", headers={"x-who": "host"})).json()["locations"]
    assert [one["name"] for one in listed] == ["Mitte", "Main"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_viewers_see_nothing_and_hosts_change_nothing(client: httpx.AsyncClient, shop: Shop) -> None:
    operations = api.operations(shop.places)
    assert {one.scope for one in operations if one.method == "GET"} == {"catalogue:read"}
    assert {(one.scope, one.keyed) for one in operations if one.method != "GET"} == {("stock:write", True)}
    assert "/api/transfers" in openapi(operations, "1")["paths"]
    for path in ("/api/locations", "/api/locations/main", "/api/locations/main/stock", "/api/stock/CUP"):
        assert (await client.get(path, headers={"x-who": "ada"})).status_code == 403
        assert (await client.get(path, headers={"x-who": "guest host"})).status_code == 403
        assert (await client.get(path, headers={"x-who": "host"})).status_code == 200
    wish = {"from": "main", "to": "berlin", "lines": [{"sku": "CUP", "quantity": 1}]}
    for path, body in (
        ("/api/locations", STORE), ("/api/transfers", wish), ("/api/locations/main/stock/CUP/adjust", {"change": 1})
    ):  # fmt: skip
        assert (await client.post(path, json=body, headers={"x-who": "host"})).status_code == 403


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_bad_input_names_the_field(client: httpx.AsyncClient) -> None:
    line = {"sku": "CUP", "quantity": 1}
    for path, body, status, field in (
        ("/api/locations", STORE | {"kind": "van"}, 422, "kind"),
        ("/api/locations", STORE | {"color": "red"}, 422, "color"),
        ("/api/locations", STORE | {"hours": [{"days": ["mon"], "opens": "9", "closes": "18:00"}]}, 422, "hours"),
        ("/api/transfers", {"from": "main", "to": "x", "lines": []}, 422, "lines"),
        ("/api/transfers", {"to": "x", "lines": [line]}, 422, "from"),
        ("/api/transfers", {"from": "main", "to": "x", "lines": [line]}, 404, "to"),
        ("/api/transfers", {"from": "main", "to": "x", "lines": [line] * 51}, 422, "lines"),
        ("/api/locations/main/stock/CUP/adjust", {"change": 0}, 422, "change"),
        ("/api/locations/main/stock/CUP/adjust", {"change": -11}, 409, "change"),
        ("/api/locations/x/stock/CUP/adjust", {"change": 1}, 404, "location"),
        ("/api/locations/main/stock/NO/adjust", {"change": 1}, 404, "sku"),
    ):
        answer = await client.post(path, json=body)
        assert (answer.status_code, answer.json().get("field")) == (status, field), (path, body, answer.text)
    assert (await client.get("/api/stock/CUP")).json()["levels"][0]["on_hand"] == 10
