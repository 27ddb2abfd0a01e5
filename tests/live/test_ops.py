"""`/metrics` as a scraper and the ops page read it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from live.core.metrics import CONTENT_TYPE, Metrics
from live.core.siblings import FOLDER
from live.core.tasks import running
from live.ops import Ops, answer


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """Of the second of three workers, of whom the third is away."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    async with AsyncExitStack() as stack:
        for worker in (0, 1):
            metrics = Metrics(worker, tmp_path)
            metrics.recent.take(100.0 + worker, [("a", 1.0)])
            ops = await stack.enter_async_context(Ops.open(metrics, 3))
        transport = httpx.ASGITransport(Starlette(routes=[ops.route]))
        yield await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://ops"))


async def test_a_scrape_tells_of_all_workers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"] == CONTENT_TYPE
    families = list(text_string_to_metric_families(answer.text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    up = {s.labels["worker"]: s.value for f in families if f.name == "showcart_worker_up" for s in f.samples}
    assert up == {"0": 1, "1": 1, "2": 0}
    told = [(s.name, s.labels["worker"]) for f in families for s in f.samples if f.name == "showcart_loop_lag_seconds"]
    assert {worker for _, worker in told} == {"0", "1"}
    assert all(f.documentation and (f.type != "unknown" or f.name == "showcart_worker") for f in families)


async def test_one_worker_can_be_asked_alone(client: httpx.AsyncClient) -> None:
    text = (await client.get("/metrics?worker=self")).text
    assert 'showcart_worker_info{worker="1"} 1.0' in text
    assert 'worker="0"' not in text


async def test_the_one_that_came_after_another_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    for ended in (0, 1):
        metrics = Metrics(1, tmp_path)
        async with Ops.open(metrics, 2):
            told = metrics.exposition().decode()
            assert f'showcart_worker_replaced_total{{worker="1",how="restart"}} {ended}' in told
    alone = Metrics(0, tmp_path)
    async with Ops.open(alone, 1):
        assert b"worker_replaced" not in alone.exposition()


async def test_the_page_gets_what_the_workers_remember(client: httpx.AsyncClient) -> None:
    told = (await client.get("/metrics?recent=100")).json()
    assert (told["interval_s"], told["answered_by"]) == (2.0, 1)
    assert [(worker["worker"], worker["up"]) for worker in told["workers"]] == [(0, True), (1, True), (2, False)]
    assert [worker["rows"][:1] for worker in told["workers"]] == [[], [[101.0, 1.0]], []]
    bad = await client.get("/metrics?recent=yesterday")
    assert (bad.status_code, bad.json()["field"]) == (422, "recent")


async def test_rows_are_what_the_registry_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.core.metrics.RECENT_INTERVAL_S", 0.05)
    metrics = Metrics()
    async with running(metrics.remember()), asyncio.timeout(10):
        while not (told := json.loads(answer(metrics, "recent 0")))["rows"]:
            await asyncio.sleep(0.01)
    assert "process_resident_memory_bytes" in told["series"]
    assert 'showcart_loop_lag_seconds_bucket{le="+Inf"}' in told["series"]
    assert "process_max_fds" not in told["series"], "the page does not show it"
    assert answer(metrics, "something else") == b""
