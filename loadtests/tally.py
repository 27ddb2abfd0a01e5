"""What a swarm counts while it runs, told second by second and in total."""

from collections import Counter
from collections.abc import Collection
from operator import attrgetter

from loadtests.histogram import Histogram
from loadtests.measures import Second, Totals
from loadtests.sequence import Sequence
from loadtests.shelf import Chunk

_COUNTS = ("joins", "deliveries", "frames", "received_bytes", "cut", "gaps")
_JUDGED = ("lost", "duplicates", "replaced")  # by the viewers' sequences; of 10,000 they are summed in 1 ms

SPAN_US_MIN = 200_000  # of a second in which the CPU is told


class Tally:
    """Counters and histograms of one swarm, whose viewers have `sequences`. Times are microseconds on one clock."""

    def __init__(self, start_us: int, sequences: Collection[Sequence] = ()) -> None:
        self._start_us = start_us
        self._sequences = sequences
        self.open = 0
        self.joins = self.deliveries = self.frames = self.received_bytes = self.gaps = 0
        self.sent = self.unsent = self.sampled = self.resent = 0
        self.cut = self.recovered = self.resnapped = self.left = 0
        self.due: dict[int, int] = {}  # probes without an answer → when they were due
        self.acknowledged: set[int] = set()  # and to be shown
        self.seen: set[int] = set()
        self.closes: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._late, self._acknowledge, self._back = Histogram(), Histogram(), Histogram()
        self._join, self._delivery = Histogram(), Histogram()  # of the finished seconds
        self._join_now, self._delivery_now = Histogram(), Histogram()
        self._told: Counter[str] = Counter()
        self._told_closes: Counter[str] = Counter()
        self._told_us, self._told_cpu_s = start_us, 0.0
        self._complete: tuple[float, int] | None = None
        self._lag_us = self._lag_now_us = 0

    @property
    def settled(self) -> bool:
        """Whether every probe was answered, and every acknowledged one reached a screen."""
        return not self.due and self.acknowledged <= self.seen

    # --- viewers

    def join(self, after_us: int) -> None:
        """A viewer is connected for the first time."""
        self.open += 1
        self.joins += 1
        self._join_now.record(after_us)

    def come_back(self, after_us: int, *, recovered: bool) -> None:
        """A viewer is connected again."""
        self.open += 1
        self._back.record(after_us)
        if recovered:
            self.recovered += 1
        else:
            self.resnapped += 1

    def close(self, code: str) -> None:
        """A socket ended by itself, or an attempt to connect failed."""
        self.closes[code] += 1

    def complete(self, cpu_s: float) -> None:
        """Everybody has come; the process has used `cpu_s` so far."""
        self._complete = (cpu_s, self.frames)

    # --- events

    def deliver(self, probe: tuple[int, int] | None, at_us: int, from_us: int) -> None:
        """An event reached a screen which is timed since `from_us`; `probe` is its number and when it was due.

        What was due before is history that an older snapshot left out; its age is no latency.
        """
        self.deliveries += 1
        if probe is not None:
            self.seen.add(probe[0])
            if probe[1] >= from_us:
                self._delivery_now.record(at_us - probe[1])

    def settle(self, chunk: Chunk, at_us: int) -> None:
        """`chunk.count` viewers, all timed since before it was due, were given what it holds."""
        times, chunk.count = chunk.count, 0
        self.frames += times * chunk.frames
        self.received_bytes += times * len(chunk.octets)
        self.deliveries += times * chunk.events
        for number, due_us in chunk.probes:
            self.seen.add(number)
            self._delivery_now.record(at_us - due_us, times)

    # --- probes

    def send(self, number: int, due_us: int, at_us: int) -> None:
        """A probe was sent."""
        self.sent += 1
        self.due[number] = due_us
        self._late.record(at_us - due_us)

    def answer(self, number: int | None, error: str | None, at_us: int, *, shown: bool = True) -> None:
        """A probe was acknowledged (`shown` False: it is stored only), or it or something else (None) was refused."""
        due = self.due.pop(number, None) if number is not None else None
        if error is not None:
            self.refused[error] += 1
        elif number is not None and due is not None:
            self._acknowledge.record(at_us - due)
            if shown:
                self.acknowledged.add(number)
            else:
                self.sampled += 1

    # --- the swarm itself

    def lag(self, late_us: int) -> None:
        """The swarm's own event loop was late."""
        self._lag_now_us = max(self._lag_now_us, late_us)

    def _judged(self, name: str) -> int:
        return sum(map(attrgetter(name), self._sequences))

    def second(self, at_us: int, cpu_s: float, *, lacking: int = 0) -> Second:
        """What happened since the last call; `cpu_s` is what the process has used so far.

        `lacking` events never came to the screens, which is known at the end.
        """
        counts = Counter({name: getattr(self, name) for name in _COUNTS})
        counts.update({name: self._judged(name) for name in _JUDGED})
        counts["lost"] += lacking
        news = {name: counts[name] - self._told[name] for name in (*_COUNTS, *_JUDGED)}
        span_us = at_us - self._told_us
        second = Second(
            at_s=round((at_us - self._start_us) / 1e6, 2),
            open=self.open,
            lag_max_ms=self._lag_now_us / 1000,
            cpu_percent=round((cpu_s - self._told_cpu_s) / span_us * 1e8, 1) if span_us >= SPAN_US_MIN else 0.0,
            join=self._join_now.plain(),
            delivery=self._delivery_now.plain(),
            closes=dict(sorted((self.closes - self._told_closes).items())),
            **news,
        )
        self._told_closes = self.closes.copy()
        self._told, self._told_us, self._told_cpu_s = counts, at_us, cpu_s
        self._join.add(self._join_now)
        self._delivery.add(self._delivery_now)
        self._lag_us = max(self._lag_us, self._lag_now_us)
        self._join_now, self._delivery_now, self._lag_now_us = Histogram(), Histogram(), 0
        return second

    def totals(self, *, viewers: int, lacking: int, not_back: int, cpu_s: float) -> Totals:
        """The whole run, after its last `second`; `lacking` events never came to the screens."""
        complete_cpu_s, complete_frames = self._complete or (cpu_s, self.frames)
        return Totals(
            viewers=viewers,
            joined=self.joins,
            sent=self.sent,
            unsent=self.unsent,
            acknowledged=len(self.acknowledged) + self.sampled,
            unanswered=len(self.due),
            unseen=len(self.acknowledged - self.seen),
            sampled=self.sampled,
            resent=self.resent,
            deliveries=self.deliveries,
            frames=self.frames,
            received_bytes=self.received_bytes,
            duplicates=self._judged("duplicates"),
            gaps=self._judged("gaps"),
            reordered=self._judged("reordered"),
            replaced=self._judged("replaced"),
            lost=self._judged("lost") + lacking,
            left=self.left,
            not_back=not_back,
            cut=self.cut,
            recovered=self.recovered,
            resnapped=self.resnapped,
            closes=dict(sorted(self.closes.items())),
            refused=dict(sorted(self.refused.items())),
            join=self._join.plain(),
            delivery=self._delivery.plain(),
            acknowledge=self._acknowledge.plain(),
            late=self._late.plain(),
            back=self._back.plain(),
            lag_max_ms=self._lag_us / 1000,
            cpu_s=round(cpu_s, 3),
            live_cpu_s=round(cpu_s - complete_cpu_s, 3),
            live_frames=self.frames - complete_frames,
        )
