"""Rules are saved, published and taken back as a whole, and every screen hears what that does to its prices."""

from typing import Any

import pytest
from sqlalchemy import Connection

from cart.catalogue import VariantEntry
from cart.offering.rehearsal import Trial, TriedLine
from cart.offering.service import Offering
from cart.pricing import store
from cart.service import Shop
from live import timeline
from live.core.clock import ManualClock
from live.core.codec import encode
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import PRICE_WRITING_S
from live.service import Shows
from live.shows import ShowState
from tests.cart.conftest import ADA, Screens, product, refused, stock
from tests.cart.offering.conftest import price, publish, rule


async def test_published_rules_make_prices_at_once(
    shop: Shop, shows: Shows, offering: Offering, screens: Screens
) -> None:
    before = await shows.snapshot("demo")
    number = await publish(offering, rule())
    told = screens.of("product.price")
    assert {data["sku"]: data["price_minor"] for data in told} == {"CUP": 900, "MUG-BLUE": 1350, "MUG-RED": 1350}
    for data in told:
        before = timeline.apply(before, "product.price", data)
    assert before == await shows.snapshot("demo")
    assert await offering.rulesets.in_force() == number
    [quote] = await shop.window.quotes({"CUP": 3}, show="demo")
    assert (quote.unit_minor, quote.net_minor + quote.tax_minor, quote.lowest_30d_minor) == (900, 2700, 1000)
    assert [one.rule for one in quote.applied] == ["sale"]
    assert (await shop.add("demo", ADA, "CUP", quote=quote)).body["hold"]["price_minor"] == 900


async def test_rules_are_taken_back_to_those_before(shows: Shows, offering: Offering, screens: Screens) -> None:
    first = await publish(offering, rule())
    second = await publish(offering, rule(version=2, then=[{"kind": "pct", "bp": 5000}]))
    assert await price(shows) == 500
    screens.clear()
    body, _ = await offering.rulesets.roll_back("ada", None)
    assert body["ruleset"] == first and await price(shows) == 900
    assert len(screens.of("product.price")) == 3
    body, _ = await offering.rulesets.roll_back("ada", None)
    assert body["ruleset"] == second, "back is to what was in force before, whichever that was"
    page = await offering.rulesets.page(None)
    assert [one.number for one in page] == [second, first]
    assert (page[0].created_by, page[0].published_by) == ("ops", "ada")
    assert [change.changed_by for change in await offering.rulesets.changes()] == ["ada", "ada", "ops", "ops"]
    assert [one.number for one in await offering.rulesets.page(second)] == [first]


async def test_the_first_rules_are_taken_back_to_none(shows: Shows, offering: Offering) -> None:
    await publish(offering, rule())
    body, _ = await offering.rulesets.roll_back("ops", None)
    assert body["ruleset"] == 0 and await price(shows) == 1000


async def test_publishing_again_changes_nothing(offering: Offering, screens: Screens) -> None:
    number = await publish(offering, rule())
    screens.clear()
    body, _ = await offering.rulesets.publish(number, "ops", None)
    assert body["version"] == 1 and screens.events == []


async def test_keys_do_things_once(offering: Offering) -> None:
    first, replayed = await offering.rulesets.draft("a", [rule()], "ops", "k")
    again, replayed_again = await offering.rulesets.draft("a", [rule()], "ops", "k")
    assert (encode(first, "json"), replayed, replayed_again) == (encode(again, "json"), False, True)
    assert (await refused(offering.rulesets.draft("b", [rule()], "ops", "k"))).kind is Kind.key_reused


async def test_what_cannot_be_saved_or_published(offering: Offering) -> None:
    problem = await refused(offering.rulesets.draft("", [rule(then=[])], "ops", None))
    assert (problem.kind, problem.extra["flaws"][0]["field"]) == (Kind.invalid_rules, "then")
    assert offering.rulesets.check([rule(id="live-mine")])[0].field == "id"
    assert (await refused(offering.rulesets.publish(7, "ops", None))).kind is Kind.unknown_ruleset
    assert (await refused(offering.rulesets.get(0))).kind is Kind.unknown_ruleset


