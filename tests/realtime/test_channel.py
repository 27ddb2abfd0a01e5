"""A channel and scripted sockets: whatever is interleaved, nobody gets an event twice or misses one unnoticed."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from live.core.auth import Principal, Role
from live.core.codec import Encoding
from live.core.errors import TOO_SLOW, Close
from live.core.limits import BATCH_EVENTS_MAX, RECOVERY_EVENTS_MAX, STATE_INTERVAL_S, STATES_MAX
from live.core.position import Position
from live.realtime import channel as channel_module
from live.realtime.channel import Channel, Viewer
from live.realtime.frames import payload_of
from live.realtime.payloads import PublishedEvent
from live.realtime.protocol import Here, Notice, State
from live.realtime.transport import Watcher


class ScriptedSocket:
    """Remembers what is written; stalls when it is told to, by bytes or at once."""

    def __init__(self) -> None:
        self.watcher: Watcher | None = None
        self.frames: list[bytes] = []
        self.open = True
        self.closed: Close | None = None
        self.stall_at_next_write = False

    @property
    def write(self) -> Callable[[bytes], object]:
        return self._write

    def _write(self, frame: bytes) -> None:
        assert self.open, "nothing is written to a closed socket"
        self.frames.append(frame)
        if self.stall_at_next_write:
            self.stall_at_next_write = False
            assert self.watcher is not None
            self.watcher.stalled()

    def backlog(self) -> int:
        return 0

    def slim(self) -> None: ...

    def shut(self, close: Close) -> None:
        self.open = False
        self.closed = close

    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for frame in self.frames:
            payload = payload_of(frame)
            found += msgspec.json.decode(payload) if frame[0] == 0x81 else msgspec.msgpack.decode(payload)
        return found

    def offsets(self) -> list[int]:
        return [message["offset"] for message in self.messages() if message["type"] == "event"]


class Refreshes:
    def __init__(self) -> None:
        self.asked: list[Viewer] = []

    def __call__(self, channel: Channel, viewers: Iterable[Viewer]) -> None:
        self.asked += list(viewers)


START = Position("e", 10)


def publish(channel: Channel, count: int = 1, size_bytes: int = 100) -> None:
    for _ in range(count):
        offset = channel.received + 1
        channel.event(offset, PublishedEvent(offset, "word", {"n": offset}), size_bytes)


def add(
    channel: Channel, *, encoding: Encoding = "json", role: Role = Role.viewer, subject: str = "v"
) -> tuple[Viewer, ScriptedSocket]:
    socket = ScriptedSocket()
    viewer = Viewer(socket, encoding, Principal(subject=subject, role=role, show="*", name="V"), channel)
    socket.watcher = viewer
    assert channel.join(viewer, channel.position) == []
    channel.enter(viewer)
    return viewer, socket


@pytest.fixture
async def refreshes() -> Refreshes:
    return Refreshes()


@pytest.fixture
async def channel(refreshes: Refreshes) -> Channel:
    return Channel("demo", START, refreshes)


async def flush() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def wait(seconds: float) -> None:
    await asyncio.sleep(seconds)
    await flush()


async def test_quiet_show_sends_at_once_one_frame_for_each_encoding(channel: Channel) -> None:
    sockets = [add(channel, encoding=e)[1] for e in ("json", "msgpack", "json")]
    publish(channel, 3)
    await flush()
    assert [socket.offsets() for socket in sockets] == [[11, 12, 13]] * 3
    assert all(len(socket.frames) == 1 for socket in sockets), "what arrives together travels together"
    assert sockets[0].frames[0] is sockets[2].frames[0], "the very same bytes"
    assert channel.delivered == 3


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
    assert channel.skipped == 1
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
    channel.catch_up(viewer)
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


async def test_writing_is_sliced_and_what_comes_meanwhile_is_the_next_batch(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "FANOUT_SLICE_S", -1.0)
    monkeypatch.setattr(channel_module, "_CHECK_EVERY", 2)
    pairs = [add(channel, subject=f"v{i}") for i in range(7)]
    publish(channel)
    await asyncio.sleep(0)
    assert sum(len(socket.frames) for _, socket in pairs) == 2, "the loop is given back after a slice"
    publish(channel)
    channel.tell([Here(channel.position)])
    late, late_socket = add(channel, subject="late")
    assert late.next == 12, "the batch on its way counts as sent: who joins has it in its answer"
    gone = next(viewer for viewer, socket in pairs if not socket.frames)
    gone.shut(TOO_SLOW)
    for _ in range(6):
        await asyncio.sleep(0)
    left = [socket for viewer, socket in pairs if viewer is not gone]
    assert all(socket.offsets() == [11] for socket in left)
    await wait(0.15)
    assert all(socket.offsets() == [11, 12] for socket in left)
    assert late_socket.offsets() == [12]
    assert all(message["type"] == "event" for socket in left for message in socket.messages())


async def test_new_epoch_stops_a_batch_that_is_being_written(
    channel: Channel, refreshes: Refreshes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "FANOUT_SLICE_S", -1.0)
    monkeypatch.setattr(channel_module, "_CHECK_EVERY", 1)
    pairs = [add(channel, subject=f"v{i}") for i in range(4)]
    publish(channel)
    await asyncio.sleep(0)
    channel.restart(Position("f", 10))
    for viewer, _ in pairs:
        assert channel.join(viewer, Position("f", 10)) == []  # expects 11 again, of another epoch
    await flush()
    assert sum(len(socket.frames) for _, socket in pairs) == 1


async def test_large_audience_makes_batches_rarer(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "FANOUT_SHARE_MAX", 1e-9)
    _, socket = add(channel)
    publish(channel)
    await flush()
    publish(channel)
    await wait(0.05)
    assert len(socket.frames) == 1
    await wait(0.08)
    assert socket.offsets() == [11, 12]


# --- states, notices, positions -------------------------------------------------------------------------------


def stock(available: int, key: str = "a") -> State:
    return State("stock", {"available": available}, key)


async def test_states_are_conflated(channel: Channel) -> None:
    _, socket = add(channel)
    channel.state(stock(9), staff=False)
    await flush()
    for available in range(8, 2, -1):
        channel.state(stock(available), staff=False)
        await flush()
    channel.state(stock(7, "b"), staff=False)
    await wait(STATE_INTERVAL_S + 0.05)
    seen = [(m["key"], m["data"]["available"]) for m in socket.messages()]
    assert seen[0] == ("a", 9)
    assert sorted(seen[1:]) == [("a", 3), ("b", 7)]


async def test_states_travel_with_events(channel: Channel) -> None:
    _, socket = add(channel)
    channel.state(stock(9), staff=False)
    publish(channel)
    await flush()
    assert [m["type"] for m in socket.messages()] == ["event", "state"]
    assert len(socket.frames) == 1


async def test_staff_states_are_for_staff(channel: Channel) -> None:
    _, viewer = add(channel)
    _, host = add(channel, role=Role.host, subject="h")
    channel.state(State("figures", {}), staff=True)
    await flush()
    assert viewer.frames == []
    assert [m["name"] for m in host.messages()] == ["figures"]
    assert [m.name for m in channel.states_since(0, True)] == ["figures"]
    assert channel.states_since(0, False) == []


async def test_states_since_a_snapshot_are_known_and_bounded(channel: Channel) -> None:
    channel.state(stock(1), staff=False)
    now_s = asyncio.get_running_loop().time()
    await asyncio.sleep(0.01)
    channel.state(stock(2), staff=False)
    assert [m.data["available"] for m in channel.states_since(now_s, False)] == [2]
    for i in range(STATES_MAX + 5):
        channel.state(stock(i, f"k{i}"), staff=False)
    assert len(channel.states_since(0, False)) == STATES_MAX
    await wait(0.01)


async def test_notices_reach_all_sockets_of_one_viewer(channel: Channel) -> None:
    _, one = add(channel)
    stalled, two = add(channel)
    _, other = add(channel, subject="w")
    _, third = add(channel, encoding="msgpack")
    stalled.stalled()
    channel.notice("v", Notice("cart.changed", {"n": 1}))
    channel.notice("nobody", Notice("cart.changed", {"n": 1}))
    assert [len(socket.frames) for socket in (one, two, other, third)] == [1, 0, 0, 1]
    assert third.messages() == one.messages() == [{"type": "notice", "name": "cart.changed", "data": {"n": 1}}]


async def test_people_are_counted_once_and_staff_not_at_all(channel: Channel) -> None:
    one, _ = add(channel)
    two, _ = add(channel)
    add(channel, role=Role.host, subject="h")
    add(channel, subject="w")
    assert (channel.audience, channel.audience_ids()) == (2, {"v", "w"})
    one.lost()
    one.lost()
    assert channel.audience == 2
    two.shut(TOO_SLOW)
    assert channel.audience_ids() == {"w"}


async def test_tell_writes_to_those_in_step_only(channel: Channel) -> None:
    stalled, slow = add(channel)
    stalled.stalled()
    _, quick = add(channel)
    channel.tell([Here(channel.position)])
    assert quick.messages() == [{"type": "position", "position": {"epoch": "e", "offset": 10}}]
    assert slow.frames == []


async def test_closed_channel_writes_nothing_more(channel: Channel) -> None:
    _, socket = add(channel)
    publish(channel)
    channel.close()
    channel.close()
    await flush()
    assert socket.frames == []


# --- any interleaving -----------------------------------------------------------------------------------------


class Interleavings(RuleBasedStateMachine):
    """Each viewer's client applies what it is sent, as a browser would; a snapshot sets its position."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.waiting: set[Viewer] = set()
        self.viewers: list[tuple[Viewer, ScriptedSocket, list[int]]] = []  # and the client's [position]
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self.channel = Channel("demo", START, lambda channel, viewers: self.waiting.update(viewers))

    def _run(self, action: Callable[[], None], turns: int = 0) -> None:
        async def go() -> None:
            action()
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(go())

    @rule(count=st.integers(1, 120), turns=st.integers(0, 3))
    def publish(self, count: int, turns: int) -> None:
        # 40,000 bytes: due at once, so that no test waits for a batch interval
        self._run(lambda: publish(self.channel, count, 40_000), turns)

    @rule()
    def join(self) -> None:
        def go() -> None:
            socket = ScriptedSocket()
            principal = Principal(subject=f"v{len(self.viewers)}", role=Role.viewer, show="*", name="V")
            viewer = Viewer(socket, "msgpack", principal, self.channel)
            socket.watcher = viewer
            self.channel.join(viewer, self.channel.position)
            self.channel.enter(viewer)
            self.viewers.append((viewer, socket, [self.channel.flushed]))

        if len(self.viewers) < 6:
            self._run(go)

    @rule(index=st.integers(0, 5), in_next_write=st.booleans())
    def stall(self, index: int, in_next_write: bool) -> None:
        if index < len(self.viewers):
            viewer, socket, _ = self.viewers[index]
            if in_next_write and not viewer.stalled_s:
                socket.stall_at_next_write = True
            else:
                self._run(viewer.stalled)

    @rule(index=st.integers(0, 5))
    def drain(self, index: int) -> None:
        if index < len(self.viewers):
            self._run(self.viewers[index][0].drained)

    @rule()
    def restart(self) -> None:
        self._run(lambda: self.channel.restart(Position(self.channel.epoch + "x", 0)))

    @rule()
    def refresh(self) -> None:
        def go() -> None:
            for viewer, socket, position in self.viewers:
                if viewer in self.waiting and not viewer.stalled_s and viewer.next == 0:
                    self.waiting.discard(viewer)
                    socket.frames.clear()  # its client takes the snapshot instead
                    assert self.channel.join(viewer, self.channel.position) == []
                    position[0] = self.channel.flushed

        self._run(go)

    @rule(turns=st.integers(1, 40))
    def breathe(self, turns: int) -> None:
        self._run(lambda: None, turns)

    @invariant()
    def nobody_misses_or_repeats(self) -> None:
        for viewer, socket, position in self.viewers:
            if viewer.next == 0:
                socket.frames.clear()
                continue
            for offset in socket.offsets():
                assert offset == position[0] + 1, "an event was missed or came twice"
                position[0] = offset
            socket.frames.clear()
            assert abs(viewer.next) == position[0] + 1, "what it expects is what follows what it has"

    def teardown(self) -> None:
        self.drain_all()
        self.loop.close()

    def drain_all(self) -> None:
        """In the end everybody is in step."""

        async def go() -> None:
            for viewer, _, _ in self.viewers:
                viewer.drained()
            while self.channel._pending or self.channel._writing:
                await asyncio.sleep(0)
            self.channel.close()

        self.loop.run_until_complete(go())
        self.nobody_misses_or_repeats()
        assert all(viewer.next in (0, self.channel.received + 1) for viewer, _, _ in self.viewers)


def test_any_interleaving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "FANOUT_SLICE_S", -1.0)
    monkeypatch.setattr(channel_module, "_CHECK_EVERY", 1)
    monkeypatch.setattr(channel_module, "BATCH_INTERVAL_S", 0.0)
    monkeypatch.setattr(channel_module, "FANOUT_SHARE_MAX", 1e9)
    run_state_machine_as_test(Interleavings, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
