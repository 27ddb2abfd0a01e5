"""The show of `tests.cart`, with what is offered in it under its own shop."""

import msgspec
import pytest

from cart.offering.live_prices import Start
from cart.offering.service import Offering
from cart.pricing.rules import Rule
from cart.pricing.store import LivePrice
from cart.service import Shop
from live.core.clock import ManualClock
from live.service import Shows

CUP_PRICE = 1000  # of the fixture's SKU `CUP`; `MUG-BLUE` costs 1500, struck 2000


@pytest.fixture
def offering(shop: Shop, clock: ManualClock) -> Offering:
    """It is an hour later than when the goods came."""
    clock.advance(3600)
    shop.attach()
    return shop.offering


async def start(offering: Offering, asked: Start, show: str = "demo") -> LivePrice:
    """Start a live price as the host does."""
    return await offering.stockroom.change(lambda moves: offering.live_prices.start(moves, show, "host", asked))


async def stop(offering: Offering, show: str = "demo") -> bool:
    return await offering.stockroom.change(lambda moves: offering.live_prices.stop(moves, show, "host"))


def rule(**members: object) -> Rule:
    """A rule that takes 10 % off everything in the shop's own lane, with other members."""
    plain: dict[str, object] = {
        "id": "sale", "version": 1, "label": "Sale", "lane": "price", "then": [{"kind": "pct", "bp": 1000}],
        "standing": True,
    }  # fmt: skip
    return msgspec.convert(plain | members, Rule)


async def publish(offering: Offering, *rules: Rule) -> int:
    """Save and publish rules; the number of their set."""
    body, _ = await offering.rulesets.draft("", rules, "ops", None)
    number: int = body["ruleset"]["number"]
    await offering.rulesets.publish(number, "ops", None)
    return number


async def price(shows: Shows, sku: str = "CUP", show: str = "demo") -> int:
    """What the snapshot of a show says that a SKU costs."""
    lineup = (await shows.snapshot(show))["lineup"]
    [found] = [variant["price_minor"] for one in lineup for variant in one["variants"] if variant["sku"] == sku]
    return int(found)
