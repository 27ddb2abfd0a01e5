"""One price: whoever asks, wherever, gets the same for a SKU, as long as no rule names the difference."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import insert, select

from cart.feeds.exporting import Export
from cart.offering.live_prices import Start
from cart.offering.service import Offering
from cart.pricing.rules import LIVE, Rule
from cart.pricing.service import shopper_of
from cart.pricing.store import Shopper
from cart.service import Shop
from cart.webhooks.outbox import put_news
from cart.webhooks.tables import webhook_endpoint, webhook_event
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.limits import WEBHOOK_WANTED_S
from live.service import Shows
from tests.cart.conftest import viewer
from tests.cart.offering.conftest import publish, rule, start, stop
from tests.cart.ordering.conftest import HOST

SKUS = ("CUP", "MUG-BLUE", "MUG-RED")
EFFECTS = [{"kind": "pct", "bp": 1500}, {"kind": "amount", "minor": 333}, {"kind": "fixed_price", "minor": 700}]
TARGETS = [{}, {"skus": ["CUP"]}, {"products": ["mug"]}, {"without_skus": ["MUG-RED"]}]
BUYERS = itertools.count()


@st.composite
def rules(draw: st.DrawFn) -> list[Rule]:
    """Up to four rules of the lane price; some name a channel, a segment, a show or the pin."""
    made = []
    modes = {group: draw(st.sampled_from(["stack", "best", "stop"])) for group in "ab"}
    for place in range(draw(st.integers(0, 4))):
        target = {"target": draw(st.sampled_from(TARGETS))}
        group = draw(st.sampled_from("ab"))
        made.append(
            rule(
                id=f"r{place}",
                then=[draw(st.sampled_from(EFFECTS)) | target],
                priority=draw(st.integers(-3, 3)),
                channels=draw(st.sampled_from([[], [], ["live"], ["shop", "mail"]])),
                segments=draw(st.sampled_from([[], [], ["club"]])),
                bind=draw(st.sampled_from([{}, {}, {"show": "demo"}, {"while_pinned": True}])),
                group=group,
                mode=modes[group],
                currency="EUR",
            )
        )
    return made


def differs(one: Rule) -> bool:
    """Whether a rule names something that is not the same everywhere."""
    return bool(one.channels) or one.bind.show is not None or one.bind.while_pinned


@pytest.fixture
async def hooked(database: Database, shows: Shows, clock: ManualClock) -> None:
    """Somebody wants every webhook."""
    endpoint = {
        "id": "e1", "url": "https://example.com", "label": "", "types": [], "state": "active", "reason": "",
        "secret": b"", "created_at_ms": 1,
    }  # fmt: skip
    await database.write_sync(lambda conn: conn.execute(insert(webhook_endpoint).values(**endpoint)))
    shows.transactions.also = put_news
    clock.advance(2 * WEBHOOK_WANTED_S)


@pytest.mark.usefixtures("hooked")
@settings(max_examples=16, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=rules(), pinned=st.sampled_from([None, "cup", "mug"]), live=st.booleans(), club=st.booleans())
async def test_all_channels_say_the_same_price(
    shop: Shop,
    shows: Shows,
    offering: Offering,
    database: Database,
    made: list[Rule],
    pinned: str | None,
    live: bool,
    club: bool,
) -> None:
    try:
        number = await publish(offering, *made)
    except Problem:  # rules that can never apply are refused, which is part of what is shown here
        return
    if pinned is None:
        await shows.unpin("demo")
    else:
        await shows.pin("demo", pinned)
        if live:
            try:
                await start(offering, Start(price_minor=650))
            except Problem:  # it is cheaper without
                live = False
    ada = viewer(f"ada{next(BUYERS)}")
    if club:  # whom the shop has signed in
        ada = replace(ada, customer=ada.subject, segments=("club",))
    who = shopper_of(ada)
    own = (await shop.seen.besides("demo", ada)).get("prices", [])  # the page puts them over those for everybody
    seen = await _snapshot(shows) | {one["sku"]: one["price_minor"] for one in own if one["sku"] in SKUS}
    quoted = {one.sku: one.unit_minor for one in await shop.window.quotes(dict.fromkeys(SKUS, 2), who, show="demo")}
    listed = await _listed(shop, who, "demo", None)
    carts = {}
    for sku in ("CUP", "MUG-BLUE"):
        answer = await shop.add("demo", ada, sku, price_minor=seen[sku])
        carts[sku] = answer.body["hold"]["price_minor"]
    cart = (await shop.cart("demo", ada)).lines
    answer = await shop.checkout("demo", ada, name="Ada", email="ada@example.com")
    order = answer.body["order"]
    assert seen == quoted == listed
    assert carts == {line.sku: line.price_minor for line in cart} == {sku: seen[sku] for sku in carts}
    assert carts == _prices(order["lines"])
    told = await _told(database, ada.subject)
    assert {name for name, _ in told} >= {"hold.created", "cart.changed", "order.placed"}
    for name, lines in told:
        assert _prices(lines).items() <= carts.items(), name

    in_shop, by_mail = await _listed(shop, who, None, None), await _listed(shop, who, None, "mail")
    quotes = await shop.window.quotes(dict.fromkeys(SKUS, 1), who, channel="mail")
    assert {one.sku: one.unit_minor for one in quotes} == by_mail
    fed = await _exported(shows, shop, None), await _exported(shows, shop, "mail")  # which is for nobody in particular
    if not club or not any(one.segments for one in made):
        assert fed == (in_shop, by_mail)
    if not any(differs(one) for one in made) and not (live and pinned):
        assert in_shop == by_mail == seen
    if not any(one.channels for one in made):
        assert in_shop == by_mail
    await shop.office.orders.cancel(order["id"], HOST)
    await stop(offering)
    assert await offering.rulesets.in_force() == number


async def _snapshot(shows: Shows) -> dict[str, int]:
    lineup = (await shows.snapshot("demo"))["lineup"]
    return {one["sku"]: one["price_minor"] for product in lineup for one in product["variants"]}


async def _listed(shop: Shop, who: Shopper, show: str | None, channel: str | None) -> dict[str, int]:
    assert channel != LIVE
    products = await shop.window.page(shopper=who, show=show, channel=channel)
    return {one.sku: one.price_minor for product in products for one in product.variants if one.sku in SKUS}


async def _exported(shows: Shows, shop: Shop, channel: str | None) -> dict[str, int]:
    """What the product feed says that SKUs cost: the sale price, if there is one."""
    feed = b"".join([part async for part in Export(shows, shop.window).xml("https://shop.example", "Shop", channel)])
    found = {}
    for item in ElementTree.fromstring(feed).iter("item"):
        facts = {one.tag.rpartition("}")[2]: one.text or "" for one in item}
        if facts["id"] in SKUS:
            found[facts["id"]] = round(100 * float(facts.get("sale_price", facts["price"]).split()[0]))
    return found


def _prices(lines: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {line["sku"]: line["price_minor"] for line in lines}


async def _told(database: Database, viewer_id: str) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    """What the webhooks say of somebody's holds, carts and orders: types with lines."""
    rows = await database.read_sync(lambda conn: conn.execute(select(webhook_event.c.type, webhook_event.c.data)).all())
    return [(type_, data.get("lines", [data])) for type_, data in rows if data.get("viewer_id") == viewer_id]
