"""The newest events of a show, by offset: what viewers are written next, and what those who return have missed.

An event is encoded once per encoding, when the first viewer needs it; a frame joins such pieces.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from live.core.codec import Encoding
from live.realtime.frames import encoded, joined
from live.realtime.protocol import Event


class _Entry:
    """An event and its encodings."""

    __slots__ = ("event", "json", "msgpack")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.json = self.msgpack = b""

    def encoded(self, encoding: Encoding) -> bytes:
        if encoding == "json":
            self.json = self.json or encoded(self.event, "json")
            return self.json
        self.msgpack = self.msgpack or encoded(self.event, "msgpack")
        return self.msgpack


class Tail:
    """See the module. `last` is the offset of the newest event, which may be gone already."""

    __slots__ = ("_entries", "last")

    def __init__(self, last: int) -> None:
        self.last = last
        self._entries: deque[_Entry] = deque()

    def append(self, event: Event) -> None:
        """Take the event that follows `last`."""
        assert event.offset == self.last + 1, "whoever feeds the tail closes gaps before"
        self.last = event.offset
        self._entries.append(_Entry(event))

    def trim(self, keep: int) -> None:
        """Forget all but the newest `keep` events."""
        while len(self._entries) > keep:
            self._entries.popleft()

    def since(self, offset: int) -> list[Event] | None:
        """The events after `offset`; None when some are not here."""
        entries = self._since(offset)
        return None if entries is None else [entry.event for entry in entries]

    def frame(self, since: int, more: Sequence[bytes], encoding: Encoding) -> bytes:
        """A frame of the events after `since` and of `more` messages, encoded ones; b"" when there is nothing."""
        entries = self._since(since)
        assert entries is not None, "what a viewer in step needs is kept"
        parts = [*(entry.encoded(encoding) for entry in entries), *more]
        return joined(parts, encoding) if parts else b""

    def _since(self, offset: int) -> list[_Entry] | None:
        missing = self.last - offset
        if not 0 <= missing <= len(self._entries):
            return None
        return list(islice(self._entries, len(self._entries) - missing, None))
