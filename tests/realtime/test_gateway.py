"""The endpoint over a real server, with real clients, in both subprotocols."""

import asyncio
import base64
import json
import random
import socket as sockets
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Opcode
from websockets.typing import Origin, Subprotocol

from live.core.auth import Role
from live.core.bus import Bus
from live.core.errors import (
    BAD_SUBPROTOCOL,
    BUS_LOST,
    FLOOD,
    GOING_AWAY,
    MALFORMED_FRAME,
    MESSAGE_TOO_BIG,
    NOT_CONNECTED,
    OUT_OF_ORDER,
    SILENT,
    TOKEN_EXPIRED,
    TOKEN_REFUSED,
    TOO_SLOW,
    UNKNOWN_SHOW,
)
from live.core.limits import COMMANDS_BURST, COMMANDS_REFUSED_MAX, WS_FRAME_BYTES_MAX, WS_MESSAGE_BYTES_MAX
from live.core.settings import Settings
from tests.realtime.conftest import Audience, Client, Stage

pytestmark = pytest.mark.timeout(60)
both = pytest.mark.parametrize("encoding", ["json", "msgpack"])


async def still_serves(stage: Stage, client: Audience) -> None:
    """Somebody else's show goes on."""
    viewer = await client()
    await viewer.join()
    await stage.say("still here")
    while (await viewer.until("event"))["data"]["text"] != "still here":
        continue  # what somebody else said before


# --- letting in -----------------------------------------------------------------------------------------------


@both
async def test_guest_gets_a_token_a_name_and_the_show(stage: Stage, client: Audience, encoding: str) -> None:
    await stage.say("before")
    viewer = await client(encoding)
    connected = await viewer.join(name="  Mia\u202e  Z ")
    assert connected["id"] == "c"
    assert connected["recovered"] is False
    assert connected["snapshot"] == {"words": ["before"]}
    assert connected["viewer"]["name"] == "Mia Z"
    assert connected["viewer"]["role"] == "viewer"
    assert connected["personal"] == {"cart": {"of": None}}, "nobody asks a store about a viewer made a moment ago"
    again = await client(encoding)
    back = await again.join(token=connected["token"])
    assert back["viewer"] == connected["viewer"]
    assert back["personal"] == {"cart": {"of": connected["viewer"]["id"]}}


async def test_guest_without_a_name_gets_one(client: Audience) -> None:
    connected = await (await client()).join()
    assert connected["viewer"]["name"].startswith("Guest ")


async def test_guest_with_a_bad_name_is_told_and_may_mend_it(client: Audience) -> None:
    viewer = await client()
    await viewer.send(type="connect", id="c1", name="\u200b")
    refused = await viewer.until("refused", id="c1")
    assert (refused["error"]["name"], refused["error"]["field"]) == ("invalid_field", "name")
    assert (await viewer.join(name="Mia"))["viewer"]["name"] == "Mia"


async def test_token_says_who_comes(stage: Stage, client: Audience) -> None:
    viewer = await client()
    connected = await viewer.join(token=stage.token(Role.moderator, subject="mo"), name="ignored")
    assert connected["viewer"] == {"id": "mo", "name": "Mo", "role": "moderator"}
    assert connected["token"] is None


@pytest.mark.parametrize(
    ("make", "error", "close"),
    [
        (lambda stage: "nonsense", "token_invalid", TOKEN_REFUSED),
        (lambda stage: "", "token_invalid", TOKEN_REFUSED),
        (lambda stage: stage.token()[:-3] + "AAA", "token_invalid", TOKEN_REFUSED),
        (lambda stage: "x" * 9000, "token_invalid", TOKEN_REFUSED),
        (lambda stage: stage.token(ttl_s=-60), "token_expired", TOKEN_EXPIRED),
        (lambda stage: stage.token(Role.host, show="other"), "show_forbidden", TOKEN_REFUSED),
    ],
)
async def test_bad_tokens_are_refused(stage: Stage, client: Audience, make: Any, error: str, close: Any) -> None:
    viewer = await client()
    await viewer.send(type="connect", id="c", token=make(stage))
    assert (await viewer.until("refused", id="c"))["error"]["name"] == error
    assert await viewer.closed() == close.code
    await still_serves(stage, client)


