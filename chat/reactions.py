"""Reactions as numbers: what one worker has counted of a show, and what all workers have.

A worker only ever says how much it has counted *in all* since it began, never how much came on top: an answer that
was lost, or a call that is made twice, then counts nothing twice. So a count never goes back, and one that is given up
and begun again needs a new name.
"""

from typing import Literal, get_args

Reaction = Literal["heart", "clap", "fire", "wow"]
KINDS: tuple[Reaction, ...] = get_args(Reaction)


class Tally:
    """One worker's count of one show. `member` is its name among all counts; times are monotonic seconds."""

    __slots__ = ("_counted", "_noted", "member", "sums", "used_s")

    def __init__(self, member: str, now_s: float) -> None:
        self.member = member
        self.used_s = now_s  # when the last reaction came
        self.sums: dict[str, int] = dict.fromkeys(KINDS, 0)  # of all workers, as far as is known here
        self._counted: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._noted = self._counted.copy()

    def add(self, kind: Reaction, now_s: float) -> None:
        """Count one reaction."""
        self._counted[kind] += 1
        self.used_s = now_s

    @property
    def due(self) -> bool:
        """Whether something was counted that the other workers have not been told."""
        return self._counted != self._noted

    def counts(self) -> dict[str, int]:
        """All that was counted here since the tally began."""
        return self._counted.copy()

    def noted(self, counts: dict[str, int], sums: dict[str, int]) -> None:
        """`counts` have been taken into the `sums` of all workers."""
        self._noted = counts
        self.sums = sums

    def idle(self, now_s: float, idle_s: float) -> bool:
        """Whether it can be given up: nothing is due, and nothing came for `idle_s`."""
        return not self.due and now_s - self.used_s > idle_s
