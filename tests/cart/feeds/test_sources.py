"""Sources that are fetched by themselves: what comes, what does not, and by whom."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from cart.feeds.importer import Options
from cart.feeds.records import Run, Source
from cart.feeds.runner import backoff_s
from cart.feeds.service import Feeds, NewSource
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import FEED_BACKOFF_S_MAX, FEED_LEASE_S, FEED_RUNS_KEPT
from live.service import Shows
from tests.cart.conftest import Screens, level, refused
from tests.cart.feeds.conftest import HEAD, ON_SQLITE, OPS, Answer, Merchant, source

BAG = (HEAD + "bag,Bag,BAG,10,EUR,5,\n").encode()
DEARER = (HEAD + "bag,Bag,BAG,12,EUR,5,\n").encode()
SILENT_S = 0.3  # until we give up a server that never answers; on a busy machine one that does may take longer


async def last(feeds: Feeds) -> tuple[str, str]:
    """State and problem of the newest run."""
    found = (await feeds.runs("goods", None))[0]
    return found.state, found.problem


async def of(feeds: Feeds) -> Source:
    return await feeds.source("goods")


async def test_a_feed_is_fetched_and_again_when_it_is_time(
    feeds: Feeds, merchant: Merchant, shop: Shop, clock: ManualClock
) -> None:
    merchant.answers["/a.csv"] = [
        Answer(body=gzip.compress(BAG), headers=("etag: \"1\"", "last-modified: Sun, 01 Nov 2026 00:00:00 GMT")),
        Answer(304),
        Answer(body=DEARER),
    ]  # fmt: skip
    await source(feeds, merchant.url + "/a.csv", authorization="Bearer word", interval_s=600)
    assert await feeds.runner.turn() and not await feeds.runner.turn()
    assert merchant.asked[0]["authorization"] == "Bearer word" and "if-none-match" not in merchant.asked[0]
    [bag] = await shop.products(["bag"])
    assert bag["variants"][0]["price_minor"] == 1000
    assert (await of(feeds)).due_at_ms == clock.now_ms() + 600_000

    clock.advance(600)
    assert await feeds.runner.turn()
    assert (merchant.asked[1]["if-none-match"], merchant.asked[1]["if-modified-since"][:3]) == ('"1"', "Sun")
    assert await last(feeds) == ("unchanged", "")

    await feeds.change(OPS, None, "goods", state="paused")
    clock.advance(600)
    assert not await feeds.runner.turn()
    await feeds.ask(OPS, None, "goods")
    assert await feeds.runner.turn()
    runs = await feeds.runs("goods", None)
    assert [(run.state, run.report and run.report.changed) for run in runs] == [
        ("done", 1),
        ("unchanged", None),
        ("done", 0),
    ]
    assert (await feeds.one_run(runs[0].id)).ended_at_ms == clock.now_ms()


@ON_SQLITE
async def test_a_sale_that_begins_is_read_although_nothing_is_new(
    feeds: Feeds, merchant: Merchant, shop: Shop, clock: ManualClock
) -> None:
    begins = clock.now_ms() + 60_000
    times = "/".join(_iso(at_ms) for at_ms in (begins, begins + 3_600_000))
    body = f"id,title,price,sale_price,sale_price_effective_date\nbag,Bag,20 EUR,15 EUR,{times}\n".encode()
    merchant.answers["/a"] = [Answer(body=body, headers=("etag: x",))]
    await source(feeds, merchant.url + "/a")
    assert await feeds.runner.turn()
    assert (await of(feeds)).due_at_ms == begins
    clock.advance(60)
    assert await feeds.runner.turn()
    assert "if-none-match" not in merchant.asked[1]
    [bag] = await shop.products(["bag"])
    assert (bag["variants"][0]["price_minor"], bag["variants"][0]["list_price_minor"]) == (1500, 2000)


def _iso(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


FAILURES = [
    (Answer(500), "It answered 500."),
    (Answer(404, b"gone"), "It answered 404."),
    (Answer(hangs=True), f"Nothing came for {SILENT_S:g} s."),
    (Answer(302, headers=("location: http://10.0.0.1/a",)), "of a private network"),
    (Answer(302, headers=("location: http://169.254.169.254/latest",)), "of a link"),
    (Answer(302, headers=("location: file:///etc/passwd",)), "begins with https://"),
    (Answer(302), "redirects"),
    (Answer(body=b"<html>Sorry</html>"), "No line could be used."),
    (Answer(headers=("content-length: 9999999999",)), "bytes"),
    (Answer(headers=("content-length: 100",), body=b"id"), "RemoteProtocolError"),
]


@ON_SQLITE
async def test_what_fails_is_tried_again_later(feeds: Feeds, merchant: Merchant, clock: ManualClock) -> None:
    await source(feeds, merchant.url + "/0")
    patient_s = feeds._fetcher._silent_s
    for number, (answer, word) in enumerate(FAILURES):
        feeds._fetcher._silent_s = SILENT_S if answer.hangs else patient_s
        merchant.answers[f"/{number}"] = [answer]
        await feeds.change(OPS, None, "goods", url=f"{merchant.url}/{number}")
        assert await feeds.runner.turn()
        state, problem = await last(feeds)
        assert state == "failed" and word in problem
        found = await of(feeds)
        assert (found.failures, found.problem, found.due_at_ms) == (1, problem, clock.now_ms() + 60_000)
        assert not await feeds.runner.turn()


@ON_SQLITE
async def test_a_redirect_is_followed_without_what_authorises_us(feeds: Feeds, merchant: Merchant) -> None:
    async with Merchant.open() as other:
        merchant.answers["/a"] = [Answer(302, headers=("location: /b",))]
        merchant.answers["/b"] = [Answer(302, headers=(f"location: {other.url}/c",))]
        other.answers["/c"] = [Answer(body=BAG)]
        await source(feeds, merchant.url + "/a", authorization="Basic secret")
        assert await feeds.runner.turn()
        assert await last(feeds) == ("done", "")
        assert [one.get("authorization") for one in merchant.asked] == ["Basic secret"] * 2
        assert "authorization" not in other.asked[0]


@ON_SQLITE
async def test_what_a_first_client_loads_is_loaded_beside_the_loop(
    feeds: Feeds, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    client = httpx.AsyncClient

    def noted(**members: Any) -> httpx.AsyncClient:
        threads.append(threading.get_ident())
        return client(**members)

    monkeypatch.setattr(httpx, "AsyncClient", noted)
    merchant.answers["/a"] = [Answer(body=BAG)]
    await source(feeds, merchant.url + "/a")
    assert await feeds.runner.turn() and await last(feeds) == ("done", "")
    assert threads[0] != threading.get_ident() == threads[-1]


def test_failures_wait_longer_and_longer() -> None:
    assert [backoff_s(failures, 3600) for failures in (1, 2, 5, 30)] == [60, 120, 960, FEED_BACKOFF_S_MAX]
    assert backoff_s(40, 7 * 86400) == 7 * 86400


async def test_two_workers_fetch_once(feeds: Feeds, merchant: Merchant, database: Database, clock: ManualClock) -> None:
    gate = asyncio.Event()
    merchant.answers["/a"] = [Answer(body=BAG, after=gate)]
    await source(feeds, merchant.url + "/a")
    first = asyncio.create_task(feeds.runner.turn())
    await merchant.came.wait()
    assert not await feeds.runner.turn()
    await feeds.ask(OPS, None, "goods")
    assert not await feeds.runner.turn(), "it is read already"
    gate.set()
    assert await first
    assert len(merchant.asked) == 1


async def test_another_worker_begins_anew_when_one_dies(feeds: Feeds, merchant: Merchant, clock: ManualClock) -> None:
    gate = asyncio.Event()
    merchant.answers["/a"] = [Answer(body=BAG, after=gate), Answer(body=BAG)]
    await source(feeds, merchant.url + "/a")
    dead = asyncio.create_task(feeds.runner.turn())
    await merchant.came.wait()
    clock.advance(FEED_LEASE_S)
    assert await last(feeds) == ("failed", "The worker that read it has ended.")
    assert await feeds.runner.turn()
    assert await last(feeds) == ("done", "")
    dead.cancel()
    await asyncio.wait([dead])
    assert not (await of(feeds)).asked, "the lease was not its own any more"


@ON_SQLITE
async def test_a_worker_that_ends_leaves_its_feed_to_others(feeds: Feeds, merchant: Merchant) -> None:
    merchant.answers["/a"] = [Answer(body=BAG, hangs=True), Answer(body=BAG)]
    await source(feeds, merchant.url + "/a")
    ending = asyncio.create_task(feeds.runner.turn())
    await merchant.came.wait()
    ending.cancel()
    await asyncio.wait([ending])
    assert await last(feeds) == ("failed", "The worker that read it has ended.")
    assert await feeds.runner.turn()
    assert await last(feeds) == ("done", "")


@ON_SQLITE
async def test_a_source_that_is_deleted_is_read_no_further(
    feeds: Feeds, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cart.feeds.runner.FEED_BEAT_S", 0.0)
    gate = asyncio.Event()
    merchant.answers["/a"] = [Answer(body=BAG, after=gate)]
    await source(feeds, merchant.url + "/a")
    reading = asyncio.create_task(feeds.runner.turn())
    await merchant.came.wait()
    await feeds.delete(OPS, None, "goods")
    gate.set()
    await reading
    assert (await last(feeds))[0] == "failed"
    await source(feeds, merchant.url + "/a")  # its name is free


@ON_SQLITE
async def test_a_file_of_the_data_folder(feeds: Feeds, tmp_path: Path, clock: ManualClock) -> None:
    folder = tmp_path / "feeds"
    folder.mkdir()
    (folder / "a.csv").write_bytes(BAG)
    (folder / "link.csv").symlink_to("/etc/passwd")
    await source(feeds, "file:a.csv", interval_s=60)
    for state in ("done", "unchanged"):
        assert await feeds.runner.turn()
        assert await last(feeds) == (state, "")
        clock.advance(60)
    for name, word in (("link.csv", "OSError"), ("none.csv", "FileNotFoundError"), ("", "name of a file")):
        if name:
            await feeds.change(OPS, None, "goods", url=f"file:{name}")
            assert await feeds.runner.turn()
            assert word in (await last(feeds))[1]


NEVER = [
    ("file:", Kind.feed_forbidden),
    ("file:../showcart.db", Kind.feed_forbidden),
    ("file:/etc/passwd", Kind.feed_forbidden),
    ("file:.hidden", Kind.feed_forbidden),
    ("ftp://shop.example/a", Kind.invalid_field),
    ("https://ada:word@shop.example/a", Kind.invalid_field),
    ("https://10.0.0.1/a", Kind.feed_forbidden),
    ("http://127.0.0.2.nip.invalid/a", Kind.feed_forbidden),
    ("https://[::1]/a", Kind.feed_forbidden),
]


@ON_SQLITE
async def test_what_is_never_read(feeds: Feeds) -> None:
    for url, kind in NEVER:
        problem = await refused(feeds.create(OPS, None, NewSource("goods", url)))
        assert (problem.kind, problem.field) == (kind, "url"), url


async def test_sources_are_checked(feeds: Feeds, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(**members: Any) -> tuple[Kind, str]:
        problem = await refused(feeds.create(OPS, None, NewSource(**{"name": "n", "url": "file:a"} | members)))
        return problem.kind, problem.field

    assert await wrong(interval_s=1) == (Kind.invalid_field, "interval_s")
    assert await wrong(authorization="a\nb") == (Kind.invalid_field, "authorization")
    assert await wrong(name=" ") == (Kind.invalid_field, "name")
    await source(feeds, "file:a")
    assert await wrong(name="goods") == (Kind.feed_exists, "name")
    monkeypatch.setattr("cart.feeds.service.FEED_SOURCES_MAX", 1)
    assert await wrong() == (Kind.too_many_feeds, "")
    assert (await refused(feeds.source("x\0"))).kind is Kind.unknown_feed


@ON_SQLITE
async def test_what_authorises_us_is_sealed_and_can_be_taken_back(
    feeds: Feeds, merchant: Merchant, database: Database, shows: Shows, shop: Shop
) -> None:
    merchant.answers["/a"] = [Answer(body=BAG)]
    await source(feeds, merchant.url + "/a", authorization="Bearer word")
    kept = (await of(feeds)).authorization
    assert kept is not None and b"word" not in kept
    other = Feeds(database, shows, shop.offering, "another secret", feeds._fetcher)
    assert await other.runner.turn()
    assert "SHOWCART_SECRET" in (await last(feeds))[1] and not merchant.asked
    await feeds.change(OPS, None, "goods", authorization="")
    assert await feeds.runner.turn()
    assert "authorization" not in merchant.asked[0]


@ON_SQLITE
async def test_changes_are_done_once_for_a_key(feeds: Feeds) -> None:
    new = NewSource("goods", "file:a")
    first, again = [await feeds.create(OPS, "k", new) for _ in range(2)]
    assert (first.body, first.replayed, again.replayed) == (again.body, False, True)
    assert (await refused(feeds.create(OPS, "k", NewSource("other", "file:a")))).kind is Kind.key_reused


@ON_SQLITE
async def test_so_many_runs_are_kept(feeds: Feeds) -> None:
    for _ in range(FEED_RUNS_KEPT // 50 + 1):
        first = await feeds.runner.begin("other", dry_run=True)
    assert isinstance(await feeds.one_run(first), Run)
    assert (await refused(feeds.one_run("nothing"))).kind is Kind.unknown_feed_run
    assert (await refused(feeds.one_run("no/id"))).kind is Kind.unknown_feed_run


@ON_SQLITE
async def test_a_running_show_sees_what_a_feed_brings(
    feeds: Feeds, merchant: Merchant, screens: Screens, database: Database
) -> None:
    body = (HEAD + "mug,Mug,MUG-BLUE,12.50,EUR,9,Blue\n").encode()
    merchant.answers["/a"] = [Answer(body=body)]
    await source(feeds, merchant.url + "/a")
    assert await feeds.runner.turn()
    [changed] = screens.of("product.changed")
    assert changed["product"]["variants"][0]["price_minor"] == 1250
    assert screens.stock("MUG-BLUE") == [9]
    assert await level(database, "MUG-BLUE") == (9, 0, 0)


@ON_SQLITE
async def test_our_own_faults_are_named_and_not_tried_again_at_once(
    feeds: Feeds, merchant: Merchant, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    merchant.answers["/a"] = [Answer(body=BAG)]
    await source(feeds, merchant.url + "/a")
    monkeypatch.setattr("cart.feeds.importer.Stored.says_nothing_new", lambda *_: 1 / 0)
    with capture_logs() as logged:
        assert await feeds.runner.turn() and not await feeds.runner.turn()
    assert "feed_run_failed" in [line["event"] for line in logged]
    assert await last(feeds) == ("failed", "Our fault; it has been logged.")
    assert (await of(feeds)).due_at_ms == clock.now_ms() + 60_000
    with capture_logs():
        sent = await feeds.upload(OPS, None, _pieces(BAG), None, Options(feed="goods"))
        await feeds.idle()
    assert (await feeds.one_run(sent.body["run"])).problem == "Our fault; it has been logged."


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body
