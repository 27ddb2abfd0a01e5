"""How a viewer's reports become what is known of its path: neither too often, nor of too few packets.

A browser under load reports up to fifty times a second (Chromium adds a receiver report and its REMB to each NACK), and
then `fraction_lost` is that of the two or three packets since the last report: one lost of two is no loss of 50 %. So
the loss is counted anew from the cumulative numbers (RFC 3550, section 6.4.1), over REPORT_WINDOW_S. Each sender report
tells one round trip: quoted again, it repeats how long the way there took then. REMB that falls is news at once, else
it is as often as the loss.

Of a path that carries nothing any more, a viewer reports no loss: it counts up to the highest number that it got. That
number is compared with what was sent. When it stands still although more is sent, nothing arrives.
"""

from live.core.limits import FREEZE_S, REPORT_WINDOW_S, ROUND_TRIP_INTERVAL_S

_FELL = 0.95
_NEVER = float("-inf")


class Window:
    """The reports on one stream."""

    def __init__(self) -> None:
        self._since: tuple[int, int, float] | None = None  # highest number and lost packets, and when

    def loss(self, highest: int, lost: int, now: float, *, nothing: float = 0.0) -> float | None:
        """The loss (0 to 1) since it was told last; None: a report block with these numbers comes too soon to tell.

        `nothing` is the loss when the highest number has not moved.
        """
        if self._since is None:
            self._since = (highest, lost, now)
            return None
        from_highest, from_lost, since = self._since
        if now - since < REPORT_WINDOW_S:
            return None
        self._since = (highest, lost, now)
        expected = (highest - from_highest) & 0xFFFFFFFF
        if expected == 0:
            return nothing
        if expected >= 1 << 31:
            return 0.0  # the viewer counts anew
        return min(max(lost - from_lost, 0) / expected, 1.0)


class Reports:
    """The reports of one viewer. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._video, self._sound = Window(), Window()
        self._remb = 0
        self._remb_at = _NEVER
        self._quoted_at = _NEVER  # when the sender report left that the last round trip is of
        self._trip_at = _NEVER
        self._highest: int | None = None  # of the video
        self._sent: int | None = None  # how far the video had been sent, ...
        self._sent_before: int | None = None  # ... and when its loss was told last
        self._unheard_since: float | None = None  # since when there is more on its way than has arrived

    def sent(self, number: int | None, now: float) -> None:
        """Note how far the video has been sent, a few times a second; None: none is meant to be sent.

        `number` is the extended one of the newest packet, as the viewer sees it.
        """
        self._sent = number
        if number is None or self._highest is None or not 0 < (number - self._highest) & 0xFFFF < 1 << 15:
            self._unheard_since = None
        elif self._unheard_since is None:
            self._unheard_since = now

    def video(self, highest: int, lost: int, now: float, rtt_s: float | None) -> float | None:
        """The loss of the video, as `Window.loss`; 1 when nothing of what was sent has come.

        `rtt_s` is the viewer's round trip, None when it is not known.
        """
        if highest != self._highest:
            self._highest, self._unheard_since = highest, None
        before = self._sent_before
        grown = self._sent is not None and before is not None and self._sent > before
        nothing = 1.0 if grown and self.stalled_since(now, rtt_s) is not None else 0.0
        loss = self._video.loss(highest, lost, now, nothing=nothing)
        if loss is not None or before is None:
            self._sent_before = self._sent
        return loss

    def sound(self, highest: int, lost: int, now: float) -> float | None:
        """The loss of the sound, as `Window.loss`."""
        return self._sound.loss(highest, lost, now)

    def stalled_since(self, now: float, rtt_s: float | None) -> float | None:
        """Since when nothing arrives of the video that is sent, as a report that comes now tells; None: it does."""
        since = self._unheard_since
        return since if since is not None and now - since > FREEZE_S + (rtt_s or 0.0) else None

    def round_trip(self, quoted_at: float, now: float) -> bool:
        """Whether a report block that quotes the sender report of `quoted_at` tells a new round trip."""
        if quoted_at <= self._quoted_at or now - self._trip_at < ROUND_TRIP_INTERVAL_S:
            return False
        self._quoted_at, self._trip_at = quoted_at, now
        return True

    def remb(self, bitrate: int, now: float) -> bool:
        """Whether this REMB is news."""
        if now - self._remb_at < REPORT_WINDOW_S and bitrate > self._remb * _FELL:
            return False
        self._remb, self._remb_at = bitrate, now
        return True
