"""The ops page while things happen: who comes shows in its charts, and a worker that dies in its table."""

import re

import psutil
import pytest
from playwright.async_api import expect

from tests.browser.conftest import Screens, Server
from tests.faults.stand import killed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
SOON_MS = 20_000  # it asks every two seconds, and workers remember in steps of two


@pytest.mark.parametrize("server", [{"SHOWCART_WORKERS": "2"}], indirect=True)
async def test_charts_move_and_a_worker_that_died_is_told(server: Server, screens: Screens) -> None:
    ops = await screens.open(f"{server.url}/ops")
    here = ops.get_by_test_id("chart-here")
    rows = ops.get_by_test_id("workers").locator("tbody tr")
    await expect(rows).to_have_count(2, timeout=SOON_MS)
    await expect(here.locator(".chart-now")).to_have_text("0", timeout=SOON_MS)
    await screens.open(f"{server.url}/watch/demo")
    await expect(here.locator(".chart-now")).to_have_text("1", timeout=SOON_MS)
    await expect(here.locator("path.line-0")).to_have_attribute("d", re.compile("^M.*L"))
    await expect(here.locator("svg")).to_have_attribute("aria-label", re.compile(" 1, "))

    counts = []
    for worker in range(2):  # one of them has the viewer, and each can be looked at alone
        await ops.get_by_test_id("scope").locator("label").nth(1 + worker).click()
        counts.append(await here.locator(".chart-now").text_content())
    assert sorted(map(str, counts)) == ["0", "1"]
    await ops.get_by_test_id("scope").locator("label").first.click()

    workers = [each for each in psutil.Process(server.process.pid).children() if "worker" in each.cmdline()]
    killed(workers[counts.index("1")])
    await expect(rows.locator(".replaced .badge.bad")).to_have_count(1, timeout=SOON_MS)
    await expect(rows.locator(".badge.good")).to_have_count(2, timeout=SOON_MS)
    await expect(here.locator(".chart-now")).to_have_text("1", timeout=SOON_MS)