@pytest.mark.parametrize("show", ["nowhere", "UPPER", "a%20b", "x" * 300, "%F0%9F%98%80"])
async def test_unknown_show_leaves_nothing_behind(stage: Stage, client: Audience, show: str) -> None:
    viewer = await client(show=show)
    await viewer.send(type="connect", id="c")
    assert (await viewer.until("refused"))["error"]["name"] == "unknown_show"
    assert await viewer.closed() == UNKNOWN_SHOW.code
    assert stage.hub.channels() == []
    assert await stage.bus._redis.dbsize() == 0, "nobody fills the bus by asking for shows that do not exist"


async def test_snapshot_that_fails_is_our_fault_and_worth_a_retry(
    stage: Stage, client: Audience, caplog: pytest.LogCaptureFixture
) -> None:
    stage.broken = RuntimeError("a bug of ours")
    viewer = await client()
    await viewer.send(type="connect", id="c")
    assert (await viewer.until("refused"))["error"]["name"] == "internal"
    assert await viewer.closed() == BUS_LOST.code
    stage.broken = None
    await still_serves(stage, client)


async def test_many_join_at_once_and_one_snapshot_serves_them(stage: Stage, client: Audience) -> None:
    await stage.say("a")
    viewers = await asyncio.gather(*[client(encoding) for encoding in ["json", "msgpack"] * 15])
    connected = await asyncio.gather(*[viewer.join() for viewer in viewers])
    assert all(message["snapshot"] == {"words": ["a"]} for message in connected)
    assert stage.builds <= 2, "one to see that the show exists, one for all"
    await stage.say("b")
    for viewer in viewers:
        assert (await viewer.until("event"))["data"] == {"index": 1, "text": "b"}


async def test_who_joins_on_an_older_snapshot_gets_what_happened_since(stage: Stage, client: Audience) -> None:
    first = await client()
    position = (await first.join())["position"]
    await stage.say("b")
    await stage.outlet.state("demo", "stock", {"available": 1}, key="a")
    await first.until("state", name="stock")
    builds = stage.builds
    second = await client()
    connected = await second.join()
    if stage.builds == builds:  # within the second that a snapshot is kept
        assert connected["position"] == position
        assert (await second.next())["data"] == {"index": 0, "text": "b"}
        assert (await second.until("state", name="stock"))["data"] == {"available": 1}
    else:
        assert connected["snapshot"] == {"words": ["b"]}


# --- handshakes -----------------------------------------------------------------------------------------------


async def test_origins(stage: Stage, client: Audience, caplog: pytest.LogCaptureFixture) -> None:
    host = stage.url.removeprefix("ws://")
    for origin in (None, f"http://{host}", f"https://{host}", "https://shop.example"):
        await (await client(origin=None if origin is None else Origin(origin))).join()
    for origin in ("https://evil.example", "null", "http://", "http://127.0.0.1:1", "http://[", "shop.example"):
        with pytest.raises(InvalidStatus) as caught:
            await client(origin=Origin(origin))
        assert caught.value.response.status_code == 403
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
        assert json.loads(caught.value.response.body)["name"] == "origin_forbidden"


