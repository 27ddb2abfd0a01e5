"""What a publisher's path carries: the less of what loss and what delay say (draft-ietf-rmcat-gcc-02).

Delay: packets leave in bursts with a time of sending in each (abs-send-time). When bursts arrive further apart than
they were sent, a queue grows on the way; then the estimate falls to 85 % of what arrives, before packets are lost. The
filter, the detector and the control of aiortc do that. They see bursts of 10 ms, not packets: that costs 0.9 to 1.8 µs
a packet instead of the 8 µs of aiortc's own `RemoteBitrateEstimator`, whose rate counter also turns once for each
millisecond of a silence. Bursts of 5 ms, as in libwebrtc, cost twice as much and find a full path no sooner.

Without abs-send-time only loss counts: an RTP timestamp says when a picture was taken, and a large picture would look
like delay.
"""

from collections import deque

from aiortc.rate import AimdRateControl, BandwidthUsage, OveruseDetector, OveruseEstimator

from live.core.limits import (
    REMB_BITS_PER_S_MAX,
    REMB_BITS_PER_S_MIN,
    REMB_BITS_PER_S_START,
    REMB_SIMULCAST_BITS_PER_S_MAX,
    REMB_SIMULCAST_BITS_PER_S_START,
)
from stream.upstream.reception import RateControl

_UNITS_PER_MS = (1 << 18) / 1000  # abs-send-time: 24 bits, 6 of them whole seconds
_WRAP = 1 << 24
_BURST_UNITS = round(10 * _UNITS_PER_MS)
_BURST_S = 0.005
_SILENCE_S = 1.0  # after it nothing is compared with what was before
_WINDOW_S = 0.5  # of the throughput
_BURSTS_KEPT = 256  # in _WINDOW_S there are 50, unless the times of sending are made up
_UPDATE_S = 0.5


class Estimate:
    """One publisher's. `now` is monotonic seconds; `bits_per_s` is for all streams together."""

    def __init__(self, *, simulcast: bool) -> None:
        start = REMB_SIMULCAST_BITS_PER_S_START if simulcast else REMB_BITS_PER_S_START
        self._maximum = REMB_SIMULCAST_BITS_PER_S_MAX if simulcast else REMB_BITS_PER_S_MAX
        self.bits_per_s = start
        self._loss = RateControl(start, self._maximum)
        self._control = AimdRateControl()
        # It holds this until a queue is seen, so that a quiet scene does not count as a narrow path.
        self._control.set_estimate(start, 0)
        self._begin: int | None = None  # when the burst's first packet was sent
        self._span = 0  # from there to its last packet
        self._arrived = 0.0
        self._size = 0
        self._previous: tuple[int, float, int] | None = None  # of the burst before: last sending, arrival, size
        self._bursts: deque[tuple[float, int]] = deque()  # those of _WINDOW_S: arrival and size
        self._window = 0
        self._updated_at = float("-inf")
        self._reset()

    def _reset(self) -> None:
        self._filter = OveruseEstimator()
        self._detector = OveruseDetector()

    def received(self, send_time: int, octets: int, now: float) -> bool:
        """Take a packet with its abs-send-time; returns whether the host should hear at once that the path fills up."""
        begin = self._begin
        if begin is not None:
            span = (send_time - begin) % _WRAP
            if span <= _BURST_UNITS or self._catches_up(span, now):
                self._span = max(self._span, span)
                self._size += octets
                self._arrived = now
                return False
            if now - self._arrived > _SILENCE_S:
                self._previous = None
                self._reset()
            elif span > _WRAP // 2:
                return False  # it was overtaken
        if begin is not None:
            self._close(begin)
        self._begin, self._span, self._arrived, self._size = send_time, 0, now, octets
        return self._control.current_bitrate < 0.97 * self.bits_per_s

    def _catches_up(self, span: int, now: float) -> bool:
        """Whether packets that waited somewhere arrive together: they say nothing about the path."""
        ahead = (span - self._span) % _WRAP
        return now - self._arrived <= _BURST_S and now - self._arrived < ahead / _UNITS_PER_MS / 1000 < _SILENCE_S

    def _close(self, begin: int) -> None:
        sent, arrived, size = (begin + self._span) % _WRAP, self._arrived, self._size
        previous, self._previous = self._previous, (sent, arrived, size)
        self._bursts.append((arrived, size))
        self._window += size
        while self._bursts[0][0] < arrived - _WINDOW_S or len(self._bursts) > _BURSTS_KEPT:
            self._window -= self._bursts.popleft()[1]
        if previous is None:
            return
        sent_ms = ((sent - previous[0]) % _WRAP) / _UNITS_PER_MS
        # Each time rounded by itself: rounded differences would add up to a delay that is not there.
        now_ms = round(arrived * 1000)
        apart_ms = now_ms - round(previous[1] * 1000)
        if sent_ms > _SILENCE_S * 1000:
            return  # no host pauses that long within a second: a clock that jumps
        self._filter.update(apart_ms, sent_ms, size - previous[2], self._detector.state(), now_ms)
        usage = self._detector.detect(self._filter.offset(), sent_ms, self._filter.num_of_deltas(), now_ms)
        full = usage is BandwidthUsage.OVERUSING
        if full or arrived - self._updated_at >= _UPDATE_S:
            self._updated_at = arrived
            self._control.update(usage, round(self._window * 8 / _WINDOW_S), now_ms)
            # It climbs by 8 % a second: from nothing it would take minutes to reach what the host sends anyway.
            self._control.current_bitrate = max(self._control.current_bitrate, REMB_BITS_PER_S_MIN)

    def update(self, fraction_lost: float, received_bits_per_s: float, elapsed_s: float, rtt_s: float | None) -> int:
        """The next REMB from the loss (0 to 1) and the rate in the time since the last one; `rtt_s` None: not known."""
        if rtt_s is not None:
            self._control.rtt = round(rtt_s * 1000)
        by_loss = self._loss.update(fraction_lost, received_bits_per_s, elapsed_s)
        by_delay = self._maximum if self._begin is None else self._control.current_bitrate
        self.bits_per_s = max(REMB_BITS_PER_S_MIN, min(by_loss, by_delay))
        return self.bits_per_s
