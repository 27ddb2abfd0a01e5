"""What a host does besides going live: a key for OBS, order in the chat, a wrong token; and a viewer's sound."""

import re

import httpx
import pytest
from playwright.async_api import expect

from tests.browser import people
from tests.browser.conftest import Screens, Server
from tests.browser.people import button

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


async def test_a_stream_key_for_obs_opens_whip(server: Server, screens: Screens) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    await button(studio, "obs").locator("summary").click()
    await expect(studio.get_by_test_id("obs-url")).to_have_value(f"{server.url}/whip/demo")
    await button(studio, "stream-key-create").click()
    key = await studio.get_by_test_id("obs-key").input_value()
    async with httpx.AsyncClient(base_url=server.url) as encoder:
        headers = {"content-type": "application/sdp"}
        for bearer, status in ((key, 400), ("another", 401)):  # the key opens the door; the SDP is no SDP
            answer = await encoder.post(
                "/whip/demo", content="nonsense", headers=headers | {"authorization": f"Bearer {bearer}"}
            )
            assert answer.status_code == status
    # Without https there is no clipboard; the old way of copying is left, which may be refused as well.
    await studio.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    for copies, toasts in ((False, 0), (True, 1)):
        await studio.evaluate("copies => { document.execCommand = what => what === 'copy' && copies; }", copies)
        await studio.get_by_role("button", name="Copy: Server").click()
        await expect(studio.locator(".toast", has_text="Copied")).to_have_count(toasts)
    busy = "document.querySelector('hold-button').busy = true; document.querySelector('hold-button button').click()"
    await studio.evaluate(busy)  # as a screen reader clicks
    await expect(studio.locator("dialog")).to_have_count(0)


async def test_a_moderator_takes_a_message_down_and_sends_a_viewer_to_the_bench(
    server: Server, screens: Screens
) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    mia = await screens.open(f"{server.url}/watch/demo")
    await people.say(mia, "something rude")
    await people.reads(studio, "something rude")
    message = studio.locator("[data-testid=chat-list] .chat-message", has_text="something rude")
    await message.hover()
    await message.get_by_test_id("chat-delete").click()
    for page in (studio, mia):
        await expect(page.locator("[data-testid=chat-list]:visible")).not_to_contain_text("something rude")
    await people.say(mia, "and again")
    message = studio.locator("[data-testid=chat-list] .chat-message", has_text="and again")
    await message.hover()
    await message.get_by_test_id("chat-timeout").click()
    await expect(mia.locator("[data-testid=chat-list]:visible")).not_to_contain_text("and again")
    await expect(button(mia, "chat-input")).to_be_disabled()


async def test_a_wrong_token_is_said_at_the_door(server: Server, screens: Screens) -> None:
    screens.expected |= {(401, "api"), (403, "api")}
    studio = await screens.open(f"{server.url}/studio/demo#token=of-yesterday")
    await expect(studio.locator("#sign-in-error")).not_to_be_empty()
    await studio.goto(f"{server.url}/studio/demo#token=demo")  # on the page that is open: only what follows # changes
    await expect(button(studio, "go-live")).to_be_visible()
    await expect(studio).to_have_url(f"{server.url}/studio/demo")
    await studio.goto(f"{server.url}/studio/demo#token=not-a-token")
    await expect(studio.locator("#sign-in-error")).not_to_be_empty()
    await button(studio, "sign-in-token").fill("demo")
    await button(studio, "sign-in").click()
    await expect(button(studio, "go-live")).to_be_visible()


async def test_the_sound_button_says_and_does_it(server: Server, screens: Screens) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    viewer = await screens.open(f"{server.url}/watch/demo")
    await people.go_live(studio)
    await people.playing(viewer)
    muted = "document.querySelector('[data-testid=video]').muted"
    before = await viewer.evaluate(muted)
    await button(viewer, "sound").click()
    assert await viewer.evaluate(muted) is not before
    await expect(button(viewer, "sound")).to_have_attribute("aria-pressed", re.compile("true|false"))
    await button(viewer, "sound").click()
    assert await viewer.evaluate(muted) is before