async def test_full_house_is_503(stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.realtime.gateway.WS_CONNECTIONS_MAX", 1)
    first = await client()
    await first.join()
    with pytest.raises(InvalidStatus) as caught:
        await client()
    assert caught.value.response.status_code == 503
    assert caught.value.response.headers["Retry-After"] == "5"
    assert json.loads(caught.value.response.body)["name"] == "overloaded"


@pytest.mark.parametrize("offered", [None, ["chat"], ["showcart.json.v2"]])
async def test_no_common_subprotocol(client: Audience, offered: list[str] | None) -> None:
    viewer = await client(subprotocols=offered and [Subprotocol(name) for name in offered])
    assert await viewer.closed() == BAD_SUBPROTOCOL.code


async def test_first_common_subprotocol_of_the_client_wins(client: Audience) -> None:
    names = ["x", "showcart.msgpack.v1", "showcart.json.v1"]
    viewer = await client("msgpack", subprotocols=[Subprotocol(name) for name in names])
    assert viewer.socket.subprotocol == "showcart.msgpack.v1"
    await viewer.join()


# --- commands -------------------------------------------------------------------------------------------------


@both
async def test_commands_are_answered_and_events_reach_everybody(client: Audience, encoding: str) -> None:
    here, there = await client(encoding), await client("json")
    start = (await here.join(token="demo"))["position"]
    await there.join()
    await here.send(type="command", id="x", name="say", data={"text": "hello"}, key="k1")
    assert (await here.until("reply"))["data"] == {"by": "Host", "key": "k1"}
    event = await there.until("event")
    assert event == {
        "type": "event", "offset": start["offset"] + 1, "at_ms": 0, "name": "word",
        "data": {"index": 0, "text": "hello"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "key", "error", "field"),
    [
        ("nonsense", {}, None, "unknown_command", "name"),
        ("x" * 5000, {}, None, "unknown_command", "name"),
        ("say", {}, None, "invalid_field", "data"),
        ("say", {"text": 5}, None, "invalid_field", "data.text"),
        ("say", {"text": "x", "wait_s": []}, None, "invalid_field", "data.wait_s"),
        ("say", {"text": "x"}, "", "invalid_field", "key"),
        ("say", {"text": "x"}, "k" * 129, "invalid_field", "key"),
        ("moderate", {"text": "x"}, None, "role_forbidden", None),
        ("fail", {"text": "x"}, None, "internal", None),
        ("viewer.rename", {"name": ""}, None, "invalid_field", "name"),
    ],
)
async def test_bad_commands_change_nothing_and_cost_only_themselves(
    stage: Stage, client: Audience, name: str, data: dict[str, Any], key: str | None, error: str, field: str | None
) -> None:
    viewer = await client()
    await viewer.join(token=stage.token())
    refused = await viewer.command(name, key, **data)
    assert (refused["type"], refused["id"]) == ("refused", "x")
    assert refused["error"]["name"] == error
    assert refused["error"].get("field") == field
    assert stage.words["demo"] == []
    assert (await viewer.command("say", text="fine"))["type"] == "reply"


@both
async def test_a_command_that_was_done_before_says_so(stage: Stage, client: Audience, encoding: str) -> None:
    viewer = await client(encoding)
    await viewer.join(token="demo")
    first = await viewer.command("say", "k1", text="once")
    again = await viewer.command("say", "k1", text="once")
    assert first == {"type": "reply", "id": "x", "data": {"by": "Host", "key": "k1"}, "replayed": False}
    assert again == first | {"replayed": True}
    assert stage.words["demo"] == ["once"]


async def test_commands_of_one_socket_are_done_in_order(stage: Stage, client: Audience) -> None:
    viewer = await client()
    await viewer.join()
    await viewer.send(type="command", id="1", name="say", data={"text": "a", "wait_s": 0.05})
    await viewer.send(type="command", id="2", name="say", data={"text": "b"})
    assert [(await viewer.until("reply"))["id"] for _ in range(2)] == ["1", "2"]
    assert stage.words["demo"] == ["a", "b"]


@both
async def test_rename_changes_the_socket_and_the_token(stage: Stage, client: Audience, encoding: str) -> None:
    viewer = await client(encoding)
    before = (await viewer.join())["viewer"]
    reply = await viewer.command("viewer.rename", name=" Ida ")
    assert reply["data"]["viewer"] == {**before, "name": "Ida"}
    assert (await viewer.command("say", text="x"))["data"]["by"] == "Ida"
    again = await client(encoding)
    assert (await again.join(token=reply["data"]["token"]))["viewer"]["name"] == "Ida"


async def test_a_new_name_does_not_make_a_token_last_longer(stage: Stage, client: Audience) -> None:
    viewer = await client()
    await viewer.join(token=stage.token(ttl_s=600))
    reply = await viewer.command("viewer.rename", name="Ida")
    claims = json.loads(base64.urlsafe_b64decode(reply["data"]["token"].split(".")[1] + "=="))
    assert 590 <= claims["exp"] - claims["iat"] <= 600


async def test_staff_keeps_its_name(client: Audience) -> None:
    host = await client()
    await host.join(token="demo")
    assert (await host.command("viewer.rename", name="Mallory"))["error"]["name"] == "role_forbidden"


@both
async def test_ping(client: Audience, encoding: str) -> None:
    viewer = await client(encoding)
    await viewer.send(type="ping")
    assert (await viewer.next())["type"] == "pong"


async def test_notices_reach_one_viewer_on_all_sockets(stage: Stage, client: Audience) -> None:
    token = stage.token(subject="v7")
    one, two, other = await client(), await client("msgpack"), await client()
    for viewer in (one, two):
        await viewer.join(token=token)
    await other.join()
    await stage.outlet.notice("demo", "v7", "cart.changed", {"n": 1})
    await stage.say("after")
    for viewer in (one, two):
        assert (await viewer.until("notice"))["data"] == {"n": 1}
    while (message := await other.next())["type"] != "event":
        assert message["type"] != "notice"


async def test_staff_states_are_for_staff(stage: Stage, client: Audience) -> None:
    host, viewer = await client(), await client()
    await host.join(token="demo")
    await viewer.join()
    await stage.outlet.state("demo", "figures", {"orders": 1}, staff=True)
    assert (await host.until("state", name="figures"))["data"] == {"orders": 1}
    await stage.say("after")
    while (message := await viewer.next())["type"] != "event":
        assert message["name"] != "figures"


async def test_people_are_counted(stage: Stage, client: Audience) -> None:
    host = await client()
    await host.join(token="demo")
    viewers = [await client() for _ in range(3)]
    for viewer in viewers:
        await viewer.join()
    assert (await host.until("state", name="viewers", data={"count": 3}))["key"] == ""
    assert stage.hub.count("demo") == 3
    assert stage.hub.count("other") == 0


# --- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(
    ("encoding", "payload"),
    [
        ("json", "{"), ("json", b'{"type":"ping"}'), ("json", "[]"), ("json", '{"type":"nonsense"}'), ("json", ""),
        ("msgpack", b"\xc1"), ("msgpack", "text"), ("msgpack", b""), ("msgpack", b"\xdf\xff\xff\xff\xff"),
    ],
)  # fmt: skip
async def test_malformed_messages_close_only_their_own_socket(
    stage: Stage, client: Audience, encoding: str, payload: str | bytes, joined: bool
) -> None:
    bystander, viewer = await client(), await client(encoding)
    await bystander.join()
    if joined:
        await viewer.join()
    await viewer.socket.send(payload)
    assert await viewer.closed() == MALFORMED_FRAME.code
    await stage.say("on")
    assert (await bystander.until("event"))["data"]["text"] == "on"