async def test_gifts_that_nobody_would_send_are_refused(
    shop: Shop, shows: Shows, offering: Offering, database: Database
) -> None:
    spoon = rule(lane="order", then=[{"kind": "pct", "bp": 1}, {"kind": "gift", "sku": "SPOON"}], group="gifts")
    assert [(flaw.rule, flaw.field) for flaw in offering.rulesets.check([spoon])] == [("sale", "then[1]")]
    problem = await refused(offering.rulesets.draft("", [spoon], "ops", None))
    assert (problem.kind, problem.extra["flaws"][0]["field"]) == (Kind.invalid_rules, "then[1]")
    trial = Trial(lines=[TriedLine(sku="CUP")], rules=[spoon])
    assert (await refused(offering.rehearsal.price(trial))).kind is Kind.invalid_rules
    old = await database.write_sync(lambda conn: store.add_ruleset(conn, "", [spoon], "ops", 1))
    assert (await refused(offering.rulesets.publish(old.number, "ops", None))).kind is Kind.invalid_rules
    assert await offering.rulesets.in_force() == 0


async def test_windows_open_and_close_by_themselves(
    shows: Shows, offering: Offering, screens: Screens, clock: ManualClock
) -> None:
    now_ms = clock.now_ms()
    window = {"from_ms": now_ms + 10_000, "to_ms": now_ms + 20_000}
    await publish(offering, rule(window=window, standing=False))
    for at_s, expected in ((10, [900, 1350, 1350]), (20, [1000, 1500, 1500])):
        screens.clear()
        clock.advance(10)
        await offering.watch.look()
        await offering.watch.look()
        assert [data["price_minor"] for data in screens.of("product.price")] == expected, at_s
    assert await price(shows) == 1000


async def test_history_is_kept_of_what_was_asked_anywhere(
    shop: Shop, shows: Shows, offering: Offering, database: Database, clock: ManualClock
) -> None:
    """The lowest price of thirty days stands beside a reduction, whoever made the prices of those days."""
    await publish(offering, rule())
    await offering.watch.look()  # writes down what the catalogue costs by them
    clock.advance(24 * 3600)
    await offering.rulesets.roll_back("ops", None)
    await offering.watch.look()
    clock.advance(24 * 3600)
    await stock(shows, product("cup", VariantEntry(sku="CUP", price_minor=950, list_price_minor=1200)))
    [variant] = (await shop.window.product("cup")).variants
    assert (variant.list_price_minor, variant.lowest_30d_minor, variant.off_percent) == (1200, 900, None)
    clock.advance(31 * 24 * 3600)
    await stock(shows, product("cup", VariantEntry(sku="CUP", price_minor=760, list_price_minor=1200)))
    [variant] = (await shop.window.product("cup")).variants
    assert (variant.lowest_30d_minor, variant.off_percent) == (900, 15), "a price that falls in steps names the first"
    kept = await database.read_sync(lambda conn: store.history(conn, ["CUP"]))
    assert [point.price_minor for point in kept["CUP"]] == [1000, 900, 1000, 950, 760]
    clock.advance(200 * 24 * 3600)
    await offering.watch.look()
    kept = await database.read_sync(lambda conn: store.history(conn, ["CUP"]))
    assert [point.price_minor for point in kept["CUP"]] == [760]


async def asked(database: Database, sku: str = "CUP", show: str = "") -> list[int | None]:
    """What history says that a SKU has cost, in a show or everywhere."""
    kept = await database.read_sync(lambda conn: store.history(conn, [sku]))
    return [point.price_minor for point in kept[sku] if point.place == show]


async def test_any_worker_writes_down_what_another_one_published(
    offering: Offering, database: Database, database_url: str, clock: ManualClock
) -> None:
    other_database = await Database.open(database_url, clock)
    other = Shop(other_database, Shows(other_database, Screens(), clock), clock, pace_s=0)
    await publish(offering, rule())
    await other.offering.watch.look()
    assert await asked(database) == [1000, 900]
    await other.close()
    await other_database.close()


