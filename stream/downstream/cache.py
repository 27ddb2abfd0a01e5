"""What the relay remembers of one stream: the newest packets, and where the newest keyframe began.

One ring serves three needs. A viewer's NACK finds a packet by its sequence number. A joining viewer walks the ring from
the keyframe to the head, so that it has a whole picture at once instead of after the host's next keyframe (the way of
galene). And a number that is in the ring, or older than it, is taken: a second packet of that number is never sent,
because one number with two contents would use SRTP's key stream twice.

Bounds: GOP_PACKETS_MAX packets in all; a group of pictures (GOP) that is longer, heavier than GOP_BYTES_MAX or older
than GOP_AGE_S_MAX is not played to anybody, nor is one with a hole that nobody will fill (GOP_HOLE_PACKETS_MAX).
"""

from dataclasses import dataclass

from live.core.limits import GOP_AGE_S_MAX, GOP_BYTES_MAX, GOP_HOLE_PACKETS_MAX, GOP_PACKETS_MAX
from stream.downstream.layers import Mark


@dataclass(slots=True)
class Entry:
    """One packet in the relay's numbers. `layer` is an index in `Feed.rids` or AUDIO."""

    layer: int
    mark: Mark
    packet: bytes
    opens_keyframe: bool


class PacketCache:
    """The ring. Sequence numbers are extended ones (they never wrap); times are monotonic seconds."""

    def __init__(self, packets_max: int = GOP_PACKETS_MAX) -> None:
        """`packets_max` is a power of two."""
        self._size = packets_max
        self._entries: list[Entry | None] = [None] * packets_max
        self._numbers = [-1] * packets_max
        self._gop_start: int | None = None
        self._gop_timestamp = -1
        self._gop_at = 0.0
        self._gop_bytes = 0
        self.head = 0
        """One past the newest packet."""

    def taken(self, sequence: int) -> bool:
        """Whether a packet of this number was put, or can no more be told from one that was."""
        return sequence <= self.head - self._size or self._numbers[sequence & (self._size - 1)] == sequence

    def put(self, entry: Entry, now: float) -> bool:
        """Keep `entry`, whose number is not taken; returns whether it begins a new group of pictures."""
        sequence, timestamp = entry.mark.sequence, entry.mark.timestamp
        assert not self.taken(sequence), "asked before"
        slot = sequence & (self._size - 1)
        self._entries[slot] = entry
        self._numbers[slot] = sequence
        if sequence > self.head + GOP_HOLE_PACKETS_MAX:
            self._gop_start = None
        self.head = max(self.head, sequence + 1)
        new = False
        if entry.opens_keyframe:
            if timestamp != self._gop_timestamp:
                new = self._gop_start is None or sequence > self._gop_start
            elif self._gop_start is not None:
                # Parameter sets that were overtaken by their picture on the way belong to the same group.
                self._gop_start = min(self._gop_start, sequence)
        if new:
            self._gop_start, self._gop_timestamp, self._gop_at, self._gop_bytes = sequence, timestamp, now, 0
        self._gop_bytes += len(entry.packet)
        return new

    def get(self, sequence: int) -> Entry | None:
        """The packet of an extended sequence number; None when it never came or is gone."""
        slot = sequence & (self._size - 1)
        return self._entries[slot] if self._numbers[slot] == sequence else None

    def find(self, number: int) -> Entry | None:
        """The newest packet whose 16-bit sequence number is `number`; None when it is gone."""
        return self.get(self.head - 1 - ((self.head - 1 - number) & 0xFFFF))

    def opens_gop(self, entry: Entry) -> bool:
        """Whether `put` would begin a new group of pictures with it, as far as that can be told before."""
        return entry.opens_keyframe and entry.mark.timestamp != self._gop_timestamp

    def gop(self, now: float) -> int | None:
        """Where a joining viewer begins; None when there is no group of pictures within the bounds."""
        if self._gop_start is None or now - self._gop_at > GOP_AGE_S_MAX or self._gop_bytes > GOP_BYTES_MAX:
            return None
        return self._gop_start if self.head - self._gop_start <= self._size else None

    def gop_age(self, now: float) -> float:
        """Seconds since the newest keyframe began; infinite when there is none to play."""
        return now - self._gop_at if self.gop(now) is not None else float("inf")

    def forget_gop(self) -> None:
        """The source has changed: what was before must not be played to anybody who joins now."""
        self._gop_start = None

    def clear(self) -> None:
        """Forget every packet; the numbering goes on, and taken numbers stay taken."""
        self.forget_gop()
        self._entries = [None] * self._size
