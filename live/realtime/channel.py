"""One show on one worker: what came from the bus, what the viewers have, and how the difference gets to them.

The invariant that drives everything: a viewer is written a batch of events only when the batch begins at the
viewer's `next` offset, and then `next` moves past it. So no viewer ever gets an event twice or misses one silently,
however batches, joins, stalls and recoveries interleave. `next` is

    > 0  in step: the offset of the next event to write
    = 0  waits for a fresh snapshot (the epoch is new, or the events are no longer here)
    < 0  stalled: the peer reads too slowly and is skipped; -next is what it misses first

Events of the bus are appended to `pending`; a flush makes one frame per encoding of all that is pending, moves them
to `tail` (kept for those who join or drain later) and writes the frame to everybody: at once when the show was
quiet, else every 25 ms, or as rarely as keeps the writing below a fifth of the loop's time. Writing is sliced, so
that the loop serves others in between; what arrives meanwhile becomes the next batch.

No task, no queue, no encoding per viewer: a delivery is one call of `transport.write` with bytes that all share.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from live.core.auth import Principal, Role
from live.core.codec import Encoding
from live.core.errors import Close
from live.core.limits import (
    BATCH_BYTES_MAX,
    BATCH_EVENTS_MAX,
    BATCH_INTERVAL_S,
    BATCH_INTERVAL_S_MAX,
    FANOUT_SHARE_MAX,
    FANOUT_SLICE_S,
    RECOVERY_EVENTS_MAX,
    STATE_INTERVAL_S,
    STATES_MAX,
)
from live.core.position import Position
from live.realtime.frames import frame, raw
from live.realtime.payloads import PublishedEvent
from live.realtime.protocol import Event, Notice, ServerMessage, State
from live.realtime.transport import Socket

_CHECK_EVERY = 64  # writes between two looks at the clock


class Viewer:
    """A socket that has joined. `write` is the transport's own method; `stalled_s` is 0.0 while it keeps up."""

    __slots__ = ("_socket", "channel", "encoding", "next", "principal", "stalled_s", "write")

    def __init__(self, socket: Socket, encoding: Encoding, principal: Principal, channel: "Channel") -> None:
        self._socket = socket
        self.write = socket.write
        self.encoding = encoding
        self.principal = principal
        self.channel = channel
        self.next = 0
        self.stalled_s = 0.0

    @property
    def staff(self) -> bool:
        return self.principal.role is not Role.viewer

    @property
    def open(self) -> bool:
        """Whether anything may still be written."""
        return self._socket.open

    def send(self, messages: Sequence[ServerMessage]) -> None:
        """Write `messages` to this viewer alone, in order with everything else it is written."""
        self.write(frame(messages, self.encoding))

    def shut(self, close: Close) -> None:
        """Leave the channel and close the socket."""
        self.lost()
        self._socket.shut(close)

    # --- transport.Watcher

    def stalled(self) -> None:
        if not self.stalled_s:
            self.stalled_s = asyncio.get_running_loop().time()
            self.next = -self.next
            self.channel.slow.add(self)

    def drained(self) -> None:
        if self.stalled_s:
            self.stalled_s = 0.0
            self.next = -self.next
            self.channel.slow.discard(self)
            self.channel.catch_up(self)

    def lost(self) -> None:
        self.channel.leave(self)


class Snapshot(msgspec.Struct):
    """The whole show as of `position`, begun to be built at `since_s` (loop seconds), and its encodings."""

    position: Position
    since_s: float
    value: dict[str, Any]
    encoded: dict[Encoding, msgspec.Raw] = {}

    def raw(self, encoding: Encoding) -> msgspec.Raw:
        """The encoded value, made on first use."""
        if encoding not in self.encoded:
            self.encoded[encoding] = raw(self.value, encoding)
        return self.encoded[encoding]


class _Fact(msgspec.Struct):
    """The newest value of a state and when it came (loop seconds)."""

    message: State
    staff: bool
    since_s: float


