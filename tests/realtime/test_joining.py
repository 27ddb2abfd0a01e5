"""Who is let in: handshakes, guests, tokens, unknown shows, and the snapshot that many share."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from live.core.auth import Role
from live.core.codec import Encoding
from live.core.errors import BAD_SUBPROTOCOL, BUS_LOST, TOKEN_EXPIRED, TOKEN_REFUSED, UNKNOWN_SHOW
from live.realtime.frames import raw
from tests.realtime.conftest import Audience, Stage, both, still_serves

pytestmark = pytest.mark.timeout(60)


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
    kept = await stage.bus._servers.execute("{x}", "DBSIZE")
    assert kept == 0, "nobody fills the bus by asking for shows that do not exist"


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


async def test_many_join_at_once_and_one_snapshot_serves_them(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []

    def counted(value: Any, encoding: Encoding) -> msgspec.Raw:
        encoded.append(encoding)
        return raw(value, encoding)

    monkeypatch.setattr("live.realtime.snapshot.raw", counted)
    monkeypatch.setattr("live.realtime.recovery.SNAPSHOT_KEPT_S", 60.0)  # a busy machine lets them in one by one
    await stage.say("a")
    viewers = await asyncio.gather(*[client(encoding) for encoding in ["json", "msgpack"] * 15])
    connected = await asyncio.gather(*[viewer.join() for viewer in viewers])
    assert all(message["snapshot"] == {"words": ["a"]} for message in connected)
    assert stage.builds <= 2, "one to see that the show exists, one for all"
    assert sorted(encoded) == ["json", "msgpack"], "once for all who join, whatever their number"
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
        assert (await second.until("event"))["data"] == {"index": 0, "text": "b"}
        assert (await second.until("state", name="stock"))["data"] == {"available": 1}
    else:
        assert connected["snapshot"] == {"words": ["b"]}


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
    monkeypatch.setattr(stage.connections.admission, "_sockets_max", 1)
    monkeypatch.setattr("random.randint", lambda low, high: high)
    first = await client()
    await first.join()
    with pytest.raises(InvalidStatus) as caught:
        await client()
    assert caught.value.response.status_code == 503
    assert caught.value.response.headers["Retry-After"] == "7", "not all at the same time"
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
