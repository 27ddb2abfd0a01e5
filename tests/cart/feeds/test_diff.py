"""What a feed that is read again changes, and what it leaves alone."""

import tracemalloc
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

from cart.feeds.entries import LineError
from cart.feeds.formats import read
from cart.feeds.importer import Options, _Run, import_stream
from cart.feeds.pace import Pace
from cart.feeds.report import ImportReport
from cart.feeds.seen import Seen
from cart.moves import Moves
from cart.offering.live_prices import Start
from cart.pricing import store
from cart.pricing.history import EVERYWHERE
from cart.service import Shop
from cart.waiting.planning import NewDrop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.limits import FEED_CHANGE_LEAST, FEED_CHANGE_S, VARIANTS_MAX
from live.service import Shows
from tests.cart.conftest import Screens, level, viewer
from tests.cart.feeds.conftest import HEAD, ON_SQLITE, OPS, run

GOODS = HEAD + "".join(f"p{number},Thing {number},S{number},10,EUR,5,\n" for number in range(4))


async def goods(shows: Shows, *wanted: int, missing: str = "hidden", **options: Any) -> ImportReport:
    """The feed `goods` with these of its lines."""
    rows = "".join(f"p{number},Thing {number},S{number},10,EUR,5,\n" for number in wanted)
    return await run(shows, HEAD + rows, feed="goods", missing=missing, **options)


async def test_what_says_nothing_new_writes_nothing(shows: Shows, database: Database, screens: Screens) -> None:
    first = await run(shows, GOODS, feed="goods")
    assert (first.created, first.transactions > 0) == (4, True)
    screens.clear()
    writes = list(database.figures.seconds["write"].counts)
    again = await run(shows, GOODS, feed="goods")
    assert (again.unchanged, again.changed, again.transactions) == (4, 0, 0)
    assert database.figures.seconds["write"].counts == writes
    assert not screens.events and not screens.states
    other = await run(shows, GOODS.replace("Thing 2,S2,10", "Thing 2,S2,11"), feed="goods")
    assert (other.unchanged, other.changed, other.transactions) == (3, 1, 1)


@ON_SQLITE
async def test_a_drop_that_a_feed_restocks_can_be_bought_on_the_screens_that_are_open(
    shows: Shows, shop: Shop, screens: Screens
) -> None:
    await shop.planning.create("demo", OPS, NewDrop(sku="MUG-RED", opens_at_ms=0))
    await shop.add("demo", viewer(), "MUG-RED")
    await shop.waiting.join("demo", viewer("ben"), "MUG-RED", key=None)
    screens.clear()
    await run(shows, HEAD + "mug,Mug,MUG-RED,10,EUR,4,Red\n")
    assert [data["left"] for _, name, _, data, _ in screens.states if name == "drop"] == [3]
    await shop.keeper.sweep()
    await shop.waiting.look()
    assert [data["left"] for _, name, _, data, _ in screens.states if name == "drop"] == [3, 2], "who waits is served"


@ON_SQLITE
async def test_what_is_missing_is_kept_unless_told_otherwise(shows: Shows, shop: Shop) -> None:
    await goods(shows, 0, 1, 2, 3)
    report = await goods(shows, 0, 1, 2, missing="kept")
    assert (report.missing, report.hidden, report.zeroed, report.note) == (1, 0, 0, "")
    assert "p3" in [one.id for one in await shop.window.page()]


async def test_what_is_missing_is_hidden_until_it_comes_again(shows: Shows, shop: Shop, screens: Screens) -> None:
    await goods(shows, 0, 1, 2, 3)
    dry = await goods(shows, 0, 1, 2, dry_run=True)
    report = await goods(shows, 0, 1, 2)
    assert (dry.missing, dry.hidden) == (report.missing, report.hidden) == (1, 1)
    assert "p3" not in [one.id for one in await shop.window.page()]
    assert len(await shop.products(["p3"])) == 1, "who has its address still finds it"
    again = await goods(shows, 0, 1, 2)
    assert (again.missing, again.hidden, again.transactions) == (1, 0, 1)
    back = await goods(shows, 0, 1, 2, 3)
    assert (back.missing, back.changed, back.unchanged) == (0, 1, 3)
    assert "p3" in [one.id for one in await shop.window.page()]


