"""How a viewer gets in step: the events it missed, complete, or a snapshot; never a part of either.

A snapshot is labelled with the position of the channel *before* it is built, so it may hold more than its label
says, never less; and every event is absolute, so applying one that is already in it does no harm. One build
serves everybody who joins within a second: they get the events and states since then on top of it.

States and notices have no numbers. So whoever comes back is told the newest of all states, and what is personal. A
worker that begins to listen to a show asks the bus for the newest of each state, together with the events
(`Bus.recent`), and serves those who were elsewhere as one that listened all the while. Where states may be missing,
because it was deaf or there are more than are kept, events alone are enough for nobody who left before: what changed
meanwhile may be told by nobody again. Notices that come while what is personal is read are told after it, being newer
or the same.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

from msgspec.structs import replace

from live.core.auth import Principal
from live.core.clock import Clock
from live.core.errors import BUS_LOST, UNKNOWN_SHOW, Kind, Problem
from live.core.limits import (
    BATCH_INTERVAL_S,
    BUS_RETRY_S_MAX,
    BUS_RETRY_S_MIN,
    FANOUT_SLICE_S,
    REACH_TIMEOUT_S,
    RETURNING_MAX,
    SNAPSHOT_KEPT_S,
)
from live.core.position import Position
from live.core.tasks import end
from live.realtime.channel import Channel, Viewer
from live.realtime.frames import frame
from live.realtime.protocol import Connected, Event, ServerMessage, wire_viewer
from live.realtime.snapshot import Snapshot

log = logging.getLogger(__name__)
_ATTEMPTS = 5  # at a snapshot that is not outdated by more events than are kept when it is built
Personal = dict[str, Any]


class Recovery:
    """See the module. `recovered` and `not_recovered` count how viewers with a position were served, `new` the rest.

    `build` reads what everybody sees of a show, `personal` what one viewer sees besides.
    """

    def __init__(
        self,
        clock: Clock,
        build: Callable[[str], Awaitable[dict[str, Any]]],
        personal: Callable[[str, Principal], Awaitable[Personal]],
    ) -> None:
        self._clock = clock
        self._build = build
        self._personal = personal
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
        here: bool = False,
        personal: Personal | None = None,
        token: str | None = None,
    ) -> None:
        """Write `Connected` and put `viewer` in step. `since` None: it knows nothing yet; `here`: it was in step with
        this channel till now; `personal` None: it is read.

        Raises what reading and building a snapshot raise.
        """
        channel = viewer.channel
        if viewer.open:
            channel.enter(viewer)
        for _ in range(_ATTEMPTS):
            here = here and not viewer.owed
            viewer.held, viewer.owed = [], False
            known = await self._personal(channel.show, viewer.principal) if personal is None else personal
            if since is not None:
                await self._reached(channel, since)
                if (here or since.offset > channel.heard_from) and not viewer.owed:
                    if self._recover(viewer, message_id, since, known, token):
                        self.recovered += 1
                        return
            if await self._greet(viewer, message_id, known, token):
                self.new += since is None
                self.not_recovered += since is not None
                return
        raise Problem(Kind.overloaded, "More happens in this show than a snapshot can be built for.")

    def refresh(self, channel: Channel) -> None:
        """Give a snapshot to every viewer of `channel` that waits for one."""
        if channel not in self._refreshing:
            task = asyncio.create_task(self._refresh(channel), name=f"refresh {channel.show}")
            self._refreshing[channel] = task

    async def _reached(self, channel: Channel, since: Position) -> None:
        """Wait when the client was served by a worker that is ahead of this one; not for long."""
        deadline_s = asyncio.get_running_loop().time() + REACH_TIMEOUT_S
        while since.epoch == channel.epoch and since.offset > channel.received:
            if asyncio.get_running_loop().time() > deadline_s:
                return
            await asyncio.sleep(BATCH_INTERVAL_S)

    def _recover(self, viewer: Viewer, message_id: str, since: Position, personal: Personal, token: str | None) -> bool:
        channel = viewer.channel
        events = channel.join(viewer, since)
        if events is None:
            return False
        held, viewer.held = viewer.held or [], None
        if viewer.open:
            connected = self._connected(viewer, message_id, channel.position, personal, token)
            connected = replace(connected, recovered=True, events=events)
            # States are not numbered: nobody knows which of them it has seen.
            viewer.send([connected, *channel.states_since(-math.inf, viewer.staff), *held], "snapshot")
        return True

    async def _greet(self, viewer: Viewer, message_id: str, personal: Personal, token: str | None) -> bool:
        snapshot = await self._newest(viewer.channel)
        rest = self._join(viewer, snapshot)
        if rest is None:
            return False
        connected = self._connected(viewer, message_id, snapshot.position, personal, token)
        self._write(viewer, connected, snapshot, rest)
        return True

    def _join(self, viewer: Viewer, snapshot: Snapshot) -> list[Event] | None:
        """Put `viewer` in step; the events since `snapshot`, None when it, or what is personal, is out of date."""
        channel = viewer.channel
        if viewer.owed or snapshot.since_s < channel.heard_s:
            return None
        return channel.join(viewer, snapshot.position)

    def _write(self, viewer: Viewer, connected: Connected, snapshot: Snapshot, rest: list[Event]) -> None:
        held, viewer.held = viewer.held or [], None
        if not viewer.open:
            return
        states = viewer.channel.states_since(snapshot.since_s, viewer.staff)
        raw: Any = snapshot.raw(viewer.encoding)
        messages: list[ServerMessage] = [replace(connected, snapshot=raw), *rest, *states, *held]
        written = frame(messages, viewer.encoding)
        viewer.write(written)
        viewer.channel.figures.sent("snapshot", len(written))

    def _connected(
        self, viewer: Viewer, message_id: str, position: Position, personal: Personal, token: str | None
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
        if (
            kept
            and max(now_s - SNAPSHOT_KEPT_S, channel.heard_s) <= kept.since_s
            and channel.since(kept.position) is not None
        ):
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
        """The same for many at once, and what is personal for those who may have missed a notice. Of the rest of it
        clients keep what they have."""
        try:
            while waiting := list(islice(filter(_waits, channel.viewers), RETURNING_MAX)):
                await self._refresh_some(channel, waiting)
                await asyncio.sleep(0)
        finally:
            # Here and not in a callback: who waits from now on must find that nobody is at work.
            del self._refreshing[channel]

    async def _refresh_some(self, channel: Channel, waiting: list[Viewer]) -> None:
        held: dict[Viewer, list[ServerMessage]] = {viewer: [] for viewer in waiting if viewer.owed}
        for viewer, notices in held.items():
            viewer.held, viewer.owed = notices, False
        try:
            read = await self._patiently(channel, list(held))
            if read is None:
                for viewer in waiting:
                    viewer.shut(UNKNOWN_SHOW)
                return
            personal, snapshot = read
            await self._write_some(channel, waiting, held, snapshot, personal)
        finally:
            for viewer, notices in held.items():
                if viewer.held is notices:  # it still waits, or somebody else is at work for it
                    viewer.held, viewer.owed = None, True

    async def _write_some(
        self,
        channel: Channel,
        waiting: list[Viewer],
        held: dict[Viewer, list[ServerMessage]],
        snapshot: Snapshot,
        personal: dict[Viewer, Personal],
    ) -> None:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        for viewer in waiting:
            if viewer.next != 0 or viewer.stalled_s or viewer.owed or not viewer.open or viewer not in channel.viewers:
                continue
            if viewer.held is not held.get(viewer):
                continue  # on its way back in by itself
            rest = self._join(viewer, snapshot)
            if rest is None:
                return  # restarted again meanwhile
            connected = self._connected(viewer, "", snapshot.position, personal.get(viewer, {}), None)
            try:
                self._write(viewer, connected, snapshot, rest)
            except Exception:
                channel.broke(viewer)
            if loop.time() - start_s > FANOUT_SLICE_S:
                await asyncio.sleep(0)
                start_s = loop.time()

    async def _patiently(self, channel: Channel, owed: list[Viewer]) -> tuple[dict[Viewer, Personal], Snapshot] | None:
        """What is personal of `owed`, and a snapshot, however long it takes; None: there is no such show."""
        retry_s = BUS_RETRY_S_MIN
        while True:
            try:
                return await self._personal_of(channel, owed), await self._newest(channel)
            except Problem as problem:
                if problem.kind is Kind.unknown_show:
                    return None
            except Exception:  # a store's, or our own bug: the viewers wait for a better moment
                log.exception("building the snapshot of %s failed", channel.show)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, BUS_RETRY_S_MAX)

    async def _personal_of(self, channel: Channel, owed: list[Viewer]) -> dict[Viewer, Personal]:
        """Of each; raises when there is none to be had. For whom alone there is none comes back by itself."""
        reading = [self._personal(channel.show, viewer.principal) for viewer in owed]
        found = dict(zip(owed, await asyncio.gather(*reading, return_exceptions=True), strict=True))
        failed = {viewer: failure for viewer, failure in found.items() if isinstance(failure, BaseException)}
        if failed and len(failed) == len(found):
            raise next(iter(failed.values()))
        for viewer, failure in failed.items():
            log.error("what is personal in %s could not be read: %r", channel.show, failure)
            viewer.shut(BUS_LOST)
        return {viewer: read for viewer, read in found.items() if not isinstance(read, BaseException)}


def _waits(viewer: Viewer) -> bool:
    """Whether it is to be given a snapshot, and nobody is about to."""
    return viewer.next == 0 and not viewer.stalled_s and viewer.open and viewer.held is None


def _heard(task: "asyncio.Task[Snapshot]") -> None:
    """Those who wait for a build have its exception; nobody may be left to."""
    if not task.cancelled():
        task.exception()
