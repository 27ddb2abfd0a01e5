"""The endpoint over a real server: pings, visits that it ends, its own end, and a server without the extension."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from live.core.bus import Bus
from live.core.errors import GOING_AWAY, MALFORMED_FRAME, NOT_CONNECTED, SILENT, TOKEN_EXPIRED
from live.core.limits import DRAIN_WINDOW_S
from live.core.settings import Settings
from live.realtime.gateway import Gateway, Shortcut
from tests.realtime.conftest import Audience, Stage, both, raw_handshake
from tests.realtime.slow_reader import read_words, small_socket, talk_until_stalled

pytestmark = pytest.mark.timeout(60)


@both
async def test_ping(client: Audience, encoding: str) -> None:
    viewer = await client(encoding)
    await viewer.send(type="ping")
    assert (await viewer.next())["type"] == "pong"


async def test_silence_before_connect(stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.realtime.session.WS_CONNECT_TIMEOUT_S", 0.1)
    viewer = await client()
    assert await viewer.closed() == NOT_CONNECTED.code


async def test_token_that_expires_ends_the_visit(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.connections._EXPIRY_CHECK_S", 0.1)
    viewer = await client()
    await viewer.join(token=stage.token(ttl_s=1))
    assert await viewer.closed() == TOKEN_EXPIRED.code


async def test_peer_that_answers_no_pings(bus: Bus, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.realtime.transport.WS_PING_INTERVAL_S", 0.05)
    monkeypatch.setattr("live.realtime.transport.WS_PING_TIMEOUT_S", 0.1)
    async with Stage(bus, settings).running() as stage:
        reader, writer = await raw_handshake(stage)
        frames = b""
        while chunk := await asyncio.wait_for(reader.read(1000), 10):
            frames += chunk
            if frames[-2 - len(SILENT.reason) :].startswith(SILENT.code.to_bytes(2, "big")):
                break
        assert frames[0] == 0x80 | Opcode.PING
        assert SILENT.reason.encode() in frames
        writer.close()
        await writer.wait_closed()


@both
async def test_drain_says_bye_and_closes_everybody(stage: Stage, client: Audience, encoding: str) -> None:
    viewers = [await client(encoding) for _ in range(5)]
    for viewer in viewers:
        await viewer.join()
    draining = asyncio.create_task(stage.connections.drain())
    for viewer in viewers:
        bye = await viewer.until("bye")
        assert bye == {"type": "bye", "code": GOING_AWAY.code, "reason": GOING_AWAY.reason, "within_s": DRAIN_WINDOW_S}
        assert await viewer.closed() == GOING_AWAY.code
    await draining
    assert len(stage.connections) == 0
    with pytest.raises(InvalidStatus) as caught:
        await client(encoding)
    assert caught.value.response.status_code == 503


@both
async def test_server_without_the_extension_serves_alike(bus: Bus, settings: Settings, encoding: str) -> None:
    async with Stage(bus, settings, raw=False).running() as stage, AsyncExitStack() as stack:
        client = Audience(stage, stack)
        viewer = await client(encoding)
        await viewer.join()
        assert (await viewer.command("say", text="x"))["type"] == "reply"
        assert stage.words["demo"] == ["x"]
        await stage.say("y")
        await viewer.until("event", data={"index": 1, "text": "y"})
        await viewer.socket.send("" if encoding == "json" else b"")
        assert await viewer.closed() == MALFORMED_FRAME.code
        slow = await client(encoding, sock=small_socket(stage), max_queue=1)
        joined = await slow.join()
        slow.socket.transport.pause_reading()
        await talk_until_stalled(stage)
        await stage.say("end")
        slow.socket.transport.resume_reading()
        assert await read_words(slow, joined) == stage.words["demo"]


@pytest.mark.parametrize(
    ("way", "scope"),
    [
        ("gateway", {"type": "websocket", "path": "/ws/gala"}),
        ("fallback", {"method": "POST", "path": "/api/shows/gala/stream"}),
        ("app", {"method": "GET", "path": "/api/shows/gala/stream"}),
        ("app", {"method": "POST", "path": "/api/shows/gala/commands"}),
        ("app", {"method": "POST", "path": "/api/shows//stream"}),
        ("app", {"method": "POST", "path": "/api/shows/a/b/stream"}),
        ("app", {"method": "POST", "path": "/api/shows/stream"}),
        ("app", {"method": "POST", "path": "/api/shows/gala/stream", "headers": [(b"host", b"evil.example")]}),
        ("app", {"method": "POST", "path": "/api/shows/gala/stream", "headers": []}),
        ("app", {"type": "websocket", "path": "/ws/"}),
        ("app", {"type": "websocket", "path": "/api/shows/gala/stream", "method": "POST"}),
        ("app", {"type": "lifespan"}),
    ],
)
async def test_the_short_way_is_for_sockets_and_streams_of_a_show(way: str, scope: dict[str, Any]) -> None:
    taken: list[tuple[str, str | None]] = []

    def to(name: str) -> Callable[..., Awaitable[None]]:
        async def app(scope: dict[str, Any], receive: object, send: object) -> None:
            taken.append((name, scope.get("path_params", {}).get("show")))

        return app

    shortcut = Shortcut(to("app"), cast(Gateway, to("gateway")), to("fallback"), ["shop.example"])
    headers = [(b"host", b"shop.example:8000")]
    await shortcut({"type": "http", "headers": headers, **scope}, cast(Any, None), cast(Any, None))
    assert taken == [(way, None if way == "app" else "gala")]


async def test_a_server_without_pings_serves_alike(
    bus: Bus, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.transport.WS_PING_INTERVAL_S", None)
    async with Stage(bus, settings).running() as stage, AsyncExitStack() as stack:
        viewer = await Audience(stage, stack)()
        await viewer.join()
        assert (await viewer.command("say", text="x"))["type"] == "reply"
