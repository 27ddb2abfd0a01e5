"""What the video's generator counts while it runs, told second by second and in total."""

from collections import Counter

from loadtests.histogram import Histogram
from loadtests.measures import MediaSecond, MediaTotals

_COUNTS = ("joins", "packets", "received_bytes", "pictures", "lost", "recovered", "freezes")
SPAN_US_MIN = 200_000  # of a second in which the CPU is told


class Tally:
    """Counters and histograms of one run. Times are microseconds on one clock."""

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self.watching = self.joins = self.pictures = self.skipped = self.freezes = self.frozen_us = 0
        self.packets = self.received_bytes = self.lost = self.asked = self.recovered = self.duplicates = 0
        self.sent_pictures = self.sent_packets = self.sent_bytes = self.unsent_pictures = 0
        self.republished = self.keyframes_asked = 0
        self.closes: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._late, self._back = Histogram(), Histogram()
        self._first, self._delay = Histogram(), Histogram()  # of the finished seconds
        self._first_now, self._delay_now = Histogram(), Histogram()
        self._told = [0] * len(_COUNTS)
        self._told_closes: Counter[str] = Counter()
        self._told_us, self._told_cpu_s = start_us, 0.0
        self._lag_us = self._lag_now_us = 0

    @property
    def returned(self) -> int:
        """Times that a viewer whose session was lost saw a picture again."""
        return self._back.count

    def join(self, after_us: int) -> None:
        """A viewer sees its first picture."""
        self.joins += 1
        self._first_now.record(after_us)

    def come_back(self, after_us: int) -> None:
        """A viewer whose session was lost sees a picture again."""
        self._back.record(after_us)

    def picture(self, delay_us: int | None) -> None:
        """A picture was shown, so long after it was due to be sent; None: that is not to be judged."""
        self.pictures += 1
        if delay_us is not None:
            self._delay_now.record(delay_us)

    def send(self, packets: int, size_bytes: int, late_us: int) -> None:
        """A picture was sent, with the sound that goes with it."""
        self.sent_pictures += 1
        self.sent_packets += packets
        self.sent_bytes += size_bytes
        self._late.record(late_us)

    def lag(self, late_us: int) -> None:
        """The generator's own event loop was late."""
        self._lag_now_us = max(self._lag_now_us, late_us)

    def second(self, at_us: int, cpu_s: float) -> MediaSecond:
        """What happened since the last call; `cpu_s` is what the process has used so far."""
        counts = [getattr(self, name) for name in _COUNTS]
        news = dict(zip(_COUNTS, (now - then for now, then in zip(counts, self._told, strict=True)), strict=True))
        span_us = at_us - self._told_us
        second = MediaSecond(
            at_s=round((at_us - self._start_us) / 1e6, 2),
            watching=self.watching,
            lag_max_ms=self._lag_now_us / 1000,
            cpu_percent=round((cpu_s - self._told_cpu_s) / span_us * 1e8, 1) if span_us >= SPAN_US_MIN else 0.0,
            first_frame=self._first_now.plain(),
            delay=self._delay_now.plain(),
            closes=dict(sorted((self.closes - self._told_closes).items())),
            **news,
        )
        self._told_closes = self.closes.copy()
        self._told, self._told_us, self._told_cpu_s = counts, at_us, cpu_s
        self._first.add(self._first_now)
        self._delay.add(self._delay_now)
        self._lag_us = max(self._lag_us, self._lag_now_us)
        self._first_now, self._delay_now, self._lag_now_us = Histogram(), Histogram(), 0
        return second

    def totals(self, *, viewers: int, not_back: int, cpu_s: float) -> MediaTotals:
        """The whole run, after its last `second`."""
        return MediaTotals(
            viewers=viewers,
            joined=self.joins,
            not_back=not_back,
            sent_pictures=self.sent_pictures,
            sent_packets=self.sent_packets,
            sent_bytes=self.sent_bytes,
            unsent_pictures=self.unsent_pictures,
            republished=self.republished,
            keyframes_asked=self.keyframes_asked,
            packets=self.packets,
            received_bytes=self.received_bytes,
            pictures=self.pictures,
            skipped=self.skipped,
            lost=self.lost,
            asked=self.asked,
            recovered=self.recovered,
            duplicates=self.duplicates,
            freezes=self.freezes,
            frozen_s=round(self.frozen_us / 1e6, 2),
            closes=dict(sorted(self.closes.items())),
            refused=dict(sorted(self.refused.items())),
            first_frame=self._first.plain(),
            delay=self._delay.plain(),
            back=self._back.plain(),
            late=self._late.plain(),
            lag_max_ms=self._lag_us / 1000,
            cpu_s=round(cpu_s, 3),
        )
