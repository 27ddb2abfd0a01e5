"""The outbox: written with its effect or not at all, for nothing when nobody listens, one row for the newest value."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, update

from cart.webhooks import outbox
from cart.webhooks.tables import webhook_endpoint, webhook_event
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.limits import WEBHOOK_WANTED_S
from live.realtime.news import News
from live.service import Shows
from live.shows import ShowState
from tests.cart.webhooks.facts import FACTS
from tests.live.recorder import Recorder


def _listen(conn: Connection, *types: str, state: str = "active") -> None:
    values = {"id": "e" * 32, "url": "https://shop.example/", "label": "", "types": list(types), "state": state}
    conn.execute(insert(webhook_endpoint).values(**values, reason="", secret=b"", created_at_ms=0))


def _rows(conn: Connection) -> list[Any]:
    return list(conn.execute(select(webhook_event).order_by(webhook_event.c.position)))


async def _written(database: Database, work: Callable[[Connection, int], None]) -> list[Any]:
    await database.write_sync(lambda conn: work(conn, database.now_ms_sync(conn)))
    return await database.read_sync(_rows)


async def test_what_nobody_wants_is_not_written_and_costs_no_statement(database: Database) -> None:
    counted: list[str] = []

    def work(conn: Connection, now_ms: int) -> None:
        _listen(conn, "order.placed")
        _listen_off = update(webhook_endpoint).values(state="disabled")
        outbox.put(conn, now_ms, "hold.created", FACTS["hold.created"], "gala")
        event.listen(conn, "before_cursor_execute", lambda *call: counted.append(call[2]))
        outbox.put(conn, now_ms, "stock.changed", FACTS["stock.changed"], None)
        outbox.put_all(conn, now_ms, "order.placed", [])
        conn.execute(_listen_off)
        later_ms = now_ms + round(WEBHOOK_WANTED_S * 1000)
        outbox.put(conn, later_ms, "order.placed", FACTS["order.placed"], "gala")

    assert await _written(database, work) == []
    assert len(counted) == 2, "turning it off, and looking again"


@pytest.mark.parametrize("state", ["active", "paused"])
async def test_what_somebody_wants_is_written_by_itself_and_goes_with_its_transaction(
    database: Database, state: str
) -> None:
    class Undone(Exception):
        pass

    def undo(conn: Connection, now_ms: int) -> None:
        _listen(conn, state=state)
        outbox.put(conn, now_ms, "order.placed", FACTS["order.placed"], "gala")
        raise Undone

    with pytest.raises(Undone):
        await _written(database, undo)

    def work(conn: Connection, now_ms: int) -> None:
        _listen(conn, state=state)
        outbox.put(conn, now_ms + 1000, "order.placed", FACTS["order.placed"], "gala")

    (row,) = await _written(database, work)
    assert (row.type, row.show, row.spread) == ("order.placed", "gala", False)
    assert (row.subject, row.newest) == (f"order:{FACTS['order.placed']['id']}", None)
    assert "inside" not in row.data and "picture" not in row.data["lines"][0]


async def test_a_newer_value_takes_the_place_of_one_that_waits(database: Database, clock: ManualClock) -> None:
    def stock(*left: tuple[str, int]) -> list[tuple[dict[str, Any], None]]:
        return [({"sku": sku, "product_id": "p", "available": available}, None) for sku, available in left]

    def work(conn: Connection, now_ms: int) -> None:
        _listen(conn)
        outbox.put_all(conn, now_ms, "stock.changed", stock(("B", 9), ("A", 5), ("B", 8)))
        outbox.put_all(conn, now_ms + 5, "stock.changed", stock(("A", 4)))

    rows = await _written(database, work)
    assert {row.subject: (row.data["available"], row.at_ms) for row in rows} == {
        "stock:A": (4, clock.now_ms() + 5),
        "stock:B": (8, clock.now_ms()),
    }

    def after(conn: Connection, now_ms: int) -> None:  # what is spread is somebody's, and stays as it is
        conn.execute(update(webhook_event).values(spread=True, newest=None))
        outbox.put_all(conn, now_ms, "stock.changed", stock(("A", 3)))

    assert [row.data["available"] for row in await _written(database, after) if row.subject == "stock:A"] == [4, 3]


async def test_a_shows_start_end_and_pins_are_told(database: Database, clock: ManualClock) -> None:
    shows = Shows(database, Recorder(), clock)
    shows.transactions.also = outbox.put_news
    await database.write_sync(lambda conn: _listen(conn, "show.started", "show.ended", "pin.changed"))
    await shows.create("gala", "Gala")
    await shows.transition("gala", ShowState.live)
    for state in (ShowState.paused, ShowState.live, ShowState.paused):
        clock.advance(1)
        await shows.transition("gala", state)
    await shows.transition("gala", ShowState.ended)
    clock.advance(1)
    await shows.update("gala", title="Over")

    def pins(conn: Connection, now_ms: int) -> None:
        pinned = {"pin_id": "p1", "product": {"id": "mug"}, "pinned_at_ms": now_ms}
        told: dict[str, Any] = {"product.pinned": pinned, "product.unpinned": {"pin_id": "p1"}, "show.lineup": {}}
        outbox.put_news(conn, now_ms, "gala", [News("event", name, data) for name, data in told.items()])

    rows = await _written(database, pins)
    assert [row.type for row in rows] == ["show.started", "show.ended", "pin.changed", "pin.changed"]
    assert [row.data.get("product_id") for row in rows[2:]] == ["mug", None]
    assert {row.subject for row in rows} == {"show:gala"}
