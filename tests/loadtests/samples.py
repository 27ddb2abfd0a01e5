"""A run that was never made, with something of everything."""

from loadtests.histogram import Histogram
from loadtests.measures import (
    OTHERS,
    Action,
    Mark,
    MediaSecond,
    MediaTotals,
    Screening,
    Second,
    ServerSecond,
    ShopperSecond,
    Shopping,
    Totals,
    Usage,
)
from loadtests.verdict import Run


def histogram(*values_us: int) -> Histogram:
    result = Histogram()
    for value in values_us:
        result.record(value)
    return result


def sample_run() -> Run:
    quick, empty = histogram(900, 2_000, 40_000).plain(), histogram().plain()
    seconds = [
        Second(at_s=float(at), open=at * 10, joins=10, deliveries=at * 100, frames=at * 90, received_bytes=at * 9000,
               lag_max_ms=1.5, cpu_percent=20.0, closes={"4001": 2, "http 503": 1} if at == 2 else {},
               cut=10 * (at == 3), gaps=int(at == 3), lost=5 * (at == 5), duplicates=2 * (at == 4),
               replaced=4 * (at == 3), join=quick, delivery=empty if at == 3 else quick)
        for at in range(1, 6)
    ]  # fmt: skip
    totals = Totals(
        viewers=51, joined=50, sent=9, unsent=1, acknowledged=7, unanswered=1, unseen=1, sampled=2, resent=1,
        deliveries=1500, frames=1350, received_bytes=135_000, duplicates=2, gaps=3, reordered=1, replaced=4, lost=5,
        left=1, not_back=1, cut=10, recovered=8, resnapped=1, closes={"4001": 2, "http 503": 1},
        refused={"slow_mode": 1}, join=quick, delivery=quick, acknowledge=quick, late=quick, back=quick,
        lag_max_ms=1.5, cpu_s=1.0, live_cpu_s=0.5, live_frames=2000,
    )  # fmt: skip
    names = ("server", "valkey", "swarm", OTHERS)
    usage = [Usage(float(at), name, 5.0 * at, 100.0 + at) for at in range(6) for name in names]
    shopping = Shopping(
        actions=[
            Action("add", "WS", 20, 1, 2.0, 9.0, 12.0),
            Action("add: sold_out", "WS", 3, 0, 2.0, 9.0, 12.0),
        ],
        seconds=[ShopperSecond(float(at), 5, 3.0, 0.1, None if at == 1 else 2.0, 9.0) for at in range(-1, 6)],
        failures={"<overloaded> & co": 1},
        p99_ms=9.0,
    )
    server = [
        ServerSecond(float(at), str(at % 2), 0.5, 2.5, 10.0, 7.0 * (at == 3), float(at == 4)) for at in range(1, 6)
    ]
    marks = [Mark(1.0, "drop"), Mark(2.0, "slow 10%", 4.0), Mark(3.0, "reconnect"), Mark(99.0, "never")]
    return Run(
        seconds=seconds, totals=totals, usage=usage, shopping=shopping, screening=sample_screening(), server=server,
        marks=marks,
    )  # fmt: skip


def sample_screening() -> Screening:
    """Of the video."""
    quick, empty = histogram(3_000, 9_000, 45_000).plain(), histogram().plain()
    seconds = [
        MediaSecond(at_s=float(at), watching=at, joins=1, packets=at * 100, received_bytes=at * 100_000,
                    pictures=at * 25, lost=int(at == 3), recovered=2, freezes=int(at == 3),
                    closes={"silence": 1} if at == 2 else {},
                    lag_max_ms=2.0, cpu_percent=10.0, first_frame=quick, delay=empty if at == 3 else quick)
        for at in range(1, 6)
    ]  # fmt: skip
    totals = MediaTotals(
        viewers=6, joined=5, not_back=1, sent_pictures=125, sent_packets=900, sent_bytes=900_000, unsent_pictures=3,
        republished=1, keyframes_asked=2, packets=1500, received_bytes=1_500_000, pictures=375, skipped=4, lost=1,
        asked=12, recovered=10, duplicates=1, freezes=1, frozen_s=0.8, closes={"silence": 1}, refused={"not_live": 2},
        first_frame=quick, delay=quick, back=quick, late=quick, lag_max_ms=2.0, cpu_s=0.5,
    )  # fmt: skip
    return Screening(seconds, totals)
