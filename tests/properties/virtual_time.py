"""An event loop whose clock jumps to whatever is due next: a minute of a show takes milliseconds, always the same."""

import asyncio
import selectors
from typing import Any

from live.core.clock import Clock


class _Instant(selectors.DefaultSelector):
    """Never waits; tells how long it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: VirtualLoop | None = None

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nobody waits for anything that will ever happen"
            assert self.loop is not None
            self.loop.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `now_s` is its time; it begins somewhere after 0, which some take for never."""

    def __init__(self) -> None:
        selector = _Instant()
        super().__init__(selector)
        self.now_s = 1000.0
        selector.loop = self

    def time(self) -> float:
        return self.now_s


class LoopClock(Clock):
    """Both clocks are the loop's."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return int(self._loop.now_s * 1000)

    def monotonic(self) -> float:
        return self._loop.now_s
