"""What the relay remembers of one video stream: the newest packets, and where the newest keyframe began.

One ring serves two needs. A viewer's NACK finds a packet by its sequence number. A joining viewer walks the ring from
the keyframe to the head, so that it has a whole picture at once instead of after the host's next keyframe (the way of
galene). Outgoing sequence numbers are continuous, so the walk joins the live stream without any renumbering.

Bounds: GOP_PACKETS_MAX packets in all; a group of pictures (GOP) that is longer, heavier than GOP_BYTES_MAX or older
than GOP_AGE_S_MAX is not played to anybody.
"""

from live.core.limits import GOP_AGE_S_MAX, GOP_BYTES_MAX, GOP_PACKETS_MAX

_MASK = GOP_PACKETS_MAX - 1


class PacketCache:
    """The ring. Sequence numbers are extended ones (they never wrap); times are monotonic seconds."""

    def __init__(self) -> None:
        self._packets: list[bytes | None] = [None] * GOP_PACKETS_MAX
        self._numbers = [-1] * GOP_PACKETS_MAX
        self._gop_start: int | None = None
        self._gop_timestamp = -1
        self._gop_at = 0.0
        self._gop_bytes = 0
        self.head = 0
        """One past the newest packet."""

    def put(self, sequence: int, timestamp: int, packet: bytes, *, opens_keyframe: bool, now: float) -> bool:
        """Keep `packet`; returns whether it begins a new group of pictures.

        Packets that are older than the ring are ignored: their slots belong to newer ones.
        """
        if sequence <= self.head - GOP_PACKETS_MAX:
            return False
        slot = sequence & _MASK
        self._packets[slot] = packet
        self._numbers[slot] = sequence
        self.head = max(self.head, sequence + 1)
        new = False
        if opens_keyframe:
            if timestamp != self._gop_timestamp:
                new = self._gop_start is None or sequence > self._gop_start
            elif self._gop_start is not None:
                # Parameter sets that were overtaken by their picture on the way belong to the same group.
                self._gop_start = min(self._gop_start, sequence)
        if new:
            self._gop_start, self._gop_timestamp, self._gop_at, self._gop_bytes = sequence, timestamp, now, 0
        self._gop_bytes += len(packet)
        return new

    def get(self, sequence: int) -> bytes | None:
        """The packet of an extended sequence number; None when it never came or is gone."""
        slot = sequence & _MASK
        return self._packets[slot] if self._numbers[slot] == sequence else None

    def find(self, number: int) -> tuple[int, bytes] | None:
        """The newest packet whose 16-bit sequence number is `number`, with its extended one; None when gone."""
        sequence = self.head - 1 - ((self.head - 1 - number) & 0xFFFF)
        packet = self.get(sequence)
        return None if packet is None else (sequence, packet)

    def gop(self, now: float) -> int | None:
        """Where a joining viewer begins; None when there is no group of pictures within the bounds."""
        if self._gop_start is None or now - self._gop_at > GOP_AGE_S_MAX or self._gop_bytes > GOP_BYTES_MAX:
            return None
        return self._gop_start if self.head - self._gop_start <= GOP_PACKETS_MAX else None

    def gop_age(self, now: float) -> float:
        """Seconds since the newest keyframe began; infinite when there is none to play."""
        return now - self._gop_at if self.gop(now) is not None else float("inf")

    def forget_gop(self) -> None:
        """The source has changed: what was before must not be played to anybody who joins now."""
        self._gop_start = None

    def clear(self) -> None:
        """Forget every packet; the numbering goes on."""
        self.forget_gop()
        self._numbers = [-1] * GOP_PACKETS_MAX
        self._packets = [None] * GOP_PACKETS_MAX
