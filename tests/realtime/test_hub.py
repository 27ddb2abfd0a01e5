"""Who of a show's audience is told what, who is counted, and when a show's channel is given up."""

import asyncio
from typing import Any

import pytest

from live.core.codec import encode
from live.core.errors import UNKNOWN_SHOW, Kind, Problem
from live.realtime.news import News
from tests.realtime.conftest import Audience, Stage
from tests.realtime.page import Page

pytestmark = pytest.mark.timeout(60)


async def test_notices_reach_one_viewer_on_all_sockets(stage: Stage, client: Audience) -> None:
    token = stage.token(subject="v7")
    one, two, other = await client(), await client("msgpack"), await client()
    for viewer in (one, two):
        await viewer.join(token=token)
    await other.join()
    await stage.outlet.tell("demo", [News("notice", "cart.changed", {"n": 1}, key="v7")])
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


async def test_show_that_is_gone_closes_its_viewers(stage: Stage, client: Audience) -> None:
    viewer = await client()
    await viewer.join()
    stage.broken = Problem(Kind.unknown_show)
    await stage.bus.rotate("demo")
    assert await viewer.closed() == UNKNOWN_SHOW.code


async def test_show_without_viewers_is_given_up(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = await client()
    await viewer.join()
    monkeypatch.setattr("live.realtime.hub.CHANNEL_LINGER_S", 0.0)
    await viewer.socket.close()
    async with asyncio.timeout(10):
        while stage.hub.channels():
            await asyncio.sleep(0.02)
    await stage.say("a")
    page = Page(await client())
    await page.join()
    assert page.words == ["a"]


async def test_reconnect_is_silent_in_the_count(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.hub.PRESENCE_INTERVAL_S", 0.0)
    host, viewer = await client(), await client()
    await host.join(token="demo")
    token = (await viewer.join())["token"]
    await host.until("state", name="viewers", data={"count": 1})
    await viewer.socket.close()
    await asyncio.sleep(1.2)
    await (await client()).join(token=token)
    await (await client()).join()
    assert (await host.until("state", name="viewers"))["data"] == {"count": 2}


async def test_slow_answer_about_one_show_holds_up_no_other(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.hub.TICK_S", 0.02)
    monkeypatch.setattr("live.realtime.hub.PRESENCE_INTERVAL_S", 0.0)
    beat, asked = stage.bus.beat, asyncio.Event()

    async def slow(show: str, *rest: Any) -> int:
        if show == "demo":
            asked.set()
            await asyncio.Event().wait()
        return await beat(show, *rest)

    monkeypatch.setattr(stage.bus, "beat", slow)
    held = await client()
    await held.join()
    await asyncio.wait_for(asked.wait(), 10)
    other = await client(show="other")
    await other.join()
    # A show is there a moment before who asked for it has joined.
    await asyncio.wait_for(other.until("state", name="viewers", data={"count": 1}), 10)
    assert stage.hub.count("demo") == 0


async def test_staff_are_told_what_viewers_are_not(stage: Stage, client: Audience) -> None:
    host, viewer = await client(), await client()
    await host.join(token="demo")
    await viewer.join()
    notice = encode([{"viewer": "", "name": "chat.held", "data": {"n": 1}, "staff": True}], "msgpack")
    await stage.bus.send("demo", notice, "direct")
    assert (await host.until("notice"))["data"] == {"n": 1}
    await stage.say("after")
    while (message := await viewer.next())["type"] != "event":
        assert message["type"] != "notice"
