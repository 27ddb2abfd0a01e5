"""What pins sold, from real carts and orders, on both databases; and to the cent, over orders of every kind."""

import random
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, insert, text
from starlette.applications import Starlette

from cart import api
from cart.insight import service, store
from cart.insight.report import Proceeds, Revenue
from cart.ordering import refunds
from cart.ordering import store as order_store
from cart.ordering.orders import OPEN, Order, OrderState
from cart.ordering.refunds import Units
from cart.sales import sales
from cart.service import Shop
from live.core.auth import Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.rest import on_problem, openapi, routes
from live.service import Shows
from live.shows import ShowState
from live.store import pin
from tests.cart.conftest import ADA, BOB, viewer
from tests.cart.insight.test_report import amounts
from tests.cart.ordering import samples
from tests.cart.ordering.conftest import HOST, OPS, buy
from tests.cart.ordering.conftest import at_once as at_once
from tests.cart.ordering.conftest import box as box
from tests.cart.ordering.conftest import payment as payment
from tests.cart.ordering.conftest import shop as shop  # pays by a rehearsal


async def test_what_pins_sold(shop: Shop, shows: Shows, database: Database, clock: ManualClock) -> None:
    orders = shop.office.orders
    clock.advance(10)
    cup = (await shows.pin("demo", "cup"))["pin_id"]
    await shop.add("demo", ADA, "CUP", 1)
    await shop.add("demo", ADA, "CUP", 1)
    await shop.add("demo", BOB, "CUP", 1)
    await shop.add("demo", viewer("cy"), "CUP", 1)
    clock.advance(5)
    mug = (await shows.pin("demo", "mug"))["pin_id"]
    kept = await buy(shop, "ada", (("MUG-BLUE", 2),))  # with the cups of before
    gone = await buy(shop, "bob", ())
    await buy(shop, "dan", (("CUP", 3),))  # while the mug is on screen
    await orders.ship(kept, HOST)
    await orders.take_back(kept, HOST, [Units("CUP", 1)], refund=True)
    await orders.refund(kept, HOST, [], goodwill_minor=250)
    await orders.cancel(gone, HOST)
    report = await shop.insight.revenue("demo")
    first, second = report.pins
    assert (first.pin_id, first.product_id, first.title, first.from_ms, first.to_ms) == (
        cup, "cup", "Cup", 10_000, 15_000,
    )  # fmt: skip
    assert (first.adds, first.units_held, first.holds, first.ordered, first.conversion_bp) == (4, 4, 3, 2, 6_666)
    assert (first.orders, first.units_ordered, first.units_back) == (2, 3, 2)
    assert first.revenue == [Proceeds("EUR", 3000, 2000, 1000)]
    assert (second.pin_id, second.to_ms, second.conversion_bp) == (mug, None, 10_000)
    assert second.revenue == [Proceeds("EUR", 3000, 0, 3000)]
    assert (report.unpinned.adds, report.unpinned.units_ordered) == (1, 3)
    assert report.unpinned.revenue == [Proceeds("EUR", 3000, 0, 3000)]
    assert (report.goodwill, report.shipping, report.earlier_pins) == ([Proceeds("EUR", 0, 250, -250)], [], None)
    assert (report.total.orders, report.total.revenue) == (3, [Proceeds("EUR", 9000, 2250, 6750)])
    assert (await shop.keeper.figures("demo")).revenue_minor == 6750, "the studio's figure says the same"
    await shows.transition("demo", ShowState.ended)
    assert (await shop.insight.revenue("demo")).pins[1].to_ms == 15_000


