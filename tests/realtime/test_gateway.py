"""The endpoint over a real server, with real clients, in both subprotocols."""

import pytest

from tests.realtime.conftest import Audience, Stage

pytestmark = pytest.mark.timeout(60)
both = pytest.mark.parametrize("encoding", ["json", "msgpack"])


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
    assert connected["personal"] == {"cart": {"of": connected["viewer"]["id"]}}
    again = await client(encoding)
    assert (await again.join(token=connected["token"]))["viewer"] == connected["viewer"]


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
