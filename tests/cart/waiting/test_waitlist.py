"""The waitlist over both databases: what is free again goes to who has waited longest."""

from typing import Any

import pytest

from cart.catalogue import VariantEntry
from cart.service import Shop
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import HOLD_TTL_S
from live.service import Shows
from tests.cart.conftest import ADA, BOB, Screens, level, product, refused, stock, viewer
from tests.cart.waiting.conftest import ANN, BEN, CAT, EMAIL, held, positions, told, wait

OPS = Principal(subject="ops", role=Role.ops, show="*", name="Ops")


@pytest.fixture
async def sold_out(shop: Shop, screens: Screens) -> Shop:
    """Ada has the last red mug."""
    await shop.add("demo", ADA, "MUG-RED")
    screens.clear()
    return shop


async def test_a_released_unit_is_the_first_ones_in_the_same_transaction(
    sold_out: Shop, database: Database, screens: Screens, clock: ManualClock
) -> None:
    [ann, ben] = await wait(sold_out, ANN, BEN)
    assert (ann["position"], ben["position"], ann["offer"], ann["show"]) == (1, 2, None, "demo")
    await sold_out.remove("demo", ADA, "MUG-RED")
    assert await held(sold_out, ANN) == {"MUG-RED": 1}
    assert await level(database, "MUG-RED") == (1, 0, 1)
    [offered] = told(screens, ANN)
    expires_at_ms = clock.now_ms() + HOLD_TTL_S * 1000
    assert (offered["sku"], offered["quantity"], offered["expires_at_ms"]) == ("MUG-RED", 1, expires_at_ms)
    assert offered["hold"]["hold_id"] == offered["place"]["offer"]["hold_id"]
    changed = told(screens, ANN, "cart.changed")[-1]
    assert changed["reason"] == "waitlist" and changed["cart"]["lines"] == [offered["hold"]]
    assert screens.of("product.restocked") == [], "it was never anybody's to take"
    assert await positions(sold_out, ANN, BEN) == [None, 1]
    assert (await refused(sold_out.add("demo", CAT, "MUG-RED"))).kind is Kind.sold_out


async def test_who_lets_it_lapse_leaves_and_the_next_one_gets_it(
    sold_out: Shop, screens: Screens, clock: ManualClock
) -> None:
    await wait(sold_out, ANN, BEN)
    clock.advance(HOLD_TTL_S)
    await sold_out.keeper.sweep()
    assert await held(sold_out, ANN) == {"MUG-RED": 1}
    clock.advance(HOLD_TTL_S)
    await sold_out.keeper.sweep()
    assert (await held(sold_out, ANN), await held(sold_out, BEN)) == ({}, {"MUG-RED": 1})
    assert told(screens, ANN, "cart.changed")[-1]["reason"] == "hold_expired"
    assert await sold_out.waiting.places("demo", ANN) == []
    assert [place["position"] for place in await wait(sold_out, CAT, ANN)] == [1, 2], "at the end again"
    assert await sold_out.waiting.check() == []


async def test_what_ran_out_while_the_server_was_down_is_handed_over_when_it_is_back(
    sold_out: Shop, other: Shop, clock: ManualClock
) -> None:
    await wait(sold_out, ANN)
    clock.advance(3 * HOLD_TTL_S)
    await other.keeper.sweep()
    assert await held(other, ANN) == {"MUG-RED": 1}
    [place] = await other.waiting.places("demo", ANN)
    assert place.offer is not None and place.offer.expires_at_ms == clock.now_ms() + HOLD_TTL_S * 1000


