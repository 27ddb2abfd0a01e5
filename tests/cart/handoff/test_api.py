"""Hand-offs over HTTP, with a merchant's server that follows our webhooks and reports what it sold."""

import time
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson
import pytest
from sqlalchemy import func, select
from standardwebhooks import Webhook
from starlette.applications import Starlette

from cart.handoff import api
from cart.handoff.links import signature
from cart.ordering.tables import orders
from cart.service import Shop
from cart.webhooks.exchange import Exchange
from cart.webhooks.outbox import put_news
from cart.webhooks.service import Asked, Webhooks
from live.core.auth import ALL_SHOWS, Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.rest import on_problem, openapi, routes
from live.realtime.commands import Commands, Context
from live.realtime.protocol import Command, Reply, Viewer
from live.service import Shows
from tests.cart.conftest import ADA, level
from tests.cart.handoff.conftest import OLD_SECRET, ONE_STORE, SECRET, SHOP, hand_over
from tests.cart.webhooks.conftest import LOOPBACK, NEVER_S, rounds
from tests.cart.webhooks.receiver import Message, Receiver

READS = {"authorization": "Bearer sck_reads"}
WRITES = {"authorization": "Bearer sck_writes"}


class _Warden:
    """Knows two keys."""

    async def service(self, key: str, _address: str) -> Principal:
        scopes = {"sck_reads": {"carts:read"}, "sck_writes": {"carts:read", "carts:write", "orders:write"}}[key]
        return Principal("service:1", Role.viewer, ALL_SHOWS, "Shop", scopes=frozenset(scopes))

    async def take(self, _principal: Principal | None, _address: str) -> None:
        pass


@pytest.fixture
def clock() -> ManualClock:
    """The library compares a message's time with its own clock."""
    return ManualClock(time.time_ns() // 1_000_000)


@pytest.fixture
def tokens(clock: ManualClock) -> Tokens:
    return Tokens("a secret of the tests", clock)


@pytest.fixture
async def client(shop: Shop, tokens: Tokens) -> AsyncIterator[httpx.AsyncClient]:
    endpoints = routes(api.operations(shop.handing), tokens, warden=_Warden())
    app = Starlette(routes=endpoints, exception_handlers={Problem: on_problem})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        yield client


def _bearer(tokens: Tokens, who: Principal) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.sign(who, 60)}"}


