"""A channel's events on scripted sockets: batches, stalled viewers, new epochs, large audiences."""

import asyncio

import pytest
import uvloop

from live.core.auth import Principal, Role
from live.core.errors import TOO_SLOW
from live.core.limits import (
    BATCH_EVENTS_MAX,
    RECOVERY_EVENTS_MAX,
)
from live.core.position import Position
from live.realtime import channel as channel_module
from live.realtime import turns
from live.realtime.channel import Channel, Viewer
from live.realtime.figures import Figures
from live.realtime.payloads import PublishedEvent
from live.realtime.protocol import Here
from live.realtime.turns import Pace, Turns
from tests.realtime.scripted import START, Refreshes, ScriptedSocket, add, flush, publish, wait


async def test_quiet_show_sends_at_once_one_frame_for_each_encoding(channel: Channel) -> None:
    sockets = [add(channel, encoding=e)[1] for e in ("json", "msgpack", "json")]
    publish(channel, 3)
    await flush()
    assert [socket.offsets() for socket in sockets] == [[11, 12, 13]] * 3
    assert all(len(socket.frames) == 1 for socket in sockets), "what arrives together travels together"
    assert sockets[0].frames[0] is sockets[2].frames[0], "the very same bytes"
    assert channel.figures.frames["event"] == 3


async def test_busy_show_sends_in_batches(channel: Channel) -> None:
    _, socket = add(channel)
    publish(channel)
    await flush()
    for _ in range(5):
        publish(channel)
        await flush()
    assert len(socket.frames) == 1
    await wait(0.04)
    assert len(socket.frames) == 2
    assert socket.offsets() == list(range(11, 17))


async def test_large_batch_does_not_wait(channel: Channel) -> None:
    _, socket = add(channel)
    publish(channel)
    await flush()
    publish(channel, 2, size_bytes=40_000)
    await flush()
    assert socket.offsets() == [11, 12, 13]


async def test_who_joins_gets_what_follows_its_position(channel: Channel) -> None:
    publish(channel, 5)
    await flush()
    socket = ScriptedSocket()
    viewer = Viewer(socket, "json", Principal(subject="v", role=Role.viewer, show="*", name="V"), channel)
    events = channel.join(viewer, Position("e", 13))
    assert events is not None and [event.offset for event in events] == [14, 15]
    channel.enter(viewer)
    publish(channel)
    await wait(0.04)
    assert socket.offsets() == [16]


@pytest.mark.parametrize("since", [Position("other", 13), Position("e", 16), Position("e", 9)])
async def test_who_joins_from_nowhere_is_not_in_step(channel: Channel, since: Position) -> None:
    publish(channel, 5)
    await flush()
    viewer = Viewer(ScriptedSocket(), "json", Principal(subject="v", role=Role.viewer, show="*", name=""), channel)
    assert channel.join(viewer, since) is None
    assert viewer.next == 0


async def test_stalled_viewer_is_skipped_and_catches_up_when_it_drains(channel: Channel) -> None:
    slow, slow_socket = add(channel)
    _, quick_socket = add(channel, subject="w")
    slow_socket.stall_at_next_write = True
    publish(channel)
    await flush()
    assert slow in channel.slow
    publish(channel, 3)
    await wait(0.04)
    slow.stalled()  # the transport may say so twice
    assert slow_socket.offsets() == [11]
    assert quick_socket.offsets() == [11, 12, 13, 14]
    assert channel.figures.skipped == 1
    slow.drained()
    assert slow_socket.offsets() == [11, 12, 13, 14]
    assert not channel.slow
    slow.drained()
    publish(channel)
    await wait(0.04)
    assert slow_socket.offsets() == [11, 12, 13, 14, 15]


async def test_viewer_that_missed_nothing_while_stalled_is_left_alone(channel: Channel) -> None:
    viewer, socket = add(channel)
    viewer.stalled()
    viewer.drained()
    assert socket.frames == []
    assert viewer.next == 11


