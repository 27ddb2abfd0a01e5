"""A rolling restart as it looks: two real pages whose workers are exchanged under them."""

import asyncio
import signal
from pathlib import Path

import psutil
import pytest
from playwright.async_api import expect

from tests.browser import people
from tests.browser.conftest import Screens, Server
from tests.browser.people import button

HASTY = Path(__file__).parent / "hasty.js"
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.mark.parametrize("server", [{"SHOWCART_WORKERS": "2"}], indirect=True)
async def test_nobody_sees_a_rolling_restart(server: Server, screens: Screens) -> None:
    screens.expected |= {(503, "whep"), (503, "whip")}  # asked on a connection to the worker that ends
    studio = await screens.open(f"{server.url}/studio/demo#token=demo", script=HASTY)
    await people.go_live(studio)
    viewer = await screens.open(f"{server.url}/watch/demo", script=HASTY)
    await people.playing(viewer)
    before = _workers(server)
    for page in (studio, viewer):
        await page.evaluate("() => { seen.sessions = seen.bare = 0; }")
    server.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(60):
        while len(now := _workers(server)) < 2 or now & before:
            await asyncio.sleep(0.05)
    await people.say(viewer, "still here")
    await people.reads(studio, "still here", timeout_s=10)
    await people.playing(viewer)
    await expect(button(studio, "end")).to_be_visible()
    for page in (studio, viewer):
        seen = await page.evaluate("seen")
        assert seen["sessions"] >= 1, "both workers have ended"
        assert seen["bare"] == 0, "nothing is let go of before the next is there"
        assert seen["dark"] == 0, "the last picture stays until the next one comes"


def _workers(server: Server) -> set[int]:
    """Those that have been told to work; one that is only being made has another command line."""
    found = set()
    for child in psutil.Process(server.process.pid).children():
        try:
            if "worker" in child.cmdline():
                found.add(child.pid)
        except psutil.Error:
            continue
    return found