@ON_SQLITE
async def test_a_variant_is_hidden_beside_others_and_screens_hear(shows: Shows, shop: Shop, screens: Screens) -> None:
    blue, red = "mug,Mug,MUG-BLUE,15,EUR,5,Blue\n", "mug,Mug,MUG-RED,15,EUR,1,Red\n"
    await run(shows, HEAD + blue + red, feed="mugs")
    screens.clear()
    await run(shows, HEAD + blue, feed="mugs", missing="hidden")
    [changed] = screens.of("product.changed")
    assert [one["sku"] for one in changed["product"]["variants"]] == ["MUG-BLUE"]


async def test_what_is_missing_is_sold_no_longer_and_what_is_held_stays(
    shows: Shows, shop: Shop, database: Database, screens: Screens
) -> None:
    cup, mug = "cup,Cup,CUP,10,EUR,10,\n", "mug,Mug,MUG-BLUE,15,EUR,5,Blue\n"
    await run(shows, HEAD + cup + mug, feed="all")
    await shop.add("demo", viewer(), "CUP", 3)
    screens.clear()
    report = await run(shows, HEAD + mug, feed="all", missing="zero")
    assert (report.missing, report.zeroed) == (1, 1)
    assert await level(database, "CUP") == (3, 0, 3)
    assert screens.of("product.sold_out") == [{"sku": "CUP"}]
    order = await shop.checkout("demo", viewer(), name="Ada", email="ada@example.com")
    assert order.body["order"]["lines"][0]["quantity"] == 3
    again = await run(shows, HEAD + mug, feed="all", missing="zero")
    assert (again.missing, again.zeroed) == (1, 0)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (HEAD + "p0,Thing 0,S0,10,EUR,5,\np1,Thing 1,S1,10,EUR,5,\nonly,three,cells\n", "do not say which SKU"),
        ("[]", "SKUs are missing"),
        (HEAD + "p0,Thing 0,S0,10,EUR,5,\n", "SKUs are missing"),
        (
            '[{"id":"p0","title":"Thing 0","currency":"EUR","variants":[{"sku":"S0","price_minor":1000}]},{',
            "to its end",
        ),
    ],
)
@ON_SQLITE
async def test_a_feed_that_is_not_whole_takes_nothing_away(shows: Shows, text: str, word: str) -> None:
    await goods(shows, 0, 1, 2, 3)
    report = await run(shows, text, None, feed="goods", missing="hidden")
    assert (report.hidden, report.zeroed) == (0, 0)
    assert word in report.note


@ON_SQLITE
async def test_a_line_that_is_refused_is_not_missing(shows: Shows, shop: Shop) -> None:
    await goods(shows, 0, 1, 2, 3)
    text = GOODS.replace("S0,10", "S0,-10").replace("S1,10,EUR", "S1,10,JPY").replace("p3,Thing 3,S3,10,EUR,5,\n", "")
    report = await run(shows, text, feed="goods", missing="hidden")
    assert [(error.line, error.field, error.skus) for error in report.errors] == [
        (2, "price", ("S0",)),
        (3, "currency", ("S1",)),
    ]
    assert (report.missing, report.hidden, report.note) == (1, 1, "")


