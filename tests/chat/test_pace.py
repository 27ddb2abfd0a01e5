"""How fast one may write, on both stores: a viewer's rate, and slow mode."""

import asyncio

import pytest

from chat.service import Chat
from live.core.clock import ManualClock
from live.core.errors import Kind, Problem
from live.core.limits import (
    CHAT_RATE_BURST,
    CHAT_RATE_PER_S,
    SLOW_MODE_S_MAX,
)
from live.core.tallies import Pace
from tests.chat.conftest import ANN, BOB, HOST, MOD, Rates, texts
from tests.live.recorder import Recorder
from tests.refusals import refused


async def test_a_viewer_has_a_rate(chat: Chat, rates: Rates, outlet: Recorder) -> None:
    rates.wait_s = 2.4
    with pytest.RaisesExc(Problem, check=lambda p: (p.kind, p.retry_after_s) == (Kind.rate_limited, 3)):
        await chat.post("demo", ANN, "Hello")
    assert rates.asked == [("demo", "chat", "ann", Pace(CHAT_RATE_PER_S, CHAT_RATE_BURST))]
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
