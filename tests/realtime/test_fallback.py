"""Events down and POSTs up: what a socket can, over plain HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from live.core.auth import Role
from live.core.bus import Bus
from live.core.errors import (
    GOING_AWAY,
    MALFORMED_FRAME,
    NOT_CONNECTED,
    OUT_OF_ORDER,
    TOKEN_EXPIRED,
    TOKEN_REFUSED,
    UNKNOWN_SHOW,
    Close,
)
from live.core.limits import COMMANDS_BURST, COMMANDS_PER_S
from live.core.settings import Settings
from live.realtime import closes
from tests.realtime.conftest import Audience, Stage
from tests.realtime.streams import StreamClient, Streams, streams

__all__ = ["streams"]

CONNECT = {"type": "connect", "id": "c"}


async def test_a_stream_brings_what_a_socket_brings(stage: Stage, streams: Streams, client: Audience) -> None:
    viewer, socket = streams(), await client()
    await stage.say("before")
    connected, same = await viewer.join(name="Mia"), await socket.join(name="Mia")
    assert viewer.answer is not None
    assert viewer.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert viewer.answer.headers["cache-control"] == "no-store, no-transform"
    assert viewer.answer.headers["x-accel-buffering"] == "no"
    assert {**connected, "viewer": 0, "token": 0, "time_ms": 0} == {**same, "viewer": 0, "token": 0, "time_ms": 0}
    assert connected["viewer"]["name"] == "Mia"
    assert connected["token"]
    for word in ("one", "zwei ✓", "three"):
        await stage.say(word)
    for _ in range(3):
        assert await viewer.until("event") == await socket.until("event")


async def test_commands_are_answered_in_their_order_and_done_once(stage: Stage, streams: Streams) -> None:
    viewer = await streams.joined(name="Mia")
    said = {"type": "command", "name": "say", "data": {"text": "hello"}}
    answer = await viewer.post(
        {**said, "id": "1", "key": "k"}, {**said, "id": "2", "key": "k"}, {**said, "id": "3", "name": "nothing"}
    )
    first, again, unknown = answer.json()["messages"]
    assert (first["id"], first["data"]["by"], first["replayed"]) == ("1", "Mia", False)
    assert (again["id"], again["data"], again["replayed"]) == ("2", first["data"], True)
    assert (unknown["id"], unknown["type"], unknown["error"]["name"]) == ("3", "refused", "unknown_command")
    assert (await viewer.until("event"))["data"]["text"] == "hello"
    assert stage.words["demo"] == ["hello"]
    assert (await viewer.command("moderate", text="no"))["error"]["name"] == "role_forbidden"


async def test_who_is_renamed_has_the_name_in_the_same_post(streams: Streams) -> None:
    viewer = await streams.joined(name="Mia")
    renamed = {"type": "command", "id": "1", "name": "viewer.rename", "data": {"name": "Mio"}}
    answer = await viewer.post(renamed, {"type": "command", "id": "2", "name": "say", "data": {"text": "hello"}})
    reply, said = answer.json()["messages"]
    assert said["data"]["by"] == "Mio"
    viewer.token = reply["data"]["token"]
    assert (await viewer.command("say", text="hello"))["data"]["by"] == "Mio"


async def test_recovers_after_a_cut(stage: Stage, streams: Streams) -> None:
    viewer = streams()
    connected = await viewer.join()
    await stage.say("one")
    await viewer.until("event")
    position = {**connected["position"], "offset": connected["position"]["offset"] + 1}
    await stage.say("missed")
    back = streams()
    recovered = await back.join(token=viewer.token, position=position)
    assert recovered["recovered"]
    assert [event["data"]["text"] for event in recovered["events"]] == ["missed"]
    assert recovered["viewer"] == connected["viewer"]
    await stage.say("two")
    assert (await back.until("event"))["offset"] == position["offset"] + 2


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({**CONNECT, "token": "nonsense"}, TOKEN_REFUSED),
        ({"type": "ping"}, NOT_CONNECTED),
        ({**CONNECT, "name": "\n"}, NOT_CONNECTED),
        ({"type": "command", "id": "1", "name": "say"}, OUT_OF_ORDER),
        ({"type": "nothing"}, MALFORMED_FRAME),
        ({"type": 1}, MALFORMED_FRAME),
    ],
)
async def test_a_first_message_that_lets_nobody_in_ends_the_stream(
    stage: Stage, streams: Streams, message: dict[str, Any], code: Close
) -> None:
    before = closes.sent.copy()
    viewer = streams()
    assert (await viewer.open(message)).status_code == 200
    assert await viewer.closed() == code.code
    assert closes.sent - before == {code.code: 1}


async def test_there_is_no_stream_of_an_unknown_show(streams: Streams) -> None:
    viewer = streams("nowhere")
    await viewer.open(CONNECT)
    assert await viewer.closed() == UNKNOWN_SHOW.code


async def test_a_stream_ends_with_its_token(stage: Stage, streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.realtime.connections._EXPIRY_CHECK_S", 0.0)
    viewer = await streams.joined(token=stage.token(ttl_s=1))
    assert await viewer.closed() == TOKEN_EXPIRED.code


async def test_a_worker_that_ends_says_so(stage: Stage, streams: Streams) -> None:
    viewer = await streams.joined()
    draining = asyncio.create_task(stage.connections.drain())
    assert (await viewer.until("bye"))["code"] == GOING_AWAY.code
    assert await viewer.closed() == GOING_AWAY.code
    await draining
    refused = streams()
    answer = await refused.open(CONNECT)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


async def test_every_stream_is_released_once(stage: Stage, streams: Streams) -> None:
    admission = stage.connections.admission
    async with AsyncExitStack() as stack:
        for opening in (CONNECT, {"type": "nothing"}, CONNECT):
            await Streams(stage, stack)().open(opening)
    async with httpx.AsyncClient() as http:
        url = f"{stage.url.replace('ws:', 'http:')}/api/shows/demo/stream"
        assert (await http.post(url, content=b"{}")).status_code == 415
        assert (await http.post(url, json={"x": "x" * 20_000})).status_code == 413
        broken = await http.post(url, content=b"\xff", headers={"content-type": "application/json"})
        assert (broken.status_code, broken.json()["name"]) == (400, "malformed")
        foreign = await http.post(url, json=CONNECT, headers={"origin": "https://evil.example"})
        assert (foreign.status_code, foreign.json()["name"]) == (403, "origin_forbidden")
        assert (await http.get(url)).status_code == 405
    async with asyncio.timeout(10):
        while admission.sockets or stage.connections:
            await asyncio.sleep(0.005)
    assert admission.admitted == 6
    assert stage.connections.streams == 0


@pytest.mark.parametrize("show", ["nope", "a" * 900, "x%7Dy", "%00"])
async def test_nothing_is_done_in_a_show_that_does_not_exist(stage: Stage, streams: Streams, show: str) -> None:
    viewer = streams(show)
    viewer.token = stage.token(show="*")
    answer = await viewer.post({"type": "command", "id": "1", "name": "say", "data": {"text": "no"}})
    assert (answer.status_code, answer.json()["name"]) == (404, "unknown_show")
    assert stage.connections.commands.outcomes == {}


async def test_who_may_not_post(stage: Stage, streams: Streams) -> None:
    viewer = await streams.joined()
    said = {"type": "command", "id": "1", "name": "say", "data": {"text": "no"}}
    for token, name in (
        ("nonsense", "token_invalid"),
        (stage.token(show="other"), "show_forbidden"),
        (stage.token(ttl_s=-60), "token_expired"),
    ):
        assert (await viewer.post(said, token=token)).json()["name"] == name
    for commands in ([], [said] * 41, [{**said, "id": "x" * 65}], [{"type": "ping"}]):
        assert (await viewer.post(*commands)).status_code == 422
    async with httpx.AsyncClient() as http:
        url = f"{viewer.posts}/commands"
        assert (await http.post(url, json={"commands": [said]})).json()["name"] == "token_missing"
        flood = {"commands": [{**said, "data": {"text": "x" * 300_000}}]}
        bearer = {"authorization": f"Bearer {viewer.token}"}
        assert (await http.post(url, json=flood, headers=bearer)).status_code == 413
    assert stage.words["demo"] == []


async def test_a_flood_of_commands_is_refused(stage: Stage, streams: Streams) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    viewer = await streams.joined()
    command = {"type": "command", "id": "1", "name": "nothing", "data": {}}
    messages = [message for _ in range(3) for message in (await viewer.post(*[command] * 40)).json()["messages"]]
    refused = [message["error"] for message in messages if message["error"]["name"] == "rate_limited"]
    earned = COMMANDS_PER_S * (loop.time() - began_s) + 1  # while they were on their way
    assert COMMANDS_BURST - earned <= len(messages) - len(refused) <= COMMANDS_BURST + earned
    assert refused[0]["retry_after_s"] >= 1
    assert stage.connections.throttled == len(refused)
    other = await streams.joined()
    assert (await other.command("say", text="still"))["type"] == "reply"


async def test_an_address_that_floods_is_told_when_to_come_back(
    stage: Stage, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = await streams.joined()
    monkeypatch.setattr(stage.fallback._addresses, "_depth_s", 0.0)
    monkeypatch.setattr(stage.fallback._addresses, "_step_s", 3.0)
    answer = await viewer.post({"type": "command", "id": "1", "name": "say", "data": {"text": "no"}})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


async def test_silence_is_filled_with_comments(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.realtime.fallback.STREAM_HEARTBEAT_S", 0.02)
    viewer = await streams.joined()
    seen = viewer.comments
    reading = asyncio.create_task(viewer.next())
    async with asyncio.timeout(5):
        while viewer.comments < seen + 3:
            await asyncio.sleep(0.01)
    reading.cancel()


@pytest.fixture
async def second(bus: Bus, settings: Settings) -> AsyncIterator[Stage]:
    async with Stage(bus, settings).running() as running:
        yield running


async def test_any_worker_takes_commands_and_goes_on_with_a_stream(
    stage: Stage, second: Stage, streams: Streams
) -> None:
    second.words = stage.words
    await streams(stage=second).join()  # it listens before anything happens
    viewer = streams(up=second)
    connected = await viewer.join()
    reply = await viewer.command("say", key="k", text="over there")
    event = await viewer.until("event")
    assert event["data"]["text"] == "over there"
    await stage.say("missed")
    elsewhere = streams(stage=second)
    position = {**connected["position"], "offset": event["offset"]}
    recovered = await elsewhere.join(token=viewer.token, position=position)
    assert [each["data"]["text"] for each in recovered["events"]] == ["missed"]
    assert recovered["viewer"]["name"] == reply["data"]["by"]
    assert second.said
    assert not stage.said


async def test_nothing_is_missed_or_seen_twice_however_often_a_stream_is_cut(
    stage: Stage, second: Stage, streams: Streams
) -> None:
    second.words = stage.words
    words: list[str] = []
    position: dict[str, Any] | None = None
    token: str | None = None

    async def talk() -> None:
        for number in range(60):
            await stage.say(str(number))
            await asyncio.sleep(0.002)

    talking = asyncio.create_task(talk())
    for round_ in range(12):
        async with AsyncExitStack() as stack:
            viewer = Streams((stage, second)[round_ % 2], stack)()
            message = await viewer.join(token=token, position=position)
            token = viewer.token
            assert message["recovered"] == (round_ > 0)
            events = message["events"]
            if position is None or not message["recovered"]:
                position, words = message["position"], list(message["snapshot"]["words"])
            for _ in range(4):
                for event in events:
                    assert event["offset"] == position["offset"] + 1
                    position = {**position, "offset": event["offset"]}
                    words[event["data"]["index"] :] = [event["data"]["text"]]
                if len(words) == 60:
                    break
                events = [await viewer.until("event")]
    await talking
    last = await streams().join(token=token, position=position)
    words += [event["data"]["text"] for event in last["events"]]
    assert words == stage.words["demo"] == [str(number) for number in range(60)]


async def test_a_server_without_our_protocol_streams_too(bus: Bus, settings: Settings) -> None:
    async with Stage(bus, settings, raw=False).running() as plain, Streams(plain, AsyncExitStack()) as streams:
        viewer: StreamClient = await streams.joined(token=plain.token(Role.host))
        await plain.say("one")
        assert (await viewer.until("event"))["data"]["text"] == "one"
        await plain.connections.drain()
        assert await viewer.closed() == GOING_AWAY.code
