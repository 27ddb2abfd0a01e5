"""How a viewer's reports become what is known of its path: neither too often, nor of too few packets.

A browser under load reports up to fifty times a second (Chromium adds a receiver report and its REMB to each NACK), and
then `fraction_lost` is that of the two or three packets since the last report: one lost of two is no loss of 50 %. So
the loss is counted anew from the cumulative numbers (RFC 3550, section 6.4.1), over REPORT_WINDOW_S, and a round trip
is taken as often. REMB that falls is news at once, else it is as often as that.
"""

from live.core.limits import REPORT_WINDOW_S

_FELL = 0.95


class Reports:
    """The reports of one viewer on its video. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._since: tuple[int, int, float] | None = None  # highest number and lost packets, and when
        self._remb = 0
        self._remb_at = float("-inf")

    def loss(self, highest: int, lost: int, now: float) -> float | None:
        """The loss (0 to 1) since it was told last; None: a report block with these numbers comes too soon to tell."""
        if self._since is None:
            self._since = (highest, lost, now)
            return None
        from_highest, from_lost, since = self._since
        if now - since < REPORT_WINDOW_S:
            return None
        self._since = (highest, lost, now)
        expected = (highest - from_highest) & 0xFFFFFFFF
        if not 0 < expected < 1 << 31:
            return 0.0  # nothing came, as when no video is sent; or the viewer counts anew
        return min(max(lost - from_lost, 0) / expected, 1.0)

    def remb(self, bitrate: int, now: float) -> bool:
        """Whether this REMB is news."""
        if now - self._remb_at < REPORT_WINDOW_S and bitrate > self._remb * _FELL:
            return False
        self._remb, self._remb_at = bitrate, now
        return True
