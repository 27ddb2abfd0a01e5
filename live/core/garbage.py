"""When Python looks for cyclic garbage: often among what is young, hardly ever among what stays.

Each viewer is some hundred objects that live as long as the viewer. Python looks through all objects when a quarter of
them is new: with up to 6,000 viewers that held the loop for as long as 426 ms, several times while 2,000 more joined.
So what has outlived a few seconds is set apart (`gc.freeze`, which only links lists) and freed as almost everything
here is, when nothing refers to it any more. Cycles among what was set apart are looked for when half of it is gone, as
after a show, when there is less to look through. How much there is we take from Python's allocator, whose blocks (about
two an object) are counted in 0.1 ms: to count what was set apart, `gc.get_freeze_count` walks through it, which took 20
to 200 ms.
"""

import asyncio
import gc
import sys

INTERVAL_S = 2.0
YOUNG_OBJECTS = 10_000  # made since the last look
_SOME_BLOCKS = 750_000  # of memory; not worth a look at fewer: a server without viewers has 600,000
_NEVER = 1_000_000


class Tidy:
    """Keeps the looking short. `now` is to be called every INTERVAL_S."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        self._most = 0  # blocks that there were
        gc.set_threshold(YOUNG_OBJECTS, self._before[1], _NEVER)

    def now(self) -> None:
        """Look among what is young, and set the rest apart; when much of that is gone, look among it first."""
        blocks = sys.getallocatedblocks()
        self._most = max(self._most, blocks)
        if self._most > _SOME_BLOCKS and blocks < self._most // 2:
            self._most = 0
            gc.unfreeze()
            gc.collect()
        else:
            gc.collect(1)
        gc.freeze()

    def close(self) -> None:
        """Leave it to Python again."""
        gc.set_threshold(*self._before)
        gc.unfreeze()


async def keep_tidy() -> None:
    """For as long as a server runs."""
    tidy = Tidy()
    try:
        while True:
            await asyncio.sleep(INTERVAL_S)
            tidy.now()
    finally:
        tidy.close()
