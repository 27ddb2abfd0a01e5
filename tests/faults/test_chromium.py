"""A real browser behind the bad network: Chromium on the far host decodes real VP8 that comes over the wire."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.async_api import Page, async_playwright
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

from loadtests.media.source import FRAMES_PER_S
from stream.api import routes
from tests.browser.conftest import FLAGS, chromium_path
from tests.faults.camera import Camera
from tests.faults.conftest import RIDS, Show
from tests.faults.footage import SIZES, Footage, loops
from tests.faults.judging import FREEZE_S_MAX, LOST_MAX
from tests.faults.network import inside

pytestmark = [pytest.mark.alone, pytest.mark.browser, pytest.mark.timeout(120)]
PAGE = Path(__file__).parent / "viewer.html"
WATCH_S = 8.0
EDGE_PICTURES = 3  # on the way when a count begins and when it ends


@pytest.fixture
async def page(far_show: Show, tmp_path: Path) -> AsyncIterator[Page]:
    """A viewer's page in a browser on the far host; the server's HTTP is on the near one for it."""
    network = far_show.network
    assert network is not None
    with inside(network.near), socket.socket() as listener:
        listener.bind((network.near_ip, 0))
        application = Starlette(routes=[Route("/", lambda _: FileResponse(PAGE)), *routes(far_show.house.media)])
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off"))
        listening = listener.dup()
    serving = asyncio.create_task(server.serve([listening]))
    wrapper = tmp_path / "far-chromium"
    wrapper.write_text(f'#!/bin/sh\nexec ip netns exec {network.far} "{chromium_path()}" "$@"\n')
    wrapper.chmod(0o755)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=wrapper, args=FLAGS)
        page = await browser.new_page()
        while not server.started:
            await asyncio.sleep(0.01)
        await page.goto(f"http://{network.near_ip}:{listening.getsockname()[1]}/")
        yield page
        await browser.close()
    server.should_exit = True
    await serving
    listening.close()


async def _pictures(page: Page) -> list[tuple[float, int]]:
    """When each picture came onto the screen, in seconds, and how wide it was."""
    return [(at / 1000, width) for at, width in await page.evaluate("pictures")]


async def _counts(page: Page, camera: Camera) -> tuple[int, int]:
    decoded: int = await page.evaluate("decoded()")
    return decoded, camera.frames


async def test_a_browser_behind_five_percent_loss_shows_every_picture(far_show: Show, page: Page) -> None:
    """Judged by the better of two windows: a machine that encodes elsewhere may hold a browser up for half a second."""
    assert far_show.network is not None
    loops()
    camera, _ = await far_show.camera(rtx=True, footage=Footage(("",)))
    for path in (far_show.network.there, far_show.network.back):
        path.conditions.loss, path.conditions.delay_s = 0.05, 0.03
    await page.evaluate("watch()")
    await page.wait_for_function("pictures.length > 25")
    faults: list[str] = []
    for _ in range(2):
        decoded, filmed = await _counts(page, camera)
        seen = len(await _pictures(page))
        await asyncio.sleep(WATCH_S)
        shown = (await _pictures(page))[seen:]
        decoded, filmed = (
            after - before for before, after in zip((decoded, filmed), await _counts(page, camera), strict=True)
        )
        frozen_s = max(later - earlier for (earlier, _), (later, _) in itertools.pairwise(shown))
        if decoded >= (1 - LOST_MAX) * filmed - EDGE_PICTURES and frozen_s <= FREEZE_S_MAX:
            break
        faults.append(f"{decoded} of {filmed} pictures decoded, one stood for {frozen_s:.3f} s")
    assert len(faults) < 2, faults
    assert far_show.network.there.dropped > 20 and far_show.house.media.counts["retransmitted"] > 20


async def test_a_browser_behind_half_a_megabit_gets_a_small_picture_and_climbs_back(far_show: Show, page: Page) -> None:
    assert far_show.network is not None
    loops()
    conditions = far_show.network.there.conditions
    conditions.delay_s = 0.02
    await far_show.camera(rids=RIDS, rtx=True, footage=Footage(RIDS))
    await page.evaluate("watch()")
    largest = SIZES[-1][0]
    await _widths(page, lambda width: width == largest, within_s=15)
    conditions.bits_per_s = 500_000
    await _widths(page, lambda width: width < largest, within_s=5)
    await asyncio.sleep(3.0)
    conditions.bits_per_s = None
    await _widths(page, lambda width: width == largest, within_s=15)


async def _widths(page: Page, wanted: Any, within_s: float) -> None:
    """Wait until all the pictures of a second are of a wanted width."""
    async with asyncio.timeout(within_s):
        while True:
            await asyncio.sleep(0.1)
            now = await page.evaluate("performance.now()") / 1000
            widths = [width for at, width in await _pictures(page) if at > now - 1.0]
            if len(widths) > FRAMES_PER_S // 2 and all(map(wanted, widths)):
                return
