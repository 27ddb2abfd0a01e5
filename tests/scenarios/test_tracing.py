"""One trace from a viewer's message to the last screen, over two workers and a real Valkey."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from starlette.applications import Starlette
from starlette.requests import Request

import chat.api
from chat.counting import Reactions
from chat.service import Chat
from live.core import rest, tracing
from live.core.auth import Tokens
from live.core.bus import Bus
from live.core.clock import SystemClock
from live.core.database import Database
from live.core.limits import BUS_PAYLOAD_BYTES_MAX
from live.core.position import Position
from live.core.settings import Settings
from live.core.tracing import Tracing
from live.realtime.channel import Channel
from live.realtime.commands import Context
from live.realtime.figures import Figures
from live.realtime.news import News
from live.realtime.turns import Turns
from live.service import Shows
from tests.live.recorder import Catalogue
from tests.realtime.conftest import SECRET, Audience, Client, Say, Stage


@dataclass
class House:
    """Two workers with a viewer each, and what they exported."""

    exporter: InMemorySpanExporter
    clients: list[Client]
    stages: list[Stage]

    async def spans(self, done: Callable[[list[ReadableSpan]], bool]) -> list[ReadableSpan]:
        async with asyncio.timeout(10):
            while not done(found := list(self.exporter.get_finished_spans())):
                await asyncio.sleep(0.01)
        return found


def _tracing(sampler: Sampler) -> tuple[Tracing, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider), exporter


@pytest.fixture
def sampler(request: pytest.FixtureRequest) -> Sampler:
    chosen: Sampler = getattr(request, "param", ALWAYS_ON)
    return chosen


@pytest.fixture
async def house(valkey_url: str, database_url: str, settings: Settings, sampler: Sampler) -> AsyncIterator[House]:
    followed, exporter = _tracing(sampler)
    async with AsyncExitStack() as stack:
        database = await Database.open(database_url, SystemClock())
        stack.push_async_callback(database.close)
        clients: list[Client] = []
        stages: list[Stage] = []
        for _ in range(2):
            bus = await Bus.open(valkey_url)
            stack.push_async_callback(bus.close)
            stage = Stage(bus, settings)
            stage.hub.tracing = stage.commands.tracing = followed
            shows = Shows(database, stage.outlet, stage.clock, products=Catalogue())
            room = Chat(shows, database, bus.tallies.take_each)
            chat.api.commands(stage.commands, room, Reactions(stage.outlet.count, stage.clock))
            if not stages:
                await shows.create("demo", "Demo")
            await stack.enter_async_context(stage.running())
            stack.push_async_callback(shows.close)
            stack.push_async_callback(room.close)
            stages.append(stage)
            clients.append(await Audience(stage, stack)())
            await clients[-1].join()
        yield House(exporter, clients, stages)


@pytest.fixture
def settings(tmp_path: object) -> Settings:
    return Settings(secret=SECRET)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_message_is_one_trace_from_the_click_to_every_screen(house: House) -> None:
    assert (await house.clients[0].command("chat.post", text="Hello"))["type"] == "reply"
    await house.clients[1].until("event", name="chat.message")
    spans = await house.spans(lambda found: sum(span.name == "deliver" for span in found) == 2)
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    names = {span.context.span_id: span.name for span in spans if span.context}
    links = sorted((span.name, names[span.parent.span_id] if span.parent else "") for span in spans)
    assert links == [
        ("batch wait", "deliver"),
        ("batch wait", "deliver"),
        ("command chat.post", ""),
        ("deliver", "publish chat.message"),
        ("deliver", "publish chat.message"),
        ("lane commit", "command chat.post"),
        ("lane wait", "command chat.post"),
        ("publish chat.message", "lane commit"),
        ("write", "deliver"),
        ("write", "deliver"),
    ]
    by_name = {span.name: span for span in spans}
    wait, commit, publish = (by_name[name] for name in ("lane wait", "lane commit", "publish chat.message"))
    assert (wait.end_time or 0) <= (commit.end_time or 0) <= (publish.end_time or 0)
    assert {(span.attributes or {}).get("viewers") for span in spans if span.name == "deliver"} == {1}
    assert (commit.attributes or {})["batch"] == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_notice_is_followed_to_its_viewer(house: House) -> None:
    stage = house.stages[0]

    async def tell(context: Context, body: Say) -> dict[str, Any]:
        told = {"nobody": "first", context.principal.subject: body.text, "too much": "x" * BUS_PAYLOAD_BYTES_MAX}
        around = tracing.active()
        news = [News("notice", "word", {"text": text}, key=to, around=around) for to, text in told.items()]
        await stage.outlet.tell("demo", news)
        return {}

    stage.commands.add("tell", Say, tell)
    assert (await house.clients[0].command("tell", text="Psst"))["type"] == "reply"
    spans = await house.spans(lambda found: sum(span.name == "deliver" for span in found) == 2)
    names = {span.context.span_id: span.name for span in spans if span.context}
    assert sorted((span.name, names[span.parent.span_id] if span.parent else "") for span in spans) == [
        ("command tell", ""),
        ("deliver", "publish notices"),
        ("deliver", "publish notices"),
        ("publish notices", "command tell"),
    ]


@pytest.mark.parametrize("sampler", [ALWAYS_OFF], indirect=True)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_not_sampled_leaves_nothing(house: House) -> None:
    await house.clients[0].command("chat.post", text="Hello")
    assert (await house.clients[1].until("event", name="chat.message"))["data"]["text"] == "Hello"
    assert house.exporter.get_finished_spans() == ()
    assert tracing.active() is None


async def test_a_request_is_the_root_of_its_trace() -> None:
    followed, exporter = _tracing(ALWAYS_ON)
    inside: list[tracing.Span | None] = []

    async def handler(request: Request) -> None:
        inside.append(tracing.active())

    operation = rest.Operation("GET", "/shows/{show}", handler, "Look.")
    application = Starlette(routes=rest.routes([operation], Tokens(SECRET, SystemClock()), followed))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://rest") as client:
        assert (await client.get("/shows/demo")).status_code == 204
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /shows/{show}"]
    assert inside[0] is not None


def test_what_comes_after_the_reply_is_not_the_commands() -> None:
    followed, exporter = _tracing(ALWAYS_ON)
    with followed.root("command a") as span:
        assert span is not None
        child = span.child("b")
        tracing.enter(child)
        assert tracing.active() is child
        tracing.enter(span)
    tracing.enter(span)
    assert tracing.active() is None, "a task that goes on with a copy of the context"
    tracing.enter(None)
    child.end()
    child.end()
    assert [span.name for span in exporter.get_finished_spans()] == ["command a", "b"]
    assert child.traceparent.startswith(f"00-{span.traceparent.split('-')[1]}-")


async def test_deliveries_that_never_end_are_bounded_and_a_snapshot_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.realtime.traces.TRACES_MAX", 2)
    followed, exporter = _tracing(ALWAYS_ON)
    channel = Channel("demo", Position("e", 0), lambda channel, viewers: None, Turns(Figures()))
    for offset in (1, 2, 3):
        span = followed.begin("deliver")
        assert span is not None
        channel.traces.took(offset, span)
    channel.restart(Position("f", 3))
    ended = [(span.attributes or {}).get("outcome") for span in exporter.get_finished_spans() if span.name == "deliver"]
    assert ended == ["not followed", "snapshot", "snapshot"]
    channel.close()


def test_a_worker_without_traces_loads_no_exporter() -> None:
    code = (
        "import asyncio, sys, app\nfrom live.core.tracing import Tracing\n"
        "async def job():\n"
        "    async with Tracing.open(False, 0) as tracing: assert tracing is None\n"
        "asyncio.run(job())\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.exporter')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_the_environment_asks_for_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    async with Tracing.open(False, 3) as found:
        assert found is not None
        assert found.begin("command a") is None
    monkeypatch.delenv("OTEL_TRACES_SAMPLER")
    async with Tracing.open(False, 3) as found:
        assert found is not None
        sampled = sum(found.begin("command a") is not None for _ in range(1000))
        assert 0 <= sampled < 60
        assert found.begin("deliver", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") is not None
        assert found.begin("deliver", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00") is None
