"""Streams whose readers are slow, gone, or hostile: the same bounds as with sockets."""

import asyncio

import pytest

from live.core.errors import TOO_SLOW
from live.realtime.streams import StreamingProtocol
from tests.realtime.conftest import Audience, Stage, still_serves
from tests.realtime.slow_reader import small_socket, talk_until_stalled
from tests.realtime.streams import SlowStream, Streams, streams
from tests.vanishing import on_linux, vanish

__all__ = ["streams"]
_HEAD = b"POST /api/shows/demo/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
_OPENING = _HEAD + b"Content-Length: 27\r\n\r\n" + b'{"type":"connect","id":"c"}'
pytestmark = pytest.mark.timeout(60)


async def test_slow_stream_costs_others_nothing_and_catches_up(stage: Stage, streams: Streams) -> None:
    slow, quick = await SlowStream.open(stage), await streams.joined()
    await talk_until_stalled(stage)
    waits = max(viewer._socket.backlog() for channel in stage.hub.channels() for viewer in channel.slow)
    assert waits < 1_000_000
    await stage.say("end")
    words: list[str] = []
    while not words or words[-1] != "end":
        words.append((await quick.until("event"))["data"]["text"])
    assert words == stage.words["demo"]
    shown: list[str] = []
    offset = None
    async for message in slow.messages():
        if message["type"] == "connected":
            shown, offset = list(message["snapshot"]["words"]), message["position"]["offset"]
        elif message["type"] == "event":
            assert offset is None or message["offset"] == offset + 1
            offset = message["offset"]
            shown.append(message["data"]["text"])
        if shown and shown[-1] == "end":
            break
    assert shown == stage.words["demo"]
    slow.writer.close()


async def test_stream_that_never_drains_is_told_why_it_ends(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.hub.VIEWER_STALL_S_MAX", 0.2)
    slow = await SlowStream.open(stage)
    await talk_until_stalled(stage)
    async with asyncio.timeout(10):
        while stage.hub.closed_slow == 0:
            await asyncio.sleep(0.02)
    messages = [message async for message in slow.messages()]
    slow.writer.close()
    assert messages[-1] == {"type": "close", "code": TOO_SLOW.code, "reason": TOO_SLOW.reason}
    await still_serves(stage, client)


async def test_stuck_stream_is_cut_off(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reads nothing, not even why it ends."""
    monkeypatch.setattr("live.realtime.hub.VIEWER_STALL_S_MAX", 0.2)
    monkeypatch.setattr("live.realtime.streams.WS_CLOSE_TIMEOUT_S", 0.2)
    stuck = await SlowStream.open(stage)
    await talk_until_stalled(stage)
    async with asyncio.timeout(10):
        while stage.connections:
            await asyncio.sleep(0.02)
    assert stage.connections.admission.sockets == 0
    stuck.writer.transport.abort()


@on_linux
async def test_a_stream_whose_machine_has_vanished_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be heard of it that would say so: what is written to show that we are there stays unacknowledged."""
    monkeypatch.setattr("live.realtime.fallback.STREAM_HEARTBEAT_S", 0.1)
    monkeypatch.setattr("live.realtime.streams.STREAM_SILENT_S", 0.5)
    gone = await SlowStream.open(stage)
    vanish(gone.writer.get_extra_info("socket"))
    async with asyncio.timeout(20):
        while stage.connections:
            await asyncio.sleep(0.02)
    assert stage.connections.admission.sockets == stage.connections.streams == 0
    gone.writer.transport.abort()


async def test_who_sends_more_on_a_stream_is_cut_off(stage: Stage, client: Audience) -> None:
    before = StreamingProtocol.refused.get("behind_stream", 0)
    rude = await SlowStream.open(stage)
    rude.writer.write(_HEAD * 1000)
    await _empty(stage)
    await still_serves(stage, client)
    assert StreamingProtocol.refused["behind_stream"] == before + 1
    rude.writer.close()


async def test_requests_behind_one_for_a_stream_take_its_place(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection(sock=small_socket(stage))
    writer.write(_OPENING + _OPENING)
    assert b" 400 " in await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in await reader.readuntil(b" 200 OK\r\n")
    writer.transport.abort()
    await _empty(stage)
    assert stage.connections.admission.admitted == 2


async def test_who_asks_and_hangs_up_at_once_leaves_nothing(stage: Stage) -> None:
    for _ in range(20):
        _, writer = await asyncio.open_connection(sock=small_socket(stage))
        writer.write(_OPENING)
        await asyncio.sleep(0)
        writer.transport.abort()
    async with asyncio.timeout(10):
        while stage.connections.admission.admitted < 20:
            await asyncio.sleep(0.005)
    await _empty(stage)


async def test_who_goes_before_it_is_let_in_leaves_nothing(stage: Stage) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow_snapshot() -> None:
        begun.set()
        await go_on.wait()

    stage.before_snapshot = slow_snapshot
    opening = asyncio.create_task(SlowStream.open(stage))
    await begun.wait()
    (await opening).writer.transport.abort()
    go_on.set()
    await _empty(stage)


async def test_a_body_that_never_comes_holds_a_place_for_no_longer_than_it_may(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.core.http.BoundedProtocol.body_timeout_s", 0.1)
    reader, writer = await asyncio.open_connection(sock=small_socket(stage))
    writer.write(_HEAD + b"Content-Length: 99\r\n\r\n{")
    assert b" 408 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await _empty(stage)
    assert stage.connections.admission.admitted == 1


async def _empty(stage: Stage) -> None:
    async with asyncio.timeout(10):
        while stage.connections.admission.sockets or stage.connections:
            await asyncio.sleep(0.005)
