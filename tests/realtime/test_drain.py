"""A worker's last minute as its viewers see it: told, served until they have gone, answered, and then closed."""

import asyncio
import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from live.core.errors import GOING_AWAY
from live.realtime.commands import Context
from tests.realtime.conftest import Audience, Say, Stage, both
from tests.realtime.wire import TEXT, frame, upgraded

pytestmark = pytest.mark.timeout(60)


def _packet(**message: Any) -> bytes:
    return frame(TEXT, json.dumps(message).encode())


@both
async def test_until_they_have_gone_everything_works(stage: Stage, client: Audience, encoding: str) -> None:
    stayer, goer = await client(encoding), await client(encoding)
    for viewer in (stayer, goer):
        await viewer.join()
    gone = asyncio.Event()

    async def hand_over() -> None:
        await gone.wait()

    draining = asyncio.create_task(stage.connections.drain(hand_over))
    await goer.until("bye")
    await stayer.until("bye")
    assert (await stayer.command("say", text="still here"))["type"] == "reply"
    assert (await goer.until("event"))["data"]["text"] == "still here"
    with pytest.raises(InvalidStatus) as caught:
        await client(encoding)
    assert caught.value.response.status_code == 503
    assert caught.value.response.headers["retry-after"] == "1"
    assert b'"draining"' in caught.value.response.body
    await goer.socket.close()
    assert not draining.done()
    gone.set()
    assert await stayer.closed() == GOING_AWAY.code
    await draining
    assert len(stage.connections) == 0


async def test_commands_that_were_received_are_answered_before_the_end(stage: Stage, client: Audience) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def take_long(context: Context, body: Say) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        await stage.say(body.text, context.show)
        return {}

    stage.commands.add("take long", Say, take_long)
    quick = await client()
    await quick.join()
    async with upgraded(stage.url) as slow:
        slow.send(_packet(type="connect", id="c"))
        await slow.frame()
        slow.send(
            _packet(type="command", id="1", name="take long", data={"text": "one"}),
            _packet(type="command", id="2", name="say", data={"text": "two"}),
            _packet(type="command", id="3", name="fail", data={"text": ""}),
        )
        await begun.wait()
        draining = asyncio.create_task(stage.connections.drain())
        assert await quick.closed() == GOING_AWAY.code
        assert stage.words["demo"] == [], "the first is still under way"
        go_on.set()
        *told, last = await slow.rest()
        messages = [message for frame in told for message in frame.messages()]
        answers = [(message["type"], message["id"]) for message in messages if message["type"] in ("reply", "refused")]
        assert answers == [("reply", "1"), ("reply", "2"), ("refused", "3")]
        assert last.code == GOING_AWAY.code
    await draining
    assert stage.words["demo"] == ["one", "two"]


async def test_a_command_that_never_ends_does_not_hold_the_worker(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.connections.WS_CLOSE_TIMEOUT_S", 0.2)
    viewer = await client()
    await viewer.join()
    await viewer.send(type="command", id="1", name="say", data={"text": "late", "wait_s": 1.0}, key="k1")
    await (await viewer.socket.ping())
    await stage.connections.drain()
    assert await viewer.closed() == GOING_AWAY.code
    async with asyncio.timeout(10):  # it was not answered, yet it is done: whoever asks again with its key is told so
        while "k1" not in stage.said:
            await asyncio.sleep(0.01)
    assert stage.words["demo"] == ["late"]
