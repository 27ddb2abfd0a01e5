"""Shows and their timelines on both stores: made, listed, changed; and what is refused and changes nothing."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest

from live import store, timeline
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import SHOWS_LISTED_MAX, TIMELINE_EVENTS_LISTED_MAX
from live.service import Shows
from live.shows import TRANSITIONS, Show, ShowState
from tests.live.conftest import bring
from tests.live.recorder import Recorder
from tests.refusals import refused

BAD_IDS = ["nowhere", "", "DEMO", "a\x00", "\ud800", "a" * 65, "' OR 1=1 --"]


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
        shows.stream_keys.create(show_id), shows.stream_keys.good(show_id), shows.stream_keys.get(show_id, "x"),
        shows.stream_keys.revoke(show_id, "x"), shows.stream_keys.authorise(show_id, "demo"),
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


async def test_shows_that_may_be_on_a_screen_are_found_the_most_urgent_first(
    shows: Shows, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within bounds: of those that are over only the last ones."""
    for state in ShowState:
        await bring(shows, state, state.value)
        clock.advance(1)
    found = await database.read_sync(store.followed_shows)
    assert found == ["paused", "live", "lobby", "scheduled", "draft", "replayable", "ended"]
    monkeypatch.setattr(store, "SHOWS_RENEWED_MAX", 3)
    monkeypatch.setattr(store, "SHOWS_OVER_RENEWED_MAX", 1)
    assert await database.read_sync(store.followed_shows) == ["paused", "live", "lobby", "replayable"]
