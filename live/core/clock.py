"""Time as a value: services are handed a clock, pure code is handed the number it shows."""

import time
from typing import Protocol


class Clock(Protocol):
    """What a service may ask about time."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC; may jump when the system clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when a test tells it to."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._now_ms / 1000

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds`."""
        assert seconds >= 0, "time never goes back"
        self._now_ms += round(seconds * 1000)
