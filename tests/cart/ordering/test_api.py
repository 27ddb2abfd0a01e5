"""Orders over HTTP: from the ways of shipping to the withdrawal."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from cart import api
from cart.ordering import api as ordering_api
from cart.ordering.shipping import Method
from cart.service import Shop
from live.core.auth import Tokens
from live.core.codec import plain
from live.core.errors import Problem
from live.core.rest import on_problem, openapi, routes
from live.service import Shows
from tests.cart.conftest import ADA, BOB, keys_of_their_own
from tests.cart.ordering.conftest import HOST, OPS
from tests.cart.ordering.samples import ADDRESS, PICKUP, POST
from tests.cart.test_api import Bearer
from tests.cart.test_api import bearer as bearer
from tests.cart.test_api import tokens as tokens

BUYER = {"name": "Ada", "email": "ada@example.com"}


class Rates:
    """Lets everybody in until it is told to `wait_s`."""

    wait_s = 0.0

    async def take(self, _key: str, _per_s: float, _burst: int) -> float:
        return self.wait_s


@pytest.fixture
def rates() -> Rates:
    return Rates()


@pytest.fixture
async def client(shop: Shop, shows: Shows, tokens: Tokens, rates: Rates) -> AsyncIterator[httpx.AsyncClient]:
    operations = [*api.operations(shop, shows), *ordering_api.operations(shop.office, shop.cart, rates.take)]
    app = Starlette(routes=routes(operations, tokens), exception_handlers={Problem: on_problem})
    transport = httpx.ASGITransport(app=app)
    hooks: dict[str, list[Any]] = {"request": [keys_of_their_own()]}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", event_hooks=hooks) as client:
        yield client


async def _methods(client: httpx.AsyncClient, bearer: Bearer, *methods: Method) -> httpx.Response:
    body = {"methods": [plain(method) for method in methods]}
    return await client.put("/api/shipping-methods", json=body, headers=bearer(OPS))


async def test_an_order_goes_the_way_that_was_chosen(client: httpx.AsyncClient, bearer: Bearer, shop: Shop) -> None:
    assert (await _methods(client, bearer, POST, PICKUP)).status_code == 200
    assert len((await client.get("/api/shipping-methods")).json()["methods"]) == 2
    ada = bearer(ADA)
    await client.post("/api/shows/demo/cart/lines", json={"sku": "CUP", "quantity": 2}, headers=ada)
    found = await client.get("/api/shows/demo/cart/shipping?country=de&postcode=10115", headers=ada)
    assert [(one["method"], one["price_minor"], one["missing_minor"]) for one in found.json()["options"]] == [
        ("post", 490, 3000),
        ("counter", 0, None),
    ]
    url = "/api/shows/demo/checkout"
    assert (await client.post(url, json=BUYER, headers=ada)).json()["name"] == "shipping_required"
    form: dict[str, Any] = BUYER | {"shipping": {"method": "post"}, "total_minor": 2490}
    assert (await client.post(url, json=form, headers=ada)).json()["field"] == "address"
    wrong = form | {"address": plain(ADDRESS) | {"postcode": "1"}}
    assert (await client.post(url, json=wrong, headers=ada)).json()["field"] == "address.postcode"
    abroad = form | {"address": plain(ADDRESS) | {"country": "FR", "postcode": "75001"}}
    assert (await client.post(url, json=abroad, headers=ada)).json()["name"] == "shipping_unavailable"
    stale = form | {"address": plain(ADDRESS), "total_minor": 2000}
    assert (await client.post(url, json=stale, headers=ada)).json()["name"] == "price_changed"
    made = await client.post(url, json=form | {"address": plain(ADDRESS)}, headers=ada)
    order = made.json()["order"]
    assert (made.status_code, order["shipping"]["method"], order["address"]["city"]) == (201, "post", "Berlin")
    assert (order["subtotal_minor"], order["shipping_minor"], order["total_minor"]) == (2000, 490, 2490)
    assert sum(tax["net_minor"] + tax["tax_minor"] for tax in order["taxes"]) == 2490
    await shop.office.till.idle()


async def test_bad_ways_of_shipping_change_nothing(client: httpx.AsyncClient, bearer: Bearer) -> None:
    await _methods(client, bearer, POST)
    twice = await _methods(client, bearer, POST, POST)
    assert (twice.status_code, twice.json()["field"]) == (422, "methods")
    many = await _methods(client, bearer, *[POST] * 51)
    assert many.json()["field"] == "methods"
    body = {"methods": [plain(POST) | {"days_min": -1}]}
    wrong = await client.put("/api/shipping-methods", json=body, headers=bearer(OPS))
    assert wrong.json()["field"] == "methods[0].days_min"
    body = {"methods": [plain(POST) | {"countries": ["XX"]}]}
    assert (await client.put("/api/shipping-methods", json=body, headers=bearer(OPS))).json()["field"] == "countries"
    assert (await client.put("/api/shipping-methods", json=body, headers=bearer(HOST))).status_code == 403
    assert [method["id"] for method in (await client.get("/api/shipping-methods")).json()["methods"]] == ["post"]


async def _buy(client: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, Any]:
    await client.post("/api/shows/demo/cart/lines", json={"sku": "CUP", "quantity": 2}, headers=headers)
    order: dict[str, Any] = (await client.post("/api/shows/demo/checkout", json=BUYER, headers=headers)).json()["order"]
    return order


async def test_the_life_of_an_order(client: httpx.AsyncClient, bearer: Bearer) -> None:
    order = await _buy(client, bearer(ADA))
    url = f"/api/orders/{order['id']}"
    assert (await client.get("/api/orders", headers=bearer(ADA))).json()["orders"][0]["id"] == order["id"]
    assert (await client.get("/api/orders", headers=bearer(BOB))).json() == {"orders": [], "next": None}
    listed = await client.get("/api/shows/demo/orders?state=placed", headers=bearer(HOST))
    assert [one["id"] for one in listed.json()["orders"]] == [order["id"]]
    assert (await client.get("/api/shows/demo/orders", headers=bearer(ADA))).status_code == 403
    assert len((await client.get("/api/all-orders", headers=bearer(OPS))).json()["orders"]) == 1
    captured = await client.post(f"{url}/capture", headers=bearer(HOST, "c"))
    assert (captured.status_code, captured.json()["order"]["state"]) == (200, "captured")
    again = await client.post(f"{url}/capture", headers=bearer(HOST, "c"))
    assert (again.content, again.headers["idempotency-replayed"]) == (captured.content, "true")
    assert (await client.post(f"{url}/ship", headers=bearer(HOST))).status_code == 200
    refund = {"lines": [{"sku": "CUP", "quantity": 1}], "reason": "Chipped"}
    refunded = await client.post(f"{url}/refund", json=refund, headers=bearer(HOST, "r"))
    assert refunded.json()["order"]["state"] == "partly_refunded"
    assert refunded.json()["payments"][-1]["detail"]["amount_minor"] == 1000
    other = await client.post(f"{url}/refund", json=refund | {"goodwill_minor": 1}, headers=bearer(HOST, "r"))
    assert other.json()["name"] == "key_reused"
    assert (await client.post(f"{url}/refund", json=refund, headers=bearer(ADA))).json()["name"] == "role_forbidden"
    back = {"lines": [{"sku": "CUP", "quantity": 2}]}
    assert (await client.post(f"{url}/return", json=back, headers=bearer(HOST))).json()["order"]["state"] == "returned"
    steps = (await client.get(f"{url}/payments", headers=bearer(HOST))).json()["payments"]
    assert [step["kind"] for step in steps] == ["authorise", "capture", "refund"]
    assert (await client.get(f"{url}/payments", headers=bearer(ADA))).status_code == 403
    trail = (await client.get(f"{url}/trail", headers=bearer(HOST))).json()
    assert [entry["action"] for entry in trail["entries"]] == [
        "order.placed", "order.capture", "order.captured", "order.shipped", "order.refunded", "order.returned",
    ]  # fmt: skip
    assert (await client.get("/api/trail?subject=sku:NOPE", headers=bearer(OPS))).json()["entries"] == []
    assert (await client.get("/api/trail", headers=bearer(HOST))).status_code == 403


_REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("refund", {"lines": [{"sku": "CUP", "quantity": 0}]}, 422, "invalid_quantity"),
    ("refund", {"lines": [{"sku": "CUP", "quantity": 3}]}, 409, "refund_exceeds"),
    ("refund", {"lines": [{"sku": "MUG-RED", "quantity": 1}]}, 404, "unknown_sku"),
    ("refund", {"shipping_minor": -1}, 422, "invalid_field"),
    ("refund", {"goodwill_minor": 10**30}, 422, "invalid_field"),
    ("refund", {"goodwill_minor": 2001}, 409, "refund_exceeds"),
    ("refund", {"reason": "x" * 201, "goodwill_minor": 1}, 422, "invalid_field"),
    ("refund", {"money": 1}, 422, "invalid_field"),
    ("return", {"lines": [{"sku": "CUP", "quantity": 1}]}, 409, "illegal_order_step"),
    ("cancel", {"reason": "a\u0000b"}, 422, "invalid_field"),
]


async def test_bad_input_changes_nothing(client: httpx.AsyncClient, bearer: Bearer) -> None:
    order = await _buy(client, bearer(ADA))
    url = f"/api/orders/{order['id']}"
    before = (await client.post(f"{url}/capture", headers=bearer(HOST))).json()
    for path, body, status, name in _REFUSED:
        answer = await client.post(f"{url}/{path}", json=body, headers=bearer(HOST))
        assert (answer.status_code, answer.json()["name"]) == (status, name), body
    after = (await client.get(f"{url}/payments", headers=bearer(HOST))).json()
    assert after == before
    assert (await client.post("/api/orders/nope/cancel", json={}, headers=bearer(HOST))).json()[
        "name"
    ] == "unknown_order"


async def test_a_withdrawal_without_a_token(client: httpx.AsyncClient, bearer: Bearer, rates: Rates) -> None:
    order = await _buy(client, bearer(ADA))
    wish = {"number": order["number"], "email": "ada@example.com"}
    begun = await client.post("/api/withdrawals", json=wish)
    assert (begun.status_code, begun.json()["lines"][0]["title"]) == (200, "Cup")
    form = {"token": begun.json()["token"], "name": "Ada", "email": "ada@example.com"}
    made = await client.post("/api/withdrawals/confirm", json=form)
    assert (made.status_code, made.json()["withdrawal"]["number"]) == (201, order["number"])
    read = await client.get(f"/api/orders/{order['id']}", headers=bearer(ADA))
    assert read.json()["order"]["state"] == "withdrawn"
    rates.wait_s = 2.5
    slow = await client.post("/api/withdrawals", json=wish)
    assert (slow.status_code, slow.headers["retry-after"]) == (429, "3")


async def test_the_seller_over_http(client: httpx.AsyncClient, bearer: Bearer) -> None:
    entry = {"name": "Becher", "street": "Ufer 1", "city": "Berlin", "country": "DE", "postcode": "10115",
             "email": "shop@becher.example"}  # fmt: skip
    assert (await client.put("/api/seller", json=entry, headers=bearer(HOST))).status_code == 403
    wrong = await client.put("/api/seller", json=entry | {"email": "x"}, headers=bearer(OPS))
    assert wrong.json()["field"] == "email"
    assert (await client.put("/api/seller", json=entry, headers=bearer(OPS))).status_code == 200
    assert (await client.get("/api/seller")).json()["name"] == "Becher"


async def test_stock_is_counted_by_hand(client: httpx.AsyncClient, bearer: Bearer, shop: Shop) -> None:
    await _buy(client, bearer(ADA))
    await client.post("/api/shows/demo/cart/lines", json={"sku": "CUP", "quantity": 3}, headers=bearer(ADA))
    url = "/api/stock/CUP/adjust"
    made = await client.post(url, json={"change": -5}, headers=bearer(OPS, "k"))
    assert made.json() == {"sku": "CUP", "on_hand": 5, "allocated": 2, "held": 3, "available": 0}
    again = await client.post(url, json={"change": -5}, headers=bearer(OPS, "k"))
    assert (again.content, again.headers["idempotency-replayed"]) == (made.content, "true")
    for change, name in (
        (-1, "sold_out"),
        (0, "invalid_quantity"),
        (10**9, "invalid_quantity"),
        (10**30, "invalid_quantity"),
    ):
        assert (await client.post(url, json={"change": change}, headers=bearer(OPS))).json()["name"] == name
    assert (await client.post("/api/stock/NOPE/adjust", json={"change": 1}, headers=bearer(OPS))).status_code == 404
    assert (await client.post(url, json={"change": 1}, headers=bearer(HOST))).status_code == 403
    trail = (await client.get("/api/trail?subject=sku:CUP", headers=bearer(OPS))).json()["entries"]
    assert [(one["actor"], one["action"], one["before"], one["after"]) for one in trail] == [
        ("showcart", "stock.counted", {"on_hand": 0}, {"on_hand": 10}),
        ("o", "stock.counted", {"on_hand": 10}, {"on_hand": 5}),
    ]


def test_the_document_describes_every_operation(shop: Shop, rates: Rates) -> None:
    document = openapi(ordering_api.operations(shop.office, shop.cart, rates.take), "1")
    assert "/api/withdrawals/confirm" in document["paths"] and "/api/orders/{order}/refund" in document["paths"]