async def test_a_worker_that_stops_in_the_middle_is_followed_by_another(
    offering: Offering, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    await publish(offering, rule())
    monkeypatch.setattr(offering.showing, "write_down", fail)
    with pytest.raises(ZeroDivisionError):
        await offering.watch.look()
    monkeypatch.undo()
    await offering.watch.look()
    assert await asked(database) == [1000], "whoever began may still be at it"
    clock.advance(PRICE_WRITING_S)
    await offering.watch.look()
    assert await asked(database) == [1000, 900]
    now = await database.read_sync(store.clock)
    assert (now.written_ruleset, now.writing_until_ms) == (now.ruleset, 0)


async def test_windows_of_shows_are_no_business_of_the_whole_catalogue(
    offering: Offering, database: Database, clock: ManualClock
) -> None:
    now_ms = clock.now_ms()
    window = {"window": {"from_ms": now_ms + 10_000, "to_ms": now_ms + 20_000}, "standing": False}
    await publish(offering, rule(**window, bind={"show": "demo"}))
    await offering.watch.look()
    written = (await database.read_sync(store.clock)).written_at_ms
    clock.advance(10)
    await offering.watch.look()
    assert (await database.read_sync(store.clock)).written_at_ms == written
    assert (await asked(database), await asked(database, show="demo")) == ([1000], [900])
    await publish(offering, rule(**window))
    await offering.watch.look()
    clock.advance(10)
    await offering.watch.look()
    assert await asked(database) == [1000, 900, 1000]


async def test_long_work_of_prices_leaves_the_loop_to_others(
    shows: Shows, offering: Offering, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    batch = shows.batch

    async def noted(work: Any, *, here: bool = True) -> Any:
        seen.append(here)
        return await batch(work, here=here)

    monkeypatch.setattr(shows, "batch", noted)
    await publish(offering, rule(window={"to_ms": clock.now_ms() + 1000}, standing=False))
    clock.advance(1)
    await offering.watch.look()
    await offering.rulesets.roll_back("ops", None)
    assert len(seen) >= 6 and not any(seen)


async def test_another_worker_goes_by_the_new_rules_at_once(
    offering: Offering, database_url: str, clock: ManualClock
) -> None:
    other_database = await Database.open(database_url, clock)
    other = Shop(other_database, Shows(other_database, Screens(), clock), clock, pace_s=0)
    assert [one.unit_minor for one in await other.window.quotes({"CUP": 1}, show="demo")] == [1000]
    await publish(offering, rule())
    [quote] = await other.window.quotes({"CUP": 1}, show="demo")
    assert quote.unit_minor == 900
    problem = await refused(other.add("demo", ADA, "CUP", price_minor=1000))
    assert (problem.kind, problem.extra["price_minor"]) == (Kind.price_changed, 900)
    assert (await other.add("demo", ADA, "CUP", price_minor=900)).body["cart"]["total_minor"] == 900
    await other.close()
    await other_database.close()


async def test_rules_that_were_rolled_back_by_the_store_are_never_paid_by(
    shop: Shop, offering: Offering, database: Database
) -> None:
    """A transaction prices by its own rules; when it fails, nobody else may."""

    def fail(conn: Connection) -> None:
        draft = store.add_ruleset(conn, "", [rule()], "ops", 1)
        store.advance(conn, 1, "published", "ops", ruleset=draft.number)
        assert shop._pricing.rules(conn).rules
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write_sync(fail)
    other = rule(then=[{"kind": "pct", "bp": 5000}])
    await publish(offering, other)
    assert [one.unit_minor for one in await shop.window.quotes({"CUP": 1})] == [500]


async def test_a_show_that_is_over_is_left_alone(shows: Shows, offering: Offering, screens: Screens) -> None:
    await shows.transition("demo", ShowState.ended)
    screens.clear()
    await publish(offering, rule())
    assert screens.events == []


async def test_who_publishes_undoes_nobody_else_s_rules(offering: Offering) -> None:
    first = await publish(offering, rule())
    ada, _ = await offering.rulesets.draft("ada's", [rule(), rule(id="a")], "ada", None)
    bob, _ = await offering.rulesets.draft("bob's", [rule(), rule(id="b")], "bob", None)
    mine, theirs = ada["ruleset"]["number"], bob["ruleset"]["number"]
    await offering.rulesets.publish(mine, "ada", None, in_force=first)
    problem = await refused(offering.rulesets.publish(theirs, "bob", None, in_force=first))
    assert (problem.kind, problem.field) == (Kind.rules_changed, "in_force")
    assert await offering.rulesets.in_force() == mine
    body, _ = await offering.rulesets.publish(mine, "ada", None, in_force=first)
    assert body["ruleset"] == mine, "who did not hear the answer asks again"
    await offering.rulesets.publish(theirs, "bob", None)
    assert await offering.rulesets.in_force() == theirs
