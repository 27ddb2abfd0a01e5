"""Reactions of viewers: counted in memory, brought together over the bus, shown as totals.

A reaction is acknowledged when this worker has counted it: it is no truth of SQL, and a worker that is killed takes
what it has not passed on, at most REACTION_FLUSH_S of it, with it. All else is exact: what a worker counts is passed
on for as long as it takes, and nothing counts twice (see `chat.reactions`). When the server of the bus has lost its
memory, the totals go on from what the living workers have counted since they began.

A viewer's rate is counted by each worker alone; asking the bus would cost what counting in memory saves.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

from chat.reactions import KINDS, Reaction, Tally
from live.core.auth import Principal
from live.core.clock import Clock
from live.core.errors import Kind, Problem
from live.core.gate import Gate
from live.core.ids import secret_token
from live.core.limits import (
    BUS_TIMEOUT_S,
    REACTION_FLUSH_S,
    REACTION_RETRY_S_MAX,
    REACTION_SHOWS_MAX,
    REACTIONS_BURST,
    REACTIONS_IDLE_S,
    REACTIONS_PER_S,
    REACTORS_MAX,
)
from live.core.tasks import end

log = logging.getLogger(__name__)
Count = Callable[[str, str, str, Mapping[str, int]], Awaitable[dict[str, int]]]
"""`Outlet.count`: adds up what all workers count, tells the totals to all screens, and answers them."""

NAME = "reactions"


class Reactions:
    """See the module."""

    def __init__(self, count: Count, clock: Clock) -> None:
        self._count = count
        self._clock = clock
        self._tallies: dict[str, Tally] = {}  # by show
        self._flushing: dict[str, asyncio.Task[None]] = {}
        self._gate = Gate(REACTIONS_PER_S, REACTIONS_BURST, REACTORS_MAX)
        self.counted = {"taken": 0, "refused": 0}

    def react(self, show_id: str, viewer: Principal, kind: Reaction) -> None:
        """Count a reaction to a show that exists; raises `Problem` rate_limited, overloaded."""
        now_s = self._clock.monotonic()
        wait_s = self._gate.take(f"{show_id} {viewer.subject}", now_s)
        if wait_s > 0:
            self.counted["refused"] += 1
            raise Problem(Kind.rate_limited, retry_after_s=max(1, round(wait_s)))
        tally = self._tallies.get(show_id)
        if tally is None:
            self._give_up(now_s)
            if len(self._tallies) >= REACTION_SHOWS_MAX:
                self.counted["refused"] += 1
                raise Problem(Kind.overloaded, "Too many shows are reacted to.", retry_after_s=60)
            tally = self._tallies[show_id] = Tally(secret_token(9), now_s)
        tally.add(kind, now_s)
        self.counted["taken"] += 1
        if show_id not in self._flushing:
            self._flushing[show_id] = asyncio.create_task(self._flush(show_id, tally), name=f"reactions {show_id}")

    async def totals(self, show_id: str) -> dict[str, int]:
        """What all workers have counted; what was heard last here while the bus is away."""
        try:
            return await self._count(show_id, NAME, "", dict.fromkeys(KINDS, 0))
        except Problem:
            tally = self._tallies.get(show_id)
            return dict.fromkeys(KINDS, 0) if tally is None else tally.sums

    async def close(self) -> None:
        """Pass on what was counted, unless the bus does not take it in BUS_TIMEOUT_S."""
        await end(*self._flushing.values())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BUS_TIMEOUT_S):
                for show_id, tally in self._tallies.items():
                    if tally.due:
                        await self._pass_on(show_id, tally)

    async def _flush(self, show_id: str, tally: Tally) -> None:
        """At once when the show was quiet, then at most every REACTION_FLUSH_S, until there is nothing new."""
        wait_s = REACTION_FLUSH_S
        try:
            while tally.due:
                passed = await self._pass_on(show_id, tally)
                await asyncio.sleep(wait_s)
                wait_s = REACTION_FLUSH_S if passed else min(wait_s * 2, REACTION_RETRY_S_MAX)
        finally:
            del self._flushing[show_id]

    async def _pass_on(self, show_id: str, tally: Tally) -> bool:
        counts = tally.counts()
        try:
            tally.noted(counts, await self._count(show_id, NAME, tally.member, counts))
        except Problem as problem:
            log.info("the reactions to %s are passed on later: %s", show_id, problem)
            return False
        return True

    def _give_up(self, now_s: float) -> None:
        for show_id in [id_ for id_, tally in self._tallies.items() if tally.idle(now_s, REACTIONS_IDLE_S)]:
            if show_id not in self._flushing:
                del self._tallies[show_id]
