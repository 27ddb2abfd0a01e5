"""Who is on air: a publisher that is connected here against whoever has the stage, on this worker or another.

                      nobody    primary, flowing   primary, stalled   backup, flowing    backup, stalled
    primary, fresh    takes it  takes it           takes it           waits              takes it
    primary, later    flowing   is replaced (1)    is replaced (1)    steady             flowing
    backup, fresh     takes it  stands by          flowing            stands by          flowing
    backup, later     flowing   stands by          flowing            stands by          flowing

A *fresh* publisher has only just connected. *Flowing*: takes the stage when packets came within STALL_S; *steady*: when
they have come for STEADY_S without a stall. (1) of two primaries the newer one stays, and the older one's session ends:
it is the same encoder that came back, or the same key used twice.
"""

from typing import NamedTuple

from live.core.limits import STALL_S, STEADY_S

PRIMARY, BACKUP = 0, 1


class Player(NamedTuple):
    """A publisher of this worker; seconds since its last packet, and since its last stall (0: stalled)."""

    rank: int
    silent_s: float
    steady_s: float
    fresh: bool

    @property
    def flowing(self) -> bool:
        return self.silent_s < STALL_S


class Holder(NamedTuple):
    """Who has the stage, under which fence (0: it is only known here), silent for how many seconds."""

    fence: int
    rank: int
    silent_s: float


def may_take(player: Player, holder: Holder | None) -> bool:
    """Whether `player` takes the stage now; `holder` None: nobody has it."""
    if holder is None:
        return player.fresh or player.flowing
    stalled = holder.silent_s >= STALL_S
    if player.rank == PRIMARY and holder.rank == PRIMARY:
        return player.fresh
    if player.rank == PRIMARY:
        return (player.fresh or player.flowing) if stalled else player.flowing and player.steady_s >= STEADY_S
    return stalled and player.flowing


def is_replaced(player: Player, holder: Holder) -> bool:
    """Whether `player`, who does not have the stage, is over; else it stands by."""
    return player.rank == holder.rank == PRIMARY and not player.fresh
