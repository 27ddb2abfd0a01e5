"""What a show sells and what is pinned to the screen, on both stores."""

import asyncio
import itertools

import pytest

from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import LINEUP_MAX
from live.service import Shows
from live.shows import ShowState
from tests.live.conftest import bring
from tests.live.recorder import Catalogue, Recorder
from tests.refusals import refused


async def test_a_lineup_keeps_its_order(shows: Shows, outlet: Recorder, catalogue: Catalogue) -> None:
    await shows.create("demo", "Demo")
    lineup = await shows.set_lineup("demo", ["b", "a", "c"])
    assert [product["id"] for product in lineup] == ["b", "a", "c"]
    assert (await shows.snapshot("demo"))["lineup"] == lineup
    await shows.set_lineup("demo", ["c", "b"])
    assert [product["id"] for product in (await shows.snapshot("demo"))["lineup"]] == ["c", "b"]
    await shows.set_lineup("demo", [])
    assert (await shows.snapshot("demo"))["lineup"] == []
    assert outlet.names == ["show.lineup"] * 3


BAD_LINEUPS = [
    (["a", "b", "a"], Kind.invalid_field, "product_ids[2]"),
    (["a", "no-such"], Kind.unknown_product, "product_ids[1]"),
    ([""], Kind.unknown_product, "product_ids[0]"),
    (["a\x00"], Kind.unknown_product, "product_ids[0]"),
    (["\ud800"], Kind.unknown_product, "product_ids[0]"),
    (["x" * 129], Kind.unknown_product, "product_ids[0]"),
    ([str(number) for number in range(LINEUP_MAX + 1)], Kind.invalid_field, "product_ids"),
]


async def test_a_bad_lineup_changes_nothing(shows: Shows, outlet: Recorder) -> None:
    await shows.create("demo", "Demo")
    await shows.set_lineup("demo", ["z"])
    outlet.told.clear()
    for product_ids, kind, field in BAD_LINEUPS:
        with refused(kind, field):
            await shows.set_lineup("demo", product_ids)
    assert [product["id"] for product in (await shows.snapshot("demo"))["lineup"]] == ["z"]
    assert outlet.told == []


async def test_a_pin_replaces_the_one_before(shows: Shows, outlet: Recorder, clock: ManualClock) -> None:
    await bring(shows, ShowState.live)
    await shows.set_lineup("demo", ["a", "b"])
    first = await shows.pin("demo", "a")
    clock.advance(3)
    second = await shows.pin("demo", "b")
    assert first["pin_id"] != second["pin_id"]
    assert (second["product"]["id"], second["pinned_at_ms"]) == ("b", clock.now_ms())
    assert (await shows.snapshot("demo"))["pin"] == second
    assert outlet.told[-1][:4] == ("event", "demo", "product.pinned", second)
    assert outlet.told[-1].at_ms == 3000


async def test_pinning_what_is_pinned_changes_nothing(shows: Shows, outlet: Recorder) -> None:
    await shows.create("demo", "Demo")
    await shows.set_lineup("demo", ["a"])
    first = await shows.pin("demo", "a")
    outlet.told.clear()
    assert await shows.pin("demo", "a") == first
    assert outlet.told == []


async def test_unpinning_twice_tells_once(shows: Shows, outlet: Recorder) -> None:
    await shows.create("demo", "Demo")
    await shows.set_lineup("demo", ["a"])
    pin = await shows.pin("demo", "a")
    outlet.told.clear()
    await shows.unpin("demo")
    await shows.unpin("demo")
    assert [(told.name, told.data) for told in outlet.told] == [("product.unpinned", {"pin_id": pin["pin_id"]})]
    assert (await shows.snapshot("demo"))["pin"] is None


async def test_a_product_that_leaves_the_lineup_leaves_the_screen(shows: Shows, outlet: Recorder) -> None:
    await shows.create("demo", "Demo")
    await shows.set_lineup("demo", ["a", "b"])
    await shows.pin("demo", "a")
    await shows.set_lineup("demo", ["b", "a"])
    assert (await shows.snapshot("demo"))["pin"]["product"]["id"] == "a"
    outlet.told.clear()
    await shows.set_lineup("demo", ["b"])
    assert outlet.names == ["product.unpinned", "show.lineup"]
    assert (await shows.snapshot("demo"))["pin"] is None


async def test_only_what_is_in_the_lineup_can_be_pinned(shows: Shows, catalogue: Catalogue) -> None:
    await shows.create("demo", "Demo")
    await shows.set_lineup("demo", ["a", "b"])
    for product_id in ("c", "", "\x00", "\ud800"):
        with refused(Kind.not_in_lineup, "product_id"):
            await shows.pin("demo", product_id)
    catalogue.gone.add("a")
    with refused(Kind.unknown_product, "product_id"):
        await shows.pin("demo", "a")


async def test_a_pinned_product_that_leaves_the_catalogue_leaves_the_snapshot(
    shows: Shows, catalogue: Catalogue
) -> None:
    await shows.create("demo", "Demo")
    await shows.set_lineup("demo", ["a"])
    await shows.pin("demo", "a")
    catalogue.gone.add("a")
    snapshot = await shows.snapshot("demo")
    assert (snapshot["lineup"], snapshot["pin"]) == ([], None)


@pytest.mark.parametrize("state", [ShowState.ended, ShowState.replayable])
async def test_nothing_is_pinned_when_the_show_is_over(shows: Shows, state: ShowState) -> None:
    await bring(shows, state)
    await shows.set_lineup("demo", ["a"])
    with refused(Kind.illegal_transition):
        await shows.pin("demo", "a")


async def test_many_pins_at_once_leave_one_and_the_screens_agree(shows: Shows, outlet: Recorder) -> None:
    await bring(shows, ShowState.live)
    ids = [f"p{number}" for number in range(8)]
    await shows.set_lineup("demo", ids)
    outlet.told.clear()
    await asyncio.gather(*(shows.pin("demo", product_id) for product_id in ids))
    last = (await shows.snapshot("demo"))["pin"]
    assert outlet.names == ["product.pinned"] * len(ids)
    assert outlet.told[-1].data == last
    entries = [entry for entry in await shows.timeline("demo") if entry.name == "product.pinned"]
    assert [told.data for told in outlet.told] == [entry.data for entry in entries]
    assert all(later.seq == earlier.seq + 1 for earlier, later in itertools.pairwise(entries))


async def test_shows_are_found_by_product_while_they_are_not_over(shows: Shows, database: Database) -> None:
    for show_id, state, lineup in [
        ("a", ShowState.live, ["x", "y"]),
        ("b", ShowState.draft, ["y"]),
        ("c", ShowState.ended, ["x", "y"]),
        ("d", ShowState.live, ["z"]),
    ]:
        await bring(shows, state, show_id)
        await shows.set_lineup(show_id, lineup)
    assert await shows.shows_with_product(None, ["x", "y"]) == ["a", "b"]
    assert await shows.shows_with_product(None, []) == []
    assert await shows.shows_with_product(None, ["none"]) == []
    async with database.read() as conn:
        assert await shows.shows_with_product(conn, ["x"]) == ["a"]
