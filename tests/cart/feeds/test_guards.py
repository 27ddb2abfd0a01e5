"""What feeds must not let anybody do: learn our words, keep a place for ever, grow without end, take goods away."""

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from io import BytesIO
from sqlite3 import ProgrammingError
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette

from cart.feeds import api, exporting
from cart.feeds.formats import read
from cart.feeds.importer import Options
from cart.feeds.seen import Seen
from cart.feeds.service import Feeds, NewSource
from cart.service import Shop
from live.core.auth import ALL_SHOWS, Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.errors import Kind, Problem
from live.core.limits import FEED_EXPORTS_MAX, FEED_LEASE_S, FEED_UPLOADS_MAX, IMPORT_LINE_BYTES_MAX
from live.core.rest import on_problem, routes
from live.service import Shows
from tests.cart.conftest import refused
from tests.cart.feeds.conftest import HEAD, ON_SQLITE, OPS, SECRET, Answer, Merchant, run, source
from tests.cart.feeds.test_sources import BAG, DEARER, last, of

EMPTY_ITEM = b"<rss><channel><item>%s</item></channel></rss>"


class _Warden:
    """Knows one key, which may say how many units there are."""

    async def service(self, _key: str, _address: str) -> Principal:
        return Principal("service:1", Role.viewer, ALL_SHOWS, "Till", scopes=frozenset({"stock:write"}))

    async def take(self, _principal: Principal | None, _address: str) -> None:
        pass


