"""The life cycle: every transition of the table, and every one that is not in it."""

import itertools
from typing import Any

import msgspec
import pytest

from live import shows
from live.core.errors import Kind, Problem
from live.core.limits import SHOW_ID_CHARS_MAX, TIME_MS_MAX, TITLE_CHARS_MAX
from live.shows import TRANSITIONS, Show, ShowState, Trigger

NOW_MS = 1_800_000_000_000


def show(state: ShowState = ShowState.draft, **members: Any) -> Show:
    announced = Show(id="demo", title="Demo", state=state, created_at_ms=1, scheduled_at_ms=5)
    return msgspec.structs.replace(announced, **members)


@pytest.mark.parametrize(("start", "to"), TRANSITIONS)
def test_a_transition_of_the_table_is_made(start: ShowState, to: ShowState) -> None:
    assert shows.transition(show(start), to, NOW_MS).state is to


@pytest.mark.parametrize(
    ("start", "to"),
    [pair for pair in itertools.product(ShowState, ShowState) if pair not in TRANSITIONS and pair[0] is not pair[1]],
)
def test_any_other_transition_is_refused(start: ShowState, to: ShowState) -> None:
    with pytest.raises(Problem) as refused:
        shows.transition(show(start), to, NOW_MS)
    assert refused.value.kind is Kind.illegal_transition
    assert refused.value.field == "to"
    assert refused.value.extra == {"state": start.value}


@pytest.mark.parametrize(("start", "to"), TRANSITIONS)
def test_the_publisher_may_only_put_a_show_on_air(start: ShowState, to: ShowState) -> None:
    if to is ShowState.live and start in shows.BEFORE_AIR:
        assert shows.transition(show(start), to, NOW_MS, Trigger.publisher).state is ShowState.live
    else:
        with pytest.raises(Problem) as refused:
            shows.transition(show(start), to, NOW_MS, Trigger.publisher)
        assert refused.value.kind is Kind.illegal_transition


@pytest.mark.parametrize("state", ShowState)
def test_going_where_the_show_is_changes_nothing(state: ShowState) -> None:
    assert shows.transition(show(state), state, NOW_MS) == show(state)


def test_a_last_state_says_that_nothing_follows() -> None:
    with pytest.raises(Problem, match="nothing else"):
        shows.transition(show(ShowState.replayable), ShowState.live, NOW_MS)


def test_an_announced_show_needs_a_date() -> None:
    with pytest.raises(Problem) as refused:
        shows.transition(show(scheduled_at_ms=None), ShowState.scheduled, NOW_MS)
    assert (refused.value.kind, refused.value.field) == (Kind.invalid_field, "scheduled_at_ms")


def test_the_first_air_time_is_kept_through_pauses_and_the_end_is_noted() -> None:
    on_air = shows.transition(show(ShowState.lobby), ShowState.live, NOW_MS)
    paused = shows.transition(on_air, ShowState.paused, NOW_MS + 10)
    again = shows.transition(paused, ShowState.live, NOW_MS + 20)
    ended = shows.transition(again, ShowState.ended, NOW_MS + 30)
    replay = shows.transition(ended, ShowState.replayable, NOW_MS + 40)
    assert {step.started_at_ms for step in (on_air, paused, again, ended, replay)} == {NOW_MS}
    assert [step.ended_at_ms for step in (again, ended, replay)] == [None, NOW_MS + 30, NOW_MS + 30]


@pytest.mark.parametrize("state", ShowState)
@pytest.mark.parametrize("auto_live", [True, False])
def test_a_publisher_puts_only_a_waiting_auto_live_show_on_air(state: ShowState, auto_live: bool) -> None:
    after = shows.with_publisher(show(state, auto_live=auto_live), True, NOW_MS)
    assert after.publishing
    assert after.state is (ShowState.live if auto_live and state in shows.BEFORE_AIR else state)


@pytest.mark.parametrize("state", ShowState)
def test_a_publisher_that_goes_away_moves_no_show(state: ShowState) -> None:
    after = shows.with_publisher(show(state, auto_live=True, publishing=True), False, NOW_MS)
    assert (after.state, after.publishing) == (state, False)


@pytest.mark.parametrize("state", ShowState)
def test_the_slate_is_dated_by_the_first_news_of_a_loss(state: ShowState) -> None:
    lost = shows.with_publisher(show(state, publishing=True), False, NOW_MS)
    assert lost.publisher_lost_at_ms == (NOW_MS if state in shows.ON_AIR else None)
    assert lost.slate is (state is ShowState.live)
    assert shows.with_publisher(lost, False, NOW_MS + 9) == lost
    back = shows.with_publisher(lost, True, NOW_MS + 9)
    assert (back.publisher_lost_at_ms, back.slate, back.state) == (None, False, state)


