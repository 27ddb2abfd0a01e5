"""The figures of a show's video as types, and those that several workers have of its viewers as one.

Every worker measures its own viewers; the one whose publisher is on air adds them up. Numbers and rates add. The mean
of the loss is weighted by viewers, and so are the medians: the median of all is not known from those of parts, but lies
between them. Of the 95th percentiles the highest is taken: at most 5 % of all viewers fare worse than it says.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec


class AudienceFigures(msgspec.Struct, frozen=True):
    """What is known of viewers.

    `layers`: RID ("" for a single layer) → viewers who are sent it. `audio_only` are sent sound only, by their
    wish, their path or their player; `waiting` want video and wait for its first keyframe. `limited` would get a
    better layer on a better path. `bitrate_bps` is what all of them are sent, without headers and retransmissions.
    `loss` and `loss_p95` (0 to 1, before retransmission) are mean and 95th percentile of what they report;
    `rtt_ms`, `rtt_p95_ms` and `jitter_ms` median, 95th percentile and median. Null: not known yet. `nacks` and
    `plis` are their requests for packets and for keyframes since each worker began to show the show,
    `retransmitted` packets sent again, `dropped` those not sent because their path took no more. `frozen` have been
    without a picture for more than half a second, as far as the server can tell: they wait for a keyframe, asked
    for one (their decoder has stopped) and got none since, or report that nothing arrives. `freezes` is how often
    that has happened.
    """

    layers: dict[str, int]
    audio_only: int
    waiting: int
    limited: int
    bitrate_bps: int
    loss: float | None
    loss_p95: float | None
    rtt_ms: float | None
    rtt_p95_ms: float | None
    jitter_ms: float | None
    nacks: int
    plis: int
    retransmitted: int
    dropped: int
    frozen: int
    freezes: int


class LayerFigures(msgspec.Struct, frozen=True):
    """One layer as it comes from the host; a width and height of 0 are not known yet."""

    rid: str
    bitrate_bps: int
    fps: float
    width: int
    height: int
    loss: float
    loss_repaired: float


class VideoFigures(msgspec.Struct, frozen=True):
    """A show's video in the last second.

    `bitrate_bps` and `loss` (0 to 1, before retransmission) are of all the host's streams, `loss_repaired` is what
    retransmission left of it; `fps` and `jitter_ms` are those of the fastest layer and of the worst stream. `nacks` and
    `plis` are what the host was asked for, `remb_bps` what it was told that its path carries, `host_rtt_ms` is the
    round trip to it (null: not known yet), `codec` null is no video. `rank` is that of who is on air, primary or
    backup. `subscribers` is the number of viewers on all workers, `rtt_ms` the median of their round trips.
    """

    bitrate_bps: int
    fps: float
    loss: float
    loss_repaired: float
    codec: str | None
    jitter_ms: float
    host_rtt_ms: float | None
    nacks: int
    plis: int
    remb_bps: int
    layers: tuple[LayerFigures, ...]
    rank: str
    rtt_ms: float | None
    subscribers: int
    audience: AudienceFigures


def merged(parts: Sequence[tuple[int, AudienceFigures]]) -> AudienceFigures:
    """The figures of all viewers, from those of each worker and how many it has; at least one part."""
    layers: Counter[str] = Counter()
    for _, part in parts:
        layers.update(part.layers)

    def mean(of: Callable[[AudienceFigures], float | None], digits: int) -> float | None:
        known = [(viewers, value) for viewers, part in parts if viewers and (value := of(part)) is not None]
        whole = sum(viewers for viewers, _ in known)
        return round(sum(viewers * value for viewers, value in known) / whole, digits) if whole else None

    def highest(of: Callable[[AudienceFigures], float | None]) -> float | None:
        return max((value for _, part in parts if (value := of(part)) is not None), default=None)

    def total(of: Callable[[AudienceFigures], int]) -> int:
        return sum(of(part) for _, part in parts)

    return AudienceFigures(
        layers=dict(layers),
        audio_only=total(lambda part: part.audio_only),
        waiting=total(lambda part: part.waiting),
        limited=total(lambda part: part.limited),
        bitrate_bps=total(lambda part: part.bitrate_bps),
        loss=mean(lambda part: part.loss, 4),
        loss_p95=highest(lambda part: part.loss_p95),
        rtt_ms=mean(lambda part: part.rtt_ms, 1),
        rtt_p95_ms=highest(lambda part: part.rtt_p95_ms),
        jitter_ms=mean(lambda part: part.jitter_ms, 1),
        nacks=total(lambda part: part.nacks),
        plis=total(lambda part: part.plis),
        retransmitted=total(lambda part: part.retransmitted),
        dropped=total(lambda part: part.dropped),
        frozen=total(lambda part: part.frozen),
        freezes=total(lambda part: part.freezes),
    )
