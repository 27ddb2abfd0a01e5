"""The keeper over both databases: its sweep, its figures, and its alarm when a level drifts."""

import asyncio
import threading

import pytest
from sqlalchemy import Connection, func, select, text
from structlog.testing import capture_logs

from cart import store
from cart.keeper import Figures
from cart.service import Shop
from cart.tables import idempotency
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import HOLD_TTL_S
from tests.cart.conftest import ADA, BOB, Screens, refused, viewer


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


async def test_answers_are_forgotten_a_few_at_a_time_and_beside_the_loop(
    shop: Shop, clock: ManualClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a rush leaves, in one transaction, would have clicks wait for seconds a day later."""
    monkeypatch.setattr("cart.keeper.ANSWERS_FORGOTTEN_MAX", 2)
    threads: list[int] = []
    forget = store.prune_answers

    def prune(conn: Connection, until_ms: int) -> None:
        threads.append(threading.get_ident())
        forget(conn, until_ms)

    monkeypatch.setattr("cart.store.prune_answers", prune)
    for number in range(5):
        await shop.add("demo", ADA, "CUP", key=f"k{number}")
        clock.advance(0.01)
    clock.advance(24 * 3600 + 1)
    left = []
    for _ in range(4):
        await shop.keeper.prune()
        left.append(await database.read_sync(lambda conn: conn.scalar(select(func.count()).select_from(idempotency))))
    assert left == [3, 1, 0, 0]
    assert len(threads) == 3, "with nothing to forget nobody waits"
    assert (threads[0] == threading.get_ident()) is (database.dialect == "postgresql"), "whose driver never blocks"


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
    [family] = shop.keeper.collect()
    assert family.name == "showcart_books_drift"
    assert [(one.labels["of"], one.value) for one in family.samples] == [("stock", 2), ("waitlist", 0)]
    async with database.write() as conn:
        await conn.execute(text("UPDATE stock_level SET held = 2 WHERE sku = 'CUP'"))
        await conn.execute(text("UPDATE stock_level SET held = 0, waiting = 1 WHERE sku = 'YEN'"))
    with capture_logs() as logs:
        assert await shop.keeper.reconcile() == []
    assert [entry["event"] for entry in logs] == ["waitlist_drift"]
    assert shop.keeper.drift == {"stock": 0, "waitlist": 1}