def test_who_never_had_a_publisher_has_lost_none() -> None:
    live = shows.with_publisher(show(ShowState.live), False, NOW_MS)
    assert (live.slate, live.publisher_lost_at_ms) == (True, None)


def test_a_pause_keeps_the_date_of_the_loss_and_the_end_does_not() -> None:
    lost = shows.with_publisher(show(ShowState.live, publishing=True), False, NOW_MS)
    paused = shows.transition(lost, ShowState.paused, NOW_MS + 1)
    assert (paused.publisher_lost_at_ms, paused.slate) == (NOW_MS, False)
    again = shows.transition(paused, ShowState.live, NOW_MS + 2)
    assert (again.publisher_lost_at_ms, again.slate) == (NOW_MS, True)
    ended = shows.transition(again, ShowState.ended, NOW_MS + 3)
    assert (ended.publisher_lost_at_ms, ended.slate) == (None, False)


@pytest.mark.parametrize("value", ["a", "0", "demo", "spring-2026", "a-", "a" * SHOW_ID_CHARS_MAX])
def test_a_show_id_is_a_slug(value: str) -> None:
    assert shows.is_show_id(value)
    assert shows.check_show_id(value) == value


@pytest.mark.parametrize(
    "value",
    ["", "-a", "A", "a_b", "a b", "ä", "a\n", "a/b", "..", "a\x00", "\ud800", "٣", "a" * (SHOW_ID_CHARS_MAX + 1)],
)
def test_what_is_no_slug_is_no_show_id(value: str) -> None:
    assert not shows.is_show_id(value)
    with pytest.raises(Problem) as refused:
        shows.check_show_id(value)
    assert (refused.value.kind, refused.value.field) == (Kind.invalid_field, "id")


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        ("Spring", "Spring"),
        ("  Two \n lines\t here ", "Two lines here"),
        ("Cafe\u0301", "Café"),
        ("👩\u200d🚀 in space", "👩\u200d🚀 in space"),
        ("x" * TITLE_CHARS_MAX, "x" * TITLE_CHARS_MAX),
    ],
)
def test_a_title_is_one_line(raw: str, title: str) -> None:
    assert shows.clean_title(raw) == title


@pytest.mark.parametrize(
    "raw",
    ["", " \n ", "\u200d", "a\x00b", "a\u202eb", "a\u200bb", "\ud800", "x" * (TITLE_CHARS_MAX + 1), "x" * 10_000],
)
def test_a_title_that_hides_something_is_refused(raw: str) -> None:
    with pytest.raises(Problem) as refused:
        shows.clean_title(raw)
    assert (refused.value.kind, refused.value.field) == (Kind.invalid_field, "title")


def test_an_edit_changes_what_is_set_and_nothing_else() -> None:
    before = show(ShowState.lobby)
    assert shows.edit(before) == before
    after = shows.edit(before, title=" New ", scheduled_at_ms=7, auto_live=True)
    assert after == msgspec.structs.replace(before, title="New", scheduled_at_ms=7, auto_live=True)
    assert shows.edit(after, scheduled_at_ms=None).scheduled_at_ms is None


@pytest.mark.parametrize("date", [0, -1, TIME_MS_MAX + 1, 2**63])
def test_a_date_that_no_calendar_holds_is_refused(date: int) -> None:
    with pytest.raises(Problem) as refused:
        shows.edit(show(), scheduled_at_ms=date)
    assert (refused.value.kind, refused.value.field) == (Kind.invalid_field, "scheduled_at_ms")


def test_the_date_of_a_show_that_was_on_air_is_history() -> None:
    with pytest.raises(Problem) as refused:
        shows.edit(show(ShowState.paused), scheduled_at_ms=9)
    assert refused.value.kind is Kind.illegal_transition
    assert shows.edit(show(ShowState.paused), scheduled_at_ms=5) == show(ShowState.paused)


def test_an_announced_show_keeps_a_date() -> None:
    with pytest.raises(Problem) as refused:
        shows.edit(show(ShowState.scheduled), scheduled_at_ms=None)
    assert refused.value.kind is Kind.invalid_field
    assert shows.edit(show(ShowState.scheduled), scheduled_at_ms=9).scheduled_at_ms == 9