async def test_pins_before_the_newest_are_one_row(
    shop: Shop, shows: Shows, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for who, product in (("ada", "cup"), ("bob", "mug"), ("cy", "cup")):
        clock.advance(1)
        await shows.pin("demo", product)
        await buy(shop, who, (("CUP" if product == "cup" else "MUG-BLUE", 1),))
    monkeypatch.setattr(service, "REVENUE_PINS_MAX", 1)
    report = await shop.insight.revenue("demo")
    assert [(one.orders, one.revenue[0].gross_minor) for one in report.pins] == [(1, 1000)]
    assert report.earlier_pins is not None
    assert (report.earlier_pins.adds, report.earlier_pins.orders) == (2, 2)
    assert report.earlier_pins.revenue == [Proceeds("EUR", 2500, 0, 2500)]


# --- every cent ---------------------------------------------------------------------------------------------------

PINS = [f"{number:032x}" for number in range(1, 6)]


def _order(chance: random.Random, number: int) -> Order:
    """An order at any point of its life, by the same rules as money is given back for real."""
    skus = chance.sample(["CUP", "MUG-BLUE", "MUG-RED", "POT"], chance.randint(1, 3))
    lines = [
        samples.line(sku, chance.randint(1, 7), chance.randint(0, 3_333), chance.randint(0, 1) and 1) for sku in skus
    ]
    lines = [line if line.line_minor >= 0 else samples.line(line.sku) for line in lines]
    made = samples.order(*lines, shipping_minor=chance.choice([0, 0, 490]), state=OrderState.captured)
    order = replace(
        made,
        id=f"{number:032x}",
        number=f"{number:010d}",
        show=chance.choice(["demo", "demo", "other"]),
        currency=chance.choice(["EUR", "EUR", "CHF"]),
        placed_at_ms=7,
        lines=[
            replace(line, pin_id=chance.choice([None, *PINS]), hold_id=f"{number}-{line.sku}") for line in made.lines
        ],
    )
    for _ in range(chance.randint(0, 3)):
        some = {line.sku: chance.randint(0, line.quantity - line.refunded) for line in order.lines}
        left = order.shipping_minor - order.shipping_refunded_minor
        try:
            _, order = refunds.refund(order, some, chance.randint(0, left), chance.randint(0, 300))
        except Problem:
            continue  # nothing was left, or more than that was asked for
    match chance.randint(0, 9):
        case 0:
            _, order = refunds.everything(order)
            return replace(order, state=OrderState.cancelled)
        case 1:
            return replace(order, state=chance.choice([OrderState.withdrawn, OrderState.returned]))
        case 2:
            return replace(made, **_never(order), state=chance.choice([OrderState.lapsed, OrderState.refused]))
        case 3 if order.refunded_minor == 0:
            return replace(order, state=OrderState.placed, captured_minor=0)
        case _:
            return order


def _never(order: Order) -> dict[str, object]:
    return {name: getattr(order, name) for name in ("id", "number", "show", "currency", "lines")}


def _parts(orders: list[Order]) -> Counter[tuple[str, str, str]]:
    """The same by hand: (place, currency, gross or off) → minor units."""
    found: Counter[tuple[str, str, str]] = Counter()

    def put(place: str, order: Order, gross: int, off: int) -> int:
        off = off if order.state in OPEN else gross
        found[place, order.currency, "gross"] += gross
        found[place, order.currency, "off"] += off
        return off

    for order in orders:
        given = sum(
            put(line.pin_id or "unpinned", order, line.line_minor, refunds.worth(line, line.refunded))
            for line in order.lines
        )
        given += put("shipping", order, order.shipping_minor, order.shipping_refunded_minor)
        given += put("goodwill", order, 0, order.refunded_minor - given)
        assert given == (order.refunded_minor if order.state in OPEN else order.total_minor)
    return +found


def _told(report: Revenue) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    rows = [(one.pin_id, one.revenue) for one in report.pins]
    rows += [("unpinned", report.unpinned.revenue), ("shipping", report.shipping), ("goodwill", report.goodwill)]
    for place, revenue in rows:
        for one in revenue:
            found[place, one.currency, "gross"] += one.gross_minor
            found[place, one.currency, "off"] += one.off_minor
    return +found


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_cent_is_in_one_row(shop: Shop, shows: Shows, database: Database, seed: int) -> None:
    chance = random.Random(seed)
    orders = [_order(chance, number) for number in range(1, 121)]
    await shows.create("other", "Other")

    def fill(conn: Connection) -> None:
        stamped = {"show_id": "demo", "product_id": "cup", "unpinned_at_ms": 1, "pinned_at_ms": 0}
        conn.execute(insert(pin), [stamped | {"id": id_} for id_ in PINS])
        for order in orders:
            order_store.insert_order(conn, order, f"{order.show}:ada")

    await database.write_sync(fill)
    own = [order for order in orders if order.show == "demo" and order.placed_at_ms is not None]
    assert {order.state for order in own} >= {OrderState.partly_refunded, OrderState.cancelled, OrderState.placed}
    report = await shop.insight.revenue("demo")
    assert _told(report) == _parts(own)
    assert any(report.goodwill) and any(report.shipping)
    for total in report.total.revenue:
        mine = [order for order in own if order.currency == total.currency]
        rows = [one for row in amounts(report) for one in row if one.currency == total.currency]
        assert sum(one.gross_minor for one in rows) == total.gross_minor == sum(order.total_minor for order in mine)
        assert sum(one.off_minor for one in rows) == total.off_minor
        assert sum(one.kept_minor for one in rows) == total.kept_minor
    figures = await database.read_sync(lambda conn: sales(conn, "demo"))
    assert {currency: kept for currency, _, kept in figures} == {
        total.currency: total.kept_minor for total in report.total.revenue
    }
    assert report.total.orders == len(own)


# --- over HTTP, and how it is found ---------------------------------------------------------------------------------


@pytest.fixture
def tokens(clock: ManualClock) -> Tokens:
    return Tokens("a secret of the tests", clock)


@pytest.fixture
async def client(shop: Shop, shows: Shows, tokens: Tokens) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=routes(api.operations(shop, shows), tokens), exception_handlers={Problem: on_problem})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        yield client