def _hook(clock: ManualClock, type_: str, data: dict[str, Any], secret: str = SECRET, id_: str = "m1") -> Any:
    """What a merchant's server posts, signed by the library."""
    body = orjson.dumps({"type": type_, "timestamp": "2027-01-15T08:00:00Z", "data": data})
    stamp = datetime.fromtimestamp(clock.now_ms() // 1000, UTC)
    signed = Webhook(secret).sign(id_, stamp, body.decode())
    headers = {"webhook-id": id_, "webhook-timestamp": str(int(stamp.timestamp())), "webhook-signature": signed}
    return {"content": body, "headers": headers}


class _Merchant:
    """A shop's server as in docs/handoff.md: what it is told it verifies, then it asks, and reports what it sold."""

    def __init__(self, secret: str, ours: httpx.AsyncClient) -> None:
        self._secret = secret
        self._ours = ours
        self.told: list[dict[str, Any]] = []

    def hear(self, message: Message) -> dict[str, Any]:
        """Raises when the message is not from us."""
        heard: dict[str, Any] = Webhook(self._secret).verify(message.body.decode(), message.headers)
        self.told.append(heard)
        return heard

    async def sell(self, handoff_id: str) -> list[httpx.Response]:
        handed = (await self._ours.get(f"/api/handoffs/{handoff_id}", headers=WRITES)).json()
        lines = [{"sku": line["sku"], "quantity": line["quantity"]} for line in handed["lines"]]
        total_minor = handed["total_minor"] + 490
        report = {"number": "S-1", "lines": lines, "shipping_minor": 490, "total_minor": total_minor}
        url = f"/api/handoffs/{handoff_id}/order"
        return [await self._ours.post(url, json=report, headers=WRITES) for _ in range(2)]


async def test_a_merchant_who_is_told_and_reports_twice_has_one_order(
    shop: Shop, shows: Shows, database: Database, clock: ManualClock, client: httpx.AsyncClient, tokens: Tokens
) -> None:
    shows.transactions.also = put_news
    exchange = Exchange(clock, LOOPBACK, timeout_s=NEVER_S)
    webhooks = Webhooks(database, clock, "a secret of the tests", exchange, kept_days=14)
    async with Receiver.open() as receiver:
        made = await webhooks.create(Asked(SHOP, None), receiver.url, ["handoff.changed", "order.placed"], "")
        merchant = _Merchant(made.body["secret"], client)
        clock.advance(2)
        await shop.add("demo", ADA, "CUP", 2)
        opened = await client.post("/api/shows/demo/cart/handoff", json={}, headers=_bearer(tokens, ADA))
        assert opened.status_code == 201
        query = parse_qs(urlsplit(opened.json()["handoff"]["url"]).query)
        id_, expires = query["handoff"][0], int(query["expires"][0])
        assert query["signature"] == [signature(id_, expires, SECRET)] and b64decode(SECRET[6:])
        await rounds(webhooks.sender)
        told = merchant.hear((await receiver.has(1))[0])
        assert (told["type"], told["data"]["id"], told["data"]["state"]) == ("handoff.changed", id_, "pending")
        first, second = await merchant.sell(told["data"]["id"])
        assert (first.status_code, second.status_code, first.json()) == (200, 200, second.json())
        assert second.headers["idempotency-replayed"] == "true"
        await shop.office.till.idle()
        clock.advance(2)
        await rounds(webhooks.sender)
        for message in (await receiver.has(3))[1:]:
            merchant.hear(message)
        placed = [one["data"] for one in merchant.told if one["type"] == "order.placed"]
        assert [(one["external_number"], one["total_minor"], one["source"]) for one in placed] == [
            ("S-1", 2490, "external")
        ]
        await webhooks.sender.close()
        await exchange.close()
    count = select(func.count()).select_from(orders)
    assert await database.read_sync(lambda conn: conn.scalar(count)) == 1
    assert await level(database, "CUP") == (10, 2, 0)


@ONE_STORE
async def test_a_signed_webhook_reports_as_well(
    shop: Shop, database: Database, clock: ManualClock, client: httpx.AsyncClient
) -> None:
    id_ = await hand_over(shop)
    data = {"handoff": id_, "number": "S-1", "total_minor": 2000, "anything": "else"}
    url = "/api/handoffs/webhook"
    forged = await client.post(url, **_hook(clock, "order.placed", data, "whsec_" + "A" * 32))
    assert (forged.status_code, forged.json()["name"]) == (401, "signature_invalid")
    first = await client.post(url, **_hook(clock, "order.placed", data, OLD_SECRET))
    assert (first.status_code, first.json()["handled"], first.json()["state"]) == (200, True, "placed")
    clock.advance(60)
    again = await client.post(url, **_hook(clock, "order.placed", data))
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
    other_id = await client.post(url, **_hook(clock, "order.placed", data, id_="m2"))
    assert other_id.json() == first.json()
    strange = await client.post(url, **_hook(clock, "customer.created", {"id": 1}, id_="m3"))
    assert (strange.status_code, strange.json()) == (200, {"handled": False})
    bad = await client.post(url, **_hook(clock, "order.placed", data | {"shipping_minor": "x"}, id_="m4"))
    assert (bad.status_code, bad.json()["field"]) == (422, "shipping_minor")
    no_json = await client.post(url, **_hook(clock, "order.placed", data) | {"content": b"{"})
    assert no_json.status_code == 401, "what is not signed is not read"
    await shop.office.till.idle()
    ended = await client.post(url, **_hook(clock, "order.cancelled", {"handoff": id_}, id_="m5"))
    assert ended.json()["state"] == "cancelled" and await level(database, "CUP") == (10, 0, 0)
    await shop.office.till.idle()


@ONE_STORE
async def test_services_may_what_their_scopes_say_and_carts_follow_both_ways(
    shop: Shop, client: httpx.AsyncClient, tokens: Tokens
) -> None:
    id_ = await hand_over(shop)
    seen = await client.get(f"/api/handoffs/{id_}", headers=READS)
    assert (seen.status_code, seen.json()["lines"][0]["price_minor"], seen.json()["state"]) == (200, 1000, "pending")
    for headers in (READS, _bearer(tokens, ADA)):
        refused = await client.post(f"/api/handoffs/{id_}/order", json={"number": "S"}, headers=headers)
        assert refused.status_code == 403
    cart = "/api/customers/c42/cart?show=demo"
    assert (await client.put(cart, json={"lines": []}, headers=READS)).json()["name"] == "scope_forbidden"
    assert (await client.get(cart)).status_code == 401
    mistyped = await client.post(f"/api/handoffs/{id_}/order", json={"nummer": "S"}, headers=WRITES)
    assert (mistyped.status_code, mistyped.json()["field"]) == (422, "nummer")
    url = "/api/customers/c42/cart?show=demo"
    empty = await client.get(url, headers=READS)
    wishes = {"lines": [{"sku": "CUP", "quantity": 2}, {"sku": "MUG-RED", "quantity": 2}]}
    unsure = await client.put(url, json=wishes, headers=WRITES)
    assert (unsure.status_code, unsure.json()["name"]) == (428, "precondition_required")
    known = {"if-match": empty.headers["etag"], "idempotency-key": "k"}
    made = await client.put(url, json=wishes, headers=WRITES | known)
    assert made.status_code == 200 and made.headers["etag"] == f'"{made.json()["version"]}"'
    assert [one["name"] for one in made.json()["refused"]] == ["sold_out"]
    again = await client.put(url, json=wishes, headers=WRITES | known)
    assert again.headers["idempotency-replayed"] == "true" and again.content == made.content
    stale = await client.put(url, json=wishes, headers=WRITES | {"if-match": empty.headers["etag"]})
    assert (stale.status_code, stale.json()["version"]) == (412, made.json()["version"])
    assert (await client.get(url, headers=READS)).headers["etag"] == made.headers["etag"]


@ONE_STORE
async def test_shoppers_go_and_come_back(shop: Shop, shows: Shows, client: httpx.AsyncClient, tokens: Tokens) -> None:
    registry = Commands()
    api.commands(registry, shop.handing.handoffs)

    async def run(name: str, data: dict[str, Any], key: str) -> dict[str, Any]:
        command = Command(id="1", name=name, data=data, key=key)
        reply = await registry.run(Context("demo", ADA, key, Viewer(id="ada", name="ada", role="viewer")), command)
        assert isinstance(reply, Reply), reply
        return dict(reply.data)

    await shop.add("demo", ADA, "CUP", 2)
    made = await run("cart.handoff", {"total_minor": 2000}, "k1")
    assert await run("cart.handoff", {"total_minor": 2000}, "k1") == made
    mine = "/api/shows/demo/cart/handoff"
    headers = _bearer(tokens, ADA)
    assert (await client.get(mine, headers=headers)).json() == made
    back = await client.delete(mine, headers=headers)
    assert back.json()["cart"]["total_minor"] == 2000
    assert (await client.get(mine, headers=headers)).json() == {"handoff": None}
    await run("cart.handoff", {}, "k2")
    assert (await run("cart.take_back", {}, "k3"))["cart"]["lines"]


@ONE_STORE
async def test_without_an_address_nothing_is_handed_over(
    database: Database, shows: Shows, clock: ManualClock, tokens: Tokens
) -> None:
    shop = Shop(database, shows, clock)
    app = Starlette(routes=routes(api.operations(shop.handing), tokens), exception_handlers={Problem: on_problem})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        mine, headers = "/api/shows/demo/cart/handoff", _bearer(tokens, ADA)
        for answer in (await client.post(mine, json={}, headers=headers), await client.get(mine, headers=headers)):
            assert (answer.status_code, answer.json()["name"]) == (409, "handoff_off")
        assert (await client.post("/api/handoffs/webhook", content=b"{}")).json()["name"] == "handoff_off"
    assert "/api/handoffs/{handoff}/order" in openapi(api.operations(shop.handing), "1")["paths"]
