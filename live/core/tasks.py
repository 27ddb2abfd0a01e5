"""Background tasks that end when they should."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

_AGAIN_S = 1.0


async def end(*tasks: "asyncio.Task[Any] | None") -> None:
    """Cancel `tasks` and wait until they are over; their results and errors are forgotten, None is skipped.

    Once is not enough: before Python 3.12, `asyncio.wait_for` (which the Redis library writes with) swallows a
    cancellation that comes in the moment it is done, and the task would go on for ever.
    """
    pending = {task for task in tasks if task is not None}
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()


@asynccontextmanager
async def running(job: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """A background job that lives as long as the block."""
    task = asyncio.create_task(job)
    try:
        yield
    finally:
        await end(task)
