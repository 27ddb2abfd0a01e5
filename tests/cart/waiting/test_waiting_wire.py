"""The waitlist and drops as clients meet them: HTTP, the socket's commands, what a screen makes of events."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from cart import api
from cart.service import Shop
from cart.waiting.planning import NewDrop
from live import timeline
from live.core.auth import Principal, Tokens
from live.core.clock import ManualClock
from live.core.errors import Kind, Problem
from live.core.rest import on_problem, openapi, routes
from live.realtime.commands import Commands, Context
from live.realtime.protocol import Command, Reply, Viewer
from live.service import Shows
from tests.cart.conftest import ADA, BOB, Screens
from tests.cart.waiting.conftest import ANN, BEN, HOST, told

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Bearer = Callable[..., dict[str, str]]


@pytest.fixture
def bearer(clock: ManualClock) -> Bearer:
    tokens = Tokens("a secret of the tests", clock)

    def headers(principal: Principal, key: str | None = None) -> dict[str, str]:
        found = {"authorization": f"Bearer {tokens.sign(principal, 60)}"}
        return found if key is None else found | {"idempotency-key": key}

    return headers


@pytest.fixture
async def client(shop: Shop, shows: Shows, clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    shop.attach()
    tokens = Tokens("a secret of the tests", clock)
    app = Starlette(routes=routes(api.operations(shop, shows), tokens), exception_handlers={Problem: on_problem})
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api/shows/demo") as client:
        yield client


async def test_a_shopper_waits_over_http(client: httpx.AsyncClient, bearer: Bearer, shop: Shop) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    ann = bearer(ANN)
    joined = await client.post("/waitlist", json={"sku": "MUG-RED"}, headers=bearer(ANN, "k"))
    assert (joined.status_code, joined.json()["place"]["position"]) == (201, 1)
    again = await client.post("/waitlist", json={"sku": "MUG-RED"}, headers=bearer(ANN, "k"))
    assert (again.headers["idempotency-replayed"], again.json()) == ("true", joined.json())
    queues = (await client.get("/queues", headers=bearer(HOST))).json()
    assert queues == {"queues": [{"sku": "MUG-RED", "waiting": 1, "units": 1}]}
    await client.delete("/cart/lines/MUG-RED", headers=bearer(ADA))
    [place] = (await client.get("/waitlist", headers=ann)).json()["waitlist"]
    assert place["offer"]["quantity"] == 1 and place["position"] is None
    assert (await client.delete("/waitlist/MUG-RED", headers=ann)).json() == {"place": place}
    assert (await client.delete("/waitlist/CUP", headers=ann)).json() == {"place": None}
    refusals = {
        "unknown_sku": await client.post("/waitlist", json={"sku": "NO"}, headers=ann),
        "invalid_quantity": await client.post("/waitlist", json={"sku": "CUP", "quantity": 0}, headers=ann),
        "invalid_field": await client.post("/waitlist", json={"sku": "CUP", "more": 1}, headers=ann),
        "not_sold_out": await client.post("/waitlist", json={"sku": "CUP"}, headers=ann),
        "token_missing": await client.post("/waitlist", json={"sku": "MUG-RED"}),
        "role_forbidden": await client.get("/queues", headers=ann),
    }
    assert {name: answer.json()["name"] for name, answer in refusals.items()} == {name: name for name in refusals}


async def test_a_host_plans_drops_over_http(client: httpx.AsyncClient, bearer: Bearer, clock: ManualClock) -> None:
    host, at_ms = bearer(HOST), clock.now_ms() + 60_000
    body = {"sku": "CUP", "opens_at_ms": at_ms, "total_limit": 5}
    made = await client.post("/drops", json=body, headers=bearer(HOST, "k"))
    again = await client.post("/drops", json=body, headers=bearer(HOST, "k"))
    assert (made.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    drop = made.json()["drop"]
    assert drop == {
        "id": drop["id"], "sku": "CUP", "product_id": "cup", "opens_at_ms": at_ms, "closes_at_ms": None,
        "total_limit": 5, "per_customer_limit": None, "left": 5, "taken": 0,
    }  # fmt: skip
    refused = await client.post("/cart/lines", json={"sku": "CUP"}, headers=bearer(ANN))
    assert (refused.status_code, refused.json()["name"], refused.json()["opens_at_ms"]) == (409, "drop_not_open", at_ms)
    change = await client.patch(f"/drops/{drop['id']}", json={"total_limit": None}, headers=host)
    assert change.json()["drop"] == drop | {"total_limit": None, "left": 10}
    assert (await client.get("/drops", headers=host)).json() == {"drops": [change.json()["drop"]]}
    assert (await client.patch(f"/drops/{drop['id']}", json={"sku": "X"}, headers=host)).status_code == 422
    assert (await client.patch(f"/drops/{drop['id']}", json={"opens_at_ms": None}, headers=host)).status_code == 422
    assert (await client.post("/drops", json=body, headers=bearer(ANN))).status_code == 403
    assert (await client.delete(f"/drops/{drop['id']}", headers=host)).status_code == 200
    assert (await client.delete(f"/drops/{drop['id']}", headers=host)).json()["name"] == "unknown_drop"
    assert (await client.get("/drops", headers=host)).json() == {"drops": []}


async def test_the_commands_of_the_socket(shop: Shop) -> None:
    registry = Commands()
    api.commands(registry, shop)

    async def run(name: str, data: dict[str, Any], key: str | None = None) -> Any:
        context = Context("demo", ANN, key, Viewer("ann", "ann", "viewer"))
        answer = await registry.run(context, Command(id="c", name=name, data=data, key=key))
        return (answer.data, answer.replayed) if isinstance(answer, Reply) else answer.error["name"]

    await shop.add("demo", ADA, "MUG-RED")
    joined, _ = await run("waitlist.join", {"sku": "MUG-RED", "quantity": 2}, "k")
    assert await run("waitlist.join", {"sku": "MUG-RED", "quantity": 2}, "k") == (joined, True)
    assert await run("waitlist.join", {"sku": "MUG-RED", "quantity": 3}, "k") == "key_reused"
    assert await run("waitlist.get", {}) == ({"waitlist": [joined["place"]]}, False)
    assert await run("waitlist.leave", {"sku": "MUG-RED"}) == ({"place": None}, False)
    assert await run("waitlist.join", {"sku": "CUP"}) == "not_sold_out"
    assert await run("waitlist.join", {"sku": "CUP", "quantity": "2"}) == "invalid_field"


async def test_a_screen_that_follows_sees_what_a_new_one_sees(shop: Shop, shows: Shows, screens: Screens) -> None:
    shop.attach()
    before = await shows.snapshot("demo")
    screens.clear()
    made = [
        (await shop.planning.create("demo", HOST, NewDrop(sku=sku, opens_at_ms=0, total_limit=4))).body["drop"]
        for sku in ("CUP", "MUG-BLUE")
    ]  # fmt: skip
    await shop.add("demo", BOB, "CUP", 3)
    await shop.add("demo", BEN, "MUG-BLUE", 4)
    after = before
    for _, name, data in screens.events:
        after = timeline.apply(after, name, data)
    for _, name, _, data, staff in screens.states:
        after = after if staff else timeline.apply_state(after, name, data)
    fresh = await shows.snapshot("demo")
    assert after == fresh and {drop["sku"]: drop["left"] for drop in fresh["drops"]} == {"CUP": 1, "MUG-BLUE": 0}
    screens.clear()
    await shop.planning.cancel("demo", HOST, made[0]["id"])
    [(_, name, data)] = screens.events
    assert timeline.apply(after, name, data) == await shows.snapshot("demo")
    assert told(screens, BEN) == []


def test_every_operation_is_described(shop: Shop, shows: Shows) -> None:
    described = openapi(api.operations(shop, shows), "1")
    paths = {path: set(methods) for path, methods in described["paths"].items() if "drops" in path or "wait" in path}
    assert paths == {
        "/api/shows/{show}/waitlist": {"get", "post"},
        "/api/shows/{show}/waitlist/{sku}": {"delete"},
        "/api/shows/{show}/drops": {"get", "post"},
        "/api/shows/{show}/drops/{drop}": {"patch", "delete"},
    }
    assert f"{Kind.not_sold_out.number} not_sold_out" in str(described)
