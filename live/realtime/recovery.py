"""How a viewer gets in step: the events it missed, complete, or a snapshot; never a part of either.

A snapshot is labelled with the position of the channel *before* it is built, so it may hold more than its label
says, never less; and every event is absolute, so applying one that is already in it does no harm. One build
serves everybody who joins within a second: they get the events and states since then on top of it.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import replace

from live.core.clock import Clock
from live.core.errors import UNKNOWN_SHOW, Kind, Problem
from live.core.limits import (
    BATCH_INTERVAL_S,
    BUS_RETRY_S_MAX,
    BUS_RETRY_S_MIN,
    FANOUT_SLICE_S,
    REACH_TIMEOUT_S,
    RECOVERY_EVENTS_MAX,
    SNAPSHOT_KEPT_S,
)
from live.core.position import Position
from live.core.tasks import end
from live.realtime.channel import Channel, Viewer
from live.realtime.frames import spliced
from live.realtime.hub import Hub
from live.realtime.protocol import Connected, Event, ServerMessage, wire_viewer
from live.realtime.snapshot import Snapshot

log = logging.getLogger(__name__)
_ATTEMPTS = 5  # at a snapshot that is not outdated by more events than are kept when it is built


class Recovery:
    """See the module. `recovered` and `not_recovered` count how viewers with a position were served, `new` the rest."""

    def __init__(self, hub: Hub, clock: Clock, build: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
        self._hub = hub
        self._clock = clock
        self._build = build
        self._refreshing: dict[Channel, asyncio.Task[None]] = {}
        self._building: dict[Channel, asyncio.Task[Snapshot]] = {}
        self.recovered = 0
        self.not_recovered = 0
        self.new = 0

    async def close(self) -> None:
        """Stop building and refreshing."""
        await end(*self._refreshing.values(), *self._building.values())

    async def place(
        self,
        viewer: Viewer,
        message_id: str,
        since: Position | None,
        *,
        personal: dict[str, Any],
        token: str | None = None,
    ) -> None:
        """Write `Connected` and put `viewer` in step. `since` None: it knows nothing yet.

        Raises what building a snapshot raises, and `BusError`.
        """
        channel = viewer.channel
        if since is not None:
            missed = await self._missed(channel, since)
            # From here to the join nothing is awaited, so nothing arrives in between.
            events = [event for event in missed or () if event.offset <= channel.received]
            reached = Position(since.epoch, since.offset + len(events))
            rest = channel.join(viewer, reached) if missed is not None else None
            if rest is not None:
                self.recovered += 1
                if viewer.open:
                    channel.enter(viewer)
                    connected = self._connected(viewer, message_id, channel.position, personal, token)
                    connected = replace(connected, recovered=True, events=[*events, *rest])
                    # States are not numbered: nobody knows which of them it has seen.
                    viewer.send([connected, *channel.states_since(-math.inf, viewer.staff)], "snapshot")
                return
            self.not_recovered += 1
        else:
            self.new += 1
        for _ in range(_ATTEMPTS):
            if await self._greet(viewer, message_id, personal, token):
                return
        raise Problem(Kind.overloaded, "More happens in this show than a snapshot can be built for.")

    def refresh(self, channel: Channel) -> None:
        """Give a snapshot to every viewer of `channel` that waits for one."""
        if channel not in self._refreshing:
            task = asyncio.create_task(self._refresh(channel), name=f"refresh {channel.show}")
            self._refreshing[channel] = task

    async def _missed(self, channel: Channel, since: Position) -> list[Event] | None:
        """The events after `since`; maybe newer ones too."""
        if since.epoch != channel.epoch or since.offset < 0:
            return None
        deadline_s = asyncio.get_running_loop().time() + REACH_TIMEOUT_S
        while since.offset > channel.received:  # the client was served by a worker that is ahead of this one
            if asyncio.get_running_loop().time() > deadline_s:
                return None
            await asyncio.sleep(BATCH_INTERVAL_S)
        if (near := channel.since(since)) is not None:
            return near
        if channel.received - since.offset > RECOVERY_EVENTS_MAX:
            return None
        found = await self._hub.history(channel, since, RECOVERY_EVENTS_MAX)
        return None if channel.received - since.offset > RECOVERY_EVENTS_MAX else found  # more came meanwhile

    async def _greet(self, viewer: Viewer, message_id: str, personal: dict[str, Any], token: str | None) -> bool:
        channel = viewer.channel
        snapshot = await self._newest(channel)
        rest = channel.join(viewer, snapshot.position)
        if rest is None:
            return False
        if viewer.open:
            channel.enter(viewer)
            connected = self._connected(viewer, message_id, snapshot.position, personal, token)
            self._write(viewer, connected, snapshot, rest)
        return True

    def _write(self, viewer: Viewer, connected: Connected, snapshot: Snapshot, rest: list[Event]) -> None:
        states = viewer.channel.states_since(snapshot.since_s, viewer.staff)
        raw: Any = snapshot.raw(viewer.encoding)
        messages: list[ServerMessage] = [replace(connected, snapshot=raw), *rest, *states]
        written = spliced(messages, viewer.encoding)
        viewer.write(written)
        viewer.channel.figures.sent("snapshot", len(written))

    def _connected(
        self, viewer: Viewer, message_id: str, position: Position, personal: dict[str, Any], token: str | None
    ) -> Connected:
        return Connected(
            id=message_id,
            viewer=wire_viewer(viewer.principal),
            position=position,
            recovered=False,
            time_ms=self._clock.now_ms(),
            personal=personal,
            token=token,
        )

    async def _newest(self, channel: Channel) -> Snapshot:
        kept = channel.kept
        now_s = asyncio.get_running_loop().time()
        if kept and now_s - kept.since_s < SNAPSHOT_KEPT_S and channel.since(kept.position) is not None:
            return kept
        building = self._building.get(channel)
        if building is None:
            building = asyncio.create_task(self._make(channel), name=f"snapshot {channel.show}")
            self._building[channel] = building
            building.add_done_callback(_heard)
        return await asyncio.shield(building)

    async def _make(self, channel: Channel) -> Snapshot:
        try:
            position, since_s = channel.position, asyncio.get_running_loop().time()
            channel.kept = Snapshot(position, since_s, await self._build(channel.show))
            return channel.kept
        finally:
            del self._building[channel]

    async def _refresh(self, channel: Channel) -> None:
        """The same for many at once, without what is personal: a thousand carts would not be ready at once.

        Clients keep what they have of it.
        """
        try:
            while waiting := [v for v in channel.viewers if v.next == 0 and not v.stalled_s and v.open]:
                await self._refresh_some(channel, waiting)
                await asyncio.sleep(0)
        finally:
            # Here and not in a callback: who waits from now on must find that nobody is at work.
            del self._refreshing[channel]

    async def _refresh_some(self, channel: Channel, waiting: list[Viewer]) -> None:
        loop = asyncio.get_running_loop()
        retry_s = BUS_RETRY_S_MIN
        while True:
            try:
                snapshot = await self._newest(channel)
                break
            except Problem as problem:
                if problem.kind is Kind.unknown_show:
                    for viewer in waiting:
                        viewer.shut(UNKNOWN_SHOW)
                    return
            except Exception:  # a store's, or our own bug: the viewers wait for a better moment
                log.exception("building the snapshot of %s failed", channel.show)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, BUS_RETRY_S_MAX)
        start_s = loop.time()
        for viewer in waiting:
            if viewer.next != 0 or viewer.stalled_s or not viewer.open or viewer not in channel.viewers:
                continue
            rest = channel.join(viewer, snapshot.position)
            if rest is None:
                return  # restarted again meanwhile
            try:
                self._write(viewer, self._connected(viewer, "", snapshot.position, {}, None), snapshot, rest)
            except Exception:
                channel.broke(viewer)
            if loop.time() - start_s > FANOUT_SLICE_S:
                await asyncio.sleep(0)
                start_s = loop.time()


def _heard(task: "asyncio.Task[Snapshot]") -> None:
    """Those who wait for a build have its exception; nobody may be left to."""
    if not task.cancelled():
        task.exception()