async def test_viewer_that_missed_too_much_asks_for_a_snapshot(channel: Channel, refreshes: Refreshes) -> None:
    viewer, socket = add(channel)
    viewer.stalled()
    for _ in range(RECOVERY_EVENTS_MAX // 100 + 1):
        publish(channel, 100, size_bytes=1000)
        await flush()
    viewer.drained()
    assert (refreshes.asked, viewer.next, socket.frames) == ([viewer], 0, [])
    viewer.lost()
    channel.catch_up(viewer, 0.0)
    assert refreshes.asked == [viewer]


async def test_new_epoch_asks_for_snapshots_and_sends_nothing_old(channel: Channel, refreshes: Refreshes) -> None:
    viewer, socket = add(channel)
    publish(channel)
    channel.restart(Position("f", 0))
    await flush()
    assert (socket.frames, refreshes.asked, channel.position) == ([], [viewer], Position("f", 0))
    publish(channel)
    await wait(0.04)
    assert socket.frames == [], "it has no snapshot yet"
    events = channel.join(viewer, Position("f", 0))
    assert events is not None and [event.offset for event in events] == [1]


async def test_stalled_viewer_stays_stalled_through_a_new_epoch(channel: Channel, refreshes: Refreshes) -> None:
    viewer, _ = add(channel)
    viewer.stalled()
    channel.restart(Position("f", 0))
    assert viewer.next == 0
    assert channel.join(viewer, Position("f", 0)) == []
    assert viewer.next == -1
    viewer.drained()
    assert viewer.next == 1


async def test_more_than_can_wait_goes_by_snapshot(channel: Channel, refreshes: Refreshes) -> None:
    viewer, socket = add(channel)
    publish(channel, BATCH_EVENTS_MAX + 1, size_bytes=0)
    await flush()
    assert socket.frames == []
    assert refreshes.asked == [viewer]
    assert channel.position == Position("e", 10 + BATCH_EVENTS_MAX + 1)


async def test_everybody_gets_the_newest_when_its_turn_comes(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "FANOUT_SLICE_S", -1.0)
    monkeypatch.setattr(turns, "FANOUT_TURNS_BETWEEN", 1)
    monkeypatch.setattr(channel_module, "_CHECK_EVERY", 2)
    pairs = [add(channel, subject=f"v{i}") for i in range(7)]
    publish(channel)
    await asyncio.sleep(0)
    assert [socket.offsets() for _, socket in pairs] == [[11]] * 2 + [[]] * 5, "the loop is given back after a slice"
    publish(channel)
    channel.tell(Here(channel.position))
    late, late_socket = add(channel, subject="late")
    assert late.next == 13, "who joins has everything in its answer"
    gone, gone_socket = pairs[4]
    gone.shut(TOO_SLOW)
    await asyncio.sleep(0)
    assert [socket.frames for _, socket in pairs[2:4]] == [[socket.frames[0]] for _, socket in pairs[2:4]]
    assert [socket.offsets() for _, socket in pairs[2:4]] == [[11, 12]] * 2, "it did not wait for the next round"
    for _ in range(5):
        await asyncio.sleep(0)
    assert [socket.offsets() for _, socket in pairs] == [[11]] * 2 + [[11, 12]] * 2 + [[]] + [[11, 12]] * 2
    await wait(0.15)
    left = [socket for _, socket in pairs if socket is not gone_socket]
    assert all(socket.offsets() == [11, 12] for socket in left)
    assert late_socket.offsets() == gone_socket.offsets() == []
    for socket in (*left, late_socket):
        assert socket.messages()[-1] == {"type": "position", "position": {"epoch": "e", "offset": 12}}


async def test_new_epoch_stops_a_round_that_is_being_written(
    channel: Channel, refreshes: Refreshes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "FANOUT_SLICE_S", -1.0)
    monkeypatch.setattr(channel_module, "_CHECK_EVERY", 1)
    pairs = [add(channel, subject=f"v{i}") for i in range(4)]
    publish(channel)
    await asyncio.sleep(0)
    channel.restart(Position("f", 10))
    for viewer, _ in pairs:
        assert channel.join(viewer, Position("f", 10)) == []  # expects 11 again, of another epoch
    await flush()
    assert sum(len(socket.frames) for _, socket in pairs) == 1


async def test_rounds_are_as_rare_as_their_cost_wants(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "after", lambda pace, spent_s, lasted_s: 0.1)
    _, socket = add(channel)
    publish(channel)
    await flush()
    publish(channel)
    await wait(0.05)
    assert len(socket.frames) == 1
    await wait(0.08)
    assert socket.offsets() == [11, 12]


def test_round_that_is_due_within_a_millisecond() -> None:
    """On uvloop, whose handles of such timers do not say when they are due."""

    async def show() -> None:
        channel = Channel("demo", START, Refreshes(), Turns(Figures()))
        for offset in range(START.offset + 1, START.offset + 3):
            channel._due_s = asyncio.get_running_loop().time() + 0.0004
            channel.event(offset, PublishedEvent(0, "word", {}), 10)
        channel.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(show())
