"""One price: whoever asks, wherever, gets the same for a SKU, as long as no rule names the difference."""

import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cart.offering.live_prices import Start
from cart.offering.service import Offering
from cart.pricing.rules import LIVE, Rule
from cart.service import Shop
from live.core.errors import Problem
from live.service import Shows
from tests.cart.conftest import viewer
from tests.cart.offering.conftest import publish, rule, start, stop

SKUS = ("CUP", "MUG-BLUE", "MUG-RED")
EFFECTS = [{"kind": "pct", "bp": 1500}, {"kind": "amount", "minor": 333}, {"kind": "fixed_price", "minor": 700}]
TARGETS = [{}, {"skus": ["CUP"]}, {"products": ["mug"]}, {"without_skus": ["MUG-RED"]}]
BUYERS = itertools.count()


@st.composite
def rules(draw: st.DrawFn) -> list[Rule]:
    """Up to four rules of the lane price; some name a channel, a show or the pin."""
    made = []
    for place in range(draw(st.integers(0, 4))):
        target = {"target": draw(st.sampled_from(TARGETS))}
        made.append(
            rule(
                id=f"r{place}",
                then=[draw(st.sampled_from(EFFECTS)) | target],
                priority=draw(st.integers(-3, 3)),
                channels=draw(st.sampled_from([[], [], ["live"], ["shop", "mail"]])),
                bind=draw(st.sampled_from([{}, {}, {"show": "demo"}, {"while_pinned": True}])),
                group="a",
                mode=draw(st.sampled_from(["stack"])),
                currency="EUR",
            )
        )
    return made


def differs(one: Rule) -> bool:
    """Whether a rule names something that is not the same everywhere."""
    return bool(one.channels) or one.bind.show is not None or one.bind.while_pinned


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=rules(), pinned=st.sampled_from([None, "cup", "mug"]), live=st.booleans())
async def test_all_channels_say_the_same_price(
    shop: Shop, shows: Shows, offering: Offering, made: list[Rule], pinned: str | None, live: bool
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
    seen = await _snapshot(shows)
    quoted = {one.sku: one.unit_minor for one in await shop.window.quotes(dict.fromkeys(SKUS, 2), show="demo")}
    listed = await _listed(shop, "demo", None)
    carts = {}
    for sku in ("CUP", "MUG-BLUE"):
        answer = await shop.add("demo", ada, sku, price_minor=seen[sku])
        carts[sku] = answer.body["hold"]["price_minor"]
    order = (await shop.cart("demo", ada)).lines
    assert seen == quoted == listed
    assert carts == {line.sku: line.price_minor for line in order} == {sku: seen[sku] for sku in carts}

    in_shop, by_mail = await _listed(shop, None, None), await _listed(shop, None, "mail")
    quotes = await shop.window.quotes(dict.fromkeys(SKUS, 1), channel="mail")
    assert {one.sku: one.unit_minor for one in quotes} == by_mail
    if not any(differs(one) for one in made) and not (live and pinned):
        assert in_shop == by_mail == seen
    if not any(one.channels for one in made):
        assert in_shop == by_mail
    for sku in carts:
        await shop.remove("demo", ada, sku)
    await stop(offering)
    assert await offering.rulesets.in_force() == number


async def _snapshot(shows: Shows) -> dict[str, int]:
    lineup = (await shows.snapshot("demo"))["lineup"]
    return {one["sku"]: one["price_minor"] for product in lineup for one in product["variants"]}


async def _listed(shop: Shop, show: str | None, channel: str | None) -> dict[str, int]:
    assert channel != LIVE
    products = await shop.window.page(show=show, channel=channel)
    return {one.sku: one.price_minor for product in products for one in product.variants if one.sku in SKUS}
