"""How the processes ended that were in a worker's place before, kept in the folder that its supervisor made for them.

    what the worker's file says     what is counted
    there is none                   nothing: this is the first process
    it ended in good order          a restart, by SIGHUP or because somebody ended this process alone
    anything else                   an unclean end: killed, crashed, out of memory

The times are those at which the process came that counted it. All of it is forgotten with the supervisor.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)


class Past(msgspec.Struct, frozen=True):
    """What a worker's file says. Times in Unix seconds; 0.0: it never happened."""

    unclean: int = 0
    unclean_s: float = 0.0
    restarts: int = 0
    restarted_s: float = 0.0
    ended: bool = False  # in good order

    def next(self, now_s: float) -> "Past":
        """As the process finds it that comes now."""
        if self.ended:
            return msgspec.structs.replace(self, restarts=self.restarts + 1, restarted_s=now_s, ended=False)
        return msgspec.structs.replace(self, unclean=self.unclean + 1, unclean_s=now_s)


class Lives(Collector):
    """See the module. Without a file (`past` None) nothing is known, and no figures are given."""

    def __init__(self, past: Past | None) -> None:
        self.past = past

    @classmethod
    @asynccontextmanager
    async def open(cls, worker: int, folder: Path | None) -> AsyncIterator[Self]:
        """Count the processes before this one, which ends in good order with the block. `folder` None: nobody does."""
        if folder is None:
            yield cls(None)
            return
        path = folder / f"{worker}.past"
        past = None
        try:
            past = await asyncio.to_thread(_begin, path)
        except (OSError, msgspec.DecodeError) as error:  # figures are no reason not to serve
            log.warning("what became of the process before is not known: %s", error)
        yield cls(past)  # no `finally`: an end by an error is none in good order
        if past is not None:
            with suppress(OSError):  # the folder is gone with a supervisor that was killed
                await asyncio.to_thread(_write, path, msgspec.structs.replace(past, ended=True))

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """The families; called by the registry."""
        if self.past is None:
            return
        counts = CounterMetricFamily(
            "showcart_worker_replaced", "Processes in this worker's place before, by how they ended", labels=["how"]
        )
        times = GaugeMetricFamily(
            "showcart_worker_replaced_time_seconds", "When the last one was replaced, 0: never", labels=["how"]
        )
        for how, count, at_s in (
            ("unclean", self.past.unclean, self.past.unclean_s),
            ("restart", self.past.restarts, self.past.restarted_s),
        ):
            counts.add_metric([how], count)
            times.add_metric([how], at_s)
        yield counts
        yield times


def _begin(path: Path) -> Past:
    past = msgspec.json.decode(path.read_bytes(), type=Past).next(time.time()) if path.exists() else Past()
    _write(path, past)
    return past


def _write(path: Path, past: Past) -> None:
    """Whole or not at all: the process may be killed meanwhile."""
    made = path.with_suffix(".new")
    made.write_bytes(msgspec.json.encode(past))
    os.replace(made, path)