@ON_SQLITE
async def test_who_counts_stock_makes_no_prices(feeds: Feeds, shop: Shop, clock: ManualClock) -> None:
    served = routes(api.operations(feeds), Tokens(SECRET, clock), warden=_Warden())
    app = Starlette(routes=served, exception_handlers={Problem: on_problem})
    key = {"authorization": "Bearer sck_till"}

    async def push(body: dict[str, Any]) -> tuple[int, str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
            answer = await client.patch("/api/skus/CUP", json=body, headers=key)
        return answer.status_code, answer.json().get("name", "")

    assert await push({"stock": 7}) == (200, "")
    for body in ({"price_minor": 1}, {"list_price_minor": 9900, "stock": 1}, {"list_price_minor": None}):
        assert await push(body) == (403, "scope_forbidden")
    [cup] = await shop.products(["cup"])
    assert (cup["variants"][0]["price_minor"], cup["variants"][0]["available"]) == (1000, 7)


@ON_SQLITE
async def test_what_authorises_us_does_not_follow_to_another_host(feeds: Feeds, merchant: Merchant) -> None:
    merchant.answers["/a"] = merchant.answers["/b"] = [Answer(body=BAG)]
    await source(feeds, merchant.url + "/a", authorization="Bearer word")
    same = await feeds.change(OPS, None, "goods", url=merchant.url + "/b")
    assert same.body["source"]["authorized"], "another page of the same server"
    async with Merchant.open() as other:
        other.answers["/a"] = [Answer(body=BAG)]
        moved = await feeds.change(OPS, None, "goods", url=other.url + "/a")
        assert await feeds.runner.turn()
        assert "authorization" not in other.asked[0] and not moved.body["source"]["authorized"]
        await feeds.change(OPS, None, "goods", url=merchant.url + "/a", authorization="Bearer new")
        assert await feeds.runner.turn()
    assert merchant.asked[-1]["authorization"] == "Bearer new"


@ON_SQLITE
@pytest.mark.parametrize("change", [{"url": "/b"}, {"missing": "hidden"}])
async def test_a_source_that_is_changed_while_it_is_read_is_read_anew(
    feeds: Feeds, merchant: Merchant, shop: Shop, change: dict[str, str]
) -> None:
    gate = asyncio.Event()
    merchant.answers["/a"] = [Answer(body=BAG, headers=("etag: 1",), after=gate), Answer(body=DEARER)]
    merchant.answers["/b"] = [Answer(body=DEARER)]
    await source(feeds, merchant.url + "/a")
    reading = asyncio.create_task(feeds.runner.turn())
    await merchant.came.wait()
    await feeds.change(OPS, None, "goods", **({"url": merchant.url + "/b"} if "url" in change else change))
    gate.set()
    await reading
    assert (await of(feeds)).etag == ""
    assert await feeds.runner.turn(), "it is still its turn"
    assert "if-none-match" not in merchant.asked[-1]
    [bag] = await shop.products(["bag"])
    assert bag["variants"][0]["price_minor"] == 1200


@ON_SQLITE
async def test_a_url_that_is_none_is_refused_wherever_it_comes_from(feeds: Feeds, merchant: Merchant) -> None:
    problem = await refused(feeds.create(OPS, None, NewSource("goods", "https://[::1")))
    assert (problem.kind, problem.field) == (Kind.invalid_field, "url")
    merchant.answers["/a"] = [Answer(302, headers=("location: https://[::1",))]
    await source(feeds, merchant.url + "/a")
    assert await feeds.runner.turn()
    assert (await last(feeds))[0] == "failed" and "Invalid" in (await last(feeds))[1]


@ON_SQLITE
async def test_a_tag_that_cannot_be_sent_back_is_not_kept(feeds: Feeds, merchant: Merchant, clock: ManualClock) -> None:
    merchant.answers["/a"] = [Answer(body=BAG, headers=('etag: "ä"', "last-modified: Ö"))]
    await source(feeds, merchant.url + "/a", interval_s=60)
    for _ in range(2):
        assert await feeds.runner.turn()
        assert await last(feeds) == ("done", "")
        clock.advance(60)


@ON_SQLITE
async def test_a_sale_that_began_is_not_asked_for_without_end(
    feeds: Feeds, merchant: Merchant, clock: ManualClock
) -> None:
    times = "2027-06-01T00:00Z/2027-06-02T00:00Z"
    body = f"id,title,price,sale_price,sale_price_effective_date\nbag,Bag,20 EUR,15 EUR,{times}\n".encode()
    merchant.answers["/a"] = [Answer(body=body, headers=("etag: x",)), Answer(304)]  # whatever it was asked
    await source(feeds, merchant.url + "/a", interval_s=600)
    assert await feeds.runner.turn()
    turns_ms = (await of(feeds)).turns_at_ms
    assert turns_ms is not None
    clock.advance((turns_ms - clock.now_ms()) / 1000)
    assert await feeds.runner.turn() and not await feeds.runner.turn()


@ON_SQLITE
async def test_a_full_disk_costs_no_place_for_ever(feeds: Feeds, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield BAG

    def full() -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "TemporaryFile", full)
        for _ in range(FEED_UPLOADS_MAX):
            with pytest.raises(OSError, match="No space"):
                await feeds.upload(OPS, None, body(), None, Options())
    assert "run" in (await feeds.upload(OPS, None, body(), None, Options())).body
    await feeds.idle()


def test_an_item_of_empty_elements_is_bounded() -> None:
    wide = b"".join(b"<a%d/>" % number for number in range(IMPORT_LINE_BYTES_MAX // 4))
    [error] = read(BytesIO(EMPTY_ITEM % wide), "xml", 0)
    assert "longer than" in getattr(error, "detail", "")


@ON_SQLITE
async def test_what_stands_beside_a_repeated_sku_is_not_missing(shows: Shows) -> None:
    def entry(id_: str, *skus: str) -> dict[str, Any]:
        return {"id": id_, "title": id_, "currency": "EUR", "variants": [{"sku": s, "price_minor": 1} for s in skus]}

    whole = [entry("a", "A1"), entry("b", "B1", "B2"), entry("c", "C1"), entry("d", "D1")]
    await run(shows, orjson.dumps(whole), "json", feed="f")
    twice = [entry("a", "A1", "B1"), *whole[1:]]
    report = await run(shows, orjson.dumps(twice), "json", feed="f", missing="zero")
    assert (report.refused, report.missing, report.note) == (2, 0, ""), "B2 stands in the line that is refused"


@ON_SQLITE
async def test_a_line_that_is_refused_is_none_of_the_feeds_goods(shows: Shows) -> None:
    await run(shows, HEAD + "bag,Bag,BAG,10,EUR,5,\n", feed="ours")
    wrong = HEAD + "x,X,X1,1,EUR,1,\ny,Y,Y1,1,EUR,1,\nother,Other,BAG,10,EUR,5,\n"
    assert (await run(shows, wrong, feed="theirs")).refused == 1
    report = await run(shows, HEAD + "x,X,X1,1,EUR,1,\ny,Y,Y1,1,EUR,1,\n", feed="theirs", missing="zero")
    assert (report.missing, report.zeroed) == (0, 0)


@ON_SQLITE
async def test_a_large_page_of_the_catalogue_is_written_beside_the_loop(
    feeds: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    item = exporting._item

    def noted(*members: Any) -> str:
        threads.append(threading.current_thread())
        return item(*members)

    monkeypatch.setattr(exporting, "_item", noted)
    written = b"".join([page async for page in feeds.export.xml("https://shop.example", "Shop", None)])
    assert written.count(b"<item>") == len(threads) == 4
    assert threading.current_thread() not in threads


@ON_SQLITE
async def test_who_does_not_read_keeps_no_place(feeds: Feeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cart.feeds.api.FEED_SILENT_S", 0.01)
    app = Starlette(routes=api.routes(feeds))
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "method": "GET", "path": "/feeds/google.xml",
        "query_string": b"", "headers": [(b"host", b"shop.example")], "scheme": "https",
        "server": ("shop.example", 443),
    }  # fmt: skip
    for _ in range(FEED_EXPORTS_MAX + 1):
        await app(scope, receive, send)
    assert sent == ["http.response.start", "http.response.body"] * (FEED_EXPORTS_MAX + 1)


def test_what_a_run_has_met_is_not_closed_while_a_thread_asks_for_it() -> None:
    """A worker that ended while it read a feed was ended by SQLite: a connection that is closed in use takes the
    process with it."""
    seen, asked, go = Seen(), threading.Event(), threading.Event()

    def skus() -> Iterator[str]:
        yield "A"
        asked.set()
        assert go.wait(10)
        yield "B"

    with futures.ThreadPoolExecutor(2) as threads:
        asking = threads.submit(seen.lacks, skus())
        assert asked.wait(10)
        closing = threads.submit(seen.close)
        futures.wait([closing], timeout=0.05)
        go.set()
        assert asking.result() == ["A", "B"]
        closing.result()
    with pytest.raises(ProgrammingError):
        seen.lacks(["C"])


async def test_what_was_asked_of_a_paused_source_outlives_its_worker(
    feeds: Feeds, merchant: Merchant, clock: ManualClock
) -> None:
    gate = asyncio.Event()
    merchant.answers["/a"] = [Answer(body=BAG), Answer(body=BAG, after=gate), Answer(body=DEARER)]
    await source(feeds, merchant.url + "/a")
    assert await feeds.runner.turn()
    await feeds.change(OPS, None, "goods", state="paused")
    await feeds.ask(OPS, None, "goods")
    merchant.came.clear()
    dead = asyncio.create_task(feeds.runner.turn())
    await merchant.came.wait()
    assert not await feeds.runner.turn(), "it is being read"
    clock.advance(FEED_LEASE_S)
    assert await feeds.runner.turn()
    assert await last(feeds) == ("done", "") and not (await of(feeds)).asked
    dead.cancel()
    await asyncio.wait([dead])
    assert not await feeds.runner.turn(), "paused, and done what was asked for"
    assert len(merchant.asked) == 3
