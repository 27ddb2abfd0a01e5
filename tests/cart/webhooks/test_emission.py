"""What shoppers, hosts and merchants do reaches the outbox, in the transaction that does it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from cart.catalogue import VariantEntry
from cart.offering.live_prices import Start
from cart.ordering.refunds import Units
from cart.service import Shop
from cart.webhooks import events, outbox
from cart.webhooks.service import Webhooks
from cart.webhooks.tables import webhook_event
from live.core.auth import Principal
from live.core.clock import ManualClock
from live.core.database import Database
from live.service import Shows
from live.shows import ShowState
from tests.cart.conftest import ADA, BOB, product, refused, stock
from tests.cart.webhooks.conftest import OPS, endpoint

_URL = "https://8.8.8.8/"


@pytest.fixture(autouse=True)
async def _told(shows: Shows) -> AsyncIterator[None]:
    shows.transactions.also = outbox.put_news
    yield


async def _listen(webhooks: Webhooks, clock: ManualClock, *types: str) -> None:
    await endpoint(webhooks, _URL, *types)
    clock.advance(1)


async def _happened(database: Database, *types: str) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of what waits, the oldest first; `types`: only of these."""
    statement = select(webhook_event.c.type, webhook_event.c.data).order_by(webhook_event.c.position)
    rows = await database.read_sync(lambda conn: list(conn.execute(statement)))
    return [(row.type, row.data) for row in rows if not types or row.type in types]


async def test_a_click_is_told_as_a_hold_a_cart_and_what_is_left(
    shop: Shop, database: Database, webhooks: Webhooks, clock: ManualClock
) -> None:
    await _listen(webhooks, clock)
    await shop.add("demo", ADA, "MUG-BLUE", 2)
    await shop.add("demo", BOB, "MUG-BLUE", 1)
    told = await _happened(database)
    assert [type_ for type_, _ in told if type_ == "hold.created"] == ["hold.created"] * 2
    by_type = dict(told)
    assert by_type["stock.changed"] == {"sku": "MUG-BLUE", "product_id": "mug", "available": 2}
    assert (by_type["hold.created"]["viewer_id"], by_type["hold.created"]["quantity"]) == ("bob", 1)
    carts = {data["viewer_id"]: data for _, data in await _happened(database, "cart.changed")}
    assert (carts["ada"]["total_minor"], carts["ada"]["reason"]) == (3000, "changed")
    assert (carts["ada"]["lines"][0]["sku"], carts["ada"]["lines"][0]["quantity"]) == ("MUG-BLUE", 2)


async def test_a_hold_whose_time_is_over_is_told(
    shop: Shop, database: Database, webhooks: Webhooks, clock: ManualClock
) -> None:
    await _listen(webhooks, clock, "hold.expired", "stock.changed")
    await shop.add("demo", ADA, "MUG-RED")
    clock.advance(601)
    await shop.keeper.sweep()
    told = dict(await _happened(database))
    assert (told["hold.expired"]["sku"], told["hold.expired"]["viewer_id"]) == ("MUG-RED", "ada")
    assert told["stock.changed"]["available"] == 1
    assert set(told) == {"hold.expired", "stock.changed"}, "what nobody wants is not kept"


async def test_what_is_refused_is_not_told(
    shop: Shop, database: Database, webhooks: Webhooks, clock: ManualClock
) -> None:
    await _listen(webhooks, clock)
    await refused(shop.add("demo", ADA, "MUG-RED", 2))
    await refused(shop.change("demo", ADA, "MUG-RED", 2))
    assert await _happened(database) == []


async def test_shows_and_pins_are_told(
    shows: Shows, shop: Shop, database: Database, webhooks: Webhooks, clock: ManualClock
) -> None:
    await _listen(webhooks, clock)
    await shows.create("gala", "Gala")
    await shows.set_lineup("gala", ["cup"])
    await shows.transition("gala", ShowState.live)
    pin = await shows.pin("gala", "cup")
    await shows.unpin("gala")
    await shows.transition("gala", ShowState.ended)
    told = [each for each in await _happened(database) if each[0] != "cart.changed"]
    assert [type_ for type_, _ in told] == ["show.started", "pin.changed", "pin.changed", "show.ended"]
    assert (told[1][1]["pin_id"], told[1][1]["product_id"]) == (pin["pin_id"], "cup")
    assert told[2][1] == {"show": "gala", "pin_id": None, "product_id": None, "pinned_at_ms": None}
    assert (told[3][1]["state"], told[3][1]["title"]) == ("ended", "Gala")


