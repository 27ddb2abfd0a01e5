"""How a publisher's stream arrives: statistics, what to ask for again, how much to ask for.

`Reception` counts as RFC 3550 A.3 and A.8 do, `LossTracker` decides on NACKs, `KeyframeRequests` throttles PLIs to one
per interval however many viewers ask, `RateControl` answers loss with a lower REMB, `Splice` hides from the viewers
that the source has changed. All are pure: `now` is monotonic seconds.
"""

from live.core.limits import (
    NACK_ATTEMPTS_MAX,
    NACK_INTERVAL_S,
    NACK_PENDING_MAX,
    PLI_INTERVAL_S,
    REMB_BITS_PER_S_MAX,
    REMB_BITS_PER_S_MIN,
    REMB_BITS_PER_S_START,
    REORDER_WINDOW_PACKETS,
)
from stream.rtcp import ReportBlock, middle


class Reception:
    """Counts one stream. Sequence numbers are extended ones; jitter is in timestamp units."""

    def __init__(self, ssrc: int, clock_rate: int) -> None:
        self.ssrc = ssrc
        self.packets = 0
        self.octets = 0
        self.frames = 0
        self._clock_rate = clock_rate
        self._first: int | None = None
        self._highest = 0
        self._jitter = 0.0
        self._transit: float | None = None
        self._prior = (0, 0)  # expected and received at the last report
        self._sender_report: tuple[int, float] | None = None

    @property
    def expected(self) -> int:
        return 0 if self._first is None else self._highest - self._first + 1

    def received(self, sequence: int, timestamp: int, octets: int, *, frame_end: bool, now: float) -> None:
        """Count one packet."""
        if self._first is None:
            self._first = self._highest = sequence
        self._highest = max(self._highest, sequence)
        self.packets += 1
        self.octets += octets
        self.frames += frame_end
        transit = now * self._clock_rate - timestamp
        if self._transit is not None:
            change = abs(transit - self._transit)
            if change < 1 << 30:  # else the 32-bit timestamp has wrapped
                self._jitter += (change - self._jitter) / 16
        self._transit = transit

    def sender_report(self, ntp: int, now: float) -> None:
        """Remember when the host's report came; it measures its round trip with that."""
        self._sender_report = (middle(ntp), now)

    def report(self, now: float) -> ReportBlock:
        """The block for the next receiver report; counts the loss since the last one."""
        expected, received = self.expected - self._prior[0], self.packets - self._prior[1]
        self._prior = (self.expected, self.packets)
        lost = max(0, expected - received)
        fraction = min(255, lost * 256 // expected) if expected > 0 else 0
        last, delay = 0, 0
        if self._sender_report is not None:
            last, delay = self._sender_report[0], round((now - self._sender_report[1]) * 65536)
        highest, jitter = self._highest & 0xFFFFFFFF, min(round(self._jitter), 0xFFFFFFFF)
        total = self.expected - self.packets
        return ReportBlock(self.ssrc, fraction, total, highest, jitter, last, delay & 0xFFFFFFFF)


class LossTracker:
    """Finds gaps and says when to ask for what is missing; gives up after NACK_ATTEMPTS_MAX."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._missing: dict[int, tuple[float, int]] = {}  # sequence → (when to ask, times asked)

    @property
    def pending(self) -> int:
        return len(self._missing)

    def received(self, sequence: int, now: float) -> bool:
        """Note an arrival; returns False when the hole is too big to fill, so that only a keyframe helps."""
        if self._next is None:
            self._next = sequence + 1
        if sequence < self._next:
            self._missing.pop(sequence, None)
            return True
        fillable = True
        if len(self._missing) + sequence - self._next > NACK_PENDING_MAX:
            self._missing.clear()
            fillable = False
        else:
            for lost in range(self._next, sequence):
                self._missing[lost] = (now, 0)
        self._next = sequence + 1
        return fillable

    def due(self, now: float) -> tuple[list[int], bool]:
        """What to ask for now, in order, and whether something was given up (then only a keyframe helps)."""
        ask, given_up = [], []
        oldest = (self._next or 0) - REORDER_WINDOW_PACKETS
        for sequence, (at, asked) in self._missing.items():
            if asked >= NACK_ATTEMPTS_MAX or sequence < oldest:
                given_up.append(sequence)
            elif now >= at:
                ask.append(sequence)
        for sequence in given_up:
            del self._missing[sequence]
        for sequence in ask:
            asked = self._missing[sequence][1] + 1
            # Each time waits longer: a far host's answer takes more than one interval.
            self._missing[sequence] = (now + NACK_INTERVAL_S * 2**asked, asked)
        return ask, bool(given_up)


class KeyframeRequests:
    """Turns any number of wishes for a keyframe into at most one PLI per interval, until the keyframe has come."""

    def __init__(self) -> None:
        self._wanted = False
        self._sent = float("-inf")

    def want(self) -> None:
        self._wanted = True

    def arrived(self) -> None:
        """A keyframe began."""
        self._wanted = False

    def due(self, now: float) -> bool:
        """Whether to send a PLI now."""
        if not self._wanted or now - self._sent < PLI_INTERVAL_S:
            return False
        self._sent = now
        return True


class RateControl:
    """What to tell the host that its path carries: up slowly without loss, down at once with it.

    The thresholds are those of the loss-based half of draft-ietf-rmcat-gcc-02, section 6.
    """

    def __init__(self) -> None:
        self.bits_per_s = REMB_BITS_PER_S_START

    def update(self, fraction_lost: float, received_bits_per_s: float) -> int:
        """The next estimate from the loss (0 to 1) and the rate since the last one."""
        estimate = float(self.bits_per_s)
        if fraction_lost > 0.10:
            estimate = min(estimate, max(received_bits_per_s, 1.0) * 1.5) * (1 - 0.5 * fraction_lost)
        elif fraction_lost < 0.02:
            estimate *= 1.08
        self.bits_per_s = round(max(REMB_BITS_PER_S_MIN, min(estimate, REMB_BITS_PER_S_MAX)))
        return self.bits_per_s


class Splice:
    """Joins the streams of successive sources into one: sequence numbers and timestamps go on where they were.

    Viewers keep playing through a new publisher, because for them it is still the same RTP stream.
    """

    def __init__(self, sequence: int, timestamp: int, clock_rate: int) -> None:
        """`sequence` and `timestamp` are what the first source's first packet becomes."""
        self._clock_rate = clock_rate
        self._next_sequence = sequence
        self._newest_timestamp = timestamp
        self._newest_at: float | None = None
        self._first: int | None = None
        self._sequence_offset = 0
        self._timestamp_offset = 0

    def begin(self) -> None:
        """The next packet comes from another source."""
        self._first = None

    def map(self, sequence: int, timestamp: int, now: float) -> tuple[int, int] | None:
        """Outgoing extended sequence number and timestamp; None for what preceded the source's first packet."""
        if self._first is None:
            self._first = sequence
            elapsed = 0.0 if self._newest_at is None else now - self._newest_at
            # At least one tick, so that a new frame never looks like a part of the one before.
            ticks = max(1, round(elapsed * self._clock_rate)) if self._newest_at is not None else 0
            self._sequence_offset = self._next_sequence - sequence
            self._timestamp_offset = self._newest_timestamp + ticks - timestamp
        if sequence < self._first:
            return None
        outgoing = sequence + self._sequence_offset
        if outgoing >= self._next_sequence:
            self._next_sequence = outgoing + 1
            self._newest_timestamp = (timestamp + self._timestamp_offset) & 0xFFFFFFFF
            self._newest_at = now
        return outgoing, (timestamp + self._timestamp_offset) & 0xFFFFFFFF

    def timestamp(self, timestamp: int) -> int | None:
        """The outgoing form of a sender report's timestamp; None while the source has sent nothing."""
        return None if self._first is None else (timestamp + self._timestamp_offset) & 0xFFFFFFFF