class Channel:
    """See the module. `refresh` is called with viewers whose `next` is 0, to give them a snapshot."""

    def __init__(self, show: str, position: Position, refresh: Callable[["Channel", Iterable[Viewer]], None]) -> None:
        self.show = show
        self.epoch = position.epoch
        self.received = position.offset  # of the newest event from the bus
        self.flushed = position.offset  # of the newest event that was made into a frame
        self.viewers: set[Viewer] = set()
        self.slow: set[Viewer] = set()
        self.people: dict[str, tuple[Viewer, ...]] = {}  # the sockets of each viewer id
        self._speakers: Counter[Encoding] = Counter()  # sockets of each encoding
        self._staff: set[str] = set()
        self.tail: deque[Event] = deque(maxlen=RECOVERY_EVENTS_MAX)  # flushed events, oldest first
        self.delivered = 0  # frames with events
        self.delivered_events = 0
        self.batches = 0
        self.skipped = 0
        self.kept: Snapshot | None = None  # serves all who join within a moment
        self._refresh = refresh
        self._loop = asyncio.get_running_loop()
        self._pending: list[Event] = []
        self._pending_bytes = 0
        self._facts: dict[tuple[str, str], _Fact] = {}
        self._changed: set[tuple[str, str]] = set()
        self._states_due_s = 0.0
        self._batch_due_s = 0.0
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._timer_due_s = 0.0
        self._writing: _Fanout | None = None

    @property
    def position(self) -> Position:
        """What a viewer in step has got."""
        return Position(self.epoch, self.flushed)

    @property
    def audience(self) -> int:
        """How many people watch: viewer ids, not sockets, and not the staff."""
        return len(self.people) - len(self._staff)

    def audience_ids(self) -> set[str]:
        """The ids of those that `audience` counts."""
        return self.people.keys() - self._staff

    # --- from the bus

    def event(self, offset: int, published: PublishedEvent, size_bytes: int) -> None:
        """Take the event that follows `received`."""
        assert offset == self.received + 1, "the hub closes gaps before it hands over"
        self.received = offset
        self._pending.append(Event(offset, published.at_ms, published.name, published.data))
        self._pending_bytes += size_bytes
        if len(self._pending) > BATCH_EVENTS_MAX:
            self.restart(Position(self.epoch, offset))
            return
        now_s = self._loop.time()
        self._wake(now_s if self._pending_bytes >= BATCH_BYTES_MAX else max(now_s, self._batch_due_s))

    def state(self, message: State, staff: bool) -> None:
        """Take the newest value of something; it goes out within STATE_INTERVAL_S, unless a newer one comes."""
        key = (message.name, message.key)
        if key not in self._facts and len(self._facts) >= STATES_MAX:
            self._facts.pop(next(iter(self._facts)))
        now_s = self._loop.time()
        self._facts.pop(key, None)  # the newest is last
        self._facts[key] = _Fact(message, staff, now_s)
        self._changed.add(key)
        self._wake(max(now_s, self._states_due_s))

    def notice(self, viewer_id: str, message: Notice) -> None:
        """Tell all sockets of one viewer, as far as they keep up."""
        for viewer in self.people.get(viewer_id, ()):
            if viewer.next > 0:
                viewer.send([message])

    def restart(self, position: Position) -> None:
        """All that is known is void: everybody takes a snapshot, and events count on from `position`."""
        self.epoch = position.epoch
        self.received = self.flushed = position.offset
        self.tail.clear()
        self._pending.clear()
        self._pending_bytes = 0
        self._writing = None
        for viewer in self.viewers:
            viewer.next = 0
        self._refresh(self, self.viewers)

    # --- viewers

    def join(self, viewer: Viewer, since: Position) -> list[Event] | None:
        """Put `viewer` in step; answers the flushed events after `since` that it must be written now, first.

        None: they are not here any longer, and the viewer is not in step.
        """
        events = self.since(since)
        if events is None:
            return None
        viewer.next = self.flushed + 1
        if viewer.stalled_s:
            viewer.next = -viewer.next
        return events

    def since(self, position: Position) -> list[Event] | None:
        """The flushed events after `position`; None when some of them are not here."""
        missing = self.flushed - position.offset
        if position.epoch != self.epoch or missing < 0 or missing > len(self.tail):
            return None
        return [self.tail[i] for i in range(len(self.tail) - missing, len(self.tail))] if missing else []

    def states_since(self, since_s: float, staff: bool) -> list[State]:
        """The states that changed since (loop seconds): a snapshot of then does not know them."""
        return [f.message for f in self._facts.values() if f.since_s >= since_s and (staff or not f.staff)]

    def enter(self, viewer: Viewer) -> None:
        """Count `viewer` in; it is written nothing until it joins or is refreshed."""
        self.viewers.add(viewer)
        if viewer.stalled_s:
            self.slow.add(viewer)
        self._speakers[viewer.encoding] += 1
        subject = viewer.principal.subject
        self.people[subject] = (*self.people.get(subject, ()), viewer)
        if viewer.staff:
            self._staff.add(subject)

    def leave(self, viewer: Viewer) -> None:
        """Count `viewer` out; may be called twice."""
        viewer.next = 0
        if viewer not in self.viewers:
            return
        self.viewers.discard(viewer)
        self.slow.discard(viewer)
        self._speakers[viewer.encoding] -= 1
        subject = viewer.principal.subject
        others = tuple(other for other in self.people[subject] if other is not viewer)
        if others:
            self.people[subject] = others
        else:
            del self.people[subject]
            self._staff.discard(subject)

    def catch_up(self, viewer: Viewer) -> None:
        """Give a viewer that has drained what it missed."""
        if viewer not in self.viewers or viewer.stalled_s:
            return
        events = self.since(Position(self.epoch, viewer.next - 1)) if viewer.next > 0 else None
        if events is None:
            viewer.next = 0
            self._refresh(self, (viewer,))
        elif events:
            viewer.next = self.flushed + 1
            viewer.send(events)

    def tell(self, messages: Sequence[ServerMessage]) -> None:
        """Write unnumbered messages to everybody who keeps up, unless a batch is just being written."""
        if self._writing is None:
            self._write(_Fanout(self._frames(messages), 0, 0, list(self.viewers)))

    def close(self) -> None:
        """Stop the timer; nothing more is written."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._writing = None

    # --- batches

    def _wake(self, due_s: float) -> None:
        if self._writing is not None:
            return  # its end looks again
        if self._timer is not None:
            if self._timer_due_s <= due_s:
                return
            self._timer.cancel()
        self._timer_due_s = due_s
        # call_soon, not at once: what the bus's reader hands over in one go becomes one batch.
        soon = due_s <= self._loop.time()
        self._timer = self._loop.call_soon(self._flush) if soon else self._loop.call_at(due_s, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._writing is not None:
            return  # its end looks again
        now_s = self._loop.time()
        events, self._pending, self._pending_bytes = self._pending, [], 0
        messages: list[ServerMessage] = list(events)
        private: list[ServerMessage] = []
        if self._changed and now_s >= self._states_due_s:
            for key in self._changed:
                if fact := self._facts.get(key):
                    (private if fact.staff else messages).append(fact.message)
            self._changed.clear()
            self._states_due_s = now_s + STATE_INTERVAL_S
        if private:
            for viewer in self.viewers:
                if viewer.next > 0 and viewer.staff:
                    viewer.send(private)
        if not messages:
            self._again()
            return
        first = events[0].offset if events else 0
        self.tail.extend(events)
        self.flushed = self.received
        self._batch_due_s = now_s + BATCH_INTERVAL_S
        self.batches += 1
        self._write(_Fanout(self._frames(messages), first, self.received + 1, list(self.viewers)))

    def _frames(self, messages: Sequence[ServerMessage]) -> dict[Encoding, bytes]:
        return {encoding: frame(messages, encoding) for encoding, count in self._speakers.items() if count}

    def _write(self, fanout: "_Fanout") -> None:
        """Write for one slice; the rest follows when others have had the loop."""
        if fanout is not self._writing and fanout.at:
            return  # restarted meanwhile
        start_s = self._loop.time()
        targets, first, after = fanout.targets, fanout.first, fanout.after
        json, msgpack = fanout.frames.get("json", b""), fanout.frames.get("msgpack", b"")
        at, sent = fanout.at, 0
        while at < len(targets):
            stop = at + _CHECK_EVERY
            if first:
                for viewer in targets[at:stop]:
                    if viewer.next == first:
                        viewer.next = after
                        viewer.write(json if viewer.encoding == "json" else msgpack)
                        sent += 1
                    elif viewer.next < 0:
                        self.skipped += 1
            else:
                for viewer in targets[at:stop]:
                    if viewer.next > 0:
                        viewer.write(json if viewer.encoding == "json" else msgpack)
            at = stop
            if self._loop.time() - start_s > FANOUT_SLICE_S and at < len(targets):
                break
        self.delivered += sent
        self.delivered_events += sent * (after - first)
        fanout.at = at
        fanout.spent_s += self._loop.time() - start_s
        if at < len(targets):
            self._writing = fanout
            self._loop.call_soon(self._write, fanout)
            return
        self._writing = None
        # A large audience takes longer to write to than the interval is long: batches grow instead of the load.
        interval_s = min(max(BATCH_INTERVAL_S, fanout.spent_s / FANOUT_SHARE_MAX), BATCH_INTERVAL_S_MAX)
        self._batch_due_s = self._batch_due_s - BATCH_INTERVAL_S + interval_s
        self._again()

    def _again(self) -> None:
        """Look at what arrived meanwhile."""
        now_s = self._loop.time()
        due = []
        if self._pending:
            due.append(max(now_s, self._batch_due_s))
        if self._changed:
            due.append(max(now_s, self._states_due_s))
        if due:
            self._wake(min(due))


class _Fanout:
    """A batch on its way: `first` 0 means that it holds no event; `at` is the index of the next target."""

    __slots__ = ("after", "at", "first", "frames", "spent_s", "targets")

    def __init__(self, frames: dict[Encoding, bytes], first: int, after: int, targets: list[Viewer]) -> None:
        self.frames = frames
        self.first = first
        self.after = after
        self.targets = targets
        self.at = 0
        self.spent_s = 0.0
