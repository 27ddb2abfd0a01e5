"""What the keyboard reaches on a narrow page: a phone with one, or a desktop that is zoomed in."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Screens, Server
from tests.browser.people import button

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]


async def test_products_and_cart_come_after_the_line_to_write_in(server: Server, screens: Screens) -> None:
    mia = await screens.open(f"{server.url}/watch/demo", width=390, height=844)
    await expect(button(mia, "chat-input")).to_be_enabled()
    await button(mia, "chat-input").focus()
    await expect(button(mia, "chat-send")).to_be_visible()  # in the place of the two
    await mia.keyboard.press("Tab")
    await expect(mia.get_by_test_id("products-open")).to_be_focused()
    await mia.keyboard.press("Tab")
    await expect(mia.get_by_test_id("cart-open-phone")).to_be_focused()
    await mia.keyboard.press("Enter")
    await expect(button(mia, "cart-drawer")).to_be_visible()

    await mia.keyboard.press("Escape")
    await button(mia, "chat-input").fill("Hello")
    await mia.keyboard.press("Tab")
    await expect(button(mia, "chat-send")).to_be_focused()  # what is written comes first
    await mia.keyboard.press("Enter")
    await expect(button(mia, "chat-input")).to_have_value("")
    await mia.keyboard.press("Tab")
    await expect(mia.get_by_test_id("products-open")).to_be_focused()
