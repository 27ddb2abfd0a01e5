"""Reading on both stores: what a late joiner gets, and the history page by page."""

from typing import Any

from sqlalchemy import Connection, event, text

from chat import store
from chat.service import Chat
from chat.store import Author, Message
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.ids import uuid7
from live.core.limits import (
    CHAT_HISTORY_SHOWN,
)
from tests.chat.conftest import ANN, MOD, say
from tests.refusals import refused


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


async def test_who_comes_back_finds_what_was_left_out_without_reading_the_whole_chat(
    chat: Chat, database: Database, clock: ManualClock
) -> None:
    """The reading itself, and how the store does it: by an index that holds nothing else."""
    await say(chat, clock, ANN, "hello")

    def fill(conn: Connection) -> None:
        others = [
            Message(uuid7(clock.now_ms() + number), Author("ann", "Ann", "viewer"), "hi", 0) for number in range(1000)
        ]
        own = Message(uuid7(clock.now_ms()), Author("ann", "Ann", "viewer"), "too fast", 0, shown=False)
        store.insert_messages(conn, "demo", [(message, None) for message in [*others, own]], 0)
        conn.execute(text("ANALYZE"))

    await database.write_sync(fill)
    asked: list[tuple[str, Any]] = []

    def read(conn: Connection) -> tuple[list[Message], str]:
        event.listen(conn, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
        found = store.history(conn, "demo", None, CHAT_HISTORY_SHOWN, shown=False, viewer_id="ann")
        ((statement, values),) = asked
        explain = "EXPLAIN QUERY PLAN" if conn.dialect.name == "sqlite" else "EXPLAIN"
        return found, str(conn.exec_driver_sql(f"{explain} {statement}", values).all())

    found, plan = await database.read_sync(read)
    assert [message.text for message in found] == ["too fast"]
    assert "ix_chat_message_left_out" in plan
