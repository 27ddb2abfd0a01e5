"""What the generators measured: one `Second` after the other, and totals at the end. It travels as JSON lines."""

from typing import Any

import msgspec

from loadtests.histogram import Histogram


class Second(msgspec.Struct, tag="second"):
    """One second of a swarm, which ended `at_s` after the start. Durations are histograms, see `Histogram.plain`."""

    at_s: float
    open: int  # sockets that are connected now
    joins: int
    deliveries: int  # events that were applied, on all screens together
    frames: int
    received_bytes: int
    lag_max_ms: float  # of the swarm's own event loop: above some milliseconds its latencies are in doubt
    cpu_percent: float  # of the swarm's own process; 100 is one core
    closes: dict[str, int]  # sockets that ended by themselves and refused handshakes, as in `Totals`
    cut: int  # sockets that the generator cut
    gaps: int
    lost: int  # became known as lost; what is still missing at the end is in the last second
    duplicates: int
    replaced: int
    join: dict[str, Any]
    delivery: dict[str, Any]


class AudienceTotals(msgspec.Struct):
    """What is counted of any audience, of sockets or of the video."""

    viewers: int
    joined: int  # are on the show, or saw a picture
    not_back: int  # whose socket or session was lost, and who are not connected at the end
    received_bytes: int
    closes: dict[str, int]  # by close code or cause; "http 503": a refused handshake
    refused: dict[str, int]  # by the problem's name
    back: dict[str, Any]  # from the loss of a socket to being connected again, or of a session to the next picture
    late: dict[str, Any]  # from the time a message or a picture was due to when it was sent
    lag_max_ms: float  # of the generator's own event loop
    cpu_s: float  # of the generator's process, from its start to its end

    @property
    def not_joined(self) -> int:
        return self.viewers - self.joined

    @property
    def closes_count(self) -> int:
        return sum(self.closes.values())

    @property
    def refused_count(self) -> int:
        return sum(self.refused.values())

    def histogram(self, name: str) -> Histogram:
        """`back`, `late`, or another duration of this audience."""
        return Histogram.of_plain(getattr(self, name))


class Totals(AudienceTotals, tag="totals"):
    """A whole run of a swarm; `Sequence` says what gaps, duplicates, replaced and lost are."""

    sent: int  # probes: chat messages on the schedule
    unsent: int  # no speaker was connected when a probe was due
    acknowledged: int
    unanswered: int
    unseen: int  # acknowledged, to be shown, and on no screen
    sampled: int  # acknowledged as stored and not shown, because the chat ran too fast to be read
    resent: int  # sent again under the same key, because the speaker's socket was lost before the answer came
    deliveries: int
    frames: int
    duplicates: int
    gaps: int
    reordered: int
    replaced: int
    lost: int
    left: int  # viewers who left because the scenario says so
    cut: int
    recovered: int  # came back and were given all they had missed
    resnapped: int  # came back and were given a snapshot
    join: dict[str, Any]
    delivery: dict[str, Any]
    acknowledge: dict[str, Any]  # from the time a probe was due to its reply
    live_cpu_s: float  # of `cpu_s`, after everybody had come
    live_frames: int  # frames that came since

    @property
    def frame_cpu_us(self) -> float | None:
        """What a received frame cost the swarm, kernel included; None when too few came to tell."""
        return self.live_cpu_s / self.live_frames * 1e6 if self.live_frames >= 1000 else None


Line = Second | Totals


class MediaSecond(msgspec.Struct, tag="media_second"):
    """One second of the video's generator. Durations are histograms, see `Histogram.plain`."""

    at_s: float
    watching: int  # viewers who are connected now
    joins: int  # first pictures
    packets: int
    received_bytes: int
    pictures: int  # that were shown, on all screens together
    lost: int
    recovered: int
    freezes: int
    closes: dict[str, int]  # sessions that ended by themselves, as in `MediaTotals`
    lag_max_ms: float  # of the generator's own event loop
    cpu_percent: float  # of the generator's own process; 100 is one core
    first_frame: dict[str, Any]
    delay: dict[str, Any]


class MediaTotals(AudienceTotals, tag="media_totals"):
    """A whole run of the video's viewers and of the one who published."""

    sent_pictures: int
    sent_packets: int
    sent_bytes: int
    unsent_pictures: int  # the publisher was not connected when they were due
    republished: int  # times that the publisher had to connect again
    keyframes_asked: int  # by the server, of the publisher
    packets: int
    pictures: int
    skipped: int  # pictures between a viewer's first and last one that it did not see
    lost: int  # video packets that did not come, asked for again or not
    asked: int  # how often the viewers asked for a packet again
    recovered: int  # packets that came when they were asked for
    duplicates: int
    freezes: int  # times that a viewer saw no new picture for more than half a second
    frozen_s: float  # all of that together
    first_frame: dict[str, Any]  # from the time a viewer was due to its first picture
    delay: dict[str, Any]  # from the time a picture was due to be sent to its being there with all before it


MediaLine = MediaSecond | MediaTotals


class Screening(msgspec.Struct):
    """The video of a whole run. `totals` None: its generator did not come to its end."""

    seconds: list[MediaSecond] = []
    totals: MediaTotals | None = None


OTHERS = "other programs"  # of this machine, together; their memory is not read


class Usage(msgspec.Struct):
    """What one group of processes used in a second."""

    at_s: float
    process: str  # "server", "valkey", "swarm", "media", "shoppers" or `OTHERS`
    cpu_percent: float  # 100 is one core
    memory_mb: float


class ServerSecond(msgspec.Struct):
    """What a worker said of itself on /metrics at one time; the lags are of its event loop, since it was last asked.

    So is what was skipped and closed because its viewers read too slowly.
    """

    at_s: float
    worker: str
    lag_mean_ms: float
    lag_p99_ms: float  # the upper edge of the bucket
    sockets: float | None  # None: it did not tell
    slow: float = 0.0  # viewers that are skipped now, until they have read what waits for them
    slow_closed: float = 0.0  # that did not


class Mark(msgspec.Struct):
    """Something that was done to the event: the drop, a fault. `end_s` None: it was over at once."""

    at_s: float
    word: str
    end_s: float | None = None


class Action(msgspec.Struct):
    """What shoppers did under one name, and how long it took, failures included."""

    name: str
    method: str
    count: int
    failures: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class ShopperSecond(msgspec.Struct):
    """The shoppers at one time: how many there are, and how much they do."""

    at_s: float
    users: int
    actions_per_s: float
    failures_per_s: float
    p50_ms: float | None
    p99_ms: float | None


class Shopping(msgspec.Struct):
    """A whole run of the shoppers. `failures` is by the problem's name."""

    actions: list[Action] = []
    seconds: list[ShopperSecond] = []
    failures: dict[str, int] = {}
    p99_ms: float | None = None

    @property
    def failures_count(self) -> int:
        return sum(self.failures.values())
