"""A crowd on the pages: reactions that everybody sees counted, and a chat that is too fast to read."""

import re
import time
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect
from redis.asyncio import Redis

from live.core.valkey import private
from tests.browser import people
from tests.browser.conftest import Screens, Server
from tests.browser.people import button

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


async def test_reactions_are_counted_for_everybody(server: Server, screens: Screens) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    mia = await screens.open(f"{server.url}/watch/demo", width=390, height=844, touch=True)
    ben = await screens.open(f"{server.url}/watch/demo", locale="de-DE")
    await ben.emulate_media(reduced_motion="reduce")
    for _ in range(3):
        await button(mia, "reaction-heart").tap()
    heart = ben.get_by_role("group", name="Reaktionen").get_by_role("button", name="Herz")
    await heart.focus()
    await ben.keyboard.press("Enter")
    await button(ben, "reaction-wow").click()
    for page in (studio, mia, ben):
        await expect(page.get_by_test_id("reaction-heart-total")).to_have_text("4")
        await expect(page.get_by_test_id("reaction-wow-total")).to_have_text("1")
    await expect(heart).to_have_accessible_description("4")
    assert await ben.locator(".reaction-flying").count() == 0  # nothing moves for who asked for that
    late = await screens.open(f"{server.url}/watch/demo")
    await expect(late.get_by_test_id("reaction-heart-total")).to_have_text("4")

    for text in ("a long answer " * 20, "another long answer " * 13, "the newest"):
        await people.say(studio, text)
    await people.reads(mia, "the newest")
    await mia.set_viewport_size({"width": 390, "height": 520})  # as a keyboard does that opens
    await expect(messages(mia).last).to_be_in_viewport(ratio=0.9)


async def test_a_flood_is_shown_in_part_and_whole_in_the_studio(
    server: Server, screens: Screens, tmp_path: Path
) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    mia = await screens.open(f"{server.url}/watch/demo")
    ben = await screens.open(f"{server.url}/watch/demo")
    await people.say(ben, "in time")
    for page in (studio, mia, ben):
        await people.reads(page, "in time")
    async with private(tmp_path / "var", join=True) as url, Redis.from_url(url) as redis:
        # As if so much had been written that the screens have no room for an hour; a real flood would be a race.
        await redis.set("showcart:{demo}:chat:rate", int((time.time() + 3600) * 1e6))
    await people.say(ben, "one of too many")
    await expect(mia.locator(".chat-note")).to_have_text("Fast chat: you see a part of it")
    await expect(studio.locator(".chat-note")).to_have_text("Viewers see only a part of it")
    await people.reads(ben, "one of too many")
    await people.say(studio, "but the host is heard")
    for page in (studio, mia, ben):
        await people.reads(page, "but the host is heard")
    await expect(messages(mia)).to_have_text([re.compile("in time"), re.compile("but the host is heard")])
    await expect(messages(ben)).to_have_count(3)
    await expect(messages(studio).filter(has_text="one of too many")).to_contain_text("not shown")
    for page in (studio, ben):
        await page.reload()
        await people.reads(page, "one of too many")
    await messages(studio).filter(has_text="one of too many").hover()
    await messages(studio).filter(has_text="one of too many").get_by_test_id("chat-delete").click()
    for page in (studio, ben):
        await expect(messages(page)).to_have_count(2)


def messages(page: Page) -> Locator:
    return page.locator("[data-testid=chat-list] .chat-message")
