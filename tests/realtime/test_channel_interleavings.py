"""Whatever is interleaved in a channel, nobody gets an event twice or misses one unnoticed."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from live.core.auth import Principal, Role
from live.core.position import Position
from live.realtime import channel as channel_module
from live.realtime import turns
from live.realtime.channel import Channel, Viewer
from live.realtime.figures import Figures
from live.realtime.turns import Pace, Turns
from tests.realtime.scripted import START, ScriptedSocket, publish


class Interleavings(RuleBasedStateMachine):
    """Each viewer's client applies what it is sent, as a browser would; a snapshot sets its position."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.waiting: set[Viewer] = set()
        self.viewers: list[tuple[Viewer, ScriptedSocket, list[int]]] = []  # and the client's [position]
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self.channel = Channel("demo", START, lambda channel, viewers: self.waiting.update(viewers), Turns(Figures()))

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
            self.viewers.append((viewer, socket, [self.channel.received]))

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
                    position[0] = self.channel.received

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
            for viewer, socket, _ in self.viewers:
                socket.stall_at_next_write = False
                viewer.drained()
            while any(viewer.next > 0 and viewer.next <= self.channel.received for viewer, _, _ in self.viewers):
                await asyncio.sleep(0)
            self.channel.close()

        self.loop.run_until_complete(go())
        self.nobody_misses_or_repeats()
        assert all(viewer.next in (0, self.channel.received + 1) for viewer, _, _ in self.viewers)


def test_any_interleaving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "FANOUT_SLICE_S", -1.0)
    monkeypatch.setattr(channel_module, "_CHECK_EVERY", 1)
    monkeypatch.setattr(Pace, "after", lambda pace, spent_s, lasted_s: 0.0)
    run_state_machine_as_test(Interleavings, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
