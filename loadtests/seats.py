"""Which processors who runs on, when a server of one process and a large audience share a machine.

The kernel moves a busy server to another core whenever a generator wakes up beside it, and each time its ten thousand
sockets are in the wrong core's cache: it wrote a fifth fewer frames. So the server keeps the first processor and the
swarm the others, as if they were machines. Whoever need not be prompt runs wherever there is room.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

SEATS_FROM = 5_000  # viewers: fewer do not fill a core, and several small runs may share a machine


class Seats(NamedTuple):
    """The processors of the server and those of the swarm."""

    server: frozenset[int]
    swarm: frozenset[int]

    @property
    def told(self) -> str:
        """For the report."""
        return f"server on {_listed(self.server)}, swarm on {_listed(self.swarm)}"


def seats(viewers: int, workers: int, processors: frozenset[int]) -> Seats | None:
    """Who runs where; None: wherever the kernel likes."""
    if viewers < SEATS_FROM or workers != 1 or len(processors) < 2:
        return None
    first = frozenset((min(processors),))
    return Seats(first, processors - first)


def processors() -> frozenset[int]:
    """Those that this process may use; none where the system does not say, as macOS."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def keep(pid: int, on: frozenset[int]) -> None:
    """Have all threads of process `pid` run `on` these processors only; a process that has ended needs none."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), on)


def _listed(numbers: frozenset[int]) -> str:
    return "CPU " + ", ".join(map(str, sorted(numbers)))