async def test_text_that_is_no_utf8_closes_only_its_own_socket(
    stage: Stage, client: Audience, caplog: pytest.LogCaptureFixture
) -> None:
    viewer = await client()
    await viewer.join()
    await viewer.socket.send(b"\xff\xfe{", text=True)
    assert await viewer.closed() == MALFORMED_FRAME.code
    assert caplog.records == []
    await still_serves(stage, client)


@both
@pytest.mark.parametrize(
    ("size", "code"), [(WS_MESSAGE_BYTES_MAX + 1, MESSAGE_TOO_BIG.code), (WS_FRAME_BYTES_MAX + 1, 1009)]
)
async def test_oversized_messages(stage: Stage, client: Audience, encoding: str, size: int, code: int) -> None:
    viewer = await client(encoding)
    await viewer.join()
    await viewer.socket.send("x" * size if encoding == "json" else b"x" * size)
    assert await viewer.closed() == code
    await still_serves(stage, client)


async def test_endless_fragments(stage: Stage, client: Audience) -> None:
    viewer = await client()
    await viewer.join()

    async def fragments() -> Any:
        for _ in range(1000):
            yield ""
            await asyncio.sleep(0)

    with pytest.raises(ConnectionClosed):
        await viewer.socket.send(fragments())
        await viewer.socket.wait_closed()
        await viewer.socket.send("x")
    assert viewer.socket.close_code == MALFORMED_FRAME.code
    await still_serves(stage, client)


