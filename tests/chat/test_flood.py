"""A chat that is too fast to read, on both stores: what viewers, authors and the staff see of it, and what is kept."""

import asyncio

from chat.service import Chat
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import CHAT_FAST_MS, CHAT_LEFT_OUT_TOLD_MAX
from live.service import Shows
from tests.chat.conftest import ANN, BOB, HOST, MOD, Rates, person, say, texts
from tests.live.recorder import Recorder
from tests.refusals import refused


async def shown(chat: Chat) -> list[str]:
    """What a viewer who joins now sees."""
    return [message["text"] for message in (await chat.snapshot("demo"))["messages"]]


async def test_what_is_too_fast_is_stored_and_told_to_the_staff(
    chat: Chat, outlet: Recorder, rates: Rates, clock: ManualClock
) -> None:
    rates.room = 1
    [first] = await say(chat, clock, ANN, "one")
    [second] = await say(chat, clock, BOB, "two")
    assert (plain(first).get("shown"), plain(second).get("shown")) == (None, False)
    assert outlet.told == [
        ("event", "demo", "chat.message", plain(first), 0, ""),
        ("state", "demo", "chat.fast", {"until_ms": clock.now_ms() + CHAT_FAST_MS}, None, ""),
        ("staff notice", "demo", "chat.left_out", {"messages": [plain(second)]}, None, ""),
    ]
    assert (await shown(chat), await texts(chat)) == (["one"], ["one", "two"])
    assert (await chat.history("demo"))[1].shown is False


async def test_the_staff_are_always_shown_and_use_up_nothing(chat: Chat, rates: Rates, clock: ManualClock) -> None:
    rates.room = 1
    for author in (MOD, HOST, person("ops", Role.ops)):
        await say(chat, clock, author, author.subject)
    await say(chat, clock, ANN, "ann")
    await say(chat, clock, BOB, "bob")
    await say(chat, clock, MOD, "again")
    assert await shown(chat) == ["mod", "host", "ops", "ann", "again"]
    assert [asker for _, _, asker, _ in rates.asked] == ["ann", "bob"]


async def test_who_may_not_write_uses_up_nothing(chat: Chat, rates: Rates, clock: ManualClock) -> None:
    await say(chat, clock, ANN, "spam")
    await chat.ban("demo", MOD, "ann")
    await chat.set_slow_mode("demo", MOD, 30)
    await say(chat, clock, BOB, "hello")
    with refused(Kind.banned):
        await chat.post("demo", ANN, "spam")
    await chat.set_slow_mode("demo", MOD, 0)
    await say(chat, clock, MOD, "the worker knows of it now")
    asked = len(rates.asked)
    with refused(Kind.banned):  # and remembers whom it has refused
        await chat.post("demo", ANN, "spam")
    await chat.set_slow_mode("demo", MOD, 30)
    await say(chat, clock, MOD, "the worker knows of it now")
    for viewer, kind in [(BOB, Kind.slow_mode), (ANN, Kind.banned)]:
        with refused(kind):
            await chat.post("demo", viewer, "again")
    assert len(rates.asked) == asked
    await chat.unban("demo", MOD, "ann")
    await chat.set_slow_mode("demo", MOD, 0)
    await say(chat, clock, ANN, "sorry")
    assert len(rates.asked) == asked + 1


async def test_a_repeated_key_is_answered_alike_and_uses_up_nothing(chat: Chat, rates: Rates, outlet: Recorder) -> None:
    rates.room = 0
    first, _ = await chat.post("demo", ANN, "Hello", key="k")
    rates.room = 5
    outlet.told.clear()
    assert await chat.post("demo", ANN, "Hello", key="k") == (first, True)
    assert (first.shown, rates.room, outlet.told) == (False, 5, [])


async def test_what_was_left_out_is_moderated_like_anything_else(
    chat: Chat, rates: Rates, outlet: Recorder, clock: ManualClock
) -> None:
    rates.room = 0
    said = await say(chat, clock, ANN, "a", "b")
    [other] = await say(chat, clock, BOB, "c")
    clock.advance(0.01)
    reply, _ = await chat.post("demo", MOD, "seen", reply_to=other.id)
    outlet.told.clear()
    await chat.delete("demo", MOD, said[0].id)
    await chat.timeout("demo", MOD, "ann", 60)
    assert [told.data for told in outlet.told[:2]] == [{"id": said[0].id}, {"viewer_id": "ann"}]
    assert (await texts(chat), await shown(chat), reply.reply_to) == (["c", "seen"], ["seen"], other.id)


