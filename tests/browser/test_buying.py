"""What shoppers do with carts, prices, drops and the waitlist, in real browsers. One Chromium, two shops."""

import asyncio
import itertools
import json
import re
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from live.core.auth import ALL_SHOWS, Principal, Role, Tokens
from live.core.clock import SystemClock
from tests.browser import people
from tests.browser.conftest import FLAGS, Screens, Server, chromium_path, start_demo
from tests.browser.people import button
from tests.live.access.shop import claims, document, key, token
from tests.live.web import WEB

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]

SECRET = "a secret of the tests in browsers"
VASE = "VASE-STUDIO"
HOLD_TTL_S = 8  # of the shop where holds expire: long enough to join the waitlist meanwhile
PLACES = ("/", "/watch/demo", "/studio/demo#token=demo", "/ops", "/prices", "/shipping", "/withdraw", "/nowhere")
# All words that a person sees or hears: texts, names of controls, hints in fields.
_WORDS = """() => {
  const words = [document.title];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) if (!walk.currentNode.parentElement.closest("noscript")) words.push(walk.currentNode.data);
  for (const element of document.querySelectorAll("[aria-label], [placeholder], [title]")) {
    words.push(...["aria-label", "placeholder", "title"].map((name) => element.getAttribute(name) ?? ""));
  }
  return words.map((text) => text.trim()).filter(Boolean);
}"""


def _ops() -> dict[str, str]:
    ops = Principal(subject="ops", role=Role.ops, show=ALL_SHOWS, name="Ops")
    return {"authorization": f"Bearer {Tokens(SECRET, SystemClock()).sign(ops, 600)}"}


class Api:
    """The shop's HTTP API, as ops; every change has a key of its own, whichever test asks for it."""

    _keys = itertools.count()

    def __init__(self, server: Server) -> None:
        self._client = httpx.AsyncClient(base_url=server.url, headers=_ops())

    async def __call__(self, method: str, path: str, **body: object) -> dict[str, object]:
        headers = {"idempotency-key": f"browser-{next(self._keys)}"}
        answer = await self._client.request(method, path, json=body, headers=headers)
        assert answer.is_success, answer.text
        found: dict[str, object] = answer.json()
        return found

    async def close(self) -> None:
        await self._client.aclose()


async def _publish_before(page: Page, shop: Server, named: dict[str, str]) -> None:
    """Somebody else publishes a coupon between what `page` has read and what it publishes next."""
    coupon = {"version": 1, "lane": "order", "then": [{"kind": "pct", "bp": 100}], "standing": True}
    rule = coupon | {"id": named["id"], "label": named["label"], "coupon": {"code": named["code"]}}

    async def quicker(route: Route) -> None:
        api = Api(shop)
        drafted = await api("POST", "/api/rulesets", rules=[rule])
        ruleset = drafted["ruleset"]
        assert isinstance(ruleset, dict)
        await api("POST", f"/api/rulesets/{ruleset['number']}/publish")
        await api.close()
        await route.continue_()

    await page.route("**/api/rulesets/*/publish*", quicker, times=1)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one_chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        await browser.close()


async def _stopped(server: Server) -> None:
    assert await server.stop() == 0, server.log.read_text()
    assert "Traceback" not in server.log.read_text(), server.log.read_text()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A shop with a check-out of its own, whose customers sign in."""
    folder = tmp_path_factory.mktemp("shop")
    keys = folder / "jwks.json"
    keys.write_bytes(document(key("ec")))
    server = await start_demo(
        folder, SHOWCART_SECRET=SECRET, SHOWCART_SIGN_ON_KEYS_FILE=str(keys),
        SHOWCART_SIGN_ON_ISSUER="https://shop.example", SHOWCART_SIGN_ON_AUDIENCE="showcart",
    )  # fmt: skip
    yield server
    await _stopped(server)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hasty_shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A shop where holds expire soon, and whose check-out is elsewhere."""
    server = await start_demo(
        tmp_path_factory.mktemp("hasty"), SHOWCART_SECRET=SECRET, SHOWCART_HOLD_TTL_S=str(HOLD_TTL_S),
        SHOWCART_HANDOFF_URL="http://127.0.0.1:9/checkout",
        SHOWCART_HANDOFF_SECRETS=f"whsec_{b64encode(bytes(32)).decode()}",
    )  # fmt: skip
    yield server
    await _stopped(server)


@pytest_asyncio.fixture(loop_scope="module")
async def people_in(one_chromium: Browser, tmp_path: Path) -> AsyncIterator[Screens]:
    screens = Screens(one_chromium, tmp_path)
    yield screens
    for context in one_chromium.contexts:
        await context.close()
    assert screens.errors == []


