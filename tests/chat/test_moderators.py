"""What moderators do, on both stores: delete, time out, ban, and the log of it."""

import asyncio

import pytest
from sqlalchemy import select

from chat import store
from chat.service import Chat
from chat.tables import chat_message
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import (
    MODERATION_LOG_LISTED_MAX,
    TIMEOUT_S_MAX,
)
from live.service import Shows
from tests.chat.conftest import ANN, BAD_TEXTS, BOB, HOST, MOD, person, say, texts
from tests.live.recorder import Recorder
from tests.refusals import refused


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
        row = (await conn.execute(select(chat_message))).one()
    assert (row.text, row.deleted_by, row.deleted_at_ms) == ("evidence", "mod", clock.now_ms())
    assert row.id == message.id