async def test_message_in_fragments_is_understood(client: Audience) -> None:
    viewer = await client()
    await viewer.socket.send(["{", '"type":', '"ping"}'])
    assert (await viewer.next())["type"] == "pong"


@pytest.mark.parametrize("message", [{"type": "command", "id": "1", "name": "say"}, {"type": "recover"}])
async def test_out_of_order(client: Audience, message: dict[str, Any]) -> None:
    viewer = await client()
    if message["type"] == "recover":
        message = {"type": "recover", "id": "1", "position": {"epoch": "e", "offset": 1}}
    await viewer.send(**message)
    assert await viewer.closed() == OUT_OF_ORDER.code


async def test_second_connect(client: Audience) -> None:
    viewer = await client()
    await viewer.join()
    await viewer.send(type="connect", id="2")
    assert await viewer.closed() == OUT_OF_ORDER.code


async def test_flood(stage: Stage, client: Audience) -> None:
    viewer = await client()
    await viewer.join()
    text = json.dumps({"type": "command", "id": "x", "name": "say", "data": {"text": "spam"}})
    names: list[str] = []

    async def read() -> int:
        try:
            while True:
                messages = json.loads(await viewer.socket.recv())
                names.extend(message["error"]["name"] for message in messages if message["type"] == "refused")
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code

    reading = asyncio.create_task(read())
    with pytest.raises(ConnectionClosed):
        while True:
            await viewer.socket.send(text)
    assert await reading == FLOOD.code
    assert set(names) == {"rate_limited"}
    assert len(names) >= COMMANDS_REFUSED_MAX
    assert len(stage.words["demo"]) < COMMANDS_BURST + 300
    await still_serves(stage, client)


