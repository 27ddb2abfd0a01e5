"""What is known of a show's viewers, in one small table for its host."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from stream.downstream.subscribers import Subscriber


def audience_figures(
    viewers: Collection[Subscriber], rids: Sequence[str], totals: Mapping[str, int], bitrate_bps: int, now: float
) -> dict[str, Any]:
    """The figures of `downstream.tally.AudienceFigures`; `bitrate_bps` is what all of them are sent."""
    losses = [viewer.loss for viewer in viewers if viewer.loss is not None]
    trips = [viewer.rtt_s * 1000 for viewer in viewers if viewer.rtt_s is not None]
    jitters = [viewer.jitter_s * 1000 for viewer in viewers if viewer.jitter_s is not None]
    layers = Counter(viewer.layer for viewer in viewers)
    waiting = sum(viewer.layer is None and viewer.target is not None for viewer in viewers)
    return {
        "layers": {rid: layers[index] for index, rid in enumerate(rids)},
        "audio_only": layers[None] - waiting,
        "waiting": waiting,
        "limited": sum(viewer.selector.limited for viewer in viewers),
        "bitrate_bps": bitrate_bps,
        "loss": round(fmean(losses), 4) if losses else None,
        "loss_p95": _rounded(_percentile(losses, 0.95), 4),
        "rtt_ms": _rounded(median(trips) if trips else None, 1),
        "rtt_p95_ms": _rounded(_percentile(trips, 0.95), 1),
        "jitter_ms": _rounded(median(jitters) if jitters else None, 1),
        "nacks": totals.get("viewer_nack", 0),
        "plis": totals.get("viewer_pli", 0),
        "retransmitted": totals.get("retransmitted", 0),
        "dropped": totals.get("dropped", 0) + sum(viewer.dropped for viewer in viewers),
        "frozen": sum(viewer.frozen(now) for viewer in viewers),
        "freezes": totals.get("freezes", 0) + sum(viewer.freezes for viewer in viewers),
    }


def _percentile(values: Sequence[float], share: float) -> float | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
