"""Feeds over HTTP, as a shop's program sees them."""

from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from starlette.applications import Starlette

from cart.feeds import api
from cart.feeds.service import Feeds
from cart.service import Shop
from live.core.auth import Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.rest import on_problem, openapi, routes
from live.service import Shows
from tests.cart.conftest import Screens, level, viewer
from tests.cart.feeds.conftest import HEAD, ON_SQLITE, OPS, SECRET, Answer, Merchant, run

BAG = HEAD + "bag,Bag,BAG,10,EUR,5,\n"
G = "{http://base.google.com/ns/1.0}"


class Caller:
    """A program with a token and, when it says so, an Idempotency-Key."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self.client = client
        self._token = token

    async def __call__(self, method: str, path: str, body: Any = None, key: str = "", **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._token}"} | ({"idempotency-key": key} if key else {})
        return await self.client.request(method, path, json=body, headers=headers, **more)


@pytest.fixture
async def client(feeds: Feeds, clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    operations = api.operations(feeds)
    assert openapi(operations, "1")["paths"]["/api/skus/{sku}"]["patch"]["x-scope"] == "stock:write"
    served = [*routes(operations, Tokens(SECRET, clock)), *api.routes(feeds)]
    app = Starlette(routes=served, exception_handlers={Problem: on_problem})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://shop.example") as client:
        yield client


@pytest.fixture
def call(client: httpx.AsyncClient, clock: ManualClock) -> Caller:
    return Caller(client, Tokens(SECRET, clock).sign(OPS, 10**6))


async def test_a_feed_that_is_sent_is_brought_in_once(call: Caller, feeds: Feeds, shop: Shop) -> None:
    path = "/api/feeds?feed=goods&missing=hidden"
    sent = await call("POST", path, key="k", content=BAG.encode() + b"bad\n")
    assert sent.status_code == 202
    await feeds.idle()
    found = (await call("GET", f"/api/feeds/runs/{sent.json()['run']}")).json()
    assert (found["state"], found["feed"], found["done_bytes"]) == ("done", "goods", len(BAG) + 4)
    assert (found["report"]["created"], found["report"]["refused"]) == (1, 1)
    assert found["report"]["errors"][0]["line"] == 3
    assert len(await shop.products(["bag"])) == 1

    again = await call("POST", path, key="k", content=BAG.encode() + b"bad\n")
    assert (again.json(), again.headers["idempotency-replayed"]) == (sent.json(), "true")
    other = await call("POST", path, key="k", content=BAG.encode())
    assert (other.status_code, other.json()["name"]) == (422, "key_reused")
    listed = (await call("GET", "/api/feeds/runs?feed=goods")).json()
    assert [one["id"] for one in listed["runs"]] == [sent.json()["run"]] and listed["next"] is None


@ON_SQLITE
async def test_a_dry_run_keeps_nothing(call: Caller, feeds: Feeds, shop: Shop) -> None:
    sent = await call("POST", "/api/feeds?dry_run=1", content=BAG.encode())
    await feeds.idle()
    found = (await call("GET", f"/api/feeds/runs/{sent.json()['run']}")).json()
    assert (found["dry_run"], found["report"]["created"]) == (True, 1)
    assert await shop.products(["bag"]) == []


@ON_SQLITE
async def test_what_cannot_be_taken(
    call: Caller, client: httpx.AsyncClient, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(path: str, body: bytes = b"") -> tuple[int, str, str]:
        answer = await call("POST", f"/api/feeds{path}", content=body)
        return answer.status_code, answer.json()["name"], answer.json().get("field", "")

    assert await refused("?format=pdf") == (422, "invalid_field", "format")
    assert await refused("?missing=hidden") == (422, "invalid_field", "feed")
    assert await refused(f"?feed={'x' * 61}") == (422, "invalid_field", "feed")
    monkeypatch.setattr("cart.feeds.service.FEED_UPLOAD_BYTES_MAX", 10)
    assert await refused("", b"x" * 11) == (413, "too_large", "")
    monkeypatch.setattr("cart.feeds.service.FEED_UPLOADS_MAX", 0)
    assert await refused("") == (503, "overloaded", "")
    assert (await call("GET", "/api/feeds/runs/none")).json()["name"] == "unknown_feed_run"
    assert (await call("GET", "/api/feeds/runs?before=a/b")).json()["name"] == "unknown_feed_run"
    unheard = await call("POST", "/api/feeds/sources", {"name": "a/b", "url": "file:a.csv"})
    assert (unheard.status_code, unheard.json().get("field")) == (422, "name"), "no address could name it"
    host = Principal(subject="h", role=Role.host, show="*", name="Host")
    theirs = Caller(client, Tokens(SECRET, clock).sign(host, 10**6))
    assert (await theirs("POST", "/api/feeds")).json()["name"] == "role_forbidden"


@ON_SQLITE
async def test_a_source_from_first_to_last(call: Caller, feeds: Feeds, merchant: Merchant) -> None:
    merchant.answers["/a"] = [Answer(body=BAG.encode())]
    asked = {"name": "goods", "url": merchant.url + "/a", "authorization": "Bearer word"}
    made = await call("POST", "/api/feeds/sources", asked, key="k")
    assert made.status_code == 201 and "word" not in made.text
    assert made.json()["source"]["authorized"] is True
    one = "/api/feeds/sources/goods"
    assert (await call("PATCH", one, {"state": "paused", "interval_s": 60})).json()["source"]["state"] == "paused"
    assert (await call("POST", f"{one}/run")).status_code == 202
    assert await feeds.runner.turn()
    listed = (await call("GET", "/api/feeds/sources")).json()["sources"]
    assert [(each["name"], each["interval_s"], each["problem"]) for each in listed] == [("goods", 60, "")]
    assert (await call("GET", one)).json()["source"] == listed[0]
    assert (await call("DELETE", one)).status_code == 204
    assert (await call("GET", one)).json()["name"] == "unknown_feed"
    assert (await call("POST", "/api/feeds/sources", asked | {"interval_s": 1})).json()["field"] == "interval_s"
    assert (await call("POST", "/api/feeds/sources", asked | {"url": "https://10.0.0.1/"})).json()["code"] == 5081


# --- one SKU --------------------------------------------------------------------------------------------------


async def test_a_pushed_price_and_stock_are_on_screen_at_once(
    call: Caller, screens: Screens, database: Database, shop: Shop
) -> None:
    body = {"price_minor": 1200, "list_price_minor": 1800, "stock": 9}
    answer = await call("PATCH", "/api/skus/MUG-BLUE", body, key="k")
    assert answer.json() == {
        "sku": "MUG-BLUE", "price_minor": 1200, "list_price_minor": 1800, "on_hand": 9, "allocated": 0, "held": 0,
        "available": 9, "short": False,
    }  # fmt: skip
    [changed] = screens.of("product.changed")
    assert changed["product"]["variants"][0]["price_minor"] == 1200
    assert screens.stock("MUG-BLUE")[-1] == 9
    again = await call("PATCH", "/api/skus/MUG-BLUE", body, key="k")
    assert again.headers["idempotency-replayed"] == "true" and len(screens.of("product.changed")) == 1
    assert (await call("PATCH", "/api/skus/MUG-BLUE", {"stock": 1}, key="k")).json()["name"] == "key_reused"

    await shop.add("demo", viewer(), "MUG-BLUE", 4)
    short = (await call("PATCH", "/api/skus/MUG-BLUE", {"stock": 1})).json()
    assert (short["on_hand"], short["available"], short["short"]) == (4, 0, True)
    left = (await call("PATCH", "/api/skus/MUG-BLUE", {"stock": 2, "stock_means": "available"})).json()
    assert (left["on_hand"], left["held"], left["available"], left["short"]) == (6, 4, 2, False)
    assert await level(database, "MUG-BLUE") == (6, 0, 4)
    assert (await call("PATCH", "/api/skus/MUG-BLUE", {"price_minor": 2500})).json()["list_price_minor"] is None


@ON_SQLITE
async def test_what_cannot_be_pushed(call: Caller) -> None:
    async def refused(sku: str, body: dict[str, Any]) -> tuple[int, str]:
        answer = await call("PATCH", f"/api/skus/{sku}", body)
        return answer.status_code, answer.json().get("field", "")

    assert await refused("NONE", {"stock": 1}) == (404, "sku")
    assert await refused("a%00b", {"stock": 1}) == (404, "sku")
    assert await refused("CUP", {"stock": -1}) == (422, "stock")
    assert await refused("CUP", {"stock": 10**10}) == (422, "stock")
    assert await refused("CUP", {"price_minor": -1}) == (422, "price_minor")
    assert await refused("CUP", {"price_minor": 10**11}) == (422, "price_minor")
    assert await refused("CUP", {"list_price_minor": 1000}) == (422, "list_price_minor")
    assert await refused("CUP", {"colour": "red"}) == (422, "colour")


# --- the catalogue as a feed ----------------------------------------------------------------------------------


async def test_the_export_has_the_shop_s_prices_and_can_be_read_again(
    client: httpx.AsyncClient, shop: Shop, shows: Shows
) -> None:
    text = "id,title,price,sale_price,quantity,gtin,brand,condition,custom_label_0,unit_pricing_measure,image_link\n"
    await run(shows, text + "oil,Oil & more,9.90 EUR,7.90 EUR,3,4006381333931,Kiln,used,a<b,750 ml,/static/oil.svg\n")
    answer = await client.get("/feeds/google.xml")
    assert answer.headers["content-type"] == "application/rss+xml"
    items = {item.findtext(f"{G}id"): item for item in ElementTree.fromstring(answer.text).iter("item")}
    assert list(items) == ["CUP", "MUG-BLUE", "MUG-RED", "oil", "YEN"]
    for product in await shop.window.page():
        for variant in product.variants:
            item = items[variant.sku]
            now = item.findtext(f"{G}sale_price") or item.findtext(f"{G}price") or ""
            minor = int(now.split(" ")[0].replace(".", ""))
            assert (minor, now.split(" ")[1]) == (variant.price_minor, product.currency)
    oil = {child.tag.removeprefix(G): child.text for child in items["oil"]}
    assert oil["title"] == "Oil & more" and oil["custom_label_0"] == "a<b"
    assert (oil["price"], oil["sale_price"], oil["quantity"]) == ("9.90 EUR", "7.90 EUR", "3")
    assert oil["image_link"] == "https://shop.example/static/oil.svg"
    assert items["YEN"].findtext(f"{G}price") == "500 JPY"
    assert (items["MUG-RED"].findtext(f"{G}title"), items["MUG-RED"].findtext(f"{G}item_group_id")) == (
        "Mug – Red",
        "mug",
    )
    again = await run(shows, answer.content, "xml", dry_run=True)
    assert (again.refused, again.created) == (0, 0)


@ON_SQLITE
async def test_the_export_is_bounded(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await client.get("/feeds/google.xml?channel=a b")).status_code == 422
    monkeypatch.setattr("cart.feeds.exporting.FEED_EXPORTS_MAX", 0)
    assert (await client.get("/feeds/google.xml")).json()["name"] == "overloaded"


@ON_SQLITE
async def test_a_character_that_xml_cannot_have_breaks_no_feed(client: httpx.AsyncClient, shows: Shows) -> None:
    report = await run(shows, HEAD + "bag,B\uffffa\ufffeg,BAG,10,EUR,5,\n")
    assert report.created == 1
    answer = await client.get("/feeds/google.xml")
    titles = [item.findtext(f"{G}title") for item in ElementTree.fromstring(answer.content).iter("item")]
    assert "Bag" in titles


@ON_SQLITE
@pytest.mark.parametrize(
    "said", [{}, {"x-forwarded-proto": "https"}, {"forwarded": "for=10.0.0.1;Proto=https;host=shop.example"}]
)
async def test_links_lead_to_where_the_proxy_was_asked(client: httpx.AsyncClient, said: dict[str, str]) -> None:
    """It ends TLS, and asks us by plain HTTP."""
    answer = await client.get("http://shop.example/feeds/google.xml", headers=said)
    [link, *_] = [item.findtext(f"{G}link") or "" for item in ElementTree.fromstring(answer.content).iter("item")]
    assert link.startswith("https://shop.example/#" if said else "http://shop.example/#")
