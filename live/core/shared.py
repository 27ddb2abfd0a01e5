"""Answers that many ask for in the same moment: one fetch serves all who ask until it is no longer new enough.

For what anybody may read and screens are told of anyway, where an answer a moment old is as good as a new one. Who must
see what has just been written asks the source itself; where questions differ and every answer must be new, `Together`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from live.core.tasks import end

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Kept(NamedTuple, Generic[V]):
    since_s: float
    task: asyncio.Task[V]

    @property
    def failed(self) -> bool:
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


class Shared(Generic[K, V]):
    """`fetch` answers a key, or raises; no answer was begun more than `kept_s` before it is given.

    `now` None: the clock of the running event loop.
    """

    def __init__(
        self, fetch: Callable[[K], Awaitable[V]], kept_s: float, now: Callable[[], float] | None = None
    ) -> None:
        self._fetch = fetch
        self._kept_s = kept_s
        self._now = now
        self._kept: dict[K, _Kept[V]] = {}  # the oldest first
        self._running: set[asyncio.Task[V]] = set()

    async def get(self, key: K) -> V:
        """The answer to `key`; raises what `fetch` raises. Answers are shared: nobody may change one."""
        now_s = asyncio.get_running_loop().time() if self._now is None else self._now()
        kept = self._kept.get(key)
        if kept is None or kept.failed or now_s - kept.since_s > self._kept_s:
            self._kept.pop(key, None)
            self._forget(now_s)
            kept = self._kept[key] = _Kept(now_s, self._begin(key))
        return await asyncio.shield(kept.task)

    async def close(self) -> None:
        """Answer nobody any more."""
        await end(*self._running)

    def _begin(self, key: K) -> asyncio.Task[V]:
        task = asyncio.create_task(self._ask(key), name="shared answer")
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def _ask(self, key: K) -> V:
        return await self._fetch(key)

    def _ended(self, task: asyncio.Task[V]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked gets it; who has left meanwhile does not want it

    def _forget(self, now_s: float) -> None:
        """Drop what is too old to be given: no more is kept than was asked for lately."""
        while self._kept:
            key, kept = next(iter(self._kept.items()))
            if not kept.failed and now_s - kept.since_s <= self._kept_s:
                return
            del self._kept[key]