async def test_another_price_in_the_catalogue_is_told(
    shows: Shows, shop: Shop, database: Database, webhooks: Webhooks, clock: ManualClock
) -> None:
    await _listen(webhooks, clock, "price.changed", "stock.changed")
    entry = product("cup", VariantEntry(sku="CUP", price_minor=900, stock=12))
    await stock(shows, entry)
    await stock(shows, entry)
    ((_, price),) = await _happened(database, "price.changed")
    assert (price["sku"], price["product_id"], price["show"]) == ("CUP", "cup", None)
    assert (price["price_minor"], price["currency"]) == (900, "EUR")
    ((_, left),) = await _happened(database, "stock.changed")
    assert left["available"] == 12


async def test_a_price_of_a_host_is_told_for_its_show(
    shows: Shows, shop: Shop, database: Database, webhooks: Webhooks, clock: ManualClock
) -> None:
    shop.attach()
    await _listen(webhooks, clock, "price.changed")
    await shows.pin("demo", "cup")
    offering = shop.offering
    asked_for = Start(price_minor=800)
    await offering.stockroom.change(lambda moves: offering.live_prices.start(moves, "demo", "host", asked_for))
    ((_, price),) = await _happened(database)
    assert (price["sku"], price["show"], price["price_minor"], price["list_price_minor"]) == ("CUP", "demo", 800, 1000)
    await shows.unpin("demo")  # it waited, so there is one message of what it costs now
    ((_, price),) = await _happened(database)
    assert (price["price_minor"], price["list_price_minor"]) == (1000, None)


async def test_an_order_is_told_step_by_step(
    shop: Shop, database: Database, webhooks: Webhooks, clock: ManualClock
) -> None:
    await _listen(webhooks, clock, *(name for name in events.KINDS if name.startswith("order.")))

    async def buy(who: Principal) -> str:
        await shop.add("demo", who, "CUP", 2)
        answer = await shop.checkout("demo", who, name="Ada", email="ada@example.com")
        id_: str = answer.body["order"]["id"]
        return id_

    first, second = await buy(ADA), await buy(BOB)
    await shop.office.orders.capture(first, OPS)
    await shop.office.orders.ship(first, OPS)
    await shop.office.orders.take_back(first, OPS, [Units("CUP", 1)], refund=True)
    await shop.office.orders.cancel(second, OPS)
    told = await _happened(database)
    assert [type_ for type_, data in told if data["id"] == first] == [
        "order.placed", "order.captured", "order.shipped", "order.returned", "order.refunded",
    ]  # fmt: skip
    assert [type_ for type_, data in told if data["id"] == second] == ["order.placed", "order.cancelled"]
    placed, back = told[0][1], [data for _, data in told if data["id"] == first][-1]
    assert (placed["state"], placed["total_minor"], placed["lines"][0]["quantity"]) == ("placed", 2000, 2)
    assert (back["refunded_minor"], back["lines"][0]["returned"], back["state"]) == (1000, 1, "partly_refunded")


async def test_clicks_pay_nothing_for_what_nobody_wants(
    shop: Shop, database: Database, webhooks: Webhooks, clock: ManualClock
) -> None:
    await _listen(webhooks, clock, "order.placed")
    await shop.add("demo", ADA, "CUP")
    said: list[tuple[dict[Any, Any], str]] = []  # what is known of the connection, and the statement

    def count(conn: Connection) -> None:
        event.listen(conn.engine, "before_cursor_execute", lambda *call: said.append((call[0].info, call[2])))

    await database.write_sync(count)
    for _ in range(3):
        await shop.add("demo", ADA, "CUP")
        await shop.add("demo", BOB, "CUP")
    assert any("hold" in statement for _, statement in said), "the right connections are listened to"
    # A connection that was not used before looks once: on a slow machine the clicks take another one.
    looked = [id(known) for known, statement in said if "webhook" in statement]
    assert len(looked) == len(set(looked))