async def test_an_add_does_not_overtake_those_who_wait(sold_out: Shop, clock: ManualClock) -> None:
    """The hold has run out, and nobody has swept it: an add finds it before the keeper does."""
    await wait(sold_out, ANN)
    clock.advance(HOLD_TTL_S)
    problem = await refused(sold_out.add("demo", CAT, "MUG-RED"))
    assert (problem.kind, problem.extra["available"]) == (Kind.sold_out, 0)
    await sold_out.keeper.sweep()
    assert await held(sold_out, ANN) == {"MUG-RED": 1}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_those_who_have_some_do_not_overtake_either(shop: Shop, clock: ManualClock) -> None:
    await shop.add("demo", ADA, "MUG-BLUE", 3)
    clock.advance(HOLD_TTL_S / 2)
    await shop.add("demo", BOB, "MUG-BLUE", 2)
    await wait(shop, ANN, sku="MUG-BLUE")
    clock.advance(HOLD_TTL_S / 2)
    assert (await refused(shop.change("demo", BOB, "MUG-BLUE", 3))).kind is Kind.sold_out, "Ada's are for Ann"
    await shop.keeper.sweep()
    assert await held(shop, ANN) == {"MUG-BLUE": 1}
    assert (await shop.change("demo", BOB, "MUG-BLUE", 4)).body["cart"]["lines"][0]["quantity"] == 4, "two are left"


async def test_everything_that_frees_units_serves_the_queue(
    shop: Shop, shows: Shows, database: Database, clock: ManualClock
) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    order = (await shop.checkout("demo", ADA, name="Ada", email=EMAIL)).body["order"]
    await wait(shop, ANN, BEN, CAT, viewer("dan"))
    await shop.office.orders.cancel(order["id"], ADA)
    assert await held(shop, ANN) == {"MUG-RED": 1}
    await shop.office.stocktake.adjust("MUG-RED", 1, OPS)
    assert await held(shop, BEN) == {"MUG-RED": 1}
    await stock(shows, product("mug", VariantEntry(sku="MUG-RED", title="Red", price_minor=1500, stock=3), title="Mug"))
    await shop.waiting.look()
    assert await held(shop, CAT) == {"MUG-RED": 1}
    await shop.add("demo", CAT, "CUP")
    await shop.change("demo", CAT, "CUP", 1)
    await shop.remove("demo", CAT, "MUG-RED")
    assert await held(shop, viewer("dan")) == {"MUG-RED": 1}
    assert await level(database, "MUG-RED") == (3, 0, 3)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_place_asks_for_up_to_its_quantity(shop: Shop, screens: Screens) -> None:
    await shop.add("demo", ADA, "MUG-BLUE", 5)
    await wait(shop, ANN, sku="MUG-BLUE", quantity=4)
    await wait(shop, BEN, sku="MUG-BLUE", quantity=2)
    await shop.change("demo", ADA, "MUG-BLUE", 2)
    assert (await held(shop, ANN), await held(shop, BEN)) == ({"MUG-BLUE": 3}, {})
    [offered] = told(screens, ANN)
    assert (offered["quantity"], offered["place"]["quantity"]) == (3, 4)
    await shop.remove("demo", ADA, "MUG-BLUE")
    assert await held(shop, BEN) == {"MUG-BLUE": 2}


