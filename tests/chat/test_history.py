"""Reading on both stores: what a late joiner gets, and the history page by page."""

from chat.service import Chat
from live.core.clock import ManualClock
from live.core.errors import Kind
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
