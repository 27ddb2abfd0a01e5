"""Commerce over HTTP, and the commands of the socket."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from cart import api
from cart.ordering import api as ordering_api
from cart.service import Shop
from live.core.auth import Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.errors import Problem
from live.core.rest import on_problem, openapi, routes
from live.realtime.commands import Commands, Context
from live.realtime.protocol import Command, Reply, Viewer
from live.service import Shows
from tests.cart.conftest import keys_of_their_own, viewer

HOST = Principal(subject="h", role=Role.host, show="demo", name="Host")
OPS = Principal(subject="o", role=Role.ops, show="*", name="Ops")
BUYER = {"name": "Ada", "email": "ada@example.com"}


@pytest.fixture
def tokens(clock: ManualClock) -> Tokens:
    return Tokens("a secret of the tests", clock)


async def _take(_key: str, _per_s: float, _burst: int) -> float:
    return 0.0


@pytest.fixture
async def client(shop: Shop, shows: Shows, tokens: Tokens) -> AsyncIterator[httpx.AsyncClient]:
    operations = [*api.operations(shop, shows), *ordering_api.operations(shop.office, shop.cart, _take)]
    app = Starlette(routes=routes(operations, tokens), exception_handlers={Problem: on_problem})
    transport = httpx.ASGITransport(app=app)
    hooks: dict[str, list[Any]] = {"request": [keys_of_their_own()]}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", event_hooks=hooks) as client:
        yield client


Bearer = Callable[..., dict[str, str]]


@pytest.fixture
def bearer(tokens: Tokens) -> Bearer:
    def headers(principal: Principal, key: str | None = None) -> dict[str, str]:
        found = {"authorization": f"Bearer {tokens.sign(principal, 60)}"}
        return found if key is None else found | {"idempotency-key": key}

    return headers


async def test_a_purchase_over_http(client: httpx.AsyncClient, bearer: Bearer) -> None:
    ada = bearer(viewer("ada"))
    added = await client.post("/api/shows/demo/cart/lines", json={"sku": "CUP"}, headers=ada)
    assert (added.status_code, added.json()["hold"]["sku"]) == (201, "CUP")
    changed = await client.patch("/api/shows/demo/cart/lines/CUP", json={"quantity": 3}, headers=ada)
    assert (changed.status_code, changed.json()["cart"]["total_minor"]) == (200, 3000)
    extended = await client.post("/api/shows/demo/cart/lines/CUP/extend", headers=ada)
    assert (extended.status_code, extended.json()["cart"]["total_minor"]) == (200, 3000)
    await client.post("/api/shows/demo/cart/lines", json={"sku": "MUG-RED"}, headers=ada)
    removed = await client.delete("/api/shows/demo/cart/lines/MUG-RED", headers=ada)
    assert removed.json() == (await client.get("/api/shows/demo/cart", headers=ada)).json()
    order = await client.post("/api/shows/demo/checkout", json=BUYER | {"total_minor": 3000}, headers=ada)
    assert order.status_code == 201
    read = await client.get(f"/api/orders/{order.json()['order']['id']}", headers=ada)
    assert read.json() == order.json()
    figures = await client.get("/api/shows/demo/figures", headers=bearer(HOST))
    assert figures.json()["revenue_minor"] == 3000


async def test_a_repeated_key_is_answered_alike_and_says_so(client: httpx.AsyncClient, bearer: Bearer) -> None:
    headers = bearer(viewer("ada"), "k1")
    first = await client.post("/api/shows/demo/cart/lines", json={"sku": "CUP"}, headers=headers)
    again = await client.post("/api/shows/demo/cart/lines", json={"sku": "CUP"}, headers=headers)
    assert (first.content, first.status_code) == (again.content, again.status_code)
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    other = await client.post("/api/shows/demo/cart/lines", json={"sku": "CUP", "quantity": 2}, headers=headers)
    assert (other.status_code, other.json()["name"]) == (422, "key_reused")


_REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"sku": "NOPE"}, 404, "unknown_sku", "sku"),
    ({"sku": "CUP", "quantity": 0}, 422, "invalid_quantity", "quantity"),
    ({"sku": "CUP", "quantity": -1}, 422, "invalid_quantity", "quantity"),
    ({"sku": "CUP", "quantity": 10**9}, 422, "invalid_quantity", "quantity"),
    ({"sku": "CUP", "quantity": "1"}, 422, "invalid_field", "quantity"),
    ({"sku": "CUP", "quantity": True}, 422, "invalid_field", "quantity"),
    ({"sku": "CUP", "quantity": 11}, 409, "sold_out", "sku"),
    ({"sku": "CUP", "price_minor": 1}, 409, "price_changed", "price_minor"),
    ({"sku": "CUP", "colour": "red"}, 422, "invalid_field", "colour"),
    ({}, 422, "invalid_field", "sku"),
]


async def test_bad_input_is_refused_by_number_and_field(client: httpx.AsyncClient, bearer: Bearer) -> None:
    for body, status, name, field in _REFUSED:
        answer = await client.post("/api/shows/demo/cart/lines", json=body, headers=bearer(viewer("ada")))
        problem = answer.json()
        assert (answer.status_code, problem["name"], problem.get("field")) == (status, name, field)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_who_may_do_what(client: httpx.AsyncClient, bearer: Bearer) -> None:
    assert (await client.get("/api/shows/demo/cart")).json()["name"] == "token_missing"
    ada = bearer(viewer("ada"))
    assert (await client.get("/api/shows/demo/figures", headers=ada)).json()["name"] == "role_forbidden"
    assert (await client.post("/api/products/import", headers=bearer(HOST))).json()["name"] == "role_forbidden"
    assert (await client.get("/api/shows/none/cart", headers=ada)).json()["name"] == "unknown_show"
    assert (await client.get("/api/orders/none", headers=ada)).json()["name"] == "unknown_order"
    elsewhere = bearer(Principal(subject="x", role=Role.viewer, show="other", name="x"))
    assert (await client.get("/api/shows/demo/cart", headers=elsewhere)).json()["name"] == "show_forbidden"


async def test_the_catalogue_is_open(client: httpx.AsyncClient) -> None:
    page = (await client.get("/api/products")).json()
    assert ([product["id"] for product in page["products"]], page["next"]) == (["cup", "mug", "yen"], None)
    assert (await client.get("/api/products/mug")).json()["title"] == "Mug"
    assert (await client.get("/api/products/none")).json()["name"] == "unknown_product"


async def test_long_catalogues_come_in_pages(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cart.offering.window.PRODUCTS_PAGE", 2)
    monkeypatch.setattr("cart.offering.api.PRODUCTS_PAGE", 2)
    assert (await client.get("/api/products")).json()["next"] == "mug"
    assert (await client.get("/api/products?after=mug")).json()["next"] is None


async def test_files_are_imported_over_http(client: httpx.AsyncClient, bearer: Bearer) -> None:
    csv = "product_id,title,sku,price,currency\nbag,Bag,BAG,10,EUR\nbag,Bag,BAG-L,x,EUR\n"
    url = "/api/products/import"

    def headers(media_type: str) -> dict[str, str]:
        return bearer(OPS) | {"content-type": media_type}

    dry = await client.post(url + "?dry_run=1", content=csv, headers=headers("text/csv; charset=utf-8"))
    assert (dry.json()["created"], dry.json()["dry_run"]) == (1, True)
    assert (await client.get("/api/products/bag")).status_code == 404
    wet = await client.post(url, content=csv, headers=headers("text/csv"))
    assert (wet.json()["created"], wet.json()["errors"][0]["line"]) == (1, 3)
    assert (await client.get("/api/products/bag")).status_code == 200
    broken = await client.post(url, content="<html>", headers=headers("text/csv"))
    assert (broken.status_code, broken.json()["name"], broken.json()["errors"][0]["line"]) == (422, "import_failed", 1)
    wrong = await client.post(url, content=csv, headers=headers("text/html"))
    assert (wrong.status_code, wrong.json()["field"]) == (415, "Content-Type")


def test_the_document_describes_every_operation(shop: Shop, shows: Shows) -> None:
    document = openapi(api.operations(shop, shows), "1")
    assert len(document["paths"]) >= 12
    assert "Cart" in document["components"]["schemas"]


# --- commands -------------------------------------------------------------------------------------------------


async def test_the_commands_of_the_socket(shop: Shop) -> None:
    registry = Commands()
    api.commands(registry, shop)

    async def run(name: str, data: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        context = Context("demo", viewer("ada"), key, Viewer(id="ada", name="ada", role="viewer"))
        answer = await registry.run(context, Command(id="1", name=name, data=data, key=key))
        return answer.data if isinstance(answer, Reply) else answer.error

    added = await run("cart.add", {"sku": "CUP"}, "k1")
    ada = Context("demo", viewer("ada"), "k1", Viewer(id="ada", name="ada", role="viewer"))
    again = await registry.run(ada, Command(id="2", name="cart.add", data={"sku": "CUP"}, key="k1"))
    assert again == Reply("2", added, replayed=True)
    assert (await run("cart.add", {"sku": "CUP", "quantity": 0}))["name"] == "invalid_quantity"
    assert (await run("cart.add", {"sku": "CUP", "quantity": "1"}))["field"] == "data.quantity"
    assert (await run("cart.change", {"sku": "CUP", "quantity": 2}))["cart"]["total_minor"] == 2000
    assert (await run("cart.extend", {"sku": "CUP"}))["cart"]["total_minor"] == 2000
    assert (await run("cart.extend", {"sku": "MUG-RED"}))["name"] == "not_in_cart"
    await run("cart.add", {"sku": "MUG-RED"})
    removed = await run("cart.remove", {"sku": "MUG-RED"})
    assert removed == await run("cart.get", {})
    assert (await run("cart.checkout", BUYER))["name"] == "key_required"
    order = (await run("cart.checkout", BUYER, "k2"))["order"]
    assert (order["total_minor"], order["state"]) == (2000, "placed")