async def test_who_has_some_already_can_wait_for_more(shop: Shop, screens: Screens) -> None:
    await shop.add("demo", ANN, "MUG-BLUE", 2)
    await shop.add("demo", ADA, "MUG-BLUE", 3)
    await wait(shop, ANN, sku="MUG-BLUE", quantity=2)
    await shop.remove("demo", ADA, "MUG-BLUE")
    assert await held(shop, ANN) == {"MUG-BLUE": 4}
    [offered] = told(screens, ANN)
    assert (offered["quantity"], offered["hold"]["quantity"]) == (2, 4)
    assert await shop.keeper.reconcile() == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_joining_is_once_for_each_shopper_and_sku(sold_out: Shop, screens: Screens) -> None:
    first = await sold_out.waiting.join("demo", ANN, "MUG-RED", 1, key="k")
    again = await sold_out.waiting.join("demo", ANN, "MUG-RED", 1, key="k")
    assert again.replayed and again.body == first.body
    await wait(sold_out, BEN)
    [place] = await wait(sold_out, ANN, quantity=3)
    assert (place["position"], place["quantity"]) == (1, 3), "the place is kept"
    problem = await refused(sold_out.waiting.join("demo", ANN, "MUG-RED", 2, key="k"))
    assert problem.kind is Kind.key_reused
    await sold_out.remove("demo", ADA, "MUG-RED")
    [place] = await wait(sold_out, ANN)
    assert place["offer"]["quantity"] == 1, "an offer is what was waited for"
    left = await sold_out.waiting.leave("demo", ANN, "MUG-RED", key=None)
    assert left.body["place"] == place, "which is turned down in the cart"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_who_leaves_makes_room_and_may_leave_twice(sold_out: Shop, screens: Screens) -> None:
    await wait(sold_out, ANN, BEN, CAT)
    for _ in range(2):
        assert (await sold_out.waiting.leave("demo", ANN, "MUG-RED", key=None)).body == {"place": None}
    assert told(screens, ANN, "waitlist.changed")[-1] == {"sku": "MUG-RED", "place": None, "reason": "left"}
    screens.clear()
    await sold_out.waiting.tell()
    moved = [told(screens, who, "waitlist.changed")[-1] for who in (BEN, CAT)]
    assert [(one["place"]["position"], one["reason"]) for one in moved] == [(1, "moved"), (2, "moved")]
    queue = {"sku": "MUG-RED", "waiting": 2, "units": 2}
    assert screens.states == [("demo", "waitlist", "MUG-RED", queue, True)]
    screens.clear()
    await sold_out.waiting.tell()
    assert not screens.states and not screens.notices, "told once"
    assert [one.waiting for one in await sold_out.waiting.queues("demo")] == [2]