@ON_SQLITE
async def test_a_tenth_of_the_lines_is_broken_and_the_others_land(shows: Shows, shop: Shop) -> None:
    broken = ["p,T,S,x,EUR,,", "p,,S,1,EUR,,", "p,T,S,1,XXX,,", 'p,"T,S,1,EUR,,', "p,T,S,-1,EUR,,"]
    rows = [
        broken[number // 10 % 5] if number % 10 == 9 else f"q{number},T,Q{number},1,EUR,1," for number in range(200)
    ]
    report = await run(shows, HEAD + "\n".join(rows) + "\n")
    assert (report.created, report.refused) == (180, 20)
    assert [error.line for error in report.errors] == [number + 2 for number in range(200) if number % 10 == 9]


@ON_SQLITE
async def test_a_sku_stands_once_in_a_feed(shows: Shows, monkeypatch: pytest.MonkeyPatch) -> None:
    report = await run(shows, GOODS + "p9,Other,S1,1,EUR,,\n")
    [error] = report.errors
    assert (error.line, error.field, error.detail) == (6, "sku", "the SKU S1 is in line 3 already")
    monkeypatch.setattr("cart.feeds.seen.IMPORT_SKUS_MAX", 2)
    report = await run(shows, GOODS)
    assert (report.unchanged, report.refused, report.complete) == (2, 1, False)


@ON_SQLITE
async def test_a_group_s_first_line_says_what_the_product_is(shows: Shows, shop: Shop) -> None:
    head = "id,item_group_id,title,price,color,quantity\n"
    text = head + "T-R,tee,Tee red,10 EUR,Red,1\nT-B,tee,Tee blue,11 EUR,Blue,2\n"
    assert (await run(shows, text)).created == 1
    [tee] = await shop.products(["tee"])
    assert (tee["title"], [one["title"] for one in tee["variants"]]) == ("Tee red", ["Red", "Blue"])
    assert (await run(shows, text)).unchanged == 2
    again = await run(shows, text.replace("11 EUR", "11 USD"))
    assert [(error.line, error.field) for error in again.errors] == [(3, "currency")]


@ON_SQLITE
async def test_a_product_has_so_many_variants(shows: Shows) -> None:
    rows = "".join(f"tee,Tee,T{number},1,EUR,,{number}\n" for number in range(VARIANTS_MAX + 1))
    report = await run(shows, HEAD + rows)
    assert [(error.line, error.field) for error in report.errors] == [(VARIANTS_MAX + 2, "product_id")]


async def test_a_product_changes_twice_in_one_transaction(
    shows: Shows, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cart.feeds.importer.Pace", lambda *_: _Large())
    text = HEAD + "bag,Bag,B-1,1,EUR,1,One\nbag,Bigger bag,B-2,2,EUR,,Two\nbag,Biggest bag,B-3,3,EUR,3,Three\n"
    report = await run(shows, text)
    assert (report.created, report.changed, report.transactions) == (1, 2, 1)
    [bag] = await shop.products(["bag"])
    assert (bag["title"], [one["available"] for one in bag["variants"]]) == ("Biggest bag", [1, 0, 3])
    assert (await run(shows, text.replace("Bag,B-1", "Biggest bag,B-1").replace("Bigger", "Biggest"))).unchanged == 3


class _Large(Pace):
    def __init__(self) -> None:
        super().__init__(1.0, 100, 100)


@ON_SQLITE
async def test_a_live_price_goes_on_over_a_feed_s_price(
    shows: Shows, shop: Shop, screens: Screens, database: Database, clock: ManualClock
) -> None:
    await shows.pin("demo", "mug")
    stockroom = shop.offering.stockroom
    started: Callable[[Moves], Any] = lambda moves: shop.offering.live_prices.start(  # noqa: E731
        moves, "demo", OPS.subject, Start(price_minor=900, sku="MUG-BLUE")
    )
    await stockroom.change(started)
    clock.advance(1)
    await run(shows, HEAD + "mug,Mug,MUG-BLUE,14,EUR,,Blue\n")
    shown = screens.of("product.changed")[-1]["product"]["variants"][0]
    assert (shown["price_minor"], shown["deal"]["live"]) == (900, True)
    known = await database.read_sync(lambda conn: store.history(conn, ["MUG-BLUE"]))
    points = {(point.place, point.price_minor) for point in known["MUG-BLUE"]}
    assert points == {(EVERYWHERE, 1500), ("demo", 900), (EVERYWHERE, 1400)}


def test_a_run_s_memory_does_not_grow_with_its_feed() -> None:
    def peak(lines: int) -> int:
        body = BytesIO(b"id,title,price\n" + b"".join(b"S%d,Thing,10 EUR\n" % number for number in range(lines)))
        seen = Seen()
        tracemalloc.start()
        try:
            for item in read(body, "csv", 0):
                assert not isinstance(item, LineError) and seen.take(item) is None
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            seen.close()

    peak(100)  # what the first run of a process loads is not of its feed
    assert peak(8_000) < 2 * peak(1_000)


@ON_SQLITE
async def test_the_bounds_of_a_transaction(shows: Shows, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    write = _Run._write

    async def counted(self: _Run, work: Callable[[Moves], None], count: int) -> None:
        sizes.append(count)
        await write(self, work, count)
        self._pace.took(count, 10 * FEED_CHANGE_S)  # as if it had been slow

    monkeypatch.setattr(_Run, "_write", counted)
    await import_stream(
        BytesIO((HEAD + "".join(f"q{n},T,Q{n},1,EUR,,\n" for n in range(FEED_CHANGE_LEAST + 2))).encode()),
        shows,
        "csv",
        Options(),
    )
    assert sizes == [FEED_CHANGE_LEAST, 2]