async def _tab_to(page: Page, testid: str) -> None:
    """Press Tab until the control of this test id has the focus."""
    for _ in range(60):
        if await page.evaluate("document.activeElement?.dataset.testid") == testid:
            return
        await page.keyboard.press("Tab")
    pytest.fail(f"the keyboard does not reach {testid}")


def _texts(language: str) -> dict[str, str]:
    files = [WEB / f"text/{language}.json", *sorted(WEB.glob(f"text/{language}.*.json"))]
    return {name: text for file in files for name, text in json.loads(file.read_text()).items()}


async def _all_german(page: Page) -> None:
    """No key stands where a text should be, and nothing is said in English that has German words."""
    english, german = _texts("en"), _texts("de")
    foreign = {text for name, text in english.items() if text != german[name]} - set(german.values())
    said = set(await page.evaluate(_WORDS))
    assert not said & set(english), f"{page.url}: keys"
    assert not said & foreign, f"{page.url}: {said & foreign}"


async def test_two_race_for_the_last_unit_and_who_waits_gets_it_after_expiry(
    hasty_shop: Server, people_in: Screens
) -> None:
    ops = Api(hasty_shop)
    await ops("POST", f"/api/stock/{VASE}/adjust", change=-2)
    await ops("PUT", "/api/shows/demo/pin", product_id="ceramic-vase")
    await ops.close()
    pair = [await people_in.open(f"{hasty_shop.url}/watch/demo") for _ in range(2)]
    for page in pair:
        await expect(button(page, "stock")).to_have_text("1 left")
    await asyncio.gather(*(button(page, "add-to-cart").click() for page in pair))
    for page in pair:
        await expect(
            page.locator(":is([data-testid=quantity], [data-testid=waitlist-join]):visible").first
        ).to_be_visible()
    held = [await page.locator("[data-testid=quantity]:visible").count() for page in pair]
    assert sorted(held) == [0, 1]
    winner, other = pair if held[0] else reversed(pair)
    await button(other, "waitlist-join").click()
    await expect(button(other, "place")).to_have_text("You are next on the waitlist.")
    await expect(button(winner, "quantity")).to_have_text("1")
    await expect(button(other, "turn")).to_be_visible(timeout=4 * HOLD_TTL_S * 1000)
    await expect(button(other, "quantity")).to_have_text("1")
    await expect(button(winner, "waitlist-join")).to_be_visible()


async def test_the_order_goes_on_in_the_shops_own_check_out(hasty_shop: Server, people_in: Screens) -> None:
    tom, mia = [await people_in.open(f"{hasty_shop.url}/watch/demo") for _ in range(2)]
    for page in (tom, mia):
        await button(page, "tab-products").click()
        await button(page, "add-to-cart-walnut-board").click()
        await button(page, "cart-open").click()
        await button(page, "to-checkout").click()
        await expect(button(page, "handoff-link")).to_have_text("To the shop’s check-out · €54.50")
    await button(tom, "handoff-back").click()
    await expect(button(tom, "handoff-link")).to_have_count(0)
    href = await button(mia, "handoff-link").get_attribute("href") or ""
    assert href.startswith("http://127.0.0.1:9/checkout?handoff=")
    ops = Api(hasty_shop)
    await ops("POST", f"/api/handoffs/{re.findall('handoff=([0-9a-f]+)', href)[0]}/order", number="S-1001")
    await ops.close()
    await expect(mia.get_by_text("Your order has arrived. Thank you!").last).to_be_visible()
    await expect(button(mia, "handoff-link")).to_have_count(0)


