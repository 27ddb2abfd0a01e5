"""What of a publisher's stream is missing, when to ask for it, and when to stop.

    hole seen ──grace──▶ asked ──about a round trip──▶ asked again, twice as long … ──▶ given up: only a keyframe helps

The grace lets packets that overtook each other sort themselves out. The round trip is measured by extended reports
(`wire.xr`) where the publisher answers them, and with what is asked for: from the request to the retransmission, for
packets that were asked for once (Karn's rule). Pure: `now` is monotonic
seconds, sequence numbers are extended ones. RFC 4585, section 6.2.1.
"""

from live.core.limits import (
    NACK_ATTEMPTS_MAX,
    NACK_GRACE_S,
    NACK_INTERVAL_S,
    NACK_INTERVAL_S_MAX,
    NACK_PENDING_MAX,
    REORDER_WINDOW_PACKETS,
    RTT_S_MAX,
    RTT_S_START,
)

_NEVER = float("inf")


class RoundTrip:
    """The smoothed time to the publisher and back; `seconds` is None until it was measured."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def measured(self, seconds: float) -> None:
        """Take one measurement; the newest weighs an eighth, as in TCP (RFC 6298)."""
        seconds = min(max(seconds, 0.0), RTT_S_MAX)
        self.seconds = seconds if self.seconds is None else self.seconds + (seconds - self.seconds) / 8

    def wait(self, asked: int) -> float:
        """Seconds until the next request, after the one number `asked` (from 1)."""
        trip = max(RTT_S_START if self.seconds is None else self.seconds * 1.25, NACK_INTERVAL_S)
        return max(trip, min(trip * (1 << asked - 1), NACK_INTERVAL_S_MAX))


class LossTracker:
    """The holes of one stream, at most NACK_PENDING_MAX.

    `lost` counts packets that were not there after the grace, `gone` those that were given up; `due_at` is when `due`
    has something to say, infinite when nothing is missing.
    """

    def __init__(self, attempts: int = NACK_ATTEMPTS_MAX) -> None:
        """`attempts` is how often a packet is asked for; 0 when the publisher does not retransmit."""
        self.lost = 0
        self.gone = 0
        self.due_at = _NEVER
        self._attempts = attempts
        self._grace_s = NACK_GRACE_S if attempts else NACK_INTERVAL_S_MAX
        self._next: int | None = None
        self._missing: dict[int, tuple[float, int, float]] = {}  # when to act, times asked, when asked last

    @property
    def pending(self) -> int:
        return len(self._missing)

    def advanced(self, sequence: int, now: float) -> bool:
        """Note the newest packet; returns False when the hole before it is too big to fill: only a keyframe helps."""
        following, self._next = self._next, sequence + 1
        if following is None or sequence == following:
            return True
        if len(self._missing) + sequence - following > NACK_PENDING_MAX:
            self.lost += sequence - following
            self.gone += len(self._missing) + sequence - following
            self._missing.clear()
            self.due_at = _NEVER
            return False
        at = now + self._grace_s
        for lost in range(following, sequence):
            self._missing[lost] = (at, 0, now)
        self.due_at = min(self.due_at, at)
        return True

    def filled(self, sequence: int, now: float) -> float | None:
        """Note a packet that is not the newest; returns the time since it was asked for, when that was once."""
        _, asked, asked_at = self._missing.pop(sequence, (0.0, 0, 0.0))
        if not self._missing:
            self.due_at = _NEVER
        return now - asked_at if asked == 1 else None

    def due(self, now: float, trip: RoundTrip) -> tuple[list[int], int | None]:
        """What to ask for now, in order, and the newest packet that is given up (None: none)."""
        if now < self.due_at:
            return [], None
        ask: list[int] = []
        given_up: list[int] = []
        oldest = (self._next or 0) - REORDER_WINDOW_PACKETS
        for sequence, (at, asked, _) in self._missing.items():
            if sequence < oldest or (now >= at and asked >= self._attempts):
                given_up.append(sequence)
                self.lost += asked == 0
            elif now >= at:
                ask.append(sequence)
                self.lost += asked == 0
        for sequence in given_up:
            del self._missing[sequence]
        for sequence in ask:
            asked = self._missing[sequence][1] + 1
            self._missing[sequence] = (now + trip.wait(asked), asked, now)
        self.gone += len(given_up)
        earliest = min((at for at, _, _ in self._missing.values()), default=_NEVER)
        # Holes that come one by one are asked for together, and heavy loss does not cost a search for each packet.
        self.due_at = max(earliest, now + NACK_GRACE_S)
        return ask, max(given_up, default=None)
