"""One show on one worker: what came from the bus, what the viewers have, and how the difference gets to them.

The invariant that drives everything: a viewer is written exactly the events from its `next` offset to the newest
one, and then `next` moves past them. So no viewer ever gets an event twice or misses one silently, however writing,
joins, stalls and recoveries interleave. `next` is

    > 0  in step: the offset of the next event to write
    = 0  waits for a fresh snapshot (the epoch is new, or the events are no longer here)
    < 0  stalled: the peer reads too slowly and is skipped; -next is what it misses first

Viewers are written to in rounds, one after the other in the same order, and each is written all that is new *when
its turn comes*. So an event waits for a round at most. Were batches cut when a round begins, it would wait for the
next round to begin and then for its place in it: up to twice as long where a round takes as long as the interval
between two, as it does with ten thousand viewers (docs/decisions/raw-websocket-writes.md has the figures).

A round begins at once when the show was quiet; else in its `Pace` after the one before. It is written in slices (see
`turns`), in between which viewers come and go: who comes is not in the round and has everything already, who goes
is passed by.

No task, no queue, no encoding per viewer: a delivery is one call of `transport.write` with bytes that all share who
have the same `next`, which is nearly everybody.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Sequence

from live.core.codec import Encoding
from live.core.errors import BUS_LOST
from live.core.limits import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, RECOVERY_EVENTS_MAX
from live.core.position import Position
from live.realtime.audience import Audience
from live.realtime.facts import Facts
from live.realtime.figures import Figures, Kind
from live.realtime.frames import encoded
from live.realtime.payloads import PublishedEvent, PublishedState
from live.realtime.protocol import Event, Notice, ServerMessage, State
from live.realtime.snapshot import Snapshot
from live.realtime.tail import Tail
from live.realtime.traces import Traces
from live.realtime.turns import Pace, Turns
from live.realtime.viewer import STATE_WAITS_S, Viewer

__all__ = ["Channel", "Viewer"]

log = logging.getLogger(__name__)
_CHECK_EVERY = 16  # writes between two looks at the clock: 0.15 ms, or 1 ms where one takes ten times as long


class _Round:
    """A walk through the audience: `targets[:at]` have had their turn; `more` are messages for all, encoded."""

    __slots__ = ("at", "began_s", "began_s_loop", "more", "received", "spent_s", "targets")

    def __init__(self, targets: list[Viewer], more: dict[Encoding, list[bytes]], received: int) -> None:
        self.targets = targets
        self.more = more
        self.received = received  # when it began: what everybody in step will have when it ends
        self.at = 0
        self.spent_s = 0.0
        self.began_s = 0.0  # of the turns' clock
        self.began_s_loop = 0.0


class Channel:
    """See the module. `refresh` is called with viewers whose `next` is 0, to give them a snapshot."""

    def __init__(
        self, show: str, position: Position, refresh: Callable[["Channel", Iterable[Viewer]], None], turns: Turns
    ) -> None:
        self.show = show
        self.epoch = position.epoch
        # Who has seen a later event of this epoch has missed no state that is unknown here.
        self.heard_from: float = math.inf
        self.figures: Figures = turns.figures
        self.viewers: dict[Viewer, None] = {}  # in the order of their turns
        self.slow: set[Viewer] = set()
        self.people: Audience[Viewer] = Audience()
        self.kept: Snapshot | None = None  # serves all who join within a moment
        self.frames: dict[Encoding, dict[int, bytes]] = {"json": {}, "msgpack": {}}  # by `next`, of this moment
        self._refresh = refresh
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self.heard_s = self._loop.time()  # nothing is missing since
        self._tail = Tail(position.offset)
        self._settled = position.offset  # every viewer in step has had the events up to it
        self._waiting_bytes = 0  # of events that somebody has not had
        self._facts = Facts()
        self._told: list[ServerMessage] = []
        self._pace, self._due_s = Pace(), 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0  # when it is due; uvloop's handles of timers that are due already do not say
        self._round: _Round | None = None
        self.traces = Traces()
        self._since: asyncio.TimerHandle | None = None
        self._heard_since_now()

    @property
    def received(self) -> int:
        """The offset of the newest event from the bus."""
        return self._tail.last

    @property
    def position(self) -> Position:
        """Where the show stands; a viewer in step has got this or is about to."""
        return Position(self.epoch, self._tail.last)

    # --- from the bus

    def know(self, events: Iterable[PublishedEvent], states: Iterable[PublishedState], *, whole: bool) -> None:
        """Take what was told before there was anybody here: the `events` up to `received`, and the newest `states`.

        `whole`: there were no other states.
        """
        events = list(events)
        last = self.received
        self._tail = Tail(last - len(events))
        for offset, published in enumerate(events, last - len(events) + 1):
            self._tail.append(Event(offset, published.at_ms, published.name, published.data))
        for state in states:
            self._facts.know(State(state.name, state.data, state.key), state.staff)
        if whole:
            self._known_from(-1)

    def event(self, offset: int, published: PublishedEvent, size_bytes: int) -> None:
        """Take the event that follows `received`."""
        self._tail.append(Event(offset, published.at_ms, published.name, published.data))
        if offset - self._settled > BATCH_EVENTS_MAX:
            self.restart(self.position)
            return
        self._forget_frames()
        self._waiting_bytes += size_bytes
        self._wake(0.0 if self._waiting_bytes >= BATCH_BYTES_MAX else self._due_s)

    def state(self, message: State, staff: bool) -> None:
        """Take the newest value of something; it goes out in the first round that may begin after STATE_INTERVAL_S
        since the one before, unless a newer one comes. No round is made earlier for it: see `interval_s`.
        """
        if self._facts.put(message, staff, self._loop.time()):
            self._heard_since_now()
        self._wake(max(self._facts.due_s, self._due_s))

    def notice(self, viewer_id: str, message: Notice) -> None:
        """Tell all sockets of one viewer, as far as they keep up."""
        self._send_to(self.people.sockets(viewer_id), [message], "notice")

    def notice_staff(self, message: Notice) -> None:
        """Tell all sockets of all staff, as far as they keep up."""
        self._send_to(self.people.staff_sockets(), [message], "notice")

    def restart(self, position: Position, *, deaf: bool = False) -> None:
        """All that is known is void: everybody takes a snapshot, and events count on from `position`.

        `deaf`: states and notices may have been missed as well.
        """
        if deaf:
            self.heard_s, self.kept = self._loop.time(), None
            self._heard_since_now()
            self._facts = Facts()  # or an old value might be told after a snapshot that has the new one
            for viewer in self.viewers:
                viewer.owed = True
        self.epoch = position.epoch
        self._tail = Tail(position.offset)
        self._settled = position.offset
        self._waiting_bytes = 0
        self._round = None
        self.traces.void()
        self._forget_frames()
        for viewer in self.viewers:
            viewer.next = 0
        self._refresh(self, self.viewers)
        self._again()

    def _heard_since_now(self) -> None:
        """States of before may be unknown here. Workers tell events sooner than states, so only who has seen an event
        of STATE_WAITS_S later has surely been told them elsewhere.
        """
        self._known_from(math.inf)
        self._since = self._loop.call_later(STATE_WAITS_S, lambda: self._known_from(self.received))

    def _known_from(self, offset: float) -> None:
        if self._since is not None:
            self._since.cancel()
        self._since, self.heard_from = None, offset

    # --- viewers

    def join(self, viewer: Viewer, since: Position) -> list[Event] | None:
        """Put `viewer` in step; answers the events after `since` that it must be written now, first.

        None: they are not here any longer, and the viewer is not in step.
        """
        events = self.since(since)
        if events is None:
            return None
        viewer.next = self.received + 1
        if viewer.stalled_s:
            viewer.next = -viewer.next
        return events

    def since(self, position: Position) -> list[Event] | None:
        """The events after `position`; None when some are not here, or are more than one recovery may hold."""
        if position.epoch != self.epoch or self.received - position.offset > RECOVERY_EVENTS_MAX:
            return None
        return self._tail.since(position.offset)

    def states_since(self, since_s: float, staff: bool) -> list[State]:
        """The states that changed since (loop seconds): a snapshot of then does not know them."""
        return self._facts.since(since_s, staff)

    def enter(self, viewer: Viewer) -> None:
        """Count `viewer` in; it is written nothing until it joins or is refreshed."""
        self.viewers[viewer] = None
        if viewer.stalled_s:
            self.slow.add(viewer)
        self.people.enter(viewer.principal.subject, viewer, staff=viewer.staff)

    def leave(self, viewer: Viewer) -> None:
        """Count `viewer` out; may be called twice."""
        viewer.next = 0
        self.slow.discard(viewer)  # one may stall while it is out, on its way back in
        if viewer not in self.viewers:
            return
        del self.viewers[viewer]
        self.people.leave(viewer.principal.subject, viewer, self._loop.time())

    def catch_up(self, viewer: Viewer, since_s: float) -> None:
        """Give a viewer that has drained what it missed since (loop seconds), or a snapshot."""
        if viewer not in self.viewers or viewer.stalled_s:
            return
        known = viewer.next > 0 and not viewer.owed
        events = self.since(Position(self.epoch, viewer.next - 1)) if known else None
        if events is None:
            viewer.next = 0
            self._refresh(self, (viewer,))
            return
        viewer.next = self.received + 1
        missed: list[ServerMessage] = [*events, *self.states_since(since_s, viewer.staff)]
        if missed:
            viewer.send(missed, "event")

    def tell(self, message: ServerMessage) -> None:
        """Write an unnumbered message to everybody who keeps up, after the events there are by now."""
        self._told.append(message)
        self._wake(self._due_s)

    def close(self) -> None:
        """Nothing more is written."""
        for handle in (self._timer, self._since):
            if handle is not None:
                handle.cancel()
        self._timer = self._since = self._round = None
        self._turns.remove(self)

    # --- rounds

    def _wake(self, due_s: float) -> None:
        """Begin a round then, or soon when that is past; a round that is under way looks again at its end."""
        if self._round is not None or due_s <= self._loop.time():
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._turns.add(self)
        elif not self._turns.waits(self) and (self._timer is None or due_s < self._timer_s):
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_s = self._loop.call_at(due_s, self._wake, 0.0), due_s

    def _begin(self) -> _Round:
        now_s = self._loop.time()
        states, private = self._facts.take(now_s)
        if private:
            self._send_to(self.people.staff_sockets(), private, "state")
        public: list[ServerMessage] = [*states, *self._told]
        self._told = []
        more: dict[Encoding, list[bytes]] = {e: [encoded(m, e) for m in public] for e in self.frames} if public else {}
        # A copy, because viewers come and go meanwhile: 0.06 ms for ten thousand of them, before 75 ms of writing.
        targets = list(self.viewers) if public or self.received > self._settled else []
        begun = _Round(targets, more, self.received)
        begun.began_s, begun.began_s_loop = self._turns.clock(), now_s
        self.traces.began(self.received)
        self._waiting_bytes = 0
        self._forget_frames()
        return begun

    def write(self, until_s: float) -> bool:
        """Write to some of the audience, until then; whether some are left. Called by the turns."""
        clock, figures = self._turns.clock, self.figures
        if self._round is None:
            self._round = self._begin()
        round_ = self._round
        targets, at = round_.targets, round_.at
        start_s = now_s = clock()
        after = self.received + 1
        frames = events = size = states = states_size = 0
        while at < len(targets):
            try:
                for viewer in targets[at : at + _CHECK_EVERY]:
                    first = viewer.next
                    written = viewer.frames.get(first)
                    if written is None:
                        written = self._frame(viewer)
                    if not written:
                        continue
                    if first == after:
                        states += 1
                        states_size += len(written)
                    else:
                        viewer.next = after
                        frames += 1
                        events += after - first
                        size += len(written)
                    viewer.write(written)
                at += _CHECK_EVERY
            except Exception:
                at = targets.index(viewer, at) + 1
                self.broke(viewer)
            now_s = clock()
            if now_s >= until_s:
                break
        round_.at = at
        round_.spent_s += now_s - start_s
        figures.frames["event"] += frames
        figures.bytes["event"] += size
        figures.events += events
        figures.frames["state"] += states
        figures.bytes["state"] += states_size
        if self._round is not round_:
            return False
        if at < len(targets):
            return True
        self._finish(round_, now_s)
        return False

    def broke(self, viewer: Viewer) -> None:
        """Writing to `viewer` has failed: it goes, and keeps nobody else from theirs."""
        log.exception("writing to a viewer of %s failed", self.show)
        self.figures.broken += 1
        self.leave(viewer)
        self._loop.call_soon(viewer.shut, BUS_LOST)

    def _frame(self, viewer: Viewer) -> bytes:
        """What `viewer` is to be written now, b"" when nothing; the same bytes for all who are where it is."""
        if viewer.next <= 0:
            self.figures.skipped += viewer.next < 0
            return b""
        assert self._round is not None
        more = self._round.more.get(viewer.encoding, ())
        made = self._tail.frame(viewer.next - 1, more, viewer.encoding)
        viewer.frames[viewer.next] = made
        return made

    def _forget_frames(self) -> None:
        for made in self.frames.values():
            made.clear()

    def _finish(self, round_: _Round, now_s: float) -> None:
        self._round = None
        self._forget_frames()
        if round_.targets:
            self.figures.rounds += 1
            self.figures.broadcast_s.observe(now_s - round_.began_s)
        self._settled = round_.received
        self.traces.finished(round_.received, len(round_.targets))
        self._tail.trim(max(RECOVERY_EVENTS_MAX, self.received - self._settled))
        self._due_s = round_.began_s_loop + self._pace.after(round_.spent_s, now_s - round_.began_s)
        self._again()

    def _again(self) -> None:
        """Look at what arrived meanwhile."""
        if self.received > self._settled or self._told:
            self._wake(self._due_s)
        if self._facts.changed:
            self._wake(max(self._facts.due_s, self._due_s))

    def _send_to(self, viewers: Iterable[Viewer], messages: Sequence[ServerMessage], kind: Kind) -> None:
        for viewer in tuple(viewers):
            if viewer.stalled_s or viewer.held is not None:
                if kind == "notice":
                    viewer.withhold(messages)
                continue
            try:
                viewer.send(messages, kind)
            except Exception:
                self.broke(viewer)
