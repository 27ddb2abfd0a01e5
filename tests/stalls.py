"""When the machine stood still: a process wanted to go on and did not get a processor.

Who judges a show by the clock leaves that time out: everything in the process stood still together then. The time in
which the process worked counts.
"""

import asyncio
import time

TICK_S = 0.01
STALL_S = 0.05


class Stalls:
    """Those of the process that it is watched in, by `time.monotonic`, which asyncio's own loops tell as well."""

    def __init__(self) -> None:
        self._found: list[tuple[float, float]] = []  # when it went on, and how long it had stood still

    async def tick(self) -> float:
        """Sleep for TICK_S; the time afterwards."""
        began, worked_s = time.monotonic(), time.process_time()
        await asyncio.sleep(TICK_S)
        now = time.monotonic()
        idle_s = now - began - (time.process_time() - worked_s)
        if idle_s > TICK_S + STALL_S:
            self._found.append((now, idle_s - TICK_S))
        return now

    async def watch(self) -> None:
        """Tick until cancelled."""
        while True:
            await self.tick()

    def stood_s(self, since: float, until: float) -> float:
        """For how long it stood still between two times."""
        return sum(stall_s for at, stall_s in self._found if since < at <= until + TICK_S)
