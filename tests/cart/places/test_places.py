"""Locations and their stock, over both databases: what may be done, what is refused, and who hears of it."""

import pytest
from sqlalchemy import text

from cart import audit, store
from cart.catalogue import VariantEntry
from cart.moves import Moves
from cart.ordering.shipping import Choice, Location, Method, MethodKind, Rate, Title
from cart.places import moving, service
from cart.places.locations import LocationChange, StockLocation, TransferLine
from cart.service import Shop
from cart.stock import Level
from live.core.codec import encode
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import LOCATIONS_MAX, STOCK_MAX, TRANSFER_LINES_MAX
from live.service import Shows
from tests.cart.conftest import ADA, BOB, Screens, product, refused, stock
from tests.cart.places.conftest import BERLIN, OPS, at, movements, send
from tests.cart.waiting.conftest import held, told, wait


async def test_main_is_there_and_others_can_be_made(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    [main] = await shop.places.locations()
    assert (main.id, main.kind, main.active) == ("main", "warehouse", True)
    first = await shop.places.create(BERLIN, OPS, "k1")
    again = await shop.places.create(BERLIN, OPS, "k1")
    assert (encode(again.body, "json"), again.replayed) == (encode(first.body, "json"), True)
    assert (await refused(shop.places.create(BERLIN, OPS, "k2"))).kind is Kind.location_exists
    assert (await refused(shop.places.create(StockLocation("b", "B", "store"), OPS, "k1"))).kind is Kind.key_reused
    assert [one.id for one in await shop.places.locations()] == ["berlin", "main"]
    assert await shop.places.location("berlin") == BERLIN
    for wrong in ("paris", "\0", "\ud800", "x" * 1000):
        assert (await refused(shop.places.location(wrong))).kind is Kind.unknown_location
    assert LOCATIONS_MAX > 2
    monkeypatch.setattr(service, "LOCATIONS_MAX", 2)
    assert (await refused(shop.places.create(StockLocation("b", "B", "store"), OPS))).kind is Kind.too_many_locations


async def test_a_location_with_stock_stays_open(places: Shop, database: Database) -> None:
    await send(places, "main", "berlin", {"CUP": 2})
    close = LocationChange(active=False)
    problem = await refused(places.places.change("berlin", close, OPS))
    assert (problem.kind, problem.extra) == (Kind.location_in_use, {"units": 2})
    assert (await refused(places.places.change("paris", close, OPS))).kind is Kind.unknown_location
    assert (await refused(places.places.change("main", close, OPS))).kind is Kind.location_in_use
    await send(places, "berlin", "main", {"CUP": 2})
    assert not (await places.places.change("berlin", close, OPS)).body["location"]["active"]
    problem = await refused(send(places, "main", "berlin", {"CUP": 1}))
    assert (problem.kind, problem.field) == (Kind.location_closed, "to")
    assert (await refused(places.places.adjust("berlin", "CUP", 1, OPS))).kind is Kind.location_closed
    await places.places.change("berlin", LocationChange(active=True, name="Mitte"), OPS)
    async with database.read() as conn:
        trail = await conn.run_sync(audit.entries, "location:berlin")
    assert [(one.action, one.actor, one.after) for one in trail[1:]] == [
        ("location.changed", "ops", {"active": False}),
        ("location.changed", "ops", {"active": True, "name": "Mitte"}),
    ]


async def test_a_transfer_is_two_movements(places: Shop, database: Database, screens: Screens) -> None:
    await places.add("demo", ADA, "CUP", 3)
    screens.clear()
    made = await send(places, "main", "berlin", {"CUP": 4, "MUG-BLUE": 5}, "k")
    assert await at(database) == {"berlin": (4, 0, 0), "main": (6, 0, 3)}
    assert await at(database, "MUG-BLUE") == {"berlin": (5, 0, 0), "main": (0, 0, 0)}
    assert screens.stock("CUP") == [3] and screens.stock("MUG-BLUE") == [0]
    assert screens.of("product.sold_out") == [{"sku": "MUG-BLUE"}]
    out, in_ = (await movements(database))[-2:]
    assert out == ("main", "transferred_out", 4, made["id"], None)
    assert in_ == ("berlin", "transferred_in", 4, made["id"], None)
    assert await send(places, "main", "berlin", {"CUP": 4, "MUG-BLUE": 5}, "k") == made, "done once"
    assert (await refused(send(places, "main", "berlin", {"CUP": 3}, "k"))).kind is Kind.key_reused
    assert await at(database) == {"berlin": (4, 0, 0), "main": (6, 0, 3)}
    found = await places.places.find_transfer(made["id"])
    assert (found.source, found.to, found.lines) == (
        "main", "berlin", (TransferLine("CUP", 4), TransferLine("MUG-BLUE", 5))
    )  # fmt: skip
    for wrong in ("x", "\0"):
        assert (await refused(places.places.find_transfer(wrong))).kind is Kind.unknown_transfer
    async with database.read() as conn:
        entry = (await conn.run_sync(audit.entries, "sku:CUP"))[-1]
    assert (entry.action, entry.actor) == ("stock.transferred", "ops")
    assert entry.after == {"on_hand": {"main": 6, "berlin": 4}, "transfer": made["id"]}
    assert not await places.keeper.reconcile()
    async with database.write() as conn:
        await conn.execute(text("UPDATE stock_level SET held = 1 WHERE sku = 'CUP' AND location = 'berlin'"))
    [drift] = await places.keeper.reconcile()
    assert (drift.sku, drift.location, drift.held, drift.holds) == ("CUP", "berlin", 1, 0)


async def test_held_and_sold_units_stay(places: Shop, database: Database, screens: Screens) -> None:
    await places.add("demo", ADA, "CUP", 3)
    await places.add("demo", BOB, "CUP", 2)
    await places.checkout("demo", BOB, name="Bob", email="bob@example.com")
    screens.clear()
    problem = await refused(send(places, "main", "berlin", {"MUG-RED": 1, "CUP": 6}, "k"))
    assert (problem.kind, problem.field) == (Kind.stock_short, "lines[1].quantity")
    assert problem.extra == {"sku": "CUP", "location": "main", "available": 5}
    assert await at(database, "MUG-RED") == {"main": (1, 0, 0)}, "all or nothing"
    assert screens.states == [] and screens.events == []
    await send(places, "main", "berlin", {"CUP": 5}, "k")
    assert await at(database) == {"berlin": (5, 0, 0), "main": (5, 2, 3)}
    assert (await refused(send(places, "berlin", "main", {"CUP": 6}))).kind is Kind.stock_short
    assert (await refused(places.add("demo", BOB, "CUP"))).kind is Kind.sold_out, "shoppers buy from main"


async def test_what_comes_to_main_is_for_those_who_wait(places: Shop, screens: Screens) -> None:
    await send(places, "main", "berlin", {"MUG-RED": 1})
    await places.places.adjust("berlin", "MUG-RED", 2, OPS, reason="found in the cellar")
    await wait(places, ADA, BOB)
    screens.clear()
    await send(places, "berlin", "main", {"MUG-RED": 1})
    assert (await held(places, ADA), await held(places, BOB)) == ({"MUG-RED": 1}, {})
    assert len(told(screens, ADA)) == 1 and screens.of("product.restocked") == []
    await send(places, "berlin", "main", {"MUG-RED": 2})
    assert await held(places, BOB) == {"MUG-RED": 1}
    assert screens.of("product.restocked") == [{"sku": "MUG-RED", "available": 1}]
    assert screens.stock("MUG-RED")[-1] == 1
    assert not await places.waiting.check() and not await places.keeper.reconcile()


async def test_those_who_wait_come_before_a_transfer(
    places: Shop, other: Shop, database: Database, screens: Screens
) -> None:
    """A unit that became free is somebody's turn, also while that cart is being changed (on PostgreSQL)."""
    await places.add("demo", ADA, "MUG-RED")
    await wait(places, BOB)
    await places.remove("demo", ADA, "MUG-RED")
    problem = await refused(send(other, "main", "berlin", {"MUG-RED": 1}))
    assert problem.kind is Kind.stock_short and await held(places, BOB) == {"MUG-RED": 1}
    await wait(places, ADA)
    if database.dialect == "postgresql":
        async with database.write() as conn:
            await conn.run_sync(store.lock_carts, ["demo:ada"])
            await other.remove("demo", BOB, "MUG-RED")
            problem = await refused(send(other, "main", "berlin", {"MUG-RED": 1}))
            assert (problem.kind, problem.retry_after_s) == (Kind.stock_short, 1)
        await other.waiting.look()
        assert await held(places, ADA) == {"MUG-RED": 1}


async def test_stock_is_counted_where_it_is(places: Shop, database: Database, screens: Screens) -> None:
    screens.clear()
    answer = await places.places.adjust("berlin", "CUP", 7, OPS, reason="stock-take", key="k")
    assert answer.body == {
        "sku": "CUP", "location": "berlin", "on_hand": 7, "allocated": 0, "held": 0, "available": 7
    }  # fmt: skip
    assert (await places.places.adjust("berlin", "CUP", 7, OPS, reason="stock-take", key="k")).replayed
    assert screens.states == [], "what is elsewhere cannot be bought"
    await places.add("demo", ADA, "CUP", 4)
    problem = await refused(places.places.adjust("main", "CUP", -7, OPS))
    assert (problem.kind, problem.field) == (Kind.stock_short, "change")
    assert problem.extra == {"sku": "CUP", "location": "main", "available": 6}
    await places.places.adjust("main", "CUP", -6, OPS, reason="broken")
    assert screens.stock("CUP")[-1] == 0
    assert await at(database) == {"berlin": (7, 0, 0), "main": (4, 0, 4)}
    assert (await movements(database))[-1] == ("main", "counted", -6, None, "broken")
    async with database.read() as conn:
        trail = (await conn.run_sync(audit.entries, "sku:CUP"))[-2:]
    assert [one.after for one in trail] == [
        {"on_hand": 7, "location": "berlin", "reason": "stock-take"},
        {"on_hand": 4, "location": "main", "reason": "broken"},
    ]
    [level] = [one for one in await places.places.stock("berlin")]
    assert (level.sku, level.on_hand) == ("CUP", 7)
    assert await places.places.stock("berlin", "CUP") == []
    assert [one.location for one in await places.places.levels("CUP")] == ["berlin", "main"]


async def test_wrong_transfers_are_refused(places: Shop, database: Database) -> None:
    cup = TransferLine("CUP", 1)
    for source, to, lines, kind, field in (
        ("main", "main", [cup], Kind.invalid_field, "to"),
        ("main", "paris", [cup], Kind.unknown_location, "to"),
        ("\0", "main", [cup], Kind.unknown_location, "from"),
        ("main", "berlin", [cup, TransferLine("NO", 1)], Kind.unknown_sku, "lines[1].sku"),
        ("main", "berlin", [TransferLine("CUP", 2**62)], Kind.invalid_quantity, "lines[0].quantity"),
        ("main", "berlin", [], Kind.invalid_field, "lines"),
    ):
        problem = await refused(places.places.transfer(source, to, lines, OPS))
        assert (problem.kind, problem.field) == (kind, field)
    assert await at(database) == {"main": (10, 0, 0)}


async def test_wrong_counts_are_refused(places: Shop) -> None:
    adjust = places.places.adjust
    for change in (0, STOCK_MAX + 1, -STOCK_MAX - 1, 2**70):
        assert (await refused(adjust("main", "CUP", change, OPS))).kind is Kind.invalid_quantity
    assert (await refused(adjust("main", "CUP", STOCK_MAX, OPS))).kind is Kind.invalid_quantity
    assert (await refused(adjust("main", "\ud800", 1, OPS))).kind is Kind.unknown_sku
    assert (await refused(adjust("main", "NO", 1, OPS))).kind is Kind.unknown_sku
    assert (await refused(adjust("paris", "CUP", 1, OPS))).kind is Kind.unknown_location
    assert (await refused(adjust("main", "CUP", 1, OPS, reason="a\0b"))).kind is Kind.invalid_field
    assert (await refused(adjust("main", "CUP", 1, OPS, key="k" * 300))).kind is Kind.invalid_field
    assert (await refused(places.places.levels("NO"))).kind is Kind.unknown_sku
    assert (await refused(places.places.stock("paris"))).kind is Kind.unknown_location
    assert (await refused(places.places.stock("main", "\0"))).kind is Kind.invalid_field
    await adjust("berlin", "CUP", STOCK_MAX, OPS)
    problem = await refused(send(places, "main", "berlin", {"CUP": 1}))
    assert (problem.kind, problem.field) == (Kind.invalid_quantity, "lines[0].quantity")


async def test_a_full_transfer_is_one_transaction_of_few_statements(places: Shop, shows: Shows) -> None:
    names = [f"S{number:02}" for number in range(TRANSFER_LINES_MAX)]
    await stock(shows, product("many", *(VariantEntry(sku=name, title=name, price_minor=1, stock=2) for name in names)))
    await send(places, "main", "berlin", dict.fromkeys(names, 1))
    assert [level.on_hand for level in await places.places.stock("berlin")] == [1] * len(names)


async def test_feeds_may_say_how_many_there_are_anywhere(
    places: Shop, shows: Shows, database: Database, screens: Screens
) -> None:
    await places.add("demo", ADA, "CUP", 4)

    async def say(counts: dict[tuple[str, str], int]) -> dict[tuple[str, str], Level]:
        def work(moves: Moves) -> dict[tuple[str, str], Level]:
            moves.actor = audit.Actor("feed", "service")
            return service.set_on_hand(moves, counts, "feed")

        return await places.offering.stockroom.change(work)

    said = await say({("CUP", "berlin"): 6, ("CUP", "main"): 3, ("MUG-RED", "main"): 1})
    assert {pair: level.on_hand for pair, level in said.items()} == {
        ("CUP", "berlin"): 6, ("CUP", "main"): 4, ("MUG-RED", "main"): 1
    }  # fmt: skip
    assert screens.stock("CUP")[-1] == 0
    assert [row[:3] for row in (await movements(database))[-2:]] == [("berlin", "counted", 6), ("main", "counted", -6)]
    assert (await movements(database, "MUG-RED")) == [], "nothing changed"
    assert (await refused(say({("CUP", "main"): -1}))).kind is Kind.invalid_quantity
    assert (await refused(say({("NO", "main"): 1}))).kind is Kind.unknown_sku
    assert (await refused(say({("CUP", "paris"): 1}))).kind is Kind.unknown_location
    assert moving.set_on_hand is service.set_on_hand


async def test_orders_are_picked_up_at_a_location(places: Shop) -> None:
    rate = (Rate("EUR", 0),)

    def pickup(id_: str) -> Method:
        words = Title("Pick-up", "Abholung")
        return Method("pickup", MethodKind.pickup, words, rate, locations=(Location(id_, place=True),))

    facts = places.office.facts
    problem = await refused(facts.save_methods([pickup("paris")], OPS))
    assert (problem.kind, problem.field) == (Kind.invalid_field, "locations")
    assert (await refused(facts.save_methods([pickup("main")], OPS))).kind is Kind.invalid_field, "it has no address"
    [method] = await facts.save_methods([pickup("berlin")], OPS)
    assert (method.locations[0].street, method.locations[0].country) == ("Uferweg 1", "DE")
    await places.places.change("berlin", LocationChange(street="Uferweg 2"), OPS)
    [method] = await facts.methods()
    assert method.locations[0].street == "Uferweg 2"
    problem = await refused(places.places.change("berlin", LocationChange(active=False), OPS))
    assert (problem.kind, problem.extra) == (Kind.location_in_use, {"method": "pickup"})
    assert (await refused(places.places.change("berlin", LocationChange(street=""), OPS))).kind is Kind.invalid_field
    assert (await places.places.location("berlin")).street == "Uferweg 2"
    await places.add("demo", ADA, "CUP")
    choice = Choice("pickup", "berlin")
    answer = await places.checkout("demo", ADA, name="Ada", email="ada@example.com", shipping=choice)
    assert answer.body["order"]["shipping"]["location"]["id"] == "berlin"
