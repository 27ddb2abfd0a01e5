"""What forwarding costs: 500 viewers of one show at 200 packets/s, against a bare loop of `protect` and `sendto`.

The server is this process. Publisher and viewers are a second one (`loadtests.benches.audience`). The floor is measured
with the same viewers' keys and sockets, right after, by a plain Python loop.

`--picture FILE` measures from 50 to 800 viewers instead and draws the curve; then there is no floor at each size, but
the line that the last one's floor gives.
"""

import argparse
import asyncio
import time
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import uvloop

from loadtests.benches.audience import Orders, audience
from loadtests.benches.figure import figure
from loadtests.benches.picture import Curve, draw
from loadtests.benches.stage import SHOW, stage
from loadtests.media.source import PACKETS_PER_S, Source
from stream.downstream.subscribers import Subscriber
from stream.service import Media

VIEWERS = 500
WINDOW_S = 10.0
CURVE = (50, 100, 200, 300, 400, 500, 600, 700, 800)
CURVE_WINDOW_S = 5.0
FLOOR_FRAMES = 5
FLOOR_ROUNDS = 9
_LAG_INTERVAL_S = 0.005
_DRAIN_S = 0.1
_TIMEOUT_S = 170.0


class Window(NamedTuple):
    """What one stretch of streaming cost. CPU is user and system time of this process, in seconds."""

    viewers: int
    cpu_s: float
    wall_s: float
    waited_s: float
    forwarded: int
    expected: int
    lost: int
    lags: "Lags"

    @property
    def cost_s(self) -> float:
        """CPU per packet and viewer."""
        return self.cpu_s / max(self.forwarded, 1)

    @property
    def core_pct(self) -> float:
        return 100 * self.cpu_s / self.wall_s


class Lags:
    """How late the event loop was, every few milliseconds, in seconds.

    `own` is what of it this process spent computing: the rest was spent waiting for a core that others had.
    """

    def __init__(self) -> None:
        self.all: list[float] = []
        self.own: list[float] = []

    async def measure(self) -> None:
        """For ever."""
        while True:
            before, cpu = time.perf_counter(), time.process_time()
            await asyncio.sleep(_LAG_INTERVAL_S)
            lag = time.perf_counter() - before - _LAG_INTERVAL_S
            self.all.append(lag)
            self.own.append(min(lag, time.process_time() - cpu))

    def figures(self, name: str) -> None:
        """Print both; the budget is for what a viewer sees."""
        figure(f"{name}_loop_lag_p99_ms", quantiles(self.all, n=100)[98] * 1000, "ms", 10)
        figure(f"{name}_own_lag_p99_ms", quantiles(self.own, n=100)[98] * 1000, "ms of it by this process's own work")


def waited_s() -> float:
    """Seconds that this process was ready to run while others had the cores (Linux; elsewhere 0)."""
    path = Path("/proc/self/schedstat")
    return int(path.read_text().split()[1]) / 1e9 if path.exists() else 0.0


def _subscribers(media: Media) -> list[Subscriber]:
    return [member for member in media.stages[SHOW].relay.subscribers if member.peer.address is not None]


async def window(media: Media, orders: Orders, seconds: float) -> Window:
    """Let the publisher send for so long to everybody who is there."""
    viewers = len(_subscribers(media))
    lags = Lags()
    observer = asyncio.create_task(lags.measure())
    before = media.counts["sent"]
    cpu, wall, waited = time.process_time(), time.perf_counter(), waited_s()
    sent, lost = await orders.give("stream", seconds)
    cpu, wall, waited = time.process_time() - cpu, time.perf_counter() - wall, waited_s() - waited
    observer.cancel()
    return Window(viewers, cpu, wall, waited, media.counts["sent"] - before, sent * viewers, lost, lags)


def floor_s(media: Media) -> float:
    """CPU seconds per packet and viewer of a loop that does nothing but protect and send.

    The packets have an SSRC of their own, and the viewers' process goes on reading: a full socket would make sending
    cheaper than it is.
    """
    subscribers = _subscribers(media)
    send_to, source = media.port.raw.sendto, Source(20_000)
    rounds = []
    for _ in range(FLOOR_ROUNDS):
        packets = [packet for _ in range(FLOOR_FRAMES) for packet in source.frame()]
        before = time.process_time()
        for packet in packets:
            for subscriber in subscribers:
                send_to(subscriber.peer.protect(packet), subscriber.peer.address)  # type: ignore[arg-type]
        rounds.append((time.process_time() - before) / (len(packets) * len(subscribers)))
        time.sleep(_DRAIN_S)
    return median(rounds)


async def _one_size() -> None:
    async with asyncio.timeout(_TIMEOUT_S), stage() as (media, http_port):
        with audience(http_port) as orders:
            failed = await orders.give("grow", VIEWERS)
            seen = await window(media, orders, WINDOW_S)
            floor = floor_s(media)
    missing = seen.lost + failed * seen.expected // max(seen.viewers, 1)
    figure("relay_floor_us", floor * 1e6, "µs CPU per packet and viewer, protect + sendto in a loop")
    figure("relay_cost_us", seen.cost_s * 1e6, "µs CPU per packet and viewer, everything included")
    figure("relay_ratio", seen.cost_s / floor, "× floor", 1.5)
    figure("relay_500_viewers_core_pct", seen.core_pct, "% of a core", 70)
    figure("relay_loss_pct", 100 * missing / (seen.expected or 1), f"% of {seen.expected} packets", 0)
    seen.lags.figures("relay")
    figure(
        "relay_waited_pct", 100 * seen.waited_s / seen.wall_s, "% of the time ready to run while others had the cores"
    )


async def _curve(path: Path) -> None:
    windows: list[Window] = []
    async with asyncio.timeout(_TIMEOUT_S), stage() as (media, http_port):
        with audience(http_port) as orders:
            for size in CURVE:
                await orders.give("grow", size)
                seen = await window(media, orders, CURVE_WINDOW_S)
                windows.append(seen)
                figure(f"relay_{size}_viewers_core_pct", seen.core_pct, f"% of a core; {seen.lost} packets lost")
            floor = floor_s(media)
    measured = Curve("this relay", [(seen.viewers, seen.core_pct) for seen in windows])
    plain = Curve("protect + sendto in a loop", [(n, 100 * floor * PACKETS_PER_S * n) for n in (0, *CURVE)])
    draw(path, [measured, plain], x="viewers of one show", y="% of a core", title="CPU of forwarding 1.4 Mbit/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="measure 50 to 800 viewers and draw them")
    options = parser.parse_args()
    uvloop.run(_one_size() if options.picture is None else _curve(options.picture))


if __name__ == "__main__":
    main()
