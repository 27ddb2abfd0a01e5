"""A live price: a host starts it with one click, another browser shows it and buys at it, and it ends."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser import people
from tests.browser.conftest import Screens, Server
from tests.browser.people import button

DEAF = Path(__file__).parent / "deaf.js"
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


async def test_a_live_price_appears_sells_and_ends(server: Server, screens: Screens) -> None:
    screens.expected.add((422, "api"))
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    tom = await screens.open(f"{server.url}/watch/demo")
    await expect(button(studio, "live-price-none")).to_be_visible()
    await people.pin(studio, "walnut-board")
    await expect(button(tom, "price")).to_have_text("€54.50")
    rows = await studio.get_by_test_id("lineup").bounding_box()

    await button(studio, "live-price-bid").fill("60")
    await button(studio, "live-price-start").click()
    await expect(button(studio, "live-price-error")).not_to_be_empty()  # dearer than without it
    await button(studio, "live-price-20").click()
    await expect(button(tom, "price")).to_have_text("€43.60")
    await expect(button(tom, "price-notes")).to_contain_text(
        "Lowest price of the last 30 days: €54.50 (\N{MINUS SIGN}20%)"
    )
    await expect(button(studio, "live-price-seen")).to_contain_text("€43.60")
    await expect(button(studio, "live-price-stop")).to_be_visible()
    assert await studio.get_by_test_id("lineup").bounding_box() == rows  # no row jumps under the pointer

    await button(tom, "add-to-cart").click()
    await expect(button(tom, "quantity")).to_have_text("1")
    await button(studio, "live-price-stop").click()
    await expect(button(studio, "live-price-stop")).to_have_count(0)
    await expect(button(tom, "price")).to_have_text("€54.50")

    await button(tom, "cart-open").click()
    await expect(button(tom, "cart-total")).to_have_text("€43.60")
    await expect(button(tom, "price-now-BOARD-WALNUT")).to_contain_text("€54.50")
    await button(tom, "to-checkout").click()
    await button(tom, "checkout-name").fill("Tom Brandt")
    await button(tom, "checkout-email").fill("tom@example.com")
    await button(tom, "checkout").click()
    await expect(button(tom, "order-number")).to_have_text(re.compile(r"\w+"))


async def test_a_click_at_a_price_that_is_over_asks_for_the_new_one(server: Server, screens: Screens) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    await people.pin(studio, "walnut-board")
    await button(studio, "live-price-bid").fill("40")
    await button(studio, "live-price-start").click()
    # This viewer's network lets no change of a price through, so that the click comes with the old one.
    mia = await screens.open(f"{server.url}/watch/demo", script=DEAF)
    await expect(button(mia, "price")).to_have_text("€40.00")
    await button(studio, "live-price-stop").click()
    await expect(button(studio, "live-price-stop")).to_have_count(0)
    await button(mia, "add-to-cart").click()
    await expect(button(mia, "confirm-price")).to_contain_text("€54.50")
    await expect(button(mia, "price")).to_have_text("€54.50")
    await button(mia, "confirm-price").click()
    await expect(button(mia, "quantity")).to_have_text("1")
