"""When Python looks for cyclic garbage: often among what is young, hardly ever among what stays.

Each viewer is some objects that live as long as the viewer. Left alone, Python looks through all objects when a quarter
of them is new, which holds the loop for 200 ms with 8,000 viewers. So what has outlived a few seconds is set apart
(`gc.freeze`, which only links lists) and freed as almost everything here is, when nothing refers to it any more:
connections break their rings of references when they end, and a test sees that none are left.

Others' code may still leave some. So all is looked through when half of what was set apart is gone, as after a show,
when there is less to look through; and when it has doubled and is more than the viewers of a full worker are. How much
there is we take from Python's allocator, whose blocks (about two an object) are counted in 0.1 ms: to count what was
set apart, `gc.get_freeze_count` walks through it, which took 20 to 200 ms.
docs/decisions/garbage.md has the figures, and what else was tried.
"""

import asyncio
import gc
import sys

INTERVAL_S = 2.0
YOUNG_OBJECTS = 5_000  # made since the last look
_YOUNG_LOOKS = 4  # at the young alone, before one at those who outlived these: 25,000 objects, some 10 ms
_SOME_BLOCKS = 750_000  # of memory; not worth a look at fewer: a server without viewers has 600,000
_MANY_BLOCKS = 3_500_000  # of memory; more than a worker full of viewers has
_NEVER = 1_000_000


class Tidy:
    """Keeps the looking short. `now` is to be called every INTERVAL_S."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        self._most = 0  # blocks that there were since all objects were looked through
        self._least = 0  # after that
        gc.set_threshold(YOUNG_OBJECTS, _YOUNG_LOOKS, _NEVER)

    def now(self) -> None:
        """Look among what is young, and set the rest apart; see the module for when all is looked through."""
        blocks = sys.getallocatedblocks()
        self._most = max(self._most, blocks)
        shrunk = self._most > _SOME_BLOCKS and blocks < self._most // 2
        if shrunk or blocks > max(_MANY_BLOCKS, self._least * 2):
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._most = self._least = sys.getallocatedblocks()
        else:
            gc.collect(1)
            gc.freeze()

    def close(self) -> None:
        """Leave it to Python again."""
        gc.set_threshold(*self._before)
        gc.unfreeze()


async def keep_tidy() -> None:
    """For as long as a server runs; not on asyncio's own loop, whose transports are rings of references themselves."""
    if not type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
        return
    tidy = Tidy()
    try:
        while True:
            await asyncio.sleep(INTERVAL_S)
            tidy.now()
    finally:
        tidy.close()
