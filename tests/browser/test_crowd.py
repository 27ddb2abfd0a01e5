"""A crowd on the pages: reactions that everybody sees counted, and a chat that is too fast to read."""

import asyncio

import httpx
import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import Screens, Server
from tests.browser.people import button

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(120)]


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


async def test_a_flood_is_shown_in_part_and_whole_in_the_studio(server: Server, screens: Screens) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    mia = await screens.open(f"{server.url}/watch/demo")
    await expect(button(mia, "chat-input")).to_be_enabled()
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        guests = [(await client.post("/api/guests", json={})).json()["token"] for _ in range(38)]

        async def say(token: str, text: str) -> bool:
            headers = {"authorization": f"Bearer {token}"}
            answer = await client.post("/api/shows/demo/chat", json={"text": text}, headers=headers)
            assert answer.status_code == 201, answer.text
            shown: bool = answer.json()["shown"]
            return shown

        said = {f"line {number}.{guest}": token for number in range(5) for guest, token in enumerate(guests)}
        shown = await asyncio.gather(*(say(token, text) for text, token in said.items()))
    left_out = [text for text, seen in zip(said, shown, strict=True) if not seen]
    assert len(left_out) >= 20
    await expect(mia.locator(".chat-note")).to_have_text("Fast chat: you see a part of it")
    await expect(studio.locator(".chat-note")).to_have_text("Viewers see only a part of it")
    await expect(messages(studio)).to_have_count(len(said))
    await expect(messages(mia)).to_have_count(len(said) - len(left_out))
    await expect(messages(studio).filter(has_text="not shown")).to_have_count(len(left_out))
    await expect(messages(mia).get_by_text(left_out[-1], exact=True)).to_have_count(0)
    await studio.reload()
    await expect(messages(studio).filter(has_text="not shown").first).to_be_attached()


def messages(page: Page) -> Locator:
    return page.locator("[data-testid=chat-list] .chat-message")