async def test_a_reload_finds_ones_own_and_the_staff_find_all(
    chat: Chat, shows: Shows, rates: Rates, clock: ManualClock
) -> None:
    await shows.create("other", "Other")
    rates.room = 1
    await say(chat, clock, BOB, "shown")
    [ann, gone] = await say(chat, clock, ANN, "ann's", "deleted")
    [bob] = await say(chat, clock, BOB, "bob's")
    await chat.delete("demo", MOD, gone.id)
    assert await chat.personal("demo", ANN) == {"muted": None, "left_out": [plain(ann)]}
    assert await chat.personal("demo", BOB) == {"muted": None, "left_out": [plain(bob)]}
    assert await chat.personal("demo", MOD) == {"muted": None, "left_out": [plain(ann), plain(bob)]}
    for viewer, show in [(person("eve"), "demo"), (ANN, "other"), (person("mod", Role.moderator), "other")]:
        assert await chat.personal(show, viewer) == {"muted": None}


async def test_many_posts_are_few_transactions_and_each_has_its_own_outcome(
    chat: Chat, rates: Rates, outlet: Recorder, clock: ManualClock, database: Database
) -> None:
    [first] = await say(chat, clock, BOB, "first")
    await chat.ban("demo", MOD, "bob")
    outlet.told.clear()
    crowd = [person(f"viewer {number}") for number in range(60)]
    rates.room = 20
    posts = [chat.post("demo", viewer, f"line {number}", key="k") for number, viewer in enumerate(crowd)]
    posts += [chat.post("demo", BOB, "banned"), chat.post("demo", ANN, "reply", reply_to=first.id)]
    posts += [chat.post("demo", ANN, "one", key="k"), chat.post("demo", ANN, "two", key="k")]
    results = await asyncio.gather(*posts, return_exceptions=True)
    kinds = [getattr(result, "kind", None) for result in results]
    assert kinds == [None] * 60 + [Kind.banned, Kind.unknown_message, None, Kind.key_reused]
    assert len(await chat.history("demo")) == 50
    assert len(await shown(chat)) == 20
    events = [told.data["id"] for told in outlet.told if told.kind == "event"]
    assert (len(events), events) == (20, sorted(events))
    left_out = [told.data["messages"] for told in outlet.told if told.name == "chat.left_out"]
    assert sum(map(len, left_out)) == 41
    assert max(map(len, left_out)) <= CHAT_LEFT_OUT_TOLD_MAX
    lane = chat.posting._rooms["demo"].lane
    assert lane.batches <= 6  # "first", one post alone while the others gather, and the others


async def test_slow_mode_and_rates_hold_within_one_transaction(chat: Chat, rates: Rates) -> None:
    await chat.set_slow_mode("demo", MOD, 30)
    eve = Principal("eve", Role.viewer, "*", "Eve")
    posts = [chat.post("demo", author, "x") for author in (BOB, eve, eve, ANN, eve, ANN)]
    results = await asyncio.gather(*posts, return_exceptions=True)
    assert sum(isinstance(r, Problem) and r.kind is Kind.slow_mode for r in results) == 3
    assert [message.viewer.id for message in sorted(await chat.history("demo"), key=lambda m: m.viewer.id)] == [
        "ann", "bob", "eve",
    ]  # fmt: skip
    rates.wait_s = 1.0
    with refused(Kind.rate_limited):
        await chat.post("demo", person("new"), "x")
    with refused(Kind.unknown_viewer, "viewer_id"):  # what was refused has changed nothing
        await chat.ban("demo", MOD, "new")


async def test_a_chat_that_closes_finishes_what_it_took(chat: Chat, outlet: Recorder) -> None:
    outlet.gate = asyncio.Event()
    post = asyncio.create_task(chat.post("demo", ANN, "last"))
    await outlet.reached.wait()
    closing = asyncio.create_task(chat.close())
    outlet.gate.set()
    await closing
    assert (await post)[0].text == "last"
    with refused(Kind.overloaded):
        await chat.post("demo", ANN, "too late")
    assert await texts(chat) == ["last"]
