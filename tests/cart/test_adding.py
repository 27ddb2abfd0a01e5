"""Adds that share a transaction over both databases: first come, first served, and each for itself."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event

from cart import adding
from cart.adding import Add
from cart.answers import Answer
from cart.catalogue import VariantEntry
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import HOLD_TTL_S
from live.service import Shows
from tests.cart.conftest import ADA, BOB, Screens, level, product, stock, viewer


async def together(shop: Shop, *calls: Any) -> list[Answer | BaseException]:
    """The outcomes of adds that come while another one is committed: they are one batch."""
    before = shop.adds.batches
    first = asyncio.create_task(shop.add("demo", viewer("first"), "YEN"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    results = await asyncio.gather(*calls, return_exceptions=True)
    await first
    assert shop.adds.batches - before == 2
    return results


def kinds(results: list[Answer | BaseException]) -> list[Kind | int]:
    """The kind of each refusal; the quantity of each hold."""
    return [result.kind if isinstance(result, Problem) else result.body["hold"]["quantity"] for result in results]  # type: ignore[union-attr]


async def test_first_come_first_served_and_a_smaller_wish_still_fits(shop: Shop, database: Database) -> None:
    wishes = [("a", 3), ("b", 3), ("c", 1), ("d", 1), ("e", 1)]
    results = await together(shop, *(shop.add("demo", viewer(who), "MUG-BLUE", many) for who, many in wishes))
    assert kinds(results) == [3, Kind.sold_out, 1, 1, Kind.sold_out]
    assert [result.extra["available"] for result in results if isinstance(result, Problem)] == [2, 0]
    assert await level(database, "MUG-BLUE") == (5, 0, 5)


async def test_a_refusal_changes_nothing_for_those_behind_it(shop: Shop, database: Database) -> None:
    results = await together(
        shop,
        shop.add("nowhere", ADA, "CUP"),
        shop.add("demo", ADA, "NOPE"),
        shop.add("demo", ADA, "CUP", price_minor=1),
        shop.add("demo", ADA, "CUP", 2),
        shop.add("demo", ADA, "YEN"),
        shop.add("demo", BOB, "CUP"),
    )
    # The SKUs take turns: the yen were first in the cart.
    expected = [Kind.unknown_show, Kind.unknown_sku, Kind.price_changed, Kind.mixed_currency, 1, 1]
    assert kinds(results) == expected
    assert await level(database, "CUP") == (10, 0, 1)
    assert await shop.keeper.reconcile() == []


async def test_a_cart_that_clicks_often_is_told_once_and_answered_each_time(shop: Shop, screens: Screens) -> None:
    results = await together(shop, *(shop.add("demo", ADA, sku) for sku in ("CUP", "MUG-BLUE", "CUP", "CUP")))
    assert sorted(kinds(results), key=str) == [1, 1, 2, 3]
    mine = [notice for notice in screens.notices if notice[1] == "ada"]
    assert len(mine) == 1
    assert [line["quantity"] for line in mine[0][3]["cart"]["lines"]] == [3, 1]


async def test_one_key_twice_in_a_batch_is_done_once(shop: Shop, database: Database) -> None:
    results = await together(
        shop,
        shop.add("demo", ADA, "CUP", key="k"),
        shop.add("demo", ADA, "CUP", key="k"),
        shop.add("demo", ADA, "CUP", 2, key="k"),
        shop.add("demo", BOB, "CUP", key="k"),
    )
    assert kinds(results) == [1, 1, Kind.key_reused, 1]
    assert [result.replayed for result in results if isinstance(result, Answer)] == [False, True, False]
    assert await level(database, "CUP") == (10, 0, 2)


async def test_expired_holds_make_room_for_a_whole_batch(
    shop: Shop, database: Database, screens: Screens, clock: ManualClock
) -> None:
    await shop.add("demo", ADA, "MUG-BLUE", 3)
    await shop.add("demo", BOB, "MUG-BLUE", 2)
    clock.advance(HOLD_TTL_S)
    screens.clear()
    results = await together(shop, *(shop.add("demo", viewer(who), "MUG-BLUE", 2) for who in ("ada", "c", "d")))
    assert kinds(results) == [2, 2, Kind.sold_out]
    assert await level(database, "MUG-BLUE") == (5, 0, 4)
    assert {(notice[1], notice[3]["reason"]) for notice in screens.notices if notice[1] == "bob"} == {
        ("bob", "hold_expired")
    }
    assert await shop.keeper.reconcile() == []


async def test_a_bug_in_one_add_costs_that_add(shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = adding._Batch._fresh

    def buggy(batch: adding._Batch, add: Add, *priced: Any) -> Any:
        assert add.viewer_id != "v3"
        return fresh(batch, add, *priced)

    monkeypatch.setattr(adding._Batch, "_fresh", buggy)
    results = await asyncio.gather(
        *(shop.add("demo", viewer(f"v{number}"), "CUP") for number in range(8)), return_exceptions=True
    )
    assert [number for number, result in enumerate(results) if isinstance(result, AssertionError)] == [3]
    assert await level(database, "CUP") == (10, 0, 7)


def _counting(database: Database) -> tuple[list[str], Callable[[], None]]:
    statements: list[str] = []

    def count(_conn: Connection, _cursor: object, statement: str, *_: object) -> None:
        if "webhook_endpoint" not in statement:  # each connection asks once a second which types are wanted
            statements.append(statement)

    writers: Any = database._writers
    engine = writers._sync_engine if database.dialect == "sqlite" else writers.engine.sync_engine
    event.listen(engine, "before_cursor_execute", count)
    return statements, lambda: event.remove(engine, "before_cursor_execute", count)


async def test_a_hundred_clicks_take_as_many_statements_as_one(shop: Shop, shows: Shows, database: Database) -> None:
    await stock(shows, product("cup", VariantEntry(sku="CUP", price_minor=1000, stock=500)))
    await shop.cart("demo", ADA)  # the rules are known now
    statements, stop = _counting(database)
    await shop.add("demo", ADA, "CUP", key="k")
    alone = len(statements)
    statements.clear()
    results = await asyncio.gather(*(shop.add("demo", viewer(f"v{n}"), "CUP", key="k") for n in range(100)))
    stop()
    assert len(results) == 100
    assert alone <= 13
    assert len(statements) == alone, statements


async def test_where_nothing_is_left_no_carts_are_read(shop: Shop, shows: Shows, database: Database) -> None:
    await stock(shows, product("cup", VariantEntry(sku="CUP", price_minor=1000, stock=10)))
    await shop.add("demo", ADA, "CUP", 10)
    statements, stop = _counting(database)
    late = await asyncio.gather(*(shop.add("demo", who, "CUP") for who in (ADA, BOB)), return_exceptions=True)
    stop()
    assert [one.kind for one in late if isinstance(one, Problem)] == [Kind.sold_out] * 2
    assert statements and not [one for one in statements if "hold.cart IN" in one], statements


async def test_a_drop_at_a_reduced_price_takes_no_more_statements(shop: Shop, shows: Shows, database: Database) -> None:
    cup = VariantEntry(sku="CUP", price_minor=1000, list_price_minor=1500, stock=500)
    await stock(shows, product("cup", cup))
    await shop.add("demo", BOB, "CUP")  # the rules, and what stands beside the price, are known now
    statements, stop = _counting(database)
    await asyncio.gather(*(shop.add("demo", viewer(f"v{n}"), "CUP") for n in range(100)))
    stop()
    asked = [statement for statement in statements if "price_" in statement and statement.lstrip().startswith("SELECT")]
    assert len([one for one in asked if "FROM price_clock" in one]) == 1
    assert not [one for one in asked if "FROM price_history" in one], statements
    assert len(statements) <= 11


async def test_refusals_are_gone_when_they_were_answered(shop: Shop) -> None:
    """In a stampede nearly all are: were each a ring of references, looking for them would be a fifth of the work."""

    async def refused(quantity: int) -> Kind:
        try:
            await shop.add("demo", ADA, "MUG-BLUE", quantity)
        except Problem as problem:
            return problem.kind
        raise AssertionError

    def living() -> list[object]:
        return [one for one in gc.get_objects() if type(one) in (Problem, Add)]

    await refused(6)  # what is made once is there
    gc.collect()
    gc.disable()
    try:
        others = {id(one): one for one in living()}  # that something of before keeps
        assert await asyncio.gather(*[refused(6) for _ in range(5)]) == [Kind.sold_out] * 5
        async with asyncio.timeout(10):  # a thread keeps what it did until it goes on; a ring is kept for ever
            while [one for one in living() if id(one) not in others]:
                await asyncio.sleep(0.01)
    finally:
        gc.enable()