async def test_a_coupon_a_purchase_by_keyboard_alone_and_a_withdrawal_in_german(
    shop: Server, people_in: Screens
) -> None:
    ops = await people_in.open(f"{shop.url}/prices#token={_ops()['authorization'][7:]}")
    await ops.get_by_test_id("rule-kind-coupon").check()
    for name, typed in (("label", "Welcome"), ("off", "10 %"), ("code", "hello10"), ("limit", "5"), ("each", "9")):
        await button(ops, f"rule-{name}").fill(typed)
    await button(ops, "rule-save").click()
    await expect(ops.locator("#rule-each-error")).not_to_be_empty()  # more for each than in all
    await button(ops, "rule-each").fill("")
    await _publish_before(ops, shop, {"id": "others", "label": "Gift week", "code": "GIFTWEEK"})
    await button(ops, "rule-save").click()
    await expect(ops.get_by_test_id("rules")).to_contain_text("HELLO10")
    await expect(ops.get_by_test_id("rules")).to_contain_text("GIFTWEEK")
    assert people_in.errors == ["409 POST /api/rulesets/1/publish"]  # and was made anew from what was in force then
    people_in.errors.clear()

    studio = await people_in.open(f"{shop.url}/studio/demo#token=demo", locale="de-DE")
    await people.pin(studio, "walnut-board")
    await button(studio, "sales").locator("summary").first.click()
    mia = await people_in.open(f"{shop.url}/watch/demo", locale="de-DE")
    await expect(button(mia, "pinned-card")).to_be_visible()
    await _tab_to(mia, "add-to-cart")
    await mia.keyboard.press("Enter")
    await expect(button(mia, "quantity")).to_have_text("1")
    await _tab_to(mia, "cart-open")
    await mia.keyboard.press("Enter")
    await _tab_to(mia, "coupon")
    await mia.keyboard.type("hello10")
    await mia.keyboard.press("Enter")
    await expect(button(mia, "cart-total")).to_have_text("49,05 €")
    await _all_german(mia)
    await _tab_to(mia, "to-checkout")
    await mia.keyboard.press("Enter")
    await expect(button(mia, "checkout-name")).to_be_focused()
    await mia.keyboard.type("Mia Möller")
    await mia.keyboard.press("Tab")
    await mia.keyboard.type("mia@example.com")
    await _all_german(mia)
    await _tab_to(mia, "checkout")
    await mia.keyboard.press("Enter")
    await expect(button(mia, "order-number")).not_to_be_empty()
    await _all_german(mia)
    sold = re.compile(r"1 Bestellung: Walnut Serving Board 49,05\s€")
    await expect(studio.locator("svg.bars")).to_have_attribute("aria-label", sold)
    await _all_german(studio)

    await mia.goto(f"{shop.url}{await button(mia, 'order-withdraw').get_attribute('href')}")
    await expect(mia).to_have_url(f"{shop.url}/withdraw")  # no number and address for who looks at the history
    await _tab_to(mia, "withdraw-submit")
    await mia.keyboard.press("Enter")
    await expect(button(mia, "withdraw-name")).to_have_value("Mia Möller")
    await _all_german(mia)
    await _tab_to(mia, "withdraw-submit")
    await mia.keyboard.press("Enter")
    await expect(button(mia, "withdraw-done")).to_contain_text("mia@example.com")
    await _all_german(mia)


async def test_a_signed_in_shopper_keeps_prices_of_their_own(shop: Server, people_in: Screens) -> None:
    ops = Api(shop)
    rule = {"id": "members", "version": 1, "label": "Members", "lane": "price", "segments": ["members"],
            "standing": True, "then": [{"kind": "pct", "bp": 2000}]}  # fmt: skip
    draft = await ops("POST", "/api/rulesets", rules=[rule])
    assert isinstance(draft["ruleset"], dict)
    await ops("POST", f"/api/rulesets/{draft['ruleset']['number']}/publish")
    await ops("PUT", "/api/shows/demo/pin", product_id="linen-throw")
    now_s = int(time.time())
    said = claims(iat=now_s, exp=now_s + 300, nickname="Mia M", segments=["members"])
    mia = await people_in.open(f"{shop.url}/watch/demo#sign-on={token(key('ec'), said=said)}")
    await button(mia, "confirm-sign-on").click()
    tom = await people_in.open(f"{shop.url}/watch/demo")
    await expect(button(mia, "rename")).to_have_text("Signed in as Mia M")
    await expect(mia).to_have_url(f"{shop.url}/watch/demo")  # the token leaves the address bar
    await expect(button(mia, "price")).to_have_text("€63.20")
    await expect(button(tom, "price")).to_have_text("€79.00")
    await ops("POST", "/api/shows/demo/live-price", off_bp=1000)
    await ops.close()
    await expect(button(tom, "price")).to_have_text("€71.10")
    await expect(button(mia, "price")).to_have_text("€56.88")  # 10 % off her own price, asked for by the page


