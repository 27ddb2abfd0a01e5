"""Writing, reading and moderating, on both stores."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from sqlalchemy import select

from chat import store
from chat.service import Chat
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import (
    CHAT_HISTORY_SHOWN,
    CHAT_RATE_BURST,
    CHAT_RATE_PER_S,
    MODERATION_LOG_LISTED_MAX,
    SLOW_MODE_S_MAX,
    TIMEOUT_S_MAX,
)
from live.service import Shows
from live.shows import ShowState
from tests.chat.conftest import Rates, person
from tests.live.recorder import Recorder

ANN, BOB = person("ann"), person("bob")
MOD = person("mod", Role.moderator, "demo")
HOST = person("host", Role.host, "demo")
BAD_TEXTS = ["nobody", "", "\x00", "\ud800", "0" * 32, "x" * 500]


def refused(kind: Kind, field: str | None = None) -> "pytest.RaisesExc[Problem]":
    return pytest.RaisesExc(Problem, check=lambda problem: problem.kind is kind and field in (None, problem.field))


async def texts(chat: Chat, show_id: str = "demo") -> list[str]:
    return [message.text for message in await chat.history(show_id)]


async def say(chat: Chat, clock: ManualClock, author: Principal, *lines: str) -> list[store.Message]:
    said = []
    for line in lines:
        clock.advance(0.01)
        said.append((await chat.post("demo", author, line))[0])
    return said


# --- writing --------------------------------------------------------------------------------------------------


async def test_a_message_is_stored_and_told(chat: Chat, shows: Shows, outlet: Recorder, clock: ManualClock) -> None:
    await shows.transition("demo", ShowState.live)
    outlet.told.clear()
    clock.advance(2)
    message, replayed = await chat.post("demo", ANN, "  Hello \n there ")
    assert not replayed
    assert plain(message) == {
        "id": message.id, "viewer": {"id": "ann", "name": "Ann", "role": "viewer"}, "text": "Hello there",
        "sent_at_ms": clock.now_ms(), "reply_to": None,
    }  # fmt: skip
    assert await chat.history("demo") == [message]
    assert outlet.told == [("event", "demo", "chat.message", plain(message), 2000, "")]
    assert outlet.keys[-1] == message.id


async def test_a_message_that_is_told_is_in_sql_already(chat: Chat, outlet: Recorder, clock: ManualClock) -> None:
    outlet.gate = asyncio.Event()
    post = asyncio.create_task(chat.post("demo", ANN, "Hello"))
    await outlet.reached.wait()
    assert await texts(chat) == ["Hello"]
    outlet.gate.set()
    await post


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", Kind.chat_empty),
        (" \u200b\n", Kind.chat_empty),
        ("\ud800", Kind.chat_empty),
        ("x" * 281, Kind.chat_too_long),
    ],
)
async def test_a_bad_text_changes_nothing(chat: Chat, outlet: Recorder, rates: Rates, text: str, kind: Kind) -> None:
    with refused(kind, "text"):
        await chat.post("demo", ANN, text)
    assert (await texts(chat), outlet.told, rates.asked) == ([], [], [])


async def test_an_unknown_show_is_refused_everywhere(chat: Chat, rates: Rates) -> None:
    for show_id in ["nowhere", "", "\x00", "\ud800", "DEMO"]:
        for call in calls_for(chat, show_id):
            with refused(Kind.unknown_show):
                await call
    assert rates.asked == []


def calls_for(chat: Chat, show_id: str) -> list[Coroutine[Any, Any, object]]:
    mod = person("mod", Role.moderator)
    return [
        chat.post(show_id, ANN, "Hello"), chat.history(show_id), chat.delete(show_id, mod, "0" * 32),
        chat.timeout(show_id, mod, "ann", 5), chat.ban(show_id, mod, "ann"), chat.unban(show_id, mod, "ann"),
        chat.set_slow_mode(show_id, mod, 5), chat.log(show_id, mod),
    ]  # fmt: skip


async def test_a_token_of_another_show_does_not_write_here(chat: Chat) -> None:
    for role in Role:
        with refused(Kind.show_forbidden):
            await chat.post("demo", person("eve", role, "other"), "Hello")


async def test_a_subject_that_sql_cannot_hold_is_refused(chat: Chat) -> None:
    for subject in ["", "\x00", "\ud800", "x" * 129]:
        with refused(Kind.token_invalid):
            await chat.post("demo", Principal(subject, Role.viewer, "*", "Eve"), "Hello")
        assert await chat.personal("demo", Principal(subject, Role.viewer, "*", "Eve")) == {"muted": None}


async def test_the_name_of_a_token_is_made_safe(chat: Chat) -> None:
    message, _ = await chat.post("demo", Principal("eve", Role.viewer, "*", "E\u202eve\n" + "!" * 900), "Hello")
    assert message.viewer.name == "Eve " + "!" * 20


async def test_a_reply_names_a_message_of_the_same_show(chat: Chat, shows: Shows, clock: ManualClock) -> None:
    await shows.create("other", "Other")
    [first] = await say(chat, clock, ANN, "First")
    elsewhere, _ = await chat.post("other", ANN, "Elsewhere")
    reply, _ = await chat.post("demo", BOB, "Second", reply_to=first.id)
    assert reply.reply_to == first.id
    for reply_to in [elsewhere.id, *BAD_TEXTS]:
        with refused(Kind.unknown_message, "reply_to"):
            await chat.post("demo", BOB, "Third", reply_to=reply_to)
    await chat.delete("demo", MOD, first.id)
    with refused(Kind.unknown_message, "reply_to"):
        await chat.post("demo", BOB, "Third", reply_to=first.id)
    assert await texts(chat) == ["Second"]


async def test_the_same_key_writes_once(chat: Chat, outlet: Recorder, clock: ManualClock) -> None:
    first, _ = await chat.post("demo", ANN, "Hello", key="k")
    clock.advance(5)
    assert await chat.post("demo", ANN, " Hello ", key="k") == (first, True)
    for text, reply_to in [("Bye", None), ("Hello", first.id)]:
        with refused(Kind.key_reused, "key"):
            await chat.post("demo", ANN, text, reply_to=reply_to, key="k")
    other, replayed = await chat.post("demo", BOB, "Hello", key="k")
    assert (other.id != first.id, replayed) == (True, False)
    assert outlet.names == ["chat.message"] * 2


async def test_the_same_key_at_once_writes_once(chat: Chat, outlet: Recorder) -> None:
    posted = await asyncio.gather(*(chat.post("demo", ANN, "Hello", key="k") for _ in range(6)))
    assert len({message.id for message, _ in posted}) == 1
    assert sorted(replayed for _, replayed in posted) == [False] + [True] * 5
    assert outlet.names == ["chat.message"]


async def test_a_repeated_key_is_answered_even_in_slow_mode_and_when_muted(chat: Chat) -> None:
    first, _ = await chat.post("demo", ANN, "Hello", key="k")
    await chat.set_slow_mode("demo", MOD, 60)
    assert (await chat.post("demo", ANN, "Hello", key="k"))[0] == first
    await chat.ban("demo", MOD, "ann")
    assert (await chat.post("demo", ANN, "Hello", key="k"))[0] == first
    assert await texts(chat) == []


async def test_a_bad_key_is_refused(chat: Chat) -> None:
    for key in ["", "x" * 129, "ä", "\x00", "a\nb", "\ud800"]:
        with refused(Kind.invalid_field, "key"):
            await chat.post("demo", ANN, "Hello", key=key)


# --- reading --------------------------------------------------------------------------------------------------


async def test_a_late_joiner_gets_the_last_messages(chat: Chat, clock: ManualClock) -> None:
    lines = [f"line {number}" for number in range(CHAT_HISTORY_SHOWN + 5)]
    await say(chat, clock, ANN, *lines)
    snapshot = await chat.snapshot("demo")
    assert [message["text"] for message in snapshot["messages"]] == lines[5:]
    assert snapshot["slow_s"] == 0


async def test_history_is_read_backwards_page_by_page(chat: Chat, clock: ManualClock) -> None:
    said = await say(chat, clock, ANN, *"abcdefg")
    await chat.delete("demo", MOD, said[2].id)
    newest = await chat.history("demo", limit=3)
    older = await chat.history("demo", before=newest[0].id, limit=3)
    assert [message.text for message in older + newest] == list("abdefg")
    assert await chat.history("demo", before=older[0].id) == []


async def test_a_bad_page_is_refused(chat: Chat) -> None:
    for before in ["", "x", "\x00", "\ud800", "0" * 31, "G" * 32]:
        with refused(Kind.invalid_field, "before"):
            await chat.history("demo", before=before)
        with refused(Kind.invalid_field, "before"):
            await chat.log("demo", MOD, before=before)
    for limit in [0, -1, CHAT_HISTORY_SHOWN + 1, 10**9]:
        with refused(Kind.invalid_field, "limit"):
            await chat.history("demo", limit=limit)


async def test_each_show_has_a_chat_of_its_own(chat: Chat, shows: Shows) -> None:
    await shows.create("other", "Other")
    await chat.post("demo", ANN, "here")
    await chat.post("other", ANN, "there")
    await chat.set_slow_mode("demo", MOD, 9)
    await chat.ban("demo", MOD, "ann")
    assert (await texts(chat), await texts(chat, "other")) == ([], ["there"])
    assert (await chat.snapshot("other"))["slow_s"] == 0
    await chat.post("other", ANN, "still here")


# --- rates and slow mode --------------------------------------------------------------------------------------


async def test_a_viewer_has_a_rate(chat: Chat, rates: Rates, outlet: Recorder) -> None:
    rates.wait_s = 2.4
    with pytest.RaisesExc(Problem, check=lambda p: (p.kind, p.retry_after_s) == (Kind.rate_limited, 3)):
        await chat.post("demo", ANN, "Hello")
    assert rates.asked == [("chat:demo:ann", CHAT_RATE_PER_S, CHAT_RATE_BURST)]
    await chat.post("demo", MOD, "Hello")
    assert [told.data["viewer"]["id"] for told in outlet.told] == ["mod"]


async def test_slow_mode_makes_viewers_wait_and_nobody_else(chat: Chat, clock: ManualClock, outlet: Recorder) -> None:
    await chat.post("demo", ANN, "one")
    await chat.set_slow_mode("demo", MOD, 30)
    assert outlet.told[-1][:4] == ("event", "demo", "chat.mode", {"slow_s": 30})
    assert (await chat.snapshot("demo"))["slow_s"] == 30
    clock.advance(29.5)
    with pytest.RaisesExc(Problem, check=lambda p: (p.kind, p.retry_after_s) == (Kind.slow_mode, 1)):
        await chat.post("demo", ANN, "two")
    await chat.post("demo", BOB, "three")
    for author in (MOD, HOST):
        for _ in range(2):
            await chat.post("demo", author, "staff")
    clock.advance(0.5)
    await chat.post("demo", ANN, "two")
    await chat.set_slow_mode("demo", MOD, 0)
    await chat.post("demo", ANN, "four")


async def test_slow_mode_holds_for_posts_at_once(chat: Chat) -> None:
    await chat.set_slow_mode("demo", MOD, 30)
    results = await asyncio.gather(
        *(chat.post("demo", ANN, f"line {number}") for number in range(5)), return_exceptions=True
    )
    assert sum(isinstance(result, Problem) for result in results) == 4
    assert len(await texts(chat)) == 1


async def test_slow_mode_has_bounds(chat: Chat, outlet: Recorder) -> None:
    for seconds in [-1, SLOW_MODE_S_MAX + 1, 10**12]:
        with refused(Kind.invalid_field, "seconds"):
            await chat.set_slow_mode("demo", MOD, seconds)
    assert outlet.told == []


# --- moderation -----------------------------------------------------------------------------------------------


async def test_only_moderators_of_the_show_moderate(chat: Chat, clock: ManualClock, outlet: Recorder) -> None:
    [message] = await say(chat, clock, ANN, "Hello")
    outlet.told.clear()
    for by, kind in [
        (BOB, Kind.role_forbidden),
        (person("eve", Role.moderator, "other"), Kind.show_forbidden),
        (person("eve", Role.host, "other"), Kind.show_forbidden),
    ]:
        for call in [
            chat.delete("demo", by, message.id), chat.timeout("demo", by, "ann", 5), chat.ban("demo", by, "ann"),
            chat.unban("demo", by, "ann"), chat.set_slow_mode("demo", by, 5), chat.log("demo", by),
        ]:  # fmt: skip
            with refused(kind):
                await call
    assert (await texts(chat), outlet.told) == (["Hello"], [])


@pytest.mark.parametrize("by", [MOD, HOST, person("ops", Role.ops)])
async def test_a_deleted_message_leaves_screens_and_history(
    chat: Chat, clock: ManualClock, outlet: Recorder, by: Principal
) -> None:
    said = await say(chat, clock, ANN, "a", "b")
    outlet.told.clear()
    await chat.delete("demo", by, said[0].id)
    await chat.delete("demo", by, said[0].id)
    assert await texts(chat) == ["b"]
    assert [(told.name, told.data) for told in outlet.told] == [("chat.deleted", {"id": said[0].id})]
    assert [(entry.action, entry.message_id) for entry in await chat.log("demo", MOD)] == [("delete", said[0].id)]


async def test_an_unknown_message_is_not_deleted(chat: Chat) -> None:
    for message_id in BAD_TEXTS:
        with refused(Kind.unknown_message, "id"):
            await chat.delete("demo", MOD, message_id)


async def test_a_timeout_clears_tells_and_ends(chat: Chat, clock: ManualClock, outlet: Recorder) -> None:
    await say(chat, clock, ANN, "a", "b")
    await say(chat, clock, BOB, "c")
    outlet.told.clear()
    await chat.timeout("demo", MOD, "ann", 60, " caps\nlock ")
    until_ms = clock.now_ms() + 60_000
    muted = {"until_ms": until_ms, "reason": "caps lock"}
    assert [(told.kind, told.name, told.data, told.to) for told in outlet.told] == [
        ("event", "chat.cleared", {"viewer_id": "ann"}, ""),
        ("notice", "chat.muted", muted, "ann"),
    ]
    assert await texts(chat) == ["c"]
    assert await chat.personal("demo", ANN) == {"muted": muted}
    clock.advance(59.5)
    expected = (Kind.timed_out, 1, "caps lock")
    with pytest.RaisesExc(Problem, check=lambda p: (p.kind, p.retry_after_s, p.detail) == expected):
        await chat.post("demo", ANN, "d")
    clock.advance(0.5)
    assert await chat.personal("demo", ANN) == {"muted": None}
    await chat.post("demo", ANN, "d")
    assert await texts(chat) == ["c", "d"]


async def test_a_ban_holds_for_the_same_person_on_a_new_socket(
    chat: Chat, clock: ManualClock, outlet: Recorder
) -> None:
    await say(chat, clock, ANN, "spam")
    await chat.ban("demo", MOD, "ann", "spam")
    assert outlet.told[-1].data == {"until_ms": None, "reason": "spam"}
    clock.advance(10 * TIMEOUT_S_MAX)
    renamed = Principal(ANN.subject, Role.viewer, "*", "Somebody else")
    with refused(Kind.banned):
        await chat.post("demo", renamed, "again")
    assert await chat.personal("demo", renamed) == {"muted": {"until_ms": None, "reason": "spam"}}
    assert await texts(chat) == []


async def test_an_unban_lets_write_again_but_brings_nothing_back(
    chat: Chat, clock: ManualClock, outlet: Recorder
) -> None:
    await say(chat, clock, ANN, "spam")
    await chat.set_slow_mode("demo", MOD, 30)
    await chat.ban("demo", MOD, "ann")
    outlet.told.clear()
    await chat.unban("demo", MOD, "ann")
    await chat.unban("demo", MOD, "ann")
    assert [(told.name, told.data) for told in outlet.told] == [("chat.muted", {"until_ms": 0, "reason": ""})]
    with refused(Kind.slow_mode):
        await chat.post("demo", ANN, "sorry")
    clock.advance(30)
    await chat.post("demo", ANN, "sorry")
    assert await texts(chat) == ["sorry"]
    assert await chat.personal("demo", ANN) == {"muted": None}


async def test_the_newest_decision_holds(chat: Chat, clock: ManualClock) -> None:
    await say(chat, clock, ANN, "spam")
    await chat.ban("demo", MOD, "ann")
    await chat.timeout("demo", MOD, "ann", 5)
    clock.advance(5)
    await chat.post("demo", ANN, "sorry")


async def test_nobody_unknown_is_muted(chat: Chat) -> None:
    for viewer_id in BAD_TEXTS:
        for call in [
            chat.timeout("demo", MOD, viewer_id, 5), chat.ban("demo", MOD, viewer_id),
            chat.unban("demo", MOD, viewer_id),
        ]:  # fmt: skip
            with refused(Kind.unknown_viewer, "viewer_id"):
                await call


async def test_moderators_are_not_muted(chat: Chat, clock: ManualClock) -> None:
    await say(chat, clock, HOST, "Welcome")
    for call in [chat.timeout("demo", MOD, "host", 5), chat.ban("demo", MOD, "host")]:
        with refused(Kind.role_forbidden, "viewer_id"):
            await call
    assert await texts(chat) == ["Welcome"]
    assert await chat.personal("demo", HOST) == {"muted": None}


@pytest.mark.parametrize(
    ("seconds", "reason", "field"), [(0, "", "seconds"), (10**9, "", "seconds"), (5, "x" * 999, "reason")]
)
async def test_a_bad_timeout_changes_nothing(
    chat: Chat, clock: ManualClock, seconds: int, reason: str, field: str
) -> None:
    await say(chat, clock, ANN, "Hello")
    with refused(Kind.invalid_field, field):
        await chat.timeout("demo", MOD, "ann", seconds, reason)
    assert await texts(chat) == ["Hello"]


async def test_a_ban_catches_messages_in_flight(chat: Chat, outlet: Recorder, clock: ManualClock) -> None:
    """Whichever comes first: after a ban nothing of the viewer is left in the history."""
    await say(chat, clock, ANN, "first")

    async def flood() -> None:
        for number in range(10):
            clock.advance(0.01)
            await chat.post("demo", ANN, f"line {number}")

    results = await asyncio.gather(flood(), chat.ban("demo", MOD, "ann"), return_exceptions=True)
    assert [result for result in results if isinstance(result, Problem) and result.kind is not Kind.banned] == []
    assert await texts(chat) == []
    cleared = outlet.names.index("chat.cleared")
    assert "chat.message" not in outlet.names[cleared:]


async def test_the_log_is_complete_and_read_page_by_page(
    chat: Chat, shows: Shows, database: Database, clock: ManualClock
) -> None:
    [message] = await say(chat, clock, ANN, "Hello")
    acts = [
        chat.delete("demo", MOD, message.id), chat.timeout("demo", MOD, "ann", 5, "caps"),
        chat.ban("demo", HOST, "ann", "spam"), chat.unban("demo", HOST, "ann"), chat.set_slow_mode("demo", MOD, 7),
    ]  # fmt: skip
    for act in acts:
        clock.advance(1)
        await act
    entries = await chat.log("demo", MOD)
    assert [(e.action, e.moderator_id, e.viewer_id, e.message_id, e.seconds, e.reason) for e in entries] == [
        ("slow", "mod", None, None, 7, ""),
        ("unban", "host", "ann", None, None, ""),
        ("ban", "host", "ann", None, None, "spam"),
        ("timeout", "mod", "ann", None, 5, "caps"),
        ("delete", "mod", "ann", message.id, None, ""),
    ]
    assert await chat.log("demo", MOD, before=entries[2].id) == entries[3:]
    async with database.write() as conn:
        for number in range(MODERATION_LOG_LISTED_MAX):
            entry = store.LogEntry(id=f"{number:032x}", at_ms=1, action="slow", moderator_id="mod")
            await store.log(conn, "demo", entry)
    assert len(await chat.log("demo", MOD)) == MODERATION_LOG_LISTED_MAX


async def test_deleted_messages_stay_in_the_log_of_the_store(
    chat: Chat, database: Database, clock: ManualClock
) -> None:
    [message] = await say(chat, clock, ANN, "evidence")
    await chat.ban("demo", MOD, "ann")
    async with database.read() as conn:
        row = (await conn.execute(select(store.chat_message))).one()
    assert (row.text, row.deleted_by, row.deleted_at_ms) == ("evidence", "mod", clock.now_ms())
    assert row.id == message.id
