"""Coming back: complete or not at all, whatever happened meanwhile to the viewer, the bus or the worker."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from live.core.bus import Bus, Position
from live.core.errors import BUS_LOST
from live.core.limits import RECOVERY_EVENTS_MAX
from live.core.settings import Settings
from live.core.valkey import EmbeddedValkey
from tests.realtime.conftest import SECRET, Audience, Stage, both
from tests.realtime.page import Page

pytestmark = pytest.mark.timeout(110)


@both
async def test_viewer_that_comes_back_gets_what_it_missed(stage: Stage, client: Audience, encoding: str) -> None:
    page = Page(await client(encoding))
    await page.join()
    await stage.say("a")
    await page.shows(["a"])
    await page.client.socket.close()
    for word in "bcd":
        await stage.say(word)
    page.client = await client(encoding)
    connected = await page.join()
    assert connected["recovered"] is True
    assert connected["snapshot"] is None
    await stage.say("e")
    await page.shows(list("abcde"))


@pytest.mark.parametrize("seen", [0, 1, 3])
async def test_worker_that_did_not_listen_meanwhile_asks_the_bus(stage: Stage, client: Audience, seen: int) -> None:
    """As after a restart of the worker: the bus has the events from before it listened, and the newest states."""
    start = await stage.bus.position("demo")
    for word in "abc":
        await stage.outlet.state("demo", "stock", {"left": word}, key="cup")
        await stage.outlet.state("demo", "stock", {"left": word}, key="vase")
        await stage.say(word)
    await stage.outlet.count("demo", "reactions", "another worker", {"heart": 3})
    page = Page(await client())
    page.position = {"epoch": start.epoch, "offset": seen}
    page.words = list("abc"[:seen])
    assert (await page.join())["recovered"] is True
    assert page.words == ["a", "b", "c"]
    states = [await page.client.until("state") for _ in range(3)]
    assert sorted((state["name"], state["key"], str(state["data"])) for state in states) == [
        ("reactions", "", "{'heart': 3}"), ("stock", "cup", "{'left': 'c'}"), ("stock", "vase", "{'left': 'c'}"),
    ]  # fmt: skip
    witness = Page(await client())
    await witness.join()
    await stage.say("d")
    await page.shows(list("abcd"))
    await page.client.socket.close()
    await stage.say("e")
    await witness.shows(list("abcde"))  # the worker has heard it; publishing is answered on another connection
    page.client = await client()
    assert (await page.join())["recovered"] is True
    assert page.words == list("abcde")


@pytest.mark.parametrize(
    "position",
    [
        {"epoch": "unheard of", "offset": 1},
        {"epoch": "", "offset": 0},
        {"epoch": None, "offset": 10_000},
        {"epoch": None, "offset": -5},
    ],
)
async def test_position_that_means_nothing_gets_a_snapshot(
    stage: Stage, client: Audience, position: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.recovery.REACH_TIMEOUT_S", 0.05)
    await stage.say("a")
    epoch = (await stage.bus.position("demo")).epoch
    page = Page(await client())
    page.position = {**position, "epoch": epoch if position["epoch"] is None else position["epoch"]}
    connected = await page.join()
    assert connected["recovered"] is False
    assert page.words == ["a"]


@pytest.mark.parametrize("missed", [RECOVERY_EVENTS_MAX, RECOVERY_EVENTS_MAX + 1])
async def test_too_far_behind_is_a_snapshot(stage: Stage, client: Audience, missed: int) -> None:
    page, other = Page(await client()), Page(await client())
    await page.join()
    await other.join()
    await stage.say("a")
    await page.shows(["a"])
    await other.shows(["a"])
    assert page.position is not None
    start = page.position["offset"]
    await page.client.socket.close()
    await asyncio.gather(*[stage.outlet.event("demo", 0, "noise", {"index": 0, "text": "x"}) for _ in range(missed)])
    await other.until(lambda: other.position is not None and other.position["offset"] == start + missed)
    page.client = await client()
    connected = await page.join()
    assert connected["recovered"] is (missed == RECOVERY_EVENTS_MAX)
    assert len(connected["events"]) == (missed if connected["recovered"] else 0)


async def test_recover_on_an_open_socket(stage: Stage, client: Audience) -> None:
    viewer = await client()
    start = (await viewer.join())["position"]
    await stage.say("a")
    await stage.say("b")
    await viewer.until("event", offset=start["offset"] + 2)
    await viewer.send(type="recover", id="r", position={**start, "offset": start["offset"] + 1})
    again = await viewer.until("connected", id="r")
    assert again["recovered"] is True
    assert [event["data"]["text"] for event in again["events"]] == ["b"]
    await stage.say("c")
    assert (await viewer.until("event"))["offset"] == start["offset"] + 3
    await viewer.send(type="recover", id="s", position={"epoch": "x", "offset": 1})
    page = Page(viewer)
    page.apply(await viewer.until("connected", id="s"))
    await page.shows(["a", "b", "c"])


async def test_events_while_a_snapshot_is_built_are_not_lost(stage: Stage, client: Audience) -> None:
    """The race of subscribing and reading: the snapshot is old before it is sent."""
    other = Page(await client())
    await other.join()  # the channel is open
    await asyncio.sleep(1.1)  # and no snapshot is kept

    async def interrupt() -> None:
        stage.before_snapshot = lambda: asyncio.sleep(0)
        await stage.say("meanwhile")
        await other.shows(["meanwhile"])

    stage.before_snapshot = interrupt
    page = Page(await client())
    await page.join()
    await stage.say("after")
    await page.shows(["meanwhile", "after"])


async def test_events_while_what_is_personal_is_read_are_not_lost(stage: Stage, client: Audience) -> None:
    page, other = Page(await client()), Page(await client())
    await page.join()
    await other.join()
    await stage.say("a")
    await page.shows(["a"])
    await page.client.socket.close()

    async def slow() -> None:
        await stage.say("b")
        await other.shows(["a", "b"])

    stage.before_personal = slow
    page.client = await client()
    await page.client.send(type="connect", id="c", token=stage.token(), position=page.position)
    connected = await page.client.until("connected")
    stage.before_personal = lambda: asyncio.sleep(0)
    assert connected["recovered"] is True
    page.apply(connected)
    assert page.words == ["a", "b"]
    await stage.say("c")
    await page.shows(["a", "b", "c"])


async def test_personal_is_part_of_every_answer(stage: Stage, client: Audience) -> None:
    viewer = await client()
    connected = await viewer.join(token=stage.token())
    assert connected["personal"] == {"cart": {"of": "v1"}}
    await viewer.send(type="recover", id="r", position=connected["position"])
    assert (await viewer.until("connected", id="r"))["personal"] == connected["personal"]


async def test_recovery_that_fails_is_our_fault_and_worth_a_retry(
    stage: Stage, client: Audience, caplog: pytest.LogCaptureFixture
) -> None:
    viewer = await client()
    position = (await viewer.join())["position"]
    await stage.say("a")
    await viewer.until("event")
    position["offset"] += 1
    stage.broken = RuntimeError("a bug of ours")
    await viewer.send(type="recover", id="r", position=position)
    assert (await viewer.until("refused", id="r"))["error"]["name"] == "internal"
    assert await viewer.closed() == BUS_LOST.code
    stage.broken = None
    assert (await (await client()).join(position=position))["recovered"] is True


async def test_snapshot_that_is_outdated_before_it_is_built(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await client()
    await other.join()

    async def too_much() -> None:
        (channel,) = stage.hub.channels()
        channel.restart(Position(channel.epoch + "x", channel.received))

    stage.before_snapshot = too_much
    await asyncio.sleep(1.1)
    viewer = await client()
    await viewer.send(type="connect", id="c")
    assert (await viewer.until("refused"))["error"]["name"] == "overloaded"
    stage.before_snapshot = lambda: asyncio.sleep(0)


async def test_viewers_of_two_workers_see_the_same_and_may_change_over(
    stage: Stage, client: Audience, valkey_url: str, settings: Settings
) -> None:

    async with AsyncExitStack() as stack:
        bus = await Bus.open(valkey_url)
        stack.push_async_callback(bus.close)
        second = await stack.enter_async_context(Stage(bus, settings).running())
        second.words = stage.words
        there = Audience(second, stack)
        one, two = Page(await client()), Page(await there())
        await one.join()
        await two.join()
        await stage.say("a")
        await second.say("b")
        for page in (one, two):
            await page.shows(["a", "b"])
        assert one.position == two.position
        await one.client.socket.close()
        await second.say("c")
        await two.shows(["a", "b", "c"])
        one.client = await there()
        assert (await one.join())["recovered"] is True
        assert one.words == ["a", "b", "c"]


async def test_worker_that_lags_behind_the_client_waits_for_the_bus(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.recovery.REACH_TIMEOUT_S", 30.0)
    first = Page(await client())
    start = await first.join()
    page = Page(await client())
    page.words = ["a"]
    page.position = {**start["position"], "offset": start["position"]["offset"] + 1}  # seen on another worker
    joining = asyncio.create_task(page.join())
    await asyncio.sleep(0.1)
    await stage.say("a")
    assert (await joining)["recovered"] is True
    await stage.say("b")
    await page.shows(["a", "b"])


@given(
    steps=st.lists(st.sampled_from(["say", "say", "burst", "drop", "abort", "rotate", "lose", "breathe"]), max_size=25),
    encoding=st.sampled_from(["json", "msgpack"]),
)
@examples(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_never_a_gap_unnoticed_never_an_event_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], encoding: str
) -> None:
    asyncio.run(_anything(tmp_path_factory.mktemp("v"), steps, encoding))


async def _anything(folder: Path, steps: list[str], encoding: str) -> None:
    """A page keeps what the feature said, through drops of its socket, of messages, and of the epoch."""

    async with AsyncExitStack() as stack:
        valkey = EmbeddedValkey(folder)
        url = await valkey.start()
        stack.push_async_callback(valkey.stop)
        bus = await Bus.open(url)
        stack.push_async_callback(bus.close)
        stage = await stack.enter_async_context(Stage(bus, Settings(data_dir=folder, secret=SECRET)).running())
        client = Audience(stage, stack)
        page = Page(await client(encoding))
        await page.join()
        said = 0
        for step in steps:
            if step in ("say", "lose", "burst"):
                for _ in range(40 if step == "burst" else 1):
                    said += 1
                    await (stage.lose(str(said)) if step == "lose" else stage.say(str(said)))
            elif step in ("drop", "abort"):
                if step == "drop":
                    await page.client.socket.close()
                else:
                    page.client.socket.transport.abort()
                page.client = await client(encoding)
                await page.join()
            elif step == "rotate":
                await bus.rotate("demo")
            else:
                await asyncio.sleep(0.03)
        await stage.say("end")
        await page.shows(stage.words["demo"])