async def test_a_link_that_signs_on_asks_first(shop: Server, people_in: Screens) -> None:
    def link(customer: str, name: str) -> str:
        now_s = int(time.time())
        said = claims(sub=customer, iat=now_s, exp=now_s + 300, nickname=name)
        return f"{shop.url}/watch/demo#sign-on={token(key('ec'), said=said)}"

    async def asked(page: Page, title: str, no: str) -> None:
        await expect(page.get_by_role("alertdialog")).to_have_accessible_name(title)
        await expect(page.get_by_role("alertdialog")).to_contain_text("shop.example")
        await expect(page.get_by_role("button", name=no)).to_be_focused()  # a hasty Enter changes nothing

    ops = Api(shop)
    await ops("PUT", "/api/shows/demo/pin", product_id="espresso-cup")
    await ops.close()
    eve = await people_in.open(f"{shop.url}/watch/demo")
    await button(eve, "add-to-cart").click()
    await expect(button(eve, "quantity")).to_have_text("1")
    guest = await button(eve, "rename").text_content()
    await eve.goto(link("customer-8", "Mallory"))  # on the page that is open: only what follows # changes
    await asked(eve, "Sign in as Mallory?", "Stay a guest")
    await eve.keyboard.press("Enter")
    await expect(eve).to_have_url(f"{shop.url}/watch/demo")
    await eve.reload()
    await expect(button(eve, "rename")).to_have_text(guest)
    other = await eve.context.new_page()
    await other.goto(f"{shop.url}/watch/demo")
    await expect(button(other, "rename")).to_have_text(guest)
    await eve.goto(link("customer-9", "Eve"))
    await asked(eve, "Sign in as Eve?", "Stay a guest")
    await button(eve, "confirm-sign-on").click()
    await expect(button(eve, "rename")).to_have_text("Signed in as Eve")
    await expect(button(eve, "quantity")).to_have_text("1")  # the cart has come along
    await button(other, "rename").click()  # of the guest that this tab still is
    await button(other, "rename-input").fill("Evie")
    await button(other, "rename-save").click()
    await expect(button(other, "rename")).to_have_text("You are Evie")
    await eve.reload()
    await expect(button(eve, "rename")).to_have_text("Signed in as Eve")
    await expect(button(eve, "quantity")).to_have_text("1")
    await eve.goto("about:blank")
    await eve.goto(link("customer-9", "Eve"))  # it is her already
    await expect(button(eve, "rename")).to_have_text("Signed in as Eve")
    await eve.goto("about:blank")
    await eve.goto(link("customer-8", "Mallory"))
    await asked(eve, "Sign in as Mallory?", "Stay Eve")
    await eve.keyboard.press("Escape")
    await expect(button(eve, "rename")).to_have_text("Signed in as Eve")
    await eve.goto("about:blank")
    await eve.goto(
        link("customer-8", "Mallory"), referer="https://shop.example/account"
    )  # the shop knows whom it sends
    await expect(button(eve, "rename")).to_have_text("Signed in as Mallory")


async def test_a_choice_keeps_the_focus_when_its_price_changes(shop: Server, people_in: Screens) -> None:
    ops = Api(shop)
    await ops("PUT", "/api/shows/demo/pin", product_id="wool-beanie")
    tom = await people_in.open(f"{shop.url}/watch/demo")
    choice = tom.locator("pinned-card .variant").nth(1)
    await choice.click()
    before = await button(tom, "price").text_content()
    assert before is not None
    await ops("POST", "/api/shows/demo/live-price", off_bp=1000, sku="BEANIE-RUST")
    await expect(button(tom, "price")).not_to_have_text(before)
    await expect(choice).to_be_focused()
    after = await button(tom, "price").text_content()
    await expect(tom.locator("[aria-live=polite]", has_text=f"costs {after} now")).to_have_count(1)  # read out
    await ops("DELETE", "/api/shows/demo/live-price")
    await ops.close()


async def test_a_drop_opens_by_itself_and_tells_its_limit(shop: Server, people_in: Screens) -> None:
    studio = await people_in.open(f"{shop.url}/studio/demo#token=demo")
    await people.pin(studio, "field-lamp")
    tom = await people_in.open(f"{shop.url}/watch/demo")
    await people.pinned(tom, "Rechargeable Field Lamp")
    ops = Api(shop)
    drops, hour_ms = "/api/shows/demo/drops", 3_600_000
    opens_at_ms = int(time.time() * 1000) + hour_ms
    made = await ops("POST", drops, sku="LAMP-FIELD", opens_at_ms=opens_at_ms, total_limit=2, per_customer_limit=1)
    await expect(button(tom, "add-to-cart")).to_contain_text("Starts in")
    await expect(button(tom, "add-to-cart")).to_have_attribute("aria-disabled", "true")
    assert isinstance(made["drop"], dict)
    await ops("PATCH", f"{drops}/{made['drop']['id']}", opens_at_ms=int(time.time() * 1000) + 2500)
    await ops.close()
    await expect(button(tom, "add-to-cart")).to_have_text("Add to cart")  # nobody did anything
    await button(tom, "add-to-cart").click()
    await expect(button(tom, "quantity")).to_have_text("1")
    await expect(button(tom, "stock")).to_have_text("1 left")
    await expect(tom.locator("pinned-card").get_by_label("One more")).to_be_disabled()
    await button(studio, "drop-field-lamp").click()
    await button(studio, "drop-cancel-LAMP-FIELD").click()
    await expect(button(tom, "drop")).to_have_count(0)


async def test_every_page_speaks_german(shop: Server, people_in: Screens) -> None:
    people_in.expected |= {(404, "nowhere"), (403, "api")}  # a host may not see the price rules
    page = await people_in.open(f"{shop.url}/", locale="de-DE")
    for place in PLACES:
        await page.goto(f"{shop.url}{place}")
        await expect(page.locator("html")).to_have_attribute("lang", "de")
        await expect(page.locator("h1:visible, h2:visible").first).not_to_be_empty()
        await _all_german(page)
