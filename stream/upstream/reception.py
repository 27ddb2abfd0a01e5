"""How a publisher's stream arrives: what its reports say, when to ask for a keyframe, how much loss slows it down.

`Reception` counts as RFC 3550 A.3 and A.8 do, `KeyframeRequests` throttles PLIs to one per interval however many
viewers ask, `RateControl` answers loss with a lower rate. All are pure: `now` is monotonic seconds.
"""

from live.core.limits import (
    PLI_INTERVAL_S,
    REMB_BITS_PER_S_MAX,
    REMB_BITS_PER_S_MIN,
    REMB_BITS_PER_S_START,
    REMB_INTERVAL_S,
)
from stream.wire.rtcp import ReportBlock, middle


class Reception:
    """Counts one stream. Sequence numbers are extended ones; jitter is in timestamp units."""

    def __init__(self, ssrc: int, clock_rate: int) -> None:
        self.ssrc = ssrc
        self.packets = 0
        self.recent = (0, 0)
        """Lost and expected packets in the time that the last report covers."""
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

    @property
    def jitter_s(self) -> float:
        return self._jitter / self._clock_rate

    def received(self, sequence: int, timestamp: int, now: float) -> None:
        """Count one packet."""
        self.packets += 1
        if self._first is None:
            self._first = self._highest = sequence
        elif sequence <= self._highest:
            return  # a late one, or one that was sent again: it says nothing about the jitter
        self._highest = sequence
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
        self.recent = (lost, max(expected, 0))
        fraction = min(255, lost * 256 // expected) if expected > 0 else 0
        last, delay = 0, 0
        if self._sender_report is not None:
            last, delay = self._sender_report[0], round((now - self._sender_report[1]) * 65536)
        highest, jitter = self._highest & 0xFFFFFFFF, min(round(self._jitter), 0xFFFFFFFF)
        total = self.expected - self.packets
        return ReportBlock(self.ssrc, fraction, total, highest, jitter, last, delay & 0xFFFFFFFF)


class KeyframeRequests:
    """Turns any number of wishes for a keyframe into at most one PLI per interval, until the keyframe has come."""

    def __init__(self) -> None:
        self.wanted = False
        self._sent = float("-inf")

    def want(self) -> None:
        self.wanted = True

    def arrived(self) -> None:
        """A keyframe began."""
        self.wanted = False

    def due(self, now: float) -> bool:
        """Whether to send a PLI now."""
        if not self.wanted or now - self._sent < PLI_INTERVAL_S:
            return False
        self._sent = now
        return True


class RateControl:
    """What loss says that the host's path carries: up slowly without it, down at once with it.

    The thresholds are those of the loss-based half of draft-ietf-rmcat-gcc-02, section 6.
    """

    def __init__(self, start: int = REMB_BITS_PER_S_START, maximum: int = REMB_BITS_PER_S_MAX) -> None:
        """`start` and `maximum` are bits per second of all streams together."""
        self.bits_per_s = start
        self._maximum = maximum

    def update(self, fraction_lost: float, received_bits_per_s: float, elapsed_s: float = REMB_INTERVAL_S) -> int:
        """The next estimate from the loss (0 to 1) and the rate in the time since the last one."""
        estimate = float(self.bits_per_s)
        if fraction_lost > 0.10:
            estimate = min(estimate, max(received_bits_per_s, 1.0) * 1.5) * (1 - 0.5 * fraction_lost)
        elif fraction_lost < 0.02:
            estimate *= 1.08 ** min(elapsed_s / REMB_INTERVAL_S, 1.0)
        self.bits_per_s = round(max(REMB_BITS_PER_S_MIN, min(estimate, self._maximum)))
        return self.bits_per_s
