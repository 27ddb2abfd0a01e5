"""What one viewer was given, judged by the numbers of the events: nothing twice, nothing left out.

The rules are those of a browser. An event that follows the last one is applied. One that was seen before is a
duplicate. One that skips some is a *gap*: it is not applied, the viewer asks to recover, and takes events again
when it is answered; one that comes after its successor all the same is reordered. What a recovery delivers was late,
not lost; what a snapshot replaces was never delivered as events, and is counted apart; what a recovery leaves out, or
a viewer still lacks at the end, is lost.
"""

from collections.abc import Sequence as Offsets
from enum import Enum

from live.core.position import Position


class Verdict(Enum):
    """What a viewer does with an event."""

    applied = "applied"
    duplicate = "duplicate"
    gap = "gap"  # ask to recover
    ignored = "ignored"  # not connected, or a recovery is under way whose answer holds the event


class Sequence:
    """The position of one viewer, and what went wrong on the way there."""

    __slots__ = (
        "_ahead", "duplicates", "epoch", "gaps", "lost", "offset", "received", "recovering", "reordered", "replaced",
    )  # fmt: skip

    def __init__(self) -> None:
        self.epoch = ""
        self.offset = 0
        self.recovering = True
        self.received = 0  # applied, live or by recovery
        self.duplicates = 0
        self.gaps = 0
        self.reordered = 0  # came after one that follows it
        self._ahead = 0  # the event that showed the gap
        self.replaced = 0  # by a snapshot
        self.lost = 0

    def event(self, offset: int) -> Verdict:
        """Judge the event number `offset` of the present epoch."""
        if self.recovering:
            self.reordered += self.offset < offset < self._ahead
            return Verdict.ignored
        if offset == self.offset + 1:
            self.offset = offset
            self.received += 1
            return Verdict.applied
        if offset <= self.offset:
            self.duplicates += 1
            return Verdict.duplicate
        self.gaps += 1
        self.recovering, self._ahead = True, offset
        return Verdict.gap

    def reaches(self, position: Position, last: int) -> bool:
        """Whether nothing up to `position` is missing once the events up to `last` (0: there are none) are applied."""
        return position.epoch == self.epoch and position.offset <= (last or self.offset)

    def here(self, epoch: str, offset: int) -> bool:
        """Whether the viewer must recover, now that the server says where the stream stands."""
        if self.recovering or (epoch == self.epoch and offset <= self.offset):
            return False
        self.gaps += 1
        self.recovering = True
        return True

    def disconnected(self) -> None:
        """The socket is gone: nothing counts until `connected` or `restored`."""
        self.recovering, self._ahead = True, 0

    def connected(self, epoch: str, offset: int) -> None:
        """Take the position of a snapshot."""
        if epoch == self.epoch:
            self.replaced += max(0, offset - self.offset)
        self.epoch, self.offset, self.recovering, self._ahead = epoch, offset, False, 0

    def restored(self, epoch: str, offset: int, events: Offsets[int]) -> None:
        """Take the answer to a recovery: the numbers of its events, which must reach from here to `offset`."""
        for number in events:
            if number <= self.offset:
                self.duplicates += 1
                continue
            self.lost += number - self.offset - 1
            self.received += 1
            self.offset = number
        self.lost += max(0, offset - self.offset)
        self.epoch, self.offset, self.recovering, self._ahead = epoch, offset, False, 0

    def behind(self, epoch: str, offset: int) -> int:
        """How many events up to `offset` this viewer still lacks; 0 in another epoch."""
        return max(0, offset - self.offset) if epoch == self.epoch else 0
