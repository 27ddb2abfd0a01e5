"""Carts over both databases: nothing is sold twice, nothing is lost, and every screen hears of it."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from cart import store
from cart.catalogue import VariantEntry
from cart.keeper import Figures
from cart.service import Shop
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import CART_LINES_MAX, HOLD_EXTENSIONS_MAX, HOLD_TTL_S, QUANTITY_MAX
from live.service import Shows
from tests.cart.conftest import Screens, level, product, stock, viewer

ADA, BOB = viewer("ada"), viewer("bob")


async def refused(awaitable: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        await awaitable
    return caught.value


async def test_one_click_holds_a_unit(shop: Shop, database: Database, screens: Screens, clock: ManualClock) -> None:
    answer = await shop.add("demo", ADA, "MUG-BLUE", 2)
    line = answer.body["hold"]
    assert line["expires_at_ms"] == clock.now_ms() + HOLD_TTL_S * 1000
    assert {name: line[name] for name in ("sku", "product_id", "title", "variant", "quantity", "line_minor")} == {
        "sku": "MUG-BLUE", "product_id": "mug", "title": "Mug", "variant": "Blue", "quantity": 2, "line_minor": 3000,
    }  # fmt: skip
    assert answer.body["cart"] == {"lines": [line], "total_minor": 3000, "currency": "EUR"}
    assert await level(database, "MUG-BLUE") == (5, 0, 2)
    assert screens.stock("MUG-BLUE") == [3]
    assert screens.notices == [("demo", "ada", "cart.changed", {"cart": answer.body["cart"], "reason": "changed"})]


async def test_a_cart_belongs_to_a_viewer_in_a_show(shop: Shop, shows: Shows) -> None:
    await shows.create("other", "Other")
    await shop.add("demo", ADA, "CUP")
    assert len((await shop.cart("demo", ADA)).lines) == 1
    assert (await shop.cart("demo", BOB)).lines == []
    assert (await shop.cart("other", ADA)).lines == []
    assert (await refused(shop.cart("nowhere", ADA))).kind is Kind.unknown_show


async def test_adding_again_grows_the_hold_and_starts_its_time_again(
    shop: Shop, database: Database, clock: ManualClock
) -> None:
    first = await shop.add("demo", ADA, "CUP")
    clock.advance(60)
    second = await shop.add("demo", ADA, "CUP", 2)
    assert second.body["hold"]["hold_id"] == first.body["hold"]["hold_id"]
    assert second.body["hold"]["quantity"] == 3
    assert second.body["hold"]["expires_at_ms"] == first.body["hold"]["expires_at_ms"] + 60_000
    assert await level(database, "CUP") == (10, 0, 3)


async def test_impossible_quantities_change_nothing(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP")
    for quantity in (0, -1, QUANTITY_MAX + 1, 10**9, 10**30):
        for call in (shop.add, shop.change):
            problem = await refused(call("demo", ADA, "CUP", quantity))
            assert (problem.kind, problem.field) == (Kind.invalid_quantity, "quantity")
    assert await level(database, "CUP") == (10, 0, 1)


async def test_an_unknown_sku_is_named(shop: Shop) -> None:
    for sku in ("NOPE", "", "cup", "CUP\x00", "\ud800", "x" * 1000, "' OR 1=1 --"):
        for call in (shop.add("demo", ADA, sku), shop.change("demo", ADA, sku, 1), shop.remove("demo", ADA, sku)):
            problem = await refused(call)
            assert (problem.kind, problem.field) == (Kind.unknown_sku, "sku")


async def test_an_unknown_show_is_refused(shop: Shop) -> None:
    assert (await refused(shop.add("nowhere", ADA, "CUP"))).kind is Kind.unknown_show


async def test_the_last_unit_goes_to_one(shop: Shop, screens: Screens) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    problem = await refused(shop.add("demo", BOB, "MUG-RED"))
    assert (problem.kind, problem.extra) == (Kind.sold_out, {"sku": "MUG-RED", "available": 0})
    assert screens.of("product.sold_out") == [{"sku": "MUG-RED"}]
    await shop.remove("demo", ADA, "MUG-RED")
    assert screens.of("product.restocked") == [{"sku": "MUG-RED", "available": 1}]
    await shop.add("demo", BOB, "MUG-RED")


async def test_a_wish_beyond_stock_says_how_many_are_left(shop: Shop, database: Database) -> None:
    problem = await refused(shop.add("demo", ADA, "MUG-BLUE", 6))
    assert (problem.kind, problem.extra["available"]) == (Kind.sold_out, 5)
    await shop.add("demo", ADA, "MUG-BLUE", 2)
    problem = await refused(shop.change("demo", ADA, "MUG-BLUE", 6))
    assert (problem.kind, problem.extra["available"]) == (Kind.sold_out, 3)
    assert await level(database, "MUG-BLUE") == (5, 0, 2)


async def test_one_cart_takes_so_many_of_a_sku(shop: Shop, shows: Shows) -> None:
    await stock(shows, product("cup", VariantEntry(sku="CUP", price_minor=1000, stock=500)))
    await shop.add("demo", ADA, "CUP", QUANTITY_MAX)
    assert (await refused(shop.add("demo", ADA, "CUP"))).kind is Kind.invalid_quantity


async def test_change_sets_the_quantity_and_keeps_the_time(
    shop: Shop, database: Database, screens: Screens, clock: ManualClock
) -> None:
    hold = (await shop.add("demo", ADA, "CUP", 2)).body["hold"]
    clock.advance(10)
    for quantity in (5, 1, 1):
        line = (await shop.change("demo", ADA, "CUP", quantity)).body["cart"]["lines"][0]
        assert (line["quantity"], line["expires_at_ms"]) == (quantity, hold["expires_at_ms"])
    assert await level(database, "CUP") == (10, 0, 1)
    assert screens.stock("CUP") == [8, 5, 9]


async def test_change_needs_a_living_hold(shop: Shop, clock: ManualClock) -> None:
    assert (await refused(shop.change("demo", ADA, "CUP", 1))).kind is Kind.not_in_cart
    await shop.add("demo", ADA, "CUP")
    clock.advance(HOLD_TTL_S)
    assert (await refused(shop.change("demo", ADA, "CUP", 2))).kind is Kind.hold_expired
    await shop.keeper.sweep()
    assert (await refused(shop.change("demo", ADA, "CUP", 2))).kind is Kind.hold_expired


async def test_remove_gives_the_units_back_and_is_content_with_nothing(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP", 4)
    await shop.add("demo", ADA, "MUG-RED")
    answer = await shop.remove("demo", ADA, "CUP")
    assert [line["sku"] for line in answer.body["cart"]["lines"]] == ["MUG-RED"]
    assert await level(database, "CUP") == (10, 0, 0)
    again = await shop.remove("demo", ADA, "CUP")
    assert again.body == answer.body


async def test_a_cart_holds_one_currency(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP")
    assert (await refused(shop.add("demo", ADA, "YEN"))).kind is Kind.mixed_currency
    assert await level(database, "YEN") == (5, 0, 0)


async def test_a_cart_holds_so_many_lines(shop: Shop, shows: Shows, database: Database) -> None:
    skus = [f"S{number}" for number in range(CART_LINES_MAX + 1)]
    await stock(shows, product("many", *(VariantEntry(sku=sku, price_minor=1, stock=1) for sku in skus)))
    for sku in skus[:-1]:
        await shop.add("demo", ADA, sku)
    assert (await refused(shop.add("demo", ADA, skus[-1]))).kind is Kind.cart_full
    assert await level(database, skus[-1]) == (1, 0, 0)


async def test_a_price_that_changed_is_never_silent(shop: Shop, shows: Shows) -> None:
    problem = await refused(shop.add("demo", ADA, "CUP", price_minor=900))
    assert (problem.kind, problem.extra) == (
        Kind.price_changed, {"sku": "CUP", "price_minor": 1000, "currency": "EUR"},
    )  # fmt: skip
    await shop.add("demo", ADA, "CUP", price_minor=1000)
    await stock(shows, product("cup", VariantEntry(sku="CUP", price_minor=1200)))
    assert (await refused(shop.add("demo", ADA, "CUP", price_minor=1200))).kind is Kind.price_changed
    assert (await refused(shop.change("demo", ADA, "CUP", 2))).kind is Kind.price_changed
    assert (await shop.cart("demo", ADA)).total_minor == 1000, "a hold keeps its price"
    await shop.remove("demo", ADA, "CUP")
    assert (await shop.add("demo", ADA, "CUP")).body["cart"]["total_minor"] == 1200


async def test_a_hold_is_stamped_with_what_was_on_screen(shop: Shop, shows: Shows, clock: ManualClock) -> None:
    pin = await shows.pin("demo", "cup")
    clock.advance(42)
    await shop.add("demo", ADA, "CUP")
    await shop.add("demo", ADA, "MUG-RED")
    order = (await shop.checkout("demo", ADA, name="Ada", email="ada@example.com")).body["order"]
    stamps = {line["sku"]: (line["pin_id"], line["at_ms"]) for line in order["lines"]}
    assert stamps == {"CUP": (pin["pin_id"], 42_000), "MUG-RED": (None, 42_000)}


# --- time -----------------------------------------------------------------------------------------------------


async def test_expiry_returns_the_units_and_tells_everybody(
    shop: Shop, database: Database, screens: Screens, clock: ManualClock
) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    await shop.add("demo", BOB, "CUP", 3)
    screens.clear()
    clock.advance(HOLD_TTL_S - 0.001)
    assert await shop.keeper.sweep() == 0
    clock.advance(0.001)
    assert await shop.keeper.sweep() == 2
    assert await level(database, "MUG-RED") == (1, 0, 0)
    assert await level(database, "CUP") == (10, 0, 0)
    assert (screens.stock("MUG-RED"), screens.stock("CUP")) == ([1], [10])
    assert screens.of("product.restocked") == [{"sku": "MUG-RED", "available": 1}]
    empty = {"lines": [], "total_minor": 0, "currency": ""}
    assert sorted(screens.notices, key=lambda notice: notice[1]) == [
        ("demo", who, "cart.changed", {"cart": empty, "reason": "hold_expired"}) for who in ("ada", "bob")
    ]
    assert await shop.keeper.reconcile() == []


async def test_an_expired_hold_makes_room_before_the_sweep_comes(
    shop: Shop, screens: Screens, clock: ManualClock, database: Database
) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    clock.advance(HOLD_TTL_S)
    screens.clear()
    await shop.add("demo", BOB, "MUG-RED")
    assert (await shop.cart("demo", ADA)).lines == []
    assert screens.notices[0][1:3] == ("ada", "cart.changed")
    assert screens.stock("MUG-RED") == [], "there was none before and there is none now"
    assert await level(database, "MUG-RED") == (1, 0, 1)


async def test_an_expired_hold_never_comes_back(shop: Shop, clock: ManualClock, database: Database) -> None:
    first = await shop.add("demo", ADA, "MUG-RED")
    clock.advance(HOLD_TTL_S)
    second = await shop.add("demo", ADA, "MUG-RED")
    assert second.body["hold"]["hold_id"] != first.body["hold"]["hold_id"]
    assert await level(database, "MUG-RED") == (1, 0, 1)
    clock.advance(HOLD_TTL_S)
    await shop.keeper.sweep()
    await shop.add("demo", BOB, "MUG-RED")
    assert (await refused(shop.add("demo", ADA, "MUG-RED"))).kind is Kind.sold_out


async def test_a_buyer_who_needs_longer_gets_a_full_time_again(
    shop: Shop, database: Database, screens: Screens, clock: ManualClock
) -> None:
    hold = (await shop.add("demo", ADA, "MUG-RED")).body["hold"]
    screens.clear()
    clock.advance(HOLD_TTL_S - 1)
    answer = await shop.extend("demo", ADA, "MUG-RED")
    line = hold | {"expires_at_ms": clock.now_ms() + HOLD_TTL_S * 1000}
    assert answer.body == {"cart": {"lines": [line], "total_minor": 1500, "currency": "EUR"}}
    assert screens.notices == [("demo", "ada", "cart.changed", answer.body | {"reason": "changed"})]
    assert screens.stock("MUG-RED") == [], "no unit moved"
    clock.advance(HOLD_TTL_S - 1)
    assert await shop.keeper.sweep() == 0
    assert (await refused(shop.add("demo", BOB, "MUG-RED"))).kind is Kind.sold_out
    assert await level(database, "MUG-RED") == (1, 0, 1)


async def test_only_a_living_hold_of_ones_own_can_be_extended(
    shop: Shop, database: Database, clock: ManualClock
) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    assert (await refused(shop.extend("demo", BOB, "MUG-RED"))).kind is Kind.not_in_cart
    assert (await refused(shop.extend("demo", ADA, "NOPE"))).kind is Kind.unknown_sku
    assert (await refused(shop.extend("nowhere", ADA, "MUG-RED"))).kind is Kind.unknown_show
    clock.advance(HOLD_TTL_S)
    assert (await refused(shop.extend("demo", ADA, "MUG-RED"))).kind is Kind.hold_expired, "before the sweep"
    await shop.keeper.sweep()
    assert (await refused(shop.extend("demo", ADA, "MUG-RED"))).kind is Kind.hold_expired, "and after it"
    await shop.add("demo", BOB, "MUG-RED")
    assert (await refused(shop.extend("demo", ADA, "MUG-RED"))).kind is Kind.hold_expired
    assert await level(database, "MUG-RED") == (1, 0, 1)


async def test_a_hold_is_extended_so_often_and_no_more(shop: Shop, clock: ManualClock) -> None:
    await shop.add("demo", ADA, "CUP")
    for _ in range(HOLD_EXTENSIONS_MAX):
        clock.advance(HOLD_TTL_S - 1)
        await shop.extend("demo", ADA, "CUP")
    clock.advance(HOLD_TTL_S - 1)
    problem = await refused(shop.extend("demo", ADA, "CUP"))
    assert (problem.kind, problem.field, problem.extra) == (Kind.hold_final, "sku", {"sku": "CUP"})
    before = (await shop.cart("demo", ADA)).lines[0].expires_at_ms
    await shop.add("demo", ADA, "CUP")
    line = (await shop.cart("demo", ADA)).lines[0]
    assert (line.quantity, line.expires_at_ms) == (2, before), "more units are no way to more time"
    assert len((await shop.cart("demo", ADA)).lines) == 1, "what is left of its time stays"
    await shop.checkout("demo", ADA, name="Ada", email="ada@example.com")


async def test_what_is_being_paid_for_is_not_extended(shop: Shop, database: Database, clock: ManualClock) -> None:
    await shop.add("demo", ADA, "CUP")
    async with database.write() as conn:
        await conn.execute(text("UPDATE hold SET state = 'claiming', claim_until_ms = 0"))
    assert (await refused(shop.extend("demo", ADA, "CUP"))).kind is Kind.checkout_running


async def test_an_extension_is_done_once_a_key(shop: Shop, clock: ManualClock) -> None:
    await shop.add("demo", ADA, "CUP")
    clock.advance(60)
    first = await shop.extend("demo", ADA, "CUP", key="k1")
    clock.advance(60)
    again = await shop.extend("demo", ADA, "CUP", key="k1")
    assert (again.replayed, again.body) == (True, first.body)
    cart = await shop.cart("demo", ADA)
    assert cart.lines[0].expires_at_ms == first.body["cart"]["lines"][0]["expires_at_ms"]
    assert (await refused(shop.extend("demo", ADA, "MUG-RED", key="k1"))).kind is Kind.key_reused


async def test_the_sweep_works_through_more_than_one_batch(
    shop: Shop, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cart.keeper.SWEEP_BATCH", 2)
    for who in ("a", "b", "c", "d", "e"):
        await shop.add("demo", viewer(who), "CUP")
    clock.advance(HOLD_TTL_S)
    assert await shop.keeper.sweep() == 5


async def test_the_keeper_runs_by_itself_and_survives_a_failing_store(
    shop: Shop, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cart.keeper.HOLD_SWEEP_INTERVAL_S", 0.001)
    done = asyncio.Event()
    failures: list[Exception] = [Problem(Kind.unavailable), RuntimeError("a bug")]

    async def sweep() -> int:
        if failures:
            raise failures.pop()
        clock.advance(61)
        return 0

    async def prune() -> None:
        done.set()

    monkeypatch.setattr(shop.keeper, "sweep", sweep)
    monkeypatch.setattr(shop.keeper, "prune", prune)
    with capture_logs() as logs:
        task = asyncio.create_task(shop.keeper.run())
        await asyncio.wait_for(done.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [entry["event"] for entry in logs] == ["sweep_failed", "sweep_postponed"]


# --- many at once ---------------------------------------------------------------------------------------------


async def test_a_stampede_never_oversells(shop: Shop, database: Database, screens: Screens) -> None:
    results = await asyncio.gather(
        *(shop.add("demo", viewer(f"v{number}"), "CUP") for number in range(100)), return_exceptions=True
    )
    holds = [result for result in results if not isinstance(result, BaseException)]
    kinds = {result.kind for result in results if isinstance(result, Problem)}
    assert (len(holds), kinds) == (10, {Kind.sold_out})
    assert await level(database, "CUP") == (10, 0, 10)
    assert screens.stock("CUP") == list(range(9, -1, -1)), "in the order of the commits"
    assert screens.of("product.sold_out") == [{"sku": "CUP"}]
    assert await shop.keeper.reconcile() == []


async def test_two_shops_on_one_database_agree(
    shop: Shop, database_url: str, clock: ManualClock, database: Database
) -> None:
    other_database = await Database.open(database_url, clock)
    other = Shop(other_database, Shows(other_database, Screens(), clock), clock)
    try:
        results = await asyncio.gather(
            *((shop, other)[number % 2].add("demo", viewer(f"v{number}"), "CUP") for number in range(30)),
            return_exceptions=True,
        )
    finally:
        await other_database.close()
    assert sum(not isinstance(result, BaseException) for result in results) == 10
    assert await level(database, "CUP") == (10, 0, 10)


async def test_sweeps_at_once_end_a_hold_once(shop: Shop, database: Database, clock: ManualClock) -> None:
    for number in range(6):
        await shop.add("demo", viewer(f"v{number}"), ("CUP", "MUG-BLUE")[number % 2])
    clock.advance(HOLD_TTL_S)
    ended = await asyncio.gather(*(shop.keeper.sweep() for _ in range(4)))
    assert sum(ended) == 6
    assert await level(database, "CUP") == (10, 0, 0)


async def test_carts_with_the_same_skus_in_other_orders_never_wait_for_each_other(
    shop: Shop, database: Database, clock: ManualClock
) -> None:
    """Check-outs, sweeps and adds lock the same levels; a deadlock would fail one of them."""

    async def shopper(number: int) -> None:
        skus = ["CUP", "MUG-BLUE"] if number % 2 else ["MUG-BLUE", "CUP"]
        who = viewer(f"v{number}")
        for sku in skus:
            await shop.add("demo", who, sku)
        if number % 3:
            await shop.checkout("demo", who, name="Ada", email="ada@example.com")

    clock.advance(HOLD_TTL_S)
    await asyncio.gather(*(shopper(number) for number in range(5)), shop.keeper.sweep(), shop.keeper.sweep())
    assert await level(database, "CUP") == (10, 3, 2)
    assert await level(database, "MUG-BLUE") == (5, 3, 2)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer
@pytest.mark.parametrize("verb", ["change", "extend", "checkout"])
async def test_a_sweep_waits_for_whoever_has_a_level_locked(
    shop: Shop, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The hold's time runs out between being looked at and being changed."""
    await shop.add("demo", ADA, "CUP", 3)
    sweeps: list[asyncio.Task[int]] = []

    async def somebody_waits() -> bool:
        async with database.read() as conn:
            return bool(await conn.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    # The last look at the hold of each verb.
    name = {"change": "live_hold", "extend": "live_hold", "checkout": "newest_state"}[verb]
    look = getattr(store, name)

    async def look_and_let_the_time_run_out(*arguments: Any) -> Any:
        seen = await look(*arguments)
        clock.advance(HOLD_TTL_S)
        sweeps.append(asyncio.create_task(shop.keeper.sweep()))
        while not (sweeps[0].done() or await somebody_waits()):
            await asyncio.sleep(0.01)
        return seen

    monkeypatch.setattr(store, name, look_and_let_the_time_run_out)
    if verb == "change":
        await shop.change("demo", ADA, "CUP", 2)
    elif verb == "extend":
        await shop.extend("demo", ADA, "CUP")
    else:
        await shop.checkout("demo", ADA, name="Ada", email="ada@example.com")
    await sweeps[0]
    assert await level(database, "CUP") == ((10, 3, 0) if verb == "checkout" else (10, 0, 0))
    assert await shop.keeper.reconcile() == []


# --- keys -----------------------------------------------------------------------------------------------------


async def test_the_same_key_is_answered_alike_and_done_once(shop: Shop, database: Database) -> None:
    first = await shop.add("demo", ADA, "CUP", 2, key="k1")
    again = await shop.add("demo", ADA, "CUP", 2, key="k1")
    assert (first.replayed, again.replayed, again.body) == (False, True, first.body)
    assert await level(database, "CUP") == (10, 0, 2)


async def test_the_same_key_with_another_request_is_refused(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP", 2, key="k1")
    for call in (
        shop.add("demo", ADA, "CUP", 3, key="k1"),
        shop.change("demo", ADA, "CUP", 2, key="k1"),
        shop.remove("demo", ADA, "CUP", key="k1"),
    ):
        assert (await refused(call)).kind is Kind.key_reused
    assert await level(database, "CUP") == (10, 0, 2)


async def test_the_same_key_of_another_viewer_is_another_key(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP", key="k1")
    assert not (await shop.add("demo", BOB, "CUP", key="k1")).replayed
    assert await level(database, "CUP") == (10, 0, 2)


async def test_one_key_many_times_at_once_is_done_once(shop: Shop, database: Database) -> None:
    answers = await asyncio.gather(*(shop.add("demo", ADA, "CUP", key="k1") for _ in range(10)))
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 9
    assert len({answer.body["hold"]["hold_id"] for answer in answers}) == 1
    assert await level(database, "CUP") == (10, 0, 1)


async def test_a_refusal_does_not_use_the_key_up(shop: Shop) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    assert (await refused(shop.add("demo", BOB, "MUG-RED", key="k1"))).kind is Kind.sold_out
    await shop.remove("demo", ADA, "MUG-RED")
    assert not (await shop.add("demo", BOB, "MUG-RED", key="k1")).replayed


async def test_keys_that_no_table_should_hold_are_refused(shop: Shop) -> None:
    for key in ("", "x" * 129, "a\x00b", "a\nb"):
        assert (await refused(shop.add("demo", ADA, "CUP", key=key))).kind is Kind.invalid_field


async def test_keys_are_forgotten_after_a_day(shop: Shop, clock: ManualClock) -> None:
    await shop.add("demo", ADA, "CUP", key="k1")
    await shop.keeper.prune()
    assert (await shop.add("demo", ADA, "CUP", key="k1")).replayed
    clock.advance(24 * 3600 + 1)
    await shop.keeper.prune()
    assert not (await shop.add("demo", ADA, "CUP", key="k1")).replayed


# --- what others see ------------------------------------------------------------------------------------------


async def test_every_show_that_sells_a_product_hears_of_its_stock(shop: Shop, shows: Shows, screens: Screens) -> None:
    await shows.create("second", "Second")
    await shows.set_lineup("second", ["mug"])
    await shop.add("demo", ADA, "MUG-RED")
    assert screens.stock("MUG-RED", "demo") == screens.stock("MUG-RED", "second") == [0]
    assert screens.of("product.sold_out", "second") == [{"sku": "MUG-RED"}]


async def test_a_show_hears_of_what_it_sells_without_having_it_in_the_lineup(shop: Shop, screens: Screens) -> None:
    await shop.add("demo", ADA, "YEN", 5)
    assert screens.stock("YEN") == [0]
    assert screens.of("product.sold_out") == []


async def test_products_come_in_the_order_asked_for(shop: Shop) -> None:
    await shop.add("demo", ADA, "MUG-BLUE", 2)
    products = await shop.products(["mug", "nope", "\x00", "cup"])
    assert [one["id"] for one in products] == ["mug", "cup"]
    assert products[0]["variants"] == [
        {"sku": "MUG-BLUE", "title": "Blue", "price_minor": 1500, "list_price_minor": 2000, "available": 3},
        {"sku": "MUG-RED", "title": "Red", "price_minor": 1500, "list_price_minor": None, "available": 1},
    ]


async def test_the_catalogue_is_read_in_pages(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cart.service.PRODUCTS_PAGE", 2)
    first = await shop.catalogue()
    rest = await shop.catalogue(first[-1].id)
    assert [one.id for one in (*first, *rest)] == ["cup", "mug", "yen"]
    assert (await refused(shop.catalogue("\x00"))).kind is Kind.invalid_field
    assert (await shop.product("mug")).title == "Mug"
    for id_ in ("nope", "\x00"):
        assert (await refused(shop.product(id_))).kind is Kind.unknown_product


async def test_an_order_is_for_its_buyer_and_the_hosts_of_its_show(shop: Shop) -> None:
    await shop.add("demo", ADA, "CUP")
    order = (await shop.checkout("demo", ADA, name="Ada", email="ada@example.com")).body["order"]
    host = Principal(subject="h", role=Role.host, show="demo", name="Host")
    for who in (ADA, host):
        assert (await shop.order(order["id"], who)).number == order["number"]
    stranger = Principal(subject="x", role=Role.host, show="other", name="Host")
    for who in (BOB, stranger):
        assert (await refused(shop.order(order["id"], who))).kind is Kind.unknown_order
    for id_ in ("0" * 32, "\x00"):
        assert (await refused(shop.order(id_, ADA))).kind is Kind.unknown_order


async def test_figures_follow_what_is_sold(shop: Shop, screens: Screens, clock: ManualClock) -> None:
    assert (await refused(shop.keeper.figures("nowhere"))).kind is Kind.unknown_show
    assert await shop.keeper.figures("demo") == Figures(0, 0, 0, "EUR", 0)
    await shop.add("demo", ADA, "CUP", 2)
    await shop.add("demo", BOB, "CUP")
    await shop.checkout("demo", ADA, name="Ada", email="ada@example.com")
    await shop.keeper.send_figures()
    figures = {"carts": 1, "orders": 1, "revenue_minor": 2000, "currency": "EUR", "adds_per_minute": 2}
    assert screens.states[-1] == ("demo", "figures", "", figures, True)
    clock.advance(61)
    await shop.keeper.send_figures()
    assert screens.states[-1][3]["adds_per_minute"] == 0
    screens.clear()
    clock.advance(2)
    await shop.keeper.send_figures()
    assert screens.states == [], "nothing changes any more"


async def test_a_level_that_drifts_is_an_alarm(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP", 2)
    async with database.write() as conn:
        await conn.execute(text("UPDATE stock_level SET held = 3 WHERE sku = 'CUP'"))
        await conn.execute(text("UPDATE stock_level SET held = 1 WHERE sku = 'YEN'"))
    with capture_logs() as logs:
        found = await shop.keeper.reconcile()
    assert [entry["event"] for entry in logs] == ["stock_drift"] * 2
    assert [(one.sku, one.held, one.holds) for one in found] == [("CUP", 3, 2), ("YEN", 1, 0)]
