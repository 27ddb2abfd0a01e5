"""The bus restarts, is away, or loses messages: who watches still sees everything."""

import asyncio

import pytest

from live.core.bus import Message, Position
from live.core.codec import encode
from live.core.errors import BUS_LOST
from live.core.valkey import EmbeddedValkey
from live.realtime.news import News
from live.realtime.payloads import PublishedEvent
from tests.realtime.conftest import Audience, Stage, both
from tests.realtime.page import Page
from tests.valkey import crash

pytestmark = pytest.mark.timeout(110)


@both
async def test_restart_of_the_bus_costs_a_snapshot_and_nothing_else(
    stage: Stage, client: Audience, valkey: EmbeddedValkey, encoding: str
) -> None:
    page = Page(await client(encoding))
    await page.join()
    await stage.say("a")
    await page.shows(["a"])
    crash(valkey)
    for word in "bc":
        await stage.say(word)  # committed, though nobody can be told
    await page.shows(["a", "b", "c"])
    assert page.snapshots >= 2
    await stage.say("d")
    await page.shows(["a", "b", "c", "d"])


async def test_restart_of_the_bus_while_nothing_happens(stage: Stage, client: Audience, valkey: EmbeddedValkey) -> None:
    page = Page(await client())
    await page.join()
    crash(valkey)
    await page.until(lambda: page.snapshots == 2)
    await stage.say("a")
    await page.shows(["a"])


async def test_joining_without_a_bus_is_worth_a_retry(
    stage: Stage, client: Audience, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.core.listeners.BUS_TIMEOUT_S", 0.2)
    await valkey.stop()
    viewer = await client()
    await viewer.send(type="connect", id="c")
    assert (await viewer.until("refused"))["error"]["name"] == "unavailable"
    assert await viewer.closed() == BUS_LOST.code


async def test_who_is_in_stays_in_while_the_bus_is_away(stage: Stage, client: Audience, valkey: EmbeddedValkey) -> None:
    viewer = await client()
    await viewer.join()
    await valkey.stop()
    assert (await viewer.command("say", text="a"))["type"] == "reply", "the database is the truth"
    late = await client()
    assert (await late.join())["recovered"] is False


async def test_event_too_large_for_the_bus_goes_by_snapshot(stage: Stage, client: Audience) -> None:
    page = Page(await client())
    await page.join()
    await stage.say("x" * 100_000)
    await page.shows(["x" * 100_000])
    assert page.snapshots == 2
    assert stage.outlet.lost_events == 1


async def test_states_and_notices_too_large_or_without_a_bus_are_dropped(stage: Stage, valkey: EmbeddedValkey) -> None:
    await stage.outlet.state("demo", "s", {"x": "x" * 100_000})
    await valkey.stop()
    await stage.outlet.state("demo", "s", {})
    await stage.outlet.tell("demo", [News("notice", "n", {}, key="v")])


async def test_rotated_show_refreshes_everybody_even_if_the_first_try_fails(stage: Stage, client: Audience) -> None:
    pages = [Page(await client(encoding)) for encoding in ("json", "msgpack")]
    for page in pages:
        await page.join()
    stage.broken = RuntimeError("the database is away")
    await stage.bus.rotate("demo")
    await asyncio.sleep(0.2)
    stage.broken = None
    for page in pages:
        await page.until(lambda page=page: page.snapshots == 2)  # type: ignore[misc]
    await stage.say("a")
    for page in pages:
        await page.shows(["a"])


async def test_message_that_the_bus_lost_without_a_sign_is_found(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No next event that would show the gap: the position is compared now and then."""
    page = Page(await client())
    await page.join()
    await stage.lose()
    monkeypatch.setattr("live.realtime.hub.POSITION_INTERVAL_S", 0.0)
    await page.shows(["a"])
    assert page.snapshots == 1, "the history had it"
    here = await page.client.until("position")
    assert here["position"] == page.position


async def test_gap_between_events_is_read_from_the_history(stage: Stage, client: Audience) -> None:
    page = Page(await client())
    await page.join()
    await stage.lose()
    await stage.say("b")
    await page.shows(["a", "b"])
    assert page.snapshots == 1
    assert stage.hub.repairs == 1


async def test_an_event_of_another_epoch_is_not_the_next_one(stage: Stage, client: Audience) -> None:
    """The last word of a server that was replaced, or the first of one that nobody here knows of yet."""
    page = Page(await client())
    await page.join()
    (channel,) = stage.hub.channels()
    word = PublishedEvent(at_ms=0, name="word", data={"index": 0, "text": "of another epoch"})
    foreign = Position("another", channel.received + 1)
    stage.hub._receive(stage.hub._feeds["demo"], Message("event", foreign, encode(word, "msgpack")))
    assert stage.hub.repairs == 1, "it is found out what is so"
    await stage.say("a")
    await page.shows(["a"])


async def test_payloads_that_are_not_ours_keep_their_number(
    stage: Stage, client: Audience, caplog: pytest.LogCaptureFixture
) -> None:
    viewer = await client()
    start = (await viewer.join())["position"]
    await stage.bus.publish("demo", b"\xc1 garbage")
    await stage.bus.send("demo", b"\xc1 garbage", "state")
    await stage.bus.send("demo", b"\xc1 garbage", "direct")
    await stage.say("a")
    events = [await viewer.until("event") for _ in range(2)]
    assert [event["offset"] - start["offset"] for event in events] == [1, 2]
    assert [event["name"] for event in events] == ["invalid", "word"]


async def test_an_outage_is_said_once_and_its_end_once(
    stage: Stage, valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "live.core.listener")
    await valkey.stop()
    async with asyncio.timeout(20):
        while stage.bus.heard.losses < 4:
            await asyncio.sleep(0.02)
        await valkey.start()
        while stage.bus.heard.connected != (1, 1):
            await asyncio.sleep(0.02)
    lost, back = [record.getMessage() for record in caplog.records if record.name == "live.core.listener"]
    assert lost.startswith("bus connection lost: ")
    assert back == f"bus connection is back, after {stage.bus.heard.losses} failures"
