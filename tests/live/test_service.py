"""What can be done with shows, on both stores; and what is refused without changing anything."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest
from sqlalchemy import select

from live import store, timeline
from live.core.auth import Principal, Rank, Role, Tokens
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import LINEUP_MAX, SHOWS_LISTED_MAX, STREAM_KEYS_MAX, TIMELINE_EVENTS_LISTED_MAX
from live.service import Shows
from live.shows import TRANSITIONS, Show, ShowState
from tests.live.recorder import Catalogue, Recorder

BAD_IDS = ["nowhere", "", "DEMO", "a\x00", "\ud800", "a" * 65, "' OR 1=1 --"]
PATHS: dict[ShowState, list[ShowState]] = {
    ShowState.draft: [],
    ShowState.scheduled: [ShowState.scheduled],
    ShowState.lobby: [ShowState.lobby],
    ShowState.live: [ShowState.live],
    ShowState.paused: [ShowState.live, ShowState.paused],
    ShowState.ended: [ShowState.live, ShowState.ended],
    ShowState.replayable: [ShowState.live, ShowState.ended, ShowState.replayable],
}


async def bring(shows: Shows, state: ShowState, show_id: str = "demo") -> None:
    await shows.create(show_id, "Demo", scheduled_at_ms=1_900_000_000_000)
    for step in PATHS[state]:
        await shows.transition(show_id, step)


def refused(kind: Kind, field: str | None = None) -> "pytest.RaisesExc[Problem]":
    return pytest.RaisesExc(Problem, check=lambda problem: problem.kind is kind and field in (None, problem.field))


# --- shows ----------------------------------------------------------------------------------------------------


async def test_a_show_begins_as_a_draft(shows: Shows, clock: ManualClock, outlet: Recorder) -> None:
    show = await shows.create("demo", "  My  show ", scheduled_at_ms=7, auto_live=True)
    assert (show.title, show.state, show.created_at_ms) == ("My show", ShowState.draft, clock.now_ms())
    assert await shows.get("demo") == show
    assert outlet.told == []


async def test_an_unknown_show_is_refused_everywhere(shows: Shows) -> None:
    calls = [call for show_id in BAD_IDS for call in calls_for(shows, show_id)]
    for call in calls:
        with refused(Kind.unknown_show):
            await call


def calls_for(shows: Shows, show_id: str) -> list[Coroutine[Any, Any, object]]:
    return [
        shows.get(show_id), shows.snapshot(show_id), shows.timeline(show_id), shows.update(show_id, title="x"),
        shows.transition(show_id, ShowState.live), shows.publisher_changed(show_id, True), shows.restage(show_id),
        shows.set_lineup(show_id, ["a"]), shows.pin(show_id, "a"), shows.unpin(show_id),
        shows.create_stream_key(show_id), shows.stream_keys(show_id), shows.stream_key(show_id, "x"),
        shows.revoke_stream_key(show_id, "x"), shows.authorise_publisher(show_id, "demo"),
        shows.list_shows(before=show_id),
    ]  # fmt: skip


async def test_an_id_is_given_once(shows: Shows) -> None:
    await shows.create("demo", "One")
    with refused(Kind.show_exists, "id"):
        await shows.create("demo", "One")
    assert (await shows.get("demo")).title == "One"


@pytest.mark.parametrize(
    ("show_id", "title", "date", "field"),
    [
        ("No", "x", None, "id"),
        ("a", " ", None, "title"),
        ("a", "\ud800", None, "title"),
        ("a", "x", -1, "scheduled_at_ms"),
    ],
)
async def test_a_bad_show_is_not_created(shows: Shows, show_id: str, title: str, date: int | None, field: str) -> None:
    with refused(Kind.invalid_field, field):
        await shows.create(show_id, title, scheduled_at_ms=date, key="k")
    assert await shows.list_shows(drafts=True) == []


async def test_creating_again_under_the_same_key_does_it_once(shows: Shows, clock: ManualClock) -> None:
    first = await shows.create("demo", "One", key="k", subject="ann")
    clock.advance(5)
    assert await shows.create("demo", "One", key="k", subject="ann") == first
    with refused(Kind.key_reused, "Idempotency-Key"):
        await shows.create("demo", "Two", key="k", subject="ann")
    with refused(Kind.key_reused):
        await shows.create("other", "One", key="k", subject="ann")
    with refused(Kind.show_exists):
        await shows.create("demo", "One", key="k", subject="bob")
    assert (await shows.create("other", "One", key="k", subject="bob")).id == "other"


async def test_many_who_create_at_once_create_one(shows: Shows) -> None:
    made = await asyncio.gather(*(shows.create("demo", "One", key="k") for _ in range(6)))
    assert len(set(made)) == 1
    results = await asyncio.gather(*(shows.create("two", "One") for _ in range(6)), return_exceptions=True)
    assert sorted(isinstance(result, Problem) for result in results) == [False] + [True] * 5


async def test_shows_are_listed_newest_first_page_by_page(shows: Shows, clock: ManualClock) -> None:
    async with shows.transaction() as tx:
        for number in range(SHOWS_LISTED_MAX + 3):
            stamp = clock.now_ms() + number // 2  # two of a kind, so that ids decide between equals
            show = Show(id=f"s{number:03}", title="x", state=ShowState.lobby, created_at_ms=stamp)
            assert await store.insert_show(tx.conn, show, None, "")
    first = await shows.list_shows()
    second = await shows.list_shows(before=first[-1].id)
    ids = [show.id for show in first + second]
    assert len(first) == SHOWS_LISTED_MAX
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == SHOWS_LISTED_MAX + 3


async def test_drafts_are_listed_only_when_asked_for(shows: Shows) -> None:
    await bring(shows, ShowState.draft, "a")
    await bring(shows, ShowState.lobby, "b")
    await bring(shows, ShowState.live, "c")
    assert {show.id for show in await shows.list_shows()} == {"b", "c"}
    assert {show.id for show in await shows.list_shows(drafts=True)} == {"a", "b", "c"}
    assert [show.id for show in await shows.list_shows(states=[ShowState.live, ShowState.draft])] == ["c"]


async def test_an_update_is_stored_and_told(shows: Shows, outlet: Recorder) -> None:
    await shows.create("demo", "One")
    await shows.update("demo", title="Two", auto_live=True, scheduled_at_ms=99)
    await shows.update("demo", title="Two")
    show = await shows.get("demo")
    assert (show.title, show.auto_live, show.scheduled_at_ms) == ("Two", True, 99)
    assert outlet.names == ["show.state"]
    assert outlet.told[0].data == timeline.show_view(show)


async def test_every_transition_is_made_or_refused(shows: Shows, outlet: Recorder) -> None:
    for number, (start, to) in enumerate(itertools.product(ShowState, ShowState)):
        show_id = f"s{number}"
        await bring(shows, start, show_id)
        before = await shows.get(show_id)
        outlet.told.clear()
        if (start, to) in TRANSITIONS:
            after = await shows.transition(show_id, to)
            assert after.state is to
            assert after == await shows.get(show_id)
            assert [told.data["state"] for told in outlet.told] == [to.value]
            continue
        if start is to:
            assert await shows.transition(show_id, to) == before
        else:
            with refused(Kind.illegal_transition, "to"):
                await shows.transition(show_id, to)
        assert await shows.get(show_id) == before
        assert outlet.told == []


async def test_a_publisher_puts_an_auto_live_show_on_air_and_leaves_it_there(
    shows: Shows, outlet: Recorder, clock: ManualClock
) -> None:
    await shows.create("demo", "Demo", auto_live=True)
    await shows.publisher_changed("demo", True)
    clock.advance(1)
    await shows.publisher_changed("demo", True)
    await shows.publisher_changed("demo", False)
    show = await shows.get("demo")
    assert (show.state, show.publishing, show.started_at_ms) == (ShowState.live, False, clock.now_ms() - 1000)
    assert [(told.data["state"], told.data["publishing"]) for told in outlet.told] == [("live", True), ("live", False)]


async def test_a_lost_publisher_is_a_slate_on_the_timeline_until_one_is_back(
    shows: Shows, outlet: Recorder, clock: ManualClock
) -> None:
    await shows.create("demo", "Demo", auto_live=True)
    snapshots = [await shows.publisher_changed("demo", True)]
    clock.advance(10)
    lost_at_ms = clock.now_ms()
    for present in (False, False, True):  # told again, a loss stays where it was
        snapshots.append(await shows.publisher_changed("demo", present))
        clock.advance(30)
    assert [(show.slate, show.publisher_lost_at_ms) for show in snapshots] == [
        (False, None), (True, lost_at_ms), (True, lost_at_ms), (False, None),
    ]  # fmt: skip
    assert {show.state for show in snapshots} == {ShowState.live}
    entries = await shows.timeline("demo")
    assert [(entry.at_ms, entry.data["publishing"], entry.data["publisher_lost_at_ms"]) for entry in entries] == [
        (0, True, None), (10_000, False, lost_at_ms), (70_000, True, None),
    ]  # fmt: skip
    seen = await shows.snapshot("demo")
    rebuilt = seen | {"show": timeline.show_view(snapshots[0])}
    for told in outlet.told[1:]:
        rebuilt = timeline.apply(rebuilt, told.name, told.data)
    assert rebuilt == seen


async def test_without_auto_live_the_host_decides(shows: Shows) -> None:
    await bring(shows, ShowState.lobby)
    show = await shows.publisher_changed("demo", True)
    assert (show.state, show.publishing) == (ShowState.lobby, True)


async def test_shows_that_somebody_publishes_to_are_known(shows: Shows) -> None:
    await bring(shows, ShowState.live, "a")
    await bring(shows, ShowState.live, "b")
    await shows.publisher_changed("a", True)
    assert await shows.publishing() == ["a"]
    await shows.publisher_changed("a", False)
    assert await shows.publishing() == []


async def test_a_restaged_show_starts_again(shows: Shows, outlet: Recorder, clock: ManualClock) -> None:
    await bring(shows, ShowState.ended)
    clock.advance(60)
    await shows.restage("demo")
    show = await shows.get("demo")
    assert (show.state, show.started_at_ms, show.ended_at_ms) == (ShowState.lobby, None, None)
    assert [(entry.name, entry.at_ms) for entry in await shows.timeline("demo")] == [("show.state", 0)]
    clock.advance(60)
    await shows.transition("demo", ShowState.live)
    clock.advance(2)
    await shows.transition("demo", ShowState.paused)
    seqs = [entry.seq for entry in await shows.timeline("demo")]
    assert seqs == list(range(seqs[0], seqs[0] + 3))
    assert [entry.at_ms for entry in await shows.timeline("demo")] == [0, 0, 2000]


# --- timeline -------------------------------------------------------------------------------------------------


async def test_the_clock_runs_from_the_first_air_to_the_end(shows: Shows, clock: ManualClock, outlet: Recorder) -> None:
    await shows.create("demo", "Demo")
    steps = [ShowState.lobby, ShowState.live, ShowState.paused, ShowState.live, ShowState.ended, ShowState.replayable]
    for step in steps:
        clock.advance(10)
        await shows.transition("demo", step)
    entries = await shows.timeline("demo")
    assert [entry.at_ms for entry in entries] == [0, 0, 10_000, 20_000, 30_000, 30_000]
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert [(told.at_ms, told.data) for told in outlet.told] == [(entry.at_ms, entry.data) for entry in entries]


async def test_the_clock_never_goes_back(shows: Shows, clock: ManualClock) -> None:
    await shows.create("demo", "Demo")
    await shows.transition("demo", ShowState.live)
    clock.advance(60)
    await shows.transition("demo", ShowState.paused)
    clock._now_ms -= 30_000  # somebody set the machine's clock
    await shows.transition("demo", ShowState.live)
    assert [entry.at_ms for entry in await shows.timeline("demo")] == [0, 60_000, 60_000]


async def test_a_timeline_is_read_page_by_page(shows: Shows) -> None:
    await shows.create("demo", "Demo")
    async with shows.transaction() as tx:
        for number in range(5):
            tx.event("demo", "note", {"number": number})
    assert [entry.data["number"] for entry in await shows.timeline("demo", limit=3)] == [0, 1, 2]
    assert [entry.data["number"] for entry in await shows.timeline("demo", after=3)] == [3, 4]
    assert await shows.timeline("demo", after=5) == []


@pytest.mark.parametrize(
    ("after", "limit", "field"),
    [(-1, 1, "after"), (2**31, 1, "after"), (0, 0, "limit"), (0, TIMELINE_EVENTS_LISTED_MAX + 1, "limit")],
)
async def test_a_bad_page_is_refused(shows: Shows, after: int, limit: int, field: str) -> None:
    await shows.create("demo", "Demo")
    with refused(Kind.invalid_field, field):
        await shows.timeline("demo", after, limit)


# --- lineup and pin -------------------------------------------------------------------------------------------


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


# --- who may publish ------------------------------------------------------------------------------------------


async def test_a_stream_key_opens_its_show_until_it_is_revoked(shows: Shows, clock: ManualClock) -> None:
    await bring(shows, ShowState.lobby, "one")
    await bring(shows, ShowState.lobby, "two")
    key, secret = await shows.create_stream_key("one", " OBS ")
    assert (key.label, key.created_at_ms, key.revoked_at_ms) == ("OBS", clock.now_ms(), None)
    assert await shows.authorise_publisher("one", secret) is Rank.primary
    with refused(Kind.show_forbidden):
        await shows.authorise_publisher("two", secret)
    assert await shows.stream_keys("one") == [key]
    assert await shows.stream_keys("two") == []
    with refused(Kind.unknown_stream_key):
        await shows.revoke_stream_key("two", key.id)
    await shows.revoke_stream_key("one", key.id)
    await shows.revoke_stream_key("one", key.id)
    with refused(Kind.token_invalid):
        await shows.authorise_publisher("one", secret)
    assert await shows.stream_keys("one") == []
    assert (await shows.stream_key("one", key.id)).revoked_at_ms == clock.now_ms()


async def test_a_backup_key_publishes_with_that_rank(shows: Shows) -> None:
    await shows.create("demo", "Demo")
    key, secret = await shows.create_stream_key("demo", "second line", backup=True)
    assert (key.backup, key.rank) == (True, Rank.backup)
    assert await shows.authorise_publisher("demo", secret) is Rank.backup
    assert await shows.stream_keys("demo") == [key]
    assert await shows.stream_key("demo", key.id) == key


async def test_the_secret_of_a_stream_key_is_not_stored(shows: Shows, database: Database) -> None:
    await shows.create("demo", "Demo")
    _, secret = await shows.create_stream_key("demo")
    async with database.read() as conn:
        row = (await conn.execute(select(store.stream_key))).one()
    assert secret not in map(str, row)


async def test_an_unknown_stream_key_is_refused(shows: Shows) -> None:
    await shows.create("demo", "Demo")
    for key_id in ["x", "", "\x00", "\ud800", "é" * 40, "0" * 32]:
        with refused(Kind.unknown_stream_key, "id"):
            await shows.revoke_stream_key("demo", key_id)
        with refused(Kind.unknown_stream_key, "id"):
            await shows.stream_key("demo", key_id)


async def test_stream_keys_are_bounded(shows: Shows) -> None:
    await shows.create("demo", "Demo")
    keys = [(await shows.create_stream_key("demo"))[0] for _ in range(STREAM_KEYS_MAX)]
    with refused(Kind.too_many_stream_keys):
        await shows.create_stream_key("demo")
    await shows.revoke_stream_key("demo", keys[0].id)
    await shows.create_stream_key("demo")
    with refused(Kind.invalid_field, "label"):
        await shows.create_stream_key("demo", "x" * 61)


BEARERS = [
    (Role.host, "demo", None),
    (Role.host, "*", None),
    (Role.ops, "*", None),
    (Role.moderator, "demo", Kind.role_forbidden),
    (Role.viewer, "*", Kind.role_forbidden),
    (Role.host, "other", Kind.show_forbidden),
]


async def test_a_token_may_publish_with_the_role_host(shows: Shows, tokens: Tokens) -> None:
    await shows.create("demo", "Demo")
    for role, show, kind in BEARERS:
        token = tokens.sign(Principal("p", role, show, "P"), 60)
        if kind is None:
            assert await shows.authorise_publisher("demo", token) is Rank.primary
        else:
            with refused(kind):
                await shows.authorise_publisher("demo", token)


async def test_a_bad_bearer_may_not_publish(shows: Shows, tokens: Tokens, clock: ManualClock) -> None:
    await shows.create("demo", "Demo")
    await shows.authorise_publisher("demo", "demo")
    token = tokens.sign(Principal("p", Role.host, "demo", "P"), 60)
    clock.advance(120)
    for bearer, kind in [
        ("", Kind.token_missing),
        ("nonsense", Kind.token_invalid),
        ("ü\u00ff", Kind.token_invalid),
        ("x" * 9000, Kind.token_invalid),
        (token, Kind.token_expired),
        (token[:-2] + "AA", Kind.token_invalid),
    ]:
        with refused(kind):
            await shows.authorise_publisher("demo", bearer)


async def test_without_tokens_only_stream_keys_publish(database: Database, clock: ManualClock) -> None:
    shows = Shows(database, Recorder(), clock)
    await shows.create("demo", "Demo")
    _, secret = await shows.create_stream_key("demo")
    await shows.authorise_publisher("demo", secret)
    with refused(Kind.token_invalid):
        await shows.authorise_publisher("demo", "demo")
    with refused(Kind.unknown_product):
        await shows.set_lineup("demo", ["a"])


@pytest.mark.parametrize("state", [ShowState.ended, ShowState.replayable])
async def test_nobody_publishes_to_a_show_that_is_over(shows: Shows, state: ShowState) -> None:
    ended: list[str] = []
    shows.when_over = ended.append
    await shows.create("other", "Other")
    await bring(shows, state)
    assert set(ended) == {"demo"}
    await shows.check_open("other")
    with refused(Kind.illegal_transition):
        await shows.check_open("demo")
    with refused(Kind.unknown_show):
        await shows.check_open("nobody")
    _, secret = await shows.create_stream_key("demo")
    await shows.authorise_publisher("demo", secret)  # to give back a session that it still has
