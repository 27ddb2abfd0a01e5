"""What a host and a viewer do on the pages, in the words of a person."""

import asyncio
from typing import Any

from playwright.async_api import Page, expect

# How much of the picture changed between two frames, and how many frames were decoded since the page opened.
_FRAMES = """async () => {
  const video = document.querySelector("[data-testid=video]");
  const canvas = new OffscreenCanvas(64, 36);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const look = () => { pen.drawImage(video, 0, 0, 64, 36); return pen.getImageData(0, 0, 64, 36).data; };
  const before = look();
  await new Promise(resolve => setTimeout(resolve, 700));
  const after = look();
  let changed = 0;
  for (let i = 0; i < before.length; i++) if (Math.abs(before[i] - after[i]) > 8) changed++;
  return { changed, decoded: video.getVideoPlaybackQuality().totalVideoFrames, width: video.videoWidth };
}"""


def button(page: Page, testid: str) -> Any:
    """The control of this test id that can be seen; a page may keep one for phones and one for desktops."""
    return page.locator(f"[data-testid={testid}]:visible").first


async def go_live(studio: Page) -> None:
    """Hold *Go live* with the keyboard, as long as it asks."""
    control = button(studio, "go-live")
    await expect(control).to_be_enabled()
    await control.hover()
    await studio.mouse.down()
    await expect(button(studio, "end")).to_be_visible(timeout=15_000)
    await studio.mouse.up()


async def send_again(studio: Page) -> None:
    """Hold *Send this camera* in a show that is on air already."""
    control = button(studio, "go-live")
    await expect(control).to_be_enabled()
    await control.hover()
    await studio.mouse.down()
    await expect(control).to_be_hidden(timeout=15_000)
    await studio.mouse.up()


async def playing(viewer: Page) -> dict[str, Any]:
    """Wait until frames are decoded and differ; what was seen."""
    await viewer.locator("[data-testid=video]").wait_for(state="attached")  # a page that is just opened has none yet
    async with asyncio.timeout(20):
        while True:
            seen: dict[str, Any] = await viewer.evaluate(_FRAMES)
            if seen["decoded"] > 5 and seen["changed"] > 0:
                return seen


async def shown(viewer: Page, condition: str, timeout_ms: int = 20_000) -> None:
    """Wait until `condition` holds of the viewer's `video` element."""
    await viewer.wait_for_function(
        f"() => {{ const video = document.querySelector('[data-testid=video]'); return {condition}; }}",
        timeout=timeout_ms,
    )


async def choose_quality(viewer: Page, choice: str) -> None:
    """Open the menu of the picture's quality and take `choice`."""
    await button(viewer, "quality").click()
    await viewer.get_by_test_id(f"quality-{choice}").check()
    await viewer.keyboard.press("Escape")
    await expect(button(viewer, "quality")).to_be_focused()


async def say(page: Page, text: str) -> None:
    """Write into the chat."""
    await button(page, "chat-input").fill(text)
    await button(page, "chat-input").press("Enter")


async def reads(page: Page, text: str, *, timeout_s: float | None = None) -> None:
    """The chat shows `text`, once; `timeout_s` None: within PATIENCE_MS of `conftest.py`."""
    found = page.locator("[data-testid=chat-list]:visible").get_by_text(text, exact=True)
    await expect(found).to_have_count(1, timeout=None if timeout_s is None else timeout_s * 1000)


async def pin(studio: Page, product: str) -> None:
    """Put a product on every screen."""
    await button(studio, f"pin-{product}").click()


async def pinned(page: Page, title: str) -> None:
    """The pinned card shows `title`."""
    await expect(button(page, "pinned-title")).to_have_text(title)
