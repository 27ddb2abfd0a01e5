"""States and notices have no numbers: who missed some is told what is so now, and who did not is not bothered."""

import asyncio
from typing import Any

import pytest

from live.core.codec import encode
from live.core.limits import STATES_MAX
from live.core.valkey import EmbeddedValkey
from live.realtime.news import News
from tests.realtime.conftest import Audience, Client, Stage, both
from tests.realtime.page import Page
from tests.valkey import crash


async def _tell(stage: Stage, viewer: str, holds: str) -> None:
    """What is in somebody's cart changes."""
    stage.carts[viewer] = holds
    notice = {"viewer": viewer, "name": "cart.changed", "data": {"of": viewer, "holds": holds}}
    await stage.bus.send("demo", encode([notice], "msgpack"), "direct")


async def _cart(viewer: Client, holds: str) -> None:
    """Until the page shows this cart."""
    while True:
        message = await viewer.next()
        cart: dict[str, Any] = {}
        if message["type"] == "connected":
            cart = message["personal"].get("cart", {})
        elif message["type"] == "notice" and message["name"] == "cart.changed":
            cart = message["data"]
        if cart.get("holds") == holds:
            return


@both
async def test_a_state_of_a_viewers_absence_is_told(stage: Stage, client: Audience, encoding: str) -> None:
    stayer, goer = await client(encoding), Page(await client(encoding))
    await stayer.join()
    await goer.join()
    await stage.say("a")
    await goer.shows(["a"])
    await goer.client.socket.close()
    await stage.outlet.state("demo", "stock", {"sku": "a", "available": 3}, key="a")
    assert (await stayer.until("state", name="stock"))["data"]["available"] == 3
    goer.client = await client(encoding)
    assert (await goer.join())["recovered"] is True
    assert (await goer.client.until("state", name="stock"))["data"] == {"sku": "a", "available": 3}


async def test_more_states_than_are_kept_are_told_by_a_snapshot(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.hub.CHANNEL_LINGER_S", 1000.0)  # nobody watches while so many are told
    page = Page(await client())
    await page.join()
    await stage.say("a")
    await page.shows(["a"])
    await page.client.socket.close()
    (channel,) = stage.hub.channels()
    many = range(STATES_MAX - 1)  # how many people there are may be one more
    await stage.outlet.tell("demo", [News("state", "stock", {}, key=str(number)) for number in many])
    page.client = await client()
    assert (await page.join())["recovered"] is True
    await page.client.socket.close()
    for sku in ("one more", "and another"):
        await stage.outlet.state("demo", "stock", {}, key=sku)
    async with asyncio.timeout(10):
        while channel.heard_from < channel.received:
            await asyncio.sleep(0.005)
    page.client = await client()
    assert (await page.join())["recovered"] is False


async def test_what_is_personal_is_right_after_an_outage(
    stage: Stage, client: Audience, valkey: EmbeddedValkey
) -> None:
    """Nothing else happens meanwhile, and nobody tells it again."""
    viewer, other = await client(), await client()
    await viewer.join(token=stage.token())
    await other.join(token=stage.token(subject="v2"))
    crash(valkey)
    stage.carts["v1"] = "a cup"
    await _cart(viewer, "a cup")
    assert (await other.until("connected"))["personal"] == {"cart": {"of": "v2"}}


async def test_who_stays_is_told_what_a_deaf_worker_missed(stage: Stage, client: Audience) -> None:
    """The server stays and has all events; a state and a notice are gone while the worker connects again."""
    page = Page(await client())
    await page.client.send(type="connect", id="c", token=stage.token())
    page.apply(await page.client.until("connected"))
    listener = next(iter(stage.bus.heard._listeners.values()))
    connection = listener._connection
    assert connection is not None
    await connection.disconnect(nowait=True)
    stage.carts["v1"] = "a cup"
    stage.words["demo"].append("told to nobody")
    again = await page.client.until("connected")
    assert again["snapshot"] == {"words": ["told to nobody"]}
    assert again["personal"] == {"cart": {"of": "v1", "holds": "a cup"}}


async def test_notice_while_what_is_personal_is_read_is_told_after_it(stage: Stage, client: Audience) -> None:
    """On joining, on coming back to a worker, and on being refreshed."""
    changes = iter(("one", "two", "three"))

    async def change() -> None:
        holds = next(changes)
        await _tell(stage, "v1", holds)
        heard.clear()
        await stage.bus.send("demo", encode([{"viewer": "v2", "name": "heard", "data": {}}], "msgpack"), "direct")
        await heard.wait()

    async def listen() -> None:
        while True:
            await other.until("notice", name="heard")
            heard.set()

    heard = asyncio.Event()
    other, viewer = await client(), await client()
    await other.join(token=stage.token(subject="v2"))
    listening = asyncio.create_task(listen())
    stage.before_personal = change
    await viewer.send(type="connect", id="c", token=stage.token())
    connected = await viewer.until("connected")
    assert "holds" not in connected["personal"]["cart"]
    assert (await viewer.until("notice", name="cart.changed"))["data"]["holds"] == "one"
    await viewer.send(type="recover", id="r", position=connected["position"])
    assert (await viewer.until("connected"))["personal"]["cart"]["holds"] == "one"
    assert (await viewer.until("notice", name="cart.changed"))["data"]["holds"] == "two"
    listening.cancel()
    stage.before_personal = lambda: asyncio.sleep(0)
    await _tell(stage, "v1", "three")
    await _cart(viewer, "three")


async def test_a_snapshot_that_was_begun_before_an_outage_is_given_to_nobody(stage: Stage, client: Audience) -> None:
    """Also not to who came after it, and would have shared it: what nobody was told meanwhile may lack in it."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    build = stage.connections.recovery._build

    async def slowly(show: str) -> dict[str, Any]:
        read = await build(show)
        begun.set()
        await go_on.wait()
        return read

    stage.connections.recovery._build = slowly
    first, second = Page(await client()), Page(await client())
    joining = [asyncio.create_task(first.join())]
    await begun.wait()
    (channel,) = stage.hub.channels()
    stage.words["demo"].append("untold")
    channel.restart(channel.position, deaf=True)
    joining.append(asyncio.create_task(second.join()))
    async with asyncio.timeout(10):
        while len(channel.viewers) < 2:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)  # it waits for the snapshot that is being built
    go_on.set()
    await asyncio.gather(*joining)
    assert first.words == second.words == ["untold"]
