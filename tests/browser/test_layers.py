"""Three sizes of one picture, a viewer who saves data, and a picture that is lost and comes back."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.browser import people
from tests.browser.conftest import Screens, Server, UdpPath
from tests.browser.people import button

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


async def more_frames(viewer: Page) -> None:
    """Wait until the picture goes on from what is on the screen now."""
    decoded = "video.getVideoPlaybackQuality().totalVideoFrames"
    before = await viewer.evaluate(f"() => {{ const video = document.querySelector('video'); return {decoded}; }}")
    await people.shown(viewer, f"{decoded} > {before + 40}")


def requests(viewer: Page) -> list[str]:
    """The methods of what the page asks WHEP for from now on."""
    asked: list[str] = []
    viewer.on("request", lambda request: asked.append(request.method) if "/whep/" in request.url else None)
    return asked


async def test_a_viewer_saves_data_and_has_sound_only(server: Server, screens: Screens) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    mia = await screens.open(f"{server.url}/watch/demo", width=390, height=844, touch=True)
    await people.go_live(studio)
    await people.shown(mia, "video.videoWidth === 1280")

    await studio.get_by_test_id("stream-figures").locator("summary").click()
    rows = studio.get_by_test_id("layer")
    await expect(rows).to_have_count(3)
    for row, size in enumerate(("1280 × 720", "640 × 360", "320 × 180")):
        await expect(rows.nth(row)).to_contain_text(size, timeout=20_000)
    await expect(rows.nth(0).locator("td").last).to_have_text("1")
    await screens.picture(studio, "stream-figures-1440")

    await people.choose_quality(mia, "save")
    await people.shown(mia, "video.videoWidth === 640")
    await expect(rows.nth(1).locator("td").last).to_have_text("1")
    await people.playing(mia)

    await people.choose_quality(mia, "sound")
    await expect(button(mia, "sound-only")).to_be_visible()
    await screens.picture(mia, "sound-only-390")
    await expect(studio.locator(".numbers div", has_text="Sound only").locator("dd")).to_have_text("1")
    await mia.reload()  # the choice is kept
    await expect(button(mia, "sound-only")).to_be_visible()
    await people.shown(mia, "!video.paused && video.srcObject?.getAudioTracks().length === 1 && video.currentTime > 0")

    await button(mia, "picture-back").click()
    await expect(button(mia, "sound-only")).to_be_hidden()
    await people.shown(mia, "video.videoWidth === 1280")
    await people.playing(mia)


async def test_a_lost_picture_returns_in_the_same_session(server: Server, screens: Screens) -> None:
    viewer = await screens.open(f"{server.url}/watch/demo")
    asked = requests(viewer)
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    await people.go_live(studio)
    await people.playing(viewer)
    await studio.context.close()

    await expect(button(viewer, "cover-away")).to_be_visible(timeout=20_000)
    await expect(button(viewer, "live-badge")).to_be_hidden()
    await screens.picture(viewer, "slate-1440")

    again = await screens.open(f"{server.url}/studio/demo#token=demo")
    await expect(button(again, "end")).to_be_visible()
    await people.send_again(again)
    await expect(button(viewer, "cover-away")).to_be_hidden()
    await people.playing(viewer)
    assert asked == ["POST"], "the viewer stayed in its session"


async def test_a_viewer_whose_path_changes_stays_in_its_session(
    server: Server, screens: Screens, udp_path: UdpPath
) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    viewer = await screens.open(f"{server.url}/watch/demo")
    await udp_path.lead(viewer)
    asked = requests(viewer)
    await people.go_live(studio)
    await people.playing(viewer)
    udp_path.rebind()
    await more_frames(viewer)
    assert asked == ["POST"], "another address needs no word"
    udp_path.cut()
    async with asyncio.timeout(30):
        while "PATCH" not in asked:
            await viewer.wait_for_timeout(100)
    await more_frames(viewer)
    assert asked == ["POST", "PATCH"], "an ICE restart keeps the session"
