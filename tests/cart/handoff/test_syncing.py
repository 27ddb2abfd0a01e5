"""A service says what a customer's cart holds: what cannot be is refused by line, and both sides see the same."""

from typing import Any

from cart.answers import Answer
from cart.handoff.parts import Handing
from cart.handoff.syncing import Wish
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import HOLD_TTL_S
from tests.cart.conftest import BOB, Screens, level, refused
from tests.cart.handoff.conftest import ONE_STORE, SHOP, customer

CUSTOMER = customer()


async def _put(handing: Handing, *lines: tuple[str, int], version: str = "*", key: str | None = None) -> Answer:
    wishes = [Wish(*line) for line in lines]
    return await handing.sync.put("c42", "demo", wishes, SHOP, version=version, key=key)


async def test_both_sides_hold_the_same(shop: Shop, handing: Handing, database: Database, screens: Screens) -> None:
    empty = await handing.sync.read("c42", "demo")
    assert (empty.viewer_id, empty.cart.lines) == ("c-c42", [])
    first = await _put(handing, ("CUP", 2), ("MUG-BLUE", 1), version=empty.version)
    assert first.body["refused"] == [] and first.body["version"] != empty.version
    assert {line.sku: line.quantity for line in (await shop.cart("demo", CUSTOMER)).lines} == {"CUP": 2, "MUG-BLUE": 1}
    told = [data for _, to, _, data in screens.notices if to == "c-c42"]
    assert told[-1]["origin"] == "shop-system" and told[-1]["cart"] == first.body["cart"]
    known = (await handing.sync.read("c42", "demo")).version
    assert known == first.body["version"]
    await shop.change("demo", CUSTOMER, "CUP", 5)
    stale = await refused(_put(handing, ("CUP", 1), version=known))
    assert stale.kind is Kind.precondition_failed and stale.extra["version"] != known
    assert await level(database, "CUP") == (10, 0, 5), "nothing was changed"
    second = await _put(handing, ("CUP", 1), ("MUG-RED", 1), ("MUG-BLUE", 0), version=stale.extra["version"])
    assert {line["sku"] for line in second.body["cart"]["lines"]} == {"CUP", "MUG-RED"}
    assert (await level(database, "CUP"), await level(database, "MUG-BLUE")) == ((10, 0, 1), (5, 0, 0))
    assert (await _put(handing)).body["version"] == empty.version, "an empty cart is like any other one"
    assert await shop.keeper.reconcile() == []


@ONE_STORE
async def test_the_version_is_of_what_is_held_and_not_of_when(shop: Shop, handing: Handing, clock: ManualClock) -> None:
    version = (await _put(handing, ("CUP", 2))).body["version"]
    clock.advance(60)
    await shop.extend("demo", CUSTOMER, "CUP")
    assert (await handing.sync.read("c42", "demo")).version == version
    clock.advance(HOLD_TTL_S)
    expired = await refused(_put(handing, ("CUP", 2), version=version))
    assert expired.kind is Kind.precondition_failed, "it holds nothing any more"
    again = await _put(handing, ("CUP", 2), version=expired.extra["version"])
    assert again.body["version"] == version


@ONE_STORE
async def test_each_line_is_held_or_refused_with_its_reason(shop: Shop, handing: Handing, database: Database) -> None:
    await shop.add("demo", BOB, "MUG-RED", 1)
    await _put(handing, ("CUP", 2))
    lines = [("CUP", -1), ("MUG-RED", 1), ("MUG-BLUE", 9), ("PEN", 1), ("a\0b", 1), ("YEN", 1)]
    answer = await _put(handing, *lines)
    assert [(one["sku"], one["name"], one["held"], one["available"]) for one in answer.body["refused"]] == [
        ("CUP", "invalid_quantity", 2, None),
        ("MUG-RED", "sold_out", 0, 0),
        ("MUG-BLUE", "sold_out", 0, 5),
        ("PEN", "unknown_sku", 0, None),
        ("a\0b", "unknown_sku", 0, None),
        ("YEN", "mixed_currency", 0, None),
    ]
    assert [line["sku"] for line in answer.body["cart"]["lines"]] == ["CUP"]
    assert await level(database, "MUG-BLUE") == (5, 0, 0)


async def test_a_key_stands_for_one_change(shop: Shop, handing: Handing, database: Database) -> None:
    first = await _put(handing, ("CUP", 2), key="k")
    await shop.change("demo", CUSTOMER, "CUP", 1, key="k")
    again = await _put(handing, ("CUP", 2), key="k")
    assert again.replayed and again.body == first.body and await level(database, "CUP") == (10, 0, 1)
    assert (await refused(_put(handing, ("CUP", 3), key="k"))).kind is Kind.key_reused
    await handing.handoffs.open("demo", CUSTOMER, None, key=None)
    assert (await refused(_put(handing, ("CUP", 1)))).kind is Kind.checkout_running


@ONE_STORE
async def test_bad_input_changes_nothing(handing: Handing, screens: Screens) -> None:
    bad: list[tuple[dict[str, Any], Kind, str]] = [
        ({"customer": ""}, Kind.invalid_field, "customer"),
        ({"customer": "x" * 200}, Kind.invalid_field, "customer"),
        ({"customer": "a\0"}, Kind.invalid_field, "customer"),
        ({"show": "none"}, Kind.unknown_show, "show"),
        ({"show": "a\0"}, Kind.unknown_show, "show"),
        ({"wishes": [Wish("CUP", 1)] * 2}, Kind.invalid_field, "lines[1].sku"),
        ({"wishes": [Wish(f"S{n}", 1) for n in range(51)]}, Kind.invalid_field, "lines"),
    ]
    for arguments, kind, field in bad:
        given = {"customer": "c42", "show": "demo", "wishes": [Wish("CUP", 1)]} | arguments
        change = handing.sync.put(given["customer"], given["show"], given["wishes"], SHOP, version="*", key=None)
        problem = await refused(change)
        assert (problem.kind, problem.field, screens.notices) == (kind, field, [])
        if "wishes" not in arguments:
            assert (await refused(handing.sync.read(given["customer"], given["show"]))).kind is kind
