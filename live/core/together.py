"""Questions that many ask at the same time, answered together: one query for hundreds of viewers who come back.

At once when nobody else asks; what is asked while an answer is being fetched, or within TOGETHER_INTERVAL_S of the
last fetch, goes together into the next one. Without that pause a steady stream of a few hundred questions a second is
answered by twos and threes, and most of the work is each fetch's own.

A question fails alone: when a fetch raises, each half of it is tried by itself, until what fails is one question. Only
what the store refuses as a whole it refuses to all who asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from live.core.errors import Kind, Problem
from live.core.limits import TOGETHER_INTERVAL_S
from live.core.tasks import end

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Together(Generic[K, V]):
    """`fetch` answers every one of up to `most` different keys, or raises."""

    def __init__(self, fetch: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], most: int) -> None:
        self._fetch = fetch
        self._most = most
        self._asked: dict[K, asyncio.Future[V]] = {}
        self._task: asyncio.Task[None] | None = None
        self._next_s = 0.0  # of the loop's clock: no fetch begins before, unless there is enough for a whole one
        self.fetches = 0

    async def ask(self, key: K) -> V:
        """The answer to `key`; raises what `fetch` raises."""
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="together")
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Answer nobody any more."""
        await end(self._task)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._asked:
                if len(self._asked) < self._most and (wait_s := self._next_s - loop.time()) > 0:
                    await asyncio.sleep(wait_s)
                self._next_s = loop.time() + TOGETHER_INTERVAL_S
                keys = list(self._asked)[: self._most]
                futures = [self._asked.pop(key) for key in keys]
                await self._answer(keys, futures)
        finally:
            self._task = None
            for future in self._asked.values():
                future.cancel()
            self._asked.clear()

    async def _answer(self, keys: list[K], futures: "list[asyncio.Future[V]]") -> None:
        self.fetches += 1
        try:
            found = await self._fetch(keys)
            answers = [found[key] for key in keys]
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        except Exception as error:  # theirs to deal with
            if len(keys) > 1 and not (isinstance(error, Problem) and error.kind in (Kind.overloaded, Kind.unavailable)):
                await self._answer_halves(keys, futures)
                return
            for future in futures:
                future.set_exception(error)
                future.exception()  # who asked may be gone
        else:
            for future, answer in zip(futures, answers, strict=True):
                future.set_result(answer)

    async def _answer_halves(self, keys: list[K], futures: "list[asyncio.Future[V]]") -> None:
        middle = len(keys) // 2
        try:
            await self._answer(keys[:middle], futures[:middle])
        except asyncio.CancelledError:
            for future in futures[middle:]:
                future.cancel()
            raise
        await self._answer(keys[middle:], futures[middle:])
