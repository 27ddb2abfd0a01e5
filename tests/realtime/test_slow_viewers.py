"""Viewers who do not read: skipped, caught up, closed in the end, and of no cost to others."""

import asyncio

import pytest

from live.core.errors import TOO_SLOW
from tests.realtime.conftest import Audience, Stage, still_serves
from tests.realtime.slow_reader import read_words, stopped_reader, talk_until_stalled

pytestmark = pytest.mark.timeout(60)


async def test_slow_viewer_costs_others_nothing_and_catches_up(stage: Stage, client: Audience) -> None:
    slow, quick = await stopped_reader(stage, client), await client()
    await quick.join()
    reading = asyncio.create_task(read_words(quick))
    await talk_until_stalled(stage)
    await stage.say("end")
    assert await reading == stage.words["demo"]
    slow.socket.transport.resume_reading()
    assert await read_words(slow) == stage.words["demo"]


async def test_viewer_that_never_drains_is_closed(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.hub.VIEWER_STALL_S_MAX", 0.2)
    slow = await stopped_reader(stage, client)
    await talk_until_stalled(stage)
    async with asyncio.timeout(10):
        while stage.hub.closed_slow == 0:
            await asyncio.sleep(0.02)
    assert len(stage.connections) <= 1
    slow.socket.transport.resume_reading()
    assert await slow.closed() == TOO_SLOW.code
    await still_serves(stage, client)


async def test_stuck_viewer_is_cut_off(stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that reads nothing, not even the close frame."""
    monkeypatch.setattr("live.realtime.hub.VIEWER_STALL_S_MAX", 0.2)
    monkeypatch.setattr("live.realtime.guard.WS_CLOSE_TIMEOUT_S", 0.2)
    await stopped_reader(stage, client)
    await talk_until_stalled(stage)
    async with asyncio.timeout(10):
        while stage.connections:
            await asyncio.sleep(0.02)
