"""Each show has a chat of its own, on both stores; a show that does not exist has none."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from chat.service import Chat
from live.core.auth import Role
from live.core.errors import Kind
from live.service import Shows
from tests.chat.conftest import ANN, MOD, Rates, person, texts
from tests.refusals import refused


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


async def test_each_show_has_a_chat_of_its_own(chat: Chat, shows: Shows) -> None:
    await shows.create("other", "Other")
    await chat.post("demo", ANN, "here")
    await chat.post("other", ANN, "there")
    await chat.set_slow_mode("demo", MOD, 9)
    await chat.ban("demo", MOD, "ann")
    assert (await texts(chat), await texts(chat, "other")) == ([], ["there"])
    assert (await chat.snapshot("other"))["slow_s"] == 0
    await chat.post("other", ANN, "still here")


async def test_quiet_rooms_are_forgotten_and_busy_ones_are_not(
    chat: Chat, shows: Shows, rates: Rates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.posting.CHAT_ROOMS_MAX", 2)
    ids = ["demo", "one", "two", "three"]
    for show_id in ids[1:]:
        await shows.create(show_id, show_id.title())
    rooms, take_each = chat.posting._rooms, rates.take_each
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(*question: Any) -> Any:
        if question[0] == "demo":
            asked.set()
            await go.wait()
        return await take_each(*question)

    monkeypatch.setattr(chat.posting, "_take_each", slow)
    busy = asyncio.create_task(chat.post("demo", ANN, "slow"))
    await asked.wait()
    for show_id in ids[1:]:
        await chat.post(show_id, ANN, "hello")
        while not rooms[show_id].lane.idle:  # until its screens have been told
            await asyncio.sleep(0)
    assert list(rooms) == ["demo", "three"]
    go.set()
    await busy
    await chat.post("one", ANN, "back")
    assert list(rooms) == ["three", "one"]
    written = [sorted(await texts(chat, show_id)) for show_id in ids]
    assert written == [["slow"], ["back", "hello"], ["hello"], ["hello"]]
