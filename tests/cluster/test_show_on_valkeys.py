"""A show over two gateways and a real Valkey Cluster goes on: nobody misses a word, whatever happens to the servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from live.core.bus import Bus
from live.core.settings import Settings
from tests.cluster.conftest import said
from tests.cluster.valkeys import Valkeys
from tests.realtime.conftest import SECRET, Audience, Stage
from tests.realtime.page import Page

pytestmark = [pytest.mark.timeout(90)]


@pytest.fixture
async def stages(valkeys: Valkeys) -> AsyncIterator[list[Stage]]:
    """The realtime parts of two workers, over what stands for one database."""
    async with AsyncExitStack() as stack:
        made: list[Stage] = []
        for _ in range(2):
            bus = await Bus.open(valkeys.url)
            stack.push_async_callback(bus.close)
            stage = Stage(bus, Settings(secret=SECRET))
            stage.words = made[0].words if made else stage.words
            made.append(await stack.enter_async_context(stage.running()))
        yield made


async def test_show_goes_on_through_a_move_a_swap_and_a_death(stages: list[Stage], valkeys: Valkeys) -> None:
    async with AsyncExitStack() as stack:
        pages = []
        for stage in stages:
            for encoding in ("json", "msgpack"):
                pages.append(Page(await Audience(stage, stack)(encoding)))
                await pages[-1].join()
        words: list[str] = []

        async def talk(count: int) -> None:
            for _ in range(count):
                words.append(f"word {len(words)}")
                await stages[len(words) % 2].say(words[-1])
                await asyncio.sleep(0.005)

        async def seen() -> None:
            async with asyncio.timeout(15):
                await asyncio.gather(*[page.shows(words) for page in pages])

        await talk(20)
        await seen()
        assert [page.snapshots for page in pages] == [1] * 4
        for page in pages:
            page.owed = True
        talking = asyncio.create_task(talk(40))
        await valkeys.move_slot("demo", lambda: asyncio.sleep(0.05))
        await talking
        await seen()
        talking = asyncio.create_task(talk(40))
        await valkeys.fail_over("demo")
        await talking
        await seen()
        talking = asyncio.create_task(talk(40))
        was = valkeys.kill_primary("demo")
        began = asyncio.get_running_loop().time()
        await valkeys.promoted("demo", was)
        promoted = asyncio.get_running_loop().time()
        await talking
        await seen()
        said(
            f"promoted after {promoted - began:.1f} s, all seen {asyncio.get_running_loop().time() - promoted:.1f} s on"
        )
        assert len(words) == 140
        # And it is an ordinary show again, once what could not be published has been made good: events, no snapshots.
        # Whose word comes as an event owes no snapshot any more, so each of the two says one.
        async with asyncio.timeout(15):
            snapshots: list[int] = []
            while snapshots != [page.snapshots for page in pages]:
                snapshots = [page.snapshots for page in pages]
                for _ in stages:
                    await talk(1)
                    await seen()
        for page in pages:
            page.owed = False
        await talk(10)
        await seen()
        assert [page.snapshots for page in pages] == snapshots
