"""Prices over HTTP: hosts start and end them, ops make their rules, anybody asks."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from cart import api
from cart.offering.service import Offering
from cart.service import Shop
from live.core.auth import Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.errors import Problem
from live.core.rest import on_problem, routes
from live.service import Shows
from tests.cart.conftest import viewer

Send = Callable[..., Any]
HOST = Principal(subject="h", role=Role.host, show="demo", name="Host")
OPS = Principal(subject="o", role=Role.ops, show="*", name="Ops")
SALE = {"id": "sale", "version": 1, "label": "Sale", "lane": "price", "then": [{"kind": "pct", "bp": 1000}],
        "standing": True}  # fmt: skip
OFF = SALE | {"id": "off", "lane": "order", "when": [{"fact": "amount", "op": "ge", "value": 5000}], "currency": "EUR"}


@pytest.fixture
async def send(shop: Shop, shows: Shows, offering: Offering, clock: ManualClock) -> AsyncIterator[Send]:
    """Send a request as somebody; the status and the JSON."""
    tokens = Tokens("a secret of the tests", clock)
    app = Starlette(routes=routes(api.operations(shop, shows), tokens), exception_handlers={Problem: on_problem})

    async def request(
        who: Principal | None, method: str, path: str, body: Any = None, key: str | None = None
    ) -> tuple[int, Any]:
        headers = {} if who is None else {"authorization": f"Bearer {tokens.sign(who, 60)}"}
        if key is not None:
            headers["idempotency-key"] = key
        answer = await client.request(method, path, json=body, headers=headers)
        return answer.status_code, answer.json()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        yield request


async def test_a_host_starts_and_ends_a_price(send: Send, shows: Shows) -> None:
    url = "/api/shows/demo/live-price"
    assert (await send(viewer(), "POST", url, {"price_minor": 1}))[0] == 403
    status, problem = await send(HOST, "POST", url, {"price_minor": 1})
    assert (status, problem["name"]) == (409, "nothing_pinned")
    await shows.pin("demo", "cup")
    status, body = await send(HOST, "POST", url, {"price_minor": 800, "duration_s": 60}, "k")
    assert (status, body["live_price"]["product_id"], body["live_price"]["started_by"]) == (201, "cup", "h")
    assert await send(HOST, "POST", url, {"price_minor": 800, "duration_s": 60}, "k") == (201, body)
    assert (await send(HOST, "POST", url, {"price_minor": 700}, "k"))[1]["name"] == "key_reused"
    for wrong in ({"price_minor": -1}, {"off_bp": 10_001}, {"duration_s": 0, "off_bp": 1}, {"price": 1}):
        assert (await send(HOST, "POST", url, wrong))[0] == 422, wrong
    assert (await send(viewer(), "POST", "/api/shows/demo/quotes", {"lines": [{"sku": "CUP"}]}))[1]["quotes"][0][
        "unit_minor"
    ] == 800
    assert await send(HOST, "DELETE", url) == (200, {"live_price": None})
    assert (await send(HOST, "DELETE", "/api/shows/nope/live-price"))[0] in (403, 404)


async def test_anybody_asks_what_things_cost(send: Send, shows: Shows) -> None:
    _, found = await send(None, "POST", "/api/quotes", {"lines": [{"sku": "CUP", "quantity": 2}], "channel": "mail"})
    assert [(one["channel"], one["show"], one["unit_minor"]) for one in found["quotes"]] == [("mail", None, 1000)]
    for wrong, field in (
        ({"lines": []}, "lines"),
        ({"lines": [{"sku": "CUP"}, {"sku": "CUP"}]}, "lines[1].sku"),
        ({"lines": [{"sku": "CUP"}], "channel": "live"}, "channel"),
        ({"lines": [{"sku": "CUP"}], "channel": "?"}, "channel"),
    ):
        assert (await send(None, "POST", "/api/quotes", wrong))[1]["field"] == field
    assert (await send(None, "GET", "/api/products/cup?show=demo"))[1]["variants"][0]["price_minor"] == 1000
    assert (await send(None, "GET", "/api/products?channel=live"))[0] == 422
    assert (await send(None, "GET", "/api/products?channel=%00"))[1]["field"] == "channel"
    assert (await send(None, "GET", "/api/products?show=nope"))[0] == 404


async def test_ops_make_the_rules(send: Send) -> None:
    assert (await send(HOST, "GET", "/api/rulesets"))[0] == 403
    status, body = await send(OPS, "POST", "/api/rulesets", {"rules": [SALE], "note": "Summer"}, "k")
    assert (status, body["ruleset"]["number"], body["ruleset"]["published_at_ms"]) == (201, 1, None)
    status, problem = await send(OPS, "POST", "/api/rulesets", {"rules": [SALE | {"then": []}]})
    assert (status, problem["name"], problem["flaws"][0]["rule"]) == (422, "invalid_rules", "sale")
    assert (await send(OPS, "POST", "/api/rulesets/check", {"rules": [SALE, SALE]}))[1]["flaws"][0]["field"] == "id"
    assert (await send(OPS, "POST", "/api/rulesets/1/publish?in_force=x"))[1]["field"] == "in_force"
    assert (await send(OPS, "POST", "/api/rulesets/1/publish?in_force=7"))[1]["name"] == "rules_changed"
    assert await send(OPS, "POST", "/api/rulesets/1/publish?in_force=0") == (200, {"version": 1, "ruleset": 1})
    page = (await send(OPS, "GET", "/api/rulesets?before=2"))[1]
    assert (page["in_force"], [one["note"] for one in page["rulesets"]], page["next"]) == (1, ["Summer"], None)
    assert (await send(OPS, "GET", "/api/rulesets/1"))[1]["ruleset"]["published_by"] == "o"
    for path in ("/api/rulesets/x", "/api/rulesets/0", "/api/rulesets/99999999999"):
        assert (await send(OPS, "GET", path))[1]["name"] == "unknown_ruleset"
    assert (await send(OPS, "GET", "/api/rulesets?before=x"))[1]["field"] == "before"
    assert await send(OPS, "POST", "/api/rulesets/rollback") == (200, {"version": 2, "ruleset": 0})
    assert [one["kind"] for one in (await send(OPS, "GET", "/api/price-changes"))[1]["changes"]] == ["published"] * 2


async def test_rules_are_tried_before_anybody_pays_by_them(send: Send) -> None:
    trial = {"lines": [{"sku": "CUP", "quantity": 4}], "rules": [SALE, OFF]}
    _, priced = await send(OPS, "POST", "/api/rulesets/rehearse", trial)
    assert (priced["total_minor"], priced["discounts"]) == (3600, [])
    assert {one["rule"]: one["why"] for one in priced["trace"]} == {"sale": "applied", "off": "condition"}
    _, priced = await send(OPS, "POST", "/api/rulesets/rehearse", {"lines": [{"sku": "CUP"}], "show": "demo"})
    assert (priced["total_minor"], priced["trace"]) == (1000, [])
    wrongs: list[dict[str, Any]] = [
        {"lines": [{"sku": "NO"}]},
        {"lines": []},
        {"lines": [{"sku": "CUP"}, {"sku": "YEN"}]},
        {"lines": [{"sku": "CUP"}, {"sku": "CUP"}]},
        {"lines": [{"sku": "CUP", "quantity": -1}]},
        trial | {"rules": [SALE | {"then": []}]},
    ]
    for wrong in wrongs:
        assert (await send(OPS, "POST", "/api/rulesets/rehearse", wrong))[0] in (404, 409, 422), wrong