async def test_silence_before_connect(stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.realtime.session.WS_CONNECT_TIMEOUT_S", 0.1)
    viewer = await client()
    assert await viewer.closed() == NOT_CONNECTED.code


async def test_token_that_expires_ends_the_visit(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.gateway._EXPIRY_CHECK_S", 0.1)
    viewer = await client()
    await viewer.join(token=stage.token(ttl_s=1))
    assert await viewer.closed() == TOKEN_EXPIRED.code


async def test_peer_that_answers_no_pings(bus: Bus, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.realtime.transport.WS_PING_INTERVAL_S", 0.05)
    monkeypatch.setattr("live.realtime.transport.WS_PING_TIMEOUT_S", 0.1)
    async with Stage(bus, settings).running() as stage:
        reader, writer = await _raw_handshake(stage)
        frames = b""
        while chunk := await asyncio.wait_for(reader.read(1000), 10):
            frames += chunk
            if frames[-2 - len(SILENT.reason) :].startswith(SILENT.code.to_bytes(2, "big")):
                break
        assert frames[0] == 0x80 | Opcode.PING
        assert SILENT.reason.encode() in frames
        writer.close()
        await writer.wait_closed()


async def _raw_handshake(stage: Stage, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket that speaks WebSocket no further than the handshake."""
    host, _, port = stage.url.removeprefix("ws://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), **options)
    writer.write(
        f"GET /ws/demo HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: showcart.json.v1\r\n\r\n".encode()
    )
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_random_bytes_after_the_handshake(stage: Stage, client: Audience) -> None:
    generator = random.Random(7)
    for _ in range(40):
        _, writer = await _raw_handshake(stage)
        writer.write(generator.randbytes(generator.randrange(1, 400)))
        if generator.random() < 0.5:
            writer.write_eof()
        writer.transport.abort() if generator.random() < 0.3 else writer.close()
    await still_serves(stage, client)


# --- slow viewers ---------------------------------------------------------------------------------------------


def _small_socket(stage: Stage) -> sockets.socket:
    """A socket whose kernel buffers are as small as they get, so that a reader that stops is noticed soon."""
    host, _, port = stage.url.removeprefix("ws://").partition(":")
    sock = sockets.socket()
    sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    sock.connect((host, int(port)))
    sock.setblocking(False)
    return sock


async def _stopped_reader(stage: Stage, client: Audience) -> Client:
    viewer = await client(sock=_small_socket(stage), max_queue=1)
    await viewer.join()
    viewer.socket.transport.pause_reading()
    return viewer


async def _talk_until_stalled(stage: Stage) -> None:
    async with asyncio.timeout(20):
        while not any(channel.slow for channel in stage.hub.channels()):
            for _ in range(10):
                await stage.say("x" * 20_000)


async def test_slow_viewer_costs_others_nothing_and_catches_up(stage: Stage, client: Audience) -> None:
    slow, quick = await _stopped_reader(stage, client), await client()
    await quick.join()
    reading = asyncio.create_task(_read_words(quick))
    await _talk_until_stalled(stage)
    await stage.say("end")
    assert await reading == stage.words["demo"]
    slow.socket.transport.resume_reading()
    assert await _read_words(slow) == stage.words["demo"]


async def _read_words(viewer: Client) -> list[str]:
    """What a page shows when "end" has come: snapshots replace, events follow without a gap."""
    words: list[str] = []
    offset: int | None = None
    while not words or words[-1] != "end":
        message = await viewer.next()
        if message["type"] == "connected":
            words, offset = list(message["snapshot"]["words"]), message["position"]["offset"]
        elif message["type"] == "event":
            assert offset is None or message["offset"] == offset + 1
            offset = message["offset"]
            del words[message["data"]["index"] :]
            words.append(message["data"]["text"])
    return words


async def test_viewer_that_never_drains_is_closed(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.hub.VIEWER_STALL_S_MAX", 0.2)
    slow = await _stopped_reader(stage, client)
    await _talk_until_stalled(stage)
    async with asyncio.timeout(10):
        while stage.hub.closed_slow == 0:
            await asyncio.sleep(0.02)
    assert stage.gateway.connections <= 1
    slow.socket.transport.resume_reading()
    assert await slow.closed() == TOO_SLOW.code
    await still_serves(stage, client)


async def test_stuck_viewer_is_cut_off(stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reads nothing, not even the close frame."""
    monkeypatch.setattr("live.realtime.hub.VIEWER_STALL_S_MAX", 0.2)
    monkeypatch.setattr("live.realtime.transport.WS_CLOSE_TIMEOUT_S", 0.2)
    await _stopped_reader(stage, client)
    await _talk_until_stalled(stage)
    async with asyncio.timeout(10):
        while stage.gateway.connections:
            await asyncio.sleep(0.02)


# --- going away -----------------------------------------------------------------------------------------------


@both
async def test_drain_says_bye_and_closes_everybody(stage: Stage, client: Audience, encoding: str) -> None:
    viewers = [await client(encoding) for _ in range(5)]
    for viewer in viewers:
        await viewer.join()
    draining = asyncio.create_task(stage.gateway.drain())
    for viewer in viewers:
        bye = await viewer.until("bye")
        assert bye == {"type": "bye", "code": GOING_AWAY.code, "reason": GOING_AWAY.reason, "within_s": 10.0}
        assert await viewer.closed() == GOING_AWAY.code
    await draining
    assert stage.gateway.connections == 0
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
        slow = await client(encoding, sock=_small_socket(stage), max_queue=1)
        await slow.join()
        slow.socket.transport.pause_reading()
        await _talk_until_stalled(stage)
        await stage.say("end")
        slow.socket.transport.resume_reading()
        assert await _read_words(slow) == stage.words["demo"]
