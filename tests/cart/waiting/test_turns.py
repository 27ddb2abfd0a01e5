"""Who is at the head of a queue and cannot take anything just now stops nobody, and gets nothing twice."""

import threading
from typing import Any

import pytest
from sqlalchemy import Connection, update
from structlog.testing import capture_logs

from cart.moves import Moves
from cart.service import Shop
from cart.stock import HoldState
from cart.tables import hold, stock_level
from cart.waiting import store, turns
from live.core.database import Database
from live.core.errors import Kind, Problem
from tests.cart.conftest import ADA, BOB, Screens, refused
from tests.cart.waiting.conftest import ANN, BEN, CAT, held, plan, positions, told, wait

ONE_STORE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def pay(database: Database, state: HoldState, *who: str) -> None:
    """Take what these carts hold to the check-out, or back from it."""
    mine = hold.c.viewer_id.in_(who), hold.c.state.in_(["active", "claiming"])
    await database.write_sync(lambda conn: conn.execute(update(hold).where(*mine).values(state=state.value)))


async def test_those_who_are_paying_keep_their_place_and_stop_nobody(
    shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cart.waiting.turns.WAITLIST_BATCH", 2)
    for who, quantity in ((ADA, 2), (BOB, 2), (CAT, 1)):
        await shop.add("demo", who, "MUG-BLUE", quantity)
    await wait(shop, ADA, BOB, ANN, sku="MUG-BLUE")
    await pay(database, HoldState.claiming, "ada", "bob")
    await shop.remove("demo", CAT, "MUG-BLUE")
    await shop.waiting.look()
    assert await held(shop, ANN) == {"MUG-BLUE": 1}
    assert await positions(shop, ADA, BOB) == [1, 2]
    await pay(database, HoldState.active, "ada", "bob")
    await shop.remove("demo", ANN, "MUG-BLUE")
    assert await held(shop, ADA) == {"MUG-BLUE": 3}


@ONE_STORE
async def test_queues_that_cannot_be_served_hide_no_others(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cart.waiting.service.SWEEP_BATCH", 1)
    await plan(shop, "CUP", total_limit=1)
    await shop.add("demo", ADA, "CUP")
    await wait(shop, ANN, sku="CUP")
    await shop.add("demo", ADA, "MUG-RED")
    await wait(shop, BEN)
    monkeypatch.setattr("cart.moves.Moves.hand_over", lambda _moves: None)  # as an import of before would
    await shop.remove("demo", ADA, "MUG-RED")
    for _ in range(3):
        await shop.waiting.look()
    assert (await held(shop, ANN), await held(shop, BEN)) == ({}, {"MUG-RED": 1})


@ONE_STORE
async def test_news_of_places_that_moved_up_survive_a_store_that_is_away(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, screens: Screens
) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    await wait(shop, ANN, BEN)
    await shop.waiting.leave("demo", ANN, "MUG-RED", key=None)
    change, screens.notices[:] = shop.waiting._stockroom.change, []

    async def away(_work: Any) -> None:
        await change(lambda _moves: None)
        shop.waiting._promised.moved_on.setdefault("MUG-RED", False)  # somebody joins behind them meanwhile
        raise Problem(Kind.unavailable)

    monkeypatch.setattr(shop.waiting._stockroom, "change", away)
    await refused(shop.waiting.tell())
    monkeypatch.undo()
    await shop.waiting.tell()
    assert [data["place"]["position"] for data in told(screens, BEN, "waitlist.changed")] == [1]


@ONE_STORE
async def test_a_large_catalogue_is_checked_beside_the_loop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million SKUs held all clicks and all screens of the worker up for 0.7 s, every minute."""
    threads = set()
    drift = store.drift

    def note(conn: Connection) -> list[tuple[str, int, int]]:
        threads.add(threading.get_ident())
        return drift(conn)

    monkeypatch.setattr("cart.waiting.store.drift", note)
    assert await shop.waiting.check() == []
    assert threads and threading.get_ident() not in threads


async def test_a_queue_that_cannot_be_served_keeps_no_other_waiting(
    shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    await shop.add("demo", ADA, "MUG-BLUE", 5)
    await wait(shop, ANN, sku="MUG-BLUE")
    await wait(shop, BEN, sku="MUG-RED")
    serve = turns.serve

    def broken(moves: Moves, sku: str, *others: Any) -> bool:
        if sku == "MUG-BLUE":
            raise RuntimeError("a bug")
        return serve(moves, sku, *others)

    free = update(stock_level).where(stock_level.c.sku.in_(["MUG-BLUE", "MUG-RED"]))
    await database.write_sync(lambda conn: conn.execute(free.values(on_hand=stock_level.c.on_hand + 1)))
    monkeypatch.setattr(turns, "serve", broken)
    with capture_logs() as logs:
        await shop.waiting.look()
    assert (await held(shop, ANN), await held(shop, BEN)) == ({}, {"MUG-RED": 1})
    assert [(one["event"], one["sku"]) for one in logs] == [("queue_not_served", "MUG-BLUE")]
