"""Writing on both stores: what is stored and told, replies, keys; and what is refused and changes nothing."""

import asyncio

import pytest

from chat.service import Chat
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.codec import plain
from live.core.errors import Kind
from live.service import Shows
from live.shows import ShowState
from tests.chat.conftest import ANN, BAD_TEXTS, BOB, MOD, Rates, say, texts
from tests.live.recorder import Recorder
from tests.refusals import refused


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
    assert outlet.keys == [first.id, first.id, other.id], "told again under its key: its writer may have died"


async def test_the_same_key_at_once_writes_once(chat: Chat, outlet: Recorder) -> None:
    posted = await asyncio.gather(*(chat.post("demo", ANN, "Hello", key="k") for _ in range(6)))
    assert len({message.id for message, _ in posted}) == 1
    assert sorted(replayed for _, replayed in posted) == [False] + [True] * 5
    assert set(outlet.keys) == {posted[0][0].id}


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
