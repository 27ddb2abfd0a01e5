"""What is forgotten of prices and of whose carts were whose, and that it goes in pages."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from cart.offering.service import Offering
from cart.pricing import pruning
from cart.pricing.tables import cart_shopper, price_history
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.limits import CART_SHOPPERS_KEPT_S, PRICE_HISTORY_KEPT_S, PRICE_PRUNE_S

SKUS = ["a", "b", "c", "d", "e"]


def _prices(*times_ms: int) -> list[dict[str, Any]]:
    return [
        {"sku": sku, "show": show, "at_ms": at_ms, "price_minor": at_ms}
        for sku in SKUS for show in ("", "demo") for at_ms in times_ms
    ]  # fmt: skip


def _shopper(cart: str, changed_at_ms: int) -> dict[str, Any]:
    return {"cart": cart, "customer": None, "segments": [], "coupons": [], "changed_at_ms": changed_at_ms}


def _times(conn: Connection) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for row in conn.execute(select(price_history).where(price_history.c.sku.in_(SKUS)).order_by("at_ms")):
        found.setdefault((row.sku, row.show), []).append(row.at_ms)
    return found


async def _walk(database: Database, forget: Callable[[Connection, str, int], str | None], before_ms: int) -> int:
    """How many pages it took."""
    after: str | None = ""
    pages = 0
    while after is not None:
        begin = after
        after = await database.write_sync(lambda conn, begin=begin: forget(conn, begin, before_ms))  # type: ignore[misc]
        pages += 1
    return pages


async def test_prices_that_are_over_are_forgotten_and_the_last_one_is_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "FORGOTTEN_PAGE", 2)
    assert await _walk(database, pruning.history, 25) == 1
    await database.write_sync(lambda conn: conn.execute(insert(price_history), _prices(10, 20, 30)))
    assert await _walk(database, pruning.history, 25) == 3
    every = {(sku, show): [20, 30] for sku in SKUS for show in ("", "demo")}
    assert await database.read_sync(_times) == every, "20 still holds from 25 on"
    assert await _walk(database, pruning.history, 31) == 3
    assert await database.read_sync(_times) == {key: [30] for key in every}


async def test_carts_that_nobody_touched_are_forgotten(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "FORGOTTEN_PAGE", 2)
    rows = [_shopper(f"demo:{number}", 10 if number % 2 else 30) for number in range(6)]
    await database.write_sync(lambda conn: conn.execute(insert(cart_shopper), rows))
    assert await _walk(database, pruning.shoppers, 25) == 4, "a full page may have another one behind it"
    left = await database.read_sync(lambda conn: sorted(conn.scalars(select(cart_shopper.c.cart))))
    assert left == ["demo:0", "demo:2", "demo:4"]


async def test_it_happens_by_itself(offering: Offering, database: Database, clock: ManualClock) -> None:
    await offering.watch.look()
    now_ms = clock.now_ms()
    await database.write_sync(lambda conn: conn.execute(insert(price_history), _prices(now_ms, now_ms + 1)))
    await database.write_sync(lambda conn: conn.execute(insert(cart_shopper), [_shopper("demo:x", now_ms)]))
    clock.advance(CART_SHOPPERS_KEPT_S + 1)
    await offering.watch.look()
    assert await database.read_sync(lambda conn: conn.scalars(select(cart_shopper.c.cart)).all()) == []
    assert {len(times) for times in (await database.read_sync(_times)).values()} == {2}
    clock.advance(max(PRICE_HISTORY_KEPT_S - CART_SHOPPERS_KEPT_S, PRICE_PRUNE_S))
    await offering.watch.look()
    assert set(map(tuple, (await database.read_sync(_times)).values())) == {(now_ms + 1,)}
