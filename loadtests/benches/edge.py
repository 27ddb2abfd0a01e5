"""What a worker costs whose viewers watch a publisher on another worker, and how much later they see it.

Three processes on one Valkey: the origin, which has the publisher; the edge, which is this one and has the viewers; and
publisher and viewers themselves. The floor is the plain loop of `protect` and `sendto` at the edge.
"""

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles

import uvloop

from live.core.bus import Bus
from live.core.valkey import EmbeddedValkey
from loadtests.benches.audience import Orders, audience
from loadtests.benches.figure import figure
from loadtests.benches.relay import floor_s, window
from loadtests.benches.stage import stage, told
from loadtests.media.source import PACKETS_PER_S
from stream.cluster.cluster import Cluster
from stream.service import Media

VIEWERS = 300
WINDOW_S = 8.0
PROBE_S = 4.0
_TRIES = 50
_TIMEOUT_S = 110.0


@asynccontextmanager
async def _worker(url: str) -> AsyncIterator[tuple[Media, int]]:
    bus = await Bus.open(url)
    try:
        async with Cluster.open(bus, url) as cluster, stage(cluster) as running:
            yield running
    finally:
        await bus.close()


# --- the origin ---------------------------------------------------------------------------------------------------


async def _serve(url: str, pipe: Connection) -> None:
    """Tells its port, then on each word its CPU time so far."""
    async with _worker(url) as (_, http_port):
        pipe.send(("port", http_port))
        while (await told(pipe))[0] != "stop":
            pipe.send(("cpu", time.process_time()))


def _run(url: str, pipe: Connection) -> None:
    uvloop.run(_serve(url, pipe))


# --- the edge: this process ---------------------------------------------------------------------------------------


async def _main() -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        with tempfile.TemporaryDirectory() as folder:
            valkey = EmbeddedValkey(Path(folder))
            try:
                await _measure(await valkey.start())
            finally:
                await valkey.stop()


async def _measure(url: str) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(url, theirs))
    process.start()
    origin = Orders(ours)
    try:
        _, origin_port = await told(ours)
        async with _worker(url) as (media, http_port):
            with audience(http_port, origin_port) as orders:
                await _first(orders)
                delays_s = await orders.give("probe", PROBE_S)
                failed = await orders.give("grow", VIEWERS)
                before = await origin.give("cpu")
                seen = await window(media, orders, WINDOW_S)
                exported = await origin.give("cpu") - before
                floor = floor_s(media)
        ours.send(("stop", None))
        process.join(10)
    finally:
        process.kill()
    missing = seen.lost + failed * seen.expected // max(seen.viewers, 1)
    figure("edge_floor_us", floor * 1e6, "µs CPU per packet and viewer, protect + sendto in a loop")
    figure("edge_cost_us", seen.cost_s * 1e6, "µs CPU per packet and viewer, everything included")
    figure("edge_ratio", seen.cost_s / floor, "× floor", 1.5)
    figure("edge_core_pct", seen.core_pct, f"% of a core, {seen.viewers} viewers")
    figure("edge_loss_pct", 100 * missing / (seen.expected or 1), f"% of {seen.expected} packets", 0)
    figure("edge_delay_p50_ms", median(delays_s) * 1000, "ms later than at the origin")
    figure("edge_delay_p95_ms", quantiles(delays_s, n=20)[18] * 1000, "ms later than at the origin", 15)
    seen.lags.figures("edge")
    packets = PACKETS_PER_S * WINDOW_S
    figure("origin_export_us", exported / packets * 1e6, "µs CPU of the origin for one packet: taken in and exported")
    figure(
        "edge_waited_pct", 100 * seen.waited_s / seen.wall_s, "% of the time ready to run while others had the cores"
    )


async def _first(orders: Orders) -> None:
    """Let the first viewer in, as soon as the edge knows of the show."""
    for _ in range(_TRIES):
        if not await orders.give("grow", 1):
            return
        await asyncio.sleep(0.1)
    raise TimeoutError("the edge never heard of the show")


if __name__ == "__main__":
    uvloop.run(_main())
