"""What a swarm counts while it runs, told second by second and in total."""

from collections import Counter
from collections.abc import Iterable

from loadtests.histogram import Histogram
from loadtests.measures import Second, Totals
from loadtests.sequence import Sequence


class Tally:
    """Counters and histograms of one swarm. Times are microseconds on one clock."""

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self.open = 0
        self.joins = self.deliveries = self.frames = self.received_bytes = 0
        self.sent = self.unsent = 0
        self.due: dict[int, int] = {}  # probes without an answer → when they were due
        self.acknowledged: set[int] = set()
        self.seen: set[int] = set()
        self.closes: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._late, self._acknowledge = Histogram(), Histogram()
        self._join, self._delivery = Histogram(), Histogram()  # of the finished seconds
        self._join_now, self._delivery_now = Histogram(), Histogram()
        self._told = (0, 0, 0, 0)
        self._lag_us = self._lag_now_us = 0

    @property
    def settled(self) -> bool:
        """Whether every probe was answered, and every acknowledged one reached a screen."""
        return not self.due and self.acknowledged <= self.seen

    def join(self, after_us: int | None) -> None:
        """A viewer is connected; for the first time when `after_us` is not None."""
        self.open += 1
        if after_us is not None:
            self.joins += 1
            self._join_now.record(after_us)

    def close(self, code: str, *, was_open: bool) -> None:
        """A socket ended by itself."""
        self.closes[code] += 1
        self.open -= was_open

    def deliver(self, probe: tuple[int, int] | None, at_us: int, came_us: int) -> None:
        """An event reached the screen of a viewer who came at `came_us`; `probe` is its number and when it was due.

        What was due before the viewer came is history that an older snapshot left out; its age is no latency.
        """
        self.deliveries += 1
        if probe is not None:
            self.seen.add(probe[0])
            if probe[1] >= came_us:
                self._delivery_now.record(at_us - probe[1])

    def send(self, number: int, due_us: int, at_us: int) -> None:
        """A probe was sent."""
        self.sent += 1
        self.due[number] = due_us
        self._late.record(at_us - due_us)

    def answer(self, number: int | None, error: str | None, at_us: int) -> None:
        """A probe was acknowledged, or it or something else (None) was refused."""
        due = self.due.pop(number, None) if number is not None else None
        if error is not None:
            self.refused[error] += 1
        elif number is not None and due is not None:
            self.acknowledged.add(number)
            self._acknowledge.record(at_us - due)

    def lag(self, late_us: int) -> None:
        """The swarm's own event loop was late."""
        self._lag_now_us = max(self._lag_now_us, late_us)

    def second(self, at_us: int) -> Second:
        """What happened since the last call."""
        counts = (self.joins, self.deliveries, self.frames, self.received_bytes)
        joins, deliveries, frames, received_bytes = (now - then for now, then in zip(counts, self._told, strict=True))
        second = Second(
            at_s=round((at_us - self._start_us) / 1e6, 2),
            open=self.open,
            joins=joins,
            deliveries=deliveries,
            frames=frames,
            received_bytes=received_bytes,
            lag_max_ms=self._lag_now_us / 1000,
            join=self._join_now.plain(),
            delivery=self._delivery_now.plain(),
        )
        self._told = counts
        self._join.add(self._join_now)
        self._delivery.add(self._delivery_now)
        self._lag_us = max(self._lag_us, self._lag_now_us)
        self._join_now, self._delivery_now, self._lag_now_us = Histogram(), Histogram(), 0
        return second

    def totals(self, sequences: Iterable[Sequence], *, viewers: int, lacking: int) -> Totals:
        """The whole run, after its last `second`; `lacking` events never came to the screens."""
        judged = list(sequences)
        return Totals(
            viewers=viewers,
            joined=self.joins,
            sent=self.sent,
            unsent=self.unsent,
            acknowledged=len(self.acknowledged),
            unanswered=len(self.due),
            unseen=len(self.acknowledged - self.seen),
            deliveries=self.deliveries,
            frames=self.frames,
            received_bytes=self.received_bytes,
            duplicates=sum(one.duplicates for one in judged),
            gaps=sum(one.gaps for one in judged),
            replaced=sum(one.replaced for one in judged),
            lost=sum(one.lost for one in judged) + lacking,
            closes=dict(sorted(self.closes.items())),
            refused=dict(sorted(self.refused.items())),
            join=self._join.plain(),
            delivery=self._delivery.plain(),
            acknowledge=self._acknowledge.plain(),
            late=self._late.plain(),
            lag_max_ms=self._lag_us / 1000,
        )