async def test_reconnecting_shows_the_place_and_the_offer(sold_out: Shop, other: Shop) -> None:
    await wait(sold_out, ANN, BEN)
    seen = await other.seen.personal("demo", ["ann", "ben", "ada"])
    assert [one["position"] for one in seen["ann"]["waitlist"] + seen["ben"]["waitlist"]] == [1, 2]
    assert "waitlist" not in seen["ada"] and [line["sku"] for line in seen["ada"]["cart"]["lines"]] == ["MUG-RED"]
    await other.remove("demo", ADA, "MUG-RED")
    [place] = (await sold_out.seen.personal("demo", ["ann"]))["ann"]["waitlist"]
    assert (place["position"], place["offer"]["quantity"]) == (None, 1)
    await sold_out.checkout("demo", ANN, name="Ann", email=EMAIL)
    assert "waitlist" not in (await other.seen.personal("demo", ["ann"]))["ann"]
    host = Principal(subject="host", role=Role.host, show="*", name="Host")
    assert (await other.seen.besides("demo", host))["queues"] == [{"sku": "MUG-RED", "waiting": 1, "units": 1}]
    assert await other.seen.besides("demo", BEN) == {}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_bad_input_is_refused(sold_out: Shop) -> None:
    for sku, quantity, kind in [
        ("MUG-RED", 0, Kind.invalid_quantity),
        ("MUG-RED", 101, Kind.invalid_quantity),
        ("NO-SUCH", 1, Kind.unknown_sku),
        ("NUL\0", 1, Kind.unknown_sku),
        ("\ud800", 1, Kind.unknown_sku),
        ("CUP", 1, Kind.not_sold_out),
    ]:
        problem = await refused(sold_out.waiting.join("demo", ANN, sku, quantity, key="k"))
        assert problem.kind is kind and problem.field
    assert (await refused(sold_out.waiting.leave("demo", ANN, "NUL\0", key=None))).kind is Kind.unknown_sku
    assert await sold_out.waiting.places("demo", ANN) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_queues_and_shoppers_are_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch, screens: Screens) -> None:
    monkeypatch.setattr("cart.waiting.service.WAITLIST_MAX", 2)
    monkeypatch.setattr("cart.waiting.service.WAITLIST_PLACES_MAX", 1)
    await shop.add("demo", ADA, "MUG-RED")
    await shop.add("demo", ADA, "MUG-BLUE", 5)
    await wait(shop, ANN, BEN)
    assert (await refused(shop.waiting.join("demo", CAT, "MUG-RED", key=None))).kind is Kind.waitlist_full
    assert (await refused(shop.waiting.join("demo", ANN, "MUG-BLUE", key=None))).kind is Kind.too_many_places
    assert (await refused(shop.waiting.join("nowhere", ANN, "MUG-RED", key=None))).kind is Kind.unknown_show


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_long_queues_are_served_in_several_transactions_and_nobody_comes_in_between(
    sold_out: Shop, shows: Shows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cart.waiting.turns.WAITLIST_BATCH", 2)
    people = [viewer(f"p{number}") for number in range(6)]
    await wait(sold_out, *people)
    await sold_out.office.stocktake.adjust("MUG-RED", 9, OPS)
    assert [await held(sold_out, who) for who in people[1:3]] == [{"MUG-RED": 1}, {}]
    problem = await refused(sold_out.add("demo", CAT, "MUG-RED"))
    assert (problem.kind, problem.extra["available"]) == (Kind.sold_out, 0), "what is free is theirs"
    assert await sold_out.waiting.look() == 1
    assert [await held(sold_out, who) for who in people] == [{"MUG-RED": 1}] * 6
    await sold_out.add("demo", CAT, "MUG-RED", 3)
    assert await sold_out.waiting.look() == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_turn_that_no_cart_can_take_ends_with_its_reason(
    sold_out: Shop, screens: Screens, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sold_out.add("demo", ANN, "YEN")
    await wait(sold_out, ANN, BEN, CAT)
    await sold_out.add("demo", BEN, "CUP")
    monkeypatch.setattr("cart.waiting.turns.CART_LINES_MAX", 1)
    await sold_out.remove("demo", ADA, "MUG-RED")
    assert await held(sold_out, CAT) == {"MUG-RED": 1}
    reasons: dict[str, Any] = {who.subject: told(screens, who, "waitlist.changed")[-1]["reason"] for who in (ANN, BEN)}
    assert reasons == {"ann": "mixed_currency", "ben": "cart_full"}
    assert await positions(sold_out, ANN, BEN) == [None, None]


async def test_what_one_lets_go_is_for_the_next_and_does_not_come_back(
    shop: Shop, screens: Screens, database: Database, clock: ManualClock
) -> None:
    await shop.add("demo", ANN, "MUG-RED")
    await wait(shop, ANN, BEN)
    screens.clear()
    answer = await shop.remove("demo", ANN, "MUG-RED")
    assert answer.body["cart"]["lines"] == [] and await held(shop, ANN) == {}
    assert await held(shop, BEN) == {"MUG-RED": 1} and await positions(shop, ANN) == [None]
    assert told(screens, ANN, "waitlist.changed") == [{"sku": "MUG-RED", "place": None, "reason": "left"}]
    assert await shop.waiting.check() == []

    await wait(shop, CAT, BEN)  # Ben has it, and wants more
    clock.advance(HOLD_TTL_S)
    await shop.keeper.sweep()
    assert (await held(shop, BEN), await held(shop, CAT)) == ({}, {"MUG-RED": 1}), "lapsed is lapsed"
    assert await shop.waiting.places("demo", BEN) == []

    await shop.add("demo", ANN, "MUG-BLUE", 5)
    await wait(shop, ANN, BEN, sku="MUG-BLUE", quantity=2)
    await shop.change("demo", ANN, "MUG-BLUE", 4)
    assert (await held(shop, ANN), (await held(shop, BEN))["MUG-BLUE"]) == ({"MUG-BLUE": 4}, 1)
    assert await level(database, "MUG-BLUE") == (5, 0, 5) and await shop.waiting.check() == []


async def test_who_lets_go_in_one_show_waits_on_in_another(shop: Shop, shows: Shows) -> None:
    await shows.create("gala", "Gala")
    await shop.add("demo", ANN, "MUG-RED")
    await shop.waiting.join("gala", ANN, "MUG-RED", 1, key=None)
    await shop.remove("demo", ANN, "MUG-RED")
    assert [line.sku for line in (await shop.cart("gala", ANN)).lines] == ["MUG-RED"]
