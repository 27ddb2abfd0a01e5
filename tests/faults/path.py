"""What a network does to datagrams, as a seeded script: one `Path` for each direction.

A path is a queue in front of a slow link (`bits_per_s`, `queue_bytes`), then loss, delay, jitter, reordering and
duplication. It takes sizes and times and returns times, so the same path drives an in-process link, a link between
two network namespaces, or a loop without any clock. The same seed meets the same n-th datagram with the same fate.
"""

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Conditions:
    """Probabilities are 0 to 1; `bits_per_s` None: no bottleneck. May be changed while the path is in use."""

    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    reorder: float = 0.0  # held back for `reorder_s`, so that later ones overtake
    reorder_s: float = 0.02
    duplicate: float = 0.0
    bits_per_s: float | None = None
    queue_bytes: int = 40_000


class Path:
    """One direction."""

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self.conditions = conditions
        self.offered = self.dropped = 0
        self._random = random.Random(seed)
        self._free_at = 0.0  # when the bottleneck has sent what is queued
        self._last = 0.0

    def offer(self, size: int, now: float) -> tuple[float, ...]:
        """When copies of a datagram of `size` bytes arrive; () when it is lost."""
        self.offered += 1
        # Always the same number of draws, so that changed conditions do not change everybody's later fate.
        lost, held, doubled, shaken = (self._random.random() for _ in range(4))
        conditions = self.conditions
        at = now
        if conditions.bits_per_s is not None:
            waiting_s = max(0.0, self._free_at - now)
            if waiting_s * conditions.bits_per_s / 8 + size > conditions.queue_bytes:
                self.dropped += 1
                return ()
            self._free_at = at = max(self._free_at, now) + size * 8 / conditions.bits_per_s
        if lost < conditions.loss:
            self.dropped += 1
            return ()
        at += conditions.delay_s + shaken * conditions.jitter_s
        if held < conditions.reorder:
            at += conditions.reorder_s
        else:
            at = self._last = max(self._last, at)  # jitter alone does not reorder: a real queue is one
        return (at, at + 0.001) if doubled < conditions.duplicate else (at,)