async def test_hosts_of_the_show_and_ops_read_it(
    client: httpx.AsyncClient, tokens: Tokens, shop: Shop, shows: Shows
) -> None:
    async def read(who: Principal | None, show: str = "demo") -> httpx.Response:
        headers = {} if who is None else {"authorization": f"Bearer {tokens.sign(who, 60)}"}
        return await client.get(f"/api/shows/{show}/revenue", headers=headers)

    await shows.pin("demo", "cup")
    await buy(shop)
    found = await read(HOST)
    assert found.status_code == 200
    assert found.json()["pins"][0]["revenue"] == [
        {"currency": "EUR", "gross_minor": 2000, "off_minor": 0, "kept_minor": 2000}
    ]
    assert (await read(OPS)).json()["total"] == found.json()["total"]
    elsewhere = replace(HOST, show="other")
    moderator = replace(HOST, role=Role.moderator)
    for who, show, status in (
        (None, "demo", 401), (ADA, "demo", 403), (moderator, "demo", 403), (elsewhere, "demo", 403),
        (OPS, "nowhere", 404), (OPS, "no%00where", 404),
    ):  # fmt: skip
        answer = await read(who, show)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"]


async def test_the_document_names_it(shop: Shop, shows: Shows) -> None:
    document = openapi(api.operations(shop, shows), "1")
    found = document["paths"]["/api/shows/{show}/revenue"]["get"]
    assert found["responses"]["200"]["content"]["application/json"]["schema"]
    assert {"Revenue", "PinSold", "Proceeds"} <= document["components"]["schemas"].keys()


async def test_sums_begin_at_an_index_of_the_show(shop: Shop, database: Database) -> None:
    """Whatever other shows have sold: nothing is read from one end to the other."""

    def plan(conn: Connection) -> str:
        if conn.dialect.name == "postgresql":  # a table of a few rows is read whole, unless that is forbidden
            conn.execute(text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN " if conn.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
        said = []
        for statement in (store.SUMS, store.TAKEN):
            bound = statement.params(the_show="demo", oldest="0")
            sql = str(bound.compile(conn, compile_kwargs={"literal_binds": True}))
            said += [" ".join(map(str, row)) for row in conn.execute(text(explain + sql.replace(":", r"\:")))]
        return "\n".join(said)

    found = await database.read_sync(plan)
    assert "ix_orders_show" in found and "ix_stock_movement_show" in found
    assert "SCAN orders" not in found and "Seq Scan" not in found
