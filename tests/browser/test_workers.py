"""A show on two workers: whom the kernel sends where must not matter to anybody."""

import re

import psutil
import pytest
from playwright.async_api import Page, expect

from tests.browser import people
from tests.browser.conftest import PEER, Screens, Server
from tests.browser.people import button
from tests.faults.stand import killed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

VIEWERS_MAX = 20  # all of them on the host's worker: once in a million runs
SOON_MS = 20_000  # the ops page asks every two seconds, and workers remember in steps of two


async def media_port(page: Page) -> str:
    """The media port that the page's connection leads to; each worker has its own."""
    await page.wait_for_function("() => window.peer?.remoteDescription")
    found = re.search(r"a=candidate:\S+ 1 udp \d+ \S+ (\d+) typ", await page.evaluate("peer.remoteDescription.sdp"))
    assert found is not None
    return found[1]


@pytest.mark.parametrize("server", [{"SHOWCART_WORKERS": "2"}], indirect=True)
async def test_a_viewer_on_another_worker_than_the_host_sees_and_saves(server: Server, screens: Screens) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo", script=PEER)
    await people.go_live(studio)
    host = await media_port(studio)
    for _ in range(VIEWERS_MAX):
        viewer = await screens.open(f"{server.url}/watch/demo", script=PEER)
        if await media_port(viewer) != host:
            break
        await viewer.context.close()
    assert await media_port(viewer) != host
    await people.shown(viewer, "video.videoWidth === 1280")
    await people.playing(viewer)
    await people.choose_quality(viewer, "save")  # over whatever connection the browser takes, to whatever worker
    await people.shown(viewer, "video.videoWidth === 640")
    await people.playing(viewer)
    await studio.context.close()
    await expect(button(viewer, "cover-away")).to_be_visible(timeout=20_000)
    await _ops_tell(await screens.open(f"{server.url}/ops"), server)


async def _ops_tell(ops: Page, server: Server) -> None:
    """One viewer is here, on one of the workers; when that one dies, it is told, and the viewer is on the other."""
    here = ops.get_by_test_id("chart-here")
    now, rows = here.locator(".chart-now"), ops.get_by_test_id("workers").locator("tbody tr")
    scope = ops.get_by_test_id("scope").locator("label")
    await expect(rows).to_have_count(2, timeout=SOON_MS)
    await expect(now).to_have_text("1", timeout=SOON_MS)
    await expect(here.locator("path.line-0")).to_have_attribute("d", re.compile("^M.*L"), timeout=SOON_MS)
    await expect(here.locator("svg")).to_have_attribute("aria-label", re.compile(" 1, "))
    counts = []
    for worker in range(2):
        await scope.nth(1 + worker).click()
        counts.append(await now.text_content())
    assert sorted(map(str, counts)) == ["0", "1"]
    await scope.first.click()
    asked = ["worker", str(counts.index("1"))]
    killed(next(each for each in psutil.Process(server.process.pid).children() if each.cmdline()[-2:] == asked))
    await expect(rows.locator(".replaced .badge.bad")).to_have_count(1, timeout=SOON_MS)
    await expect(rows.locator(".badge.good")).to_have_count(2, timeout=SOON_MS)
    await expect(now).to_have_text("1", timeout=SOON_MS)
