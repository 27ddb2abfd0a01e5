"""`/metrics`: what this worker and its siblings tell about themselves, for Prometheus and for the ops page."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from live.core.collector import KernelCollector
from live.core.errors import Kind, Problem
from live.core.exposition import merged
from live.core.limits import RECENT_INTERVAL_S
from live.core.lives import Lives
from live.core.metrics import CONTENT_TYPE, Metrics
from live.core.rest import problem_response, respond
from live.core.siblings import Siblings, folder
from live.core.tasks import running

_EXPOSITION = "exposition"
_RECENT = "recent "


def answer(metrics: Metrics, question: str) -> bytes:
    """What a worker answers a sibling; b"" when it does not know the question. Raises `ValueError` when it is none."""
    if question == _EXPOSITION:
        return metrics.exposition()
    if question.startswith(_RECENT):
        return orjson.dumps(metrics.recent.since(float(question.removeprefix(_RECENT))))
    return b""


class Ops:
    """Answers questions about one worker, and asks all of them."""

    def __init__(self, metrics: Metrics, siblings: Siblings) -> None:
        self._metrics = metrics
        self._siblings = siblings

    @classmethod
    @asynccontextmanager
    async def open(
        cls, metrics: Metrics, workers: int, *collectors: Collector, kernel: KernelCollector | None = None
    ) -> AsyncIterator["Ops"]:
        """Measure, remember and answer, as one of so many workers, until the block ends."""
        for collector in (*collectors, *([kernel] if kernel else [])):
            metrics.registry.register(collector)
        async with AsyncExitStack() as stack:
            worker = metrics.worker
            metrics.registry.register(await stack.enter_async_context(Lives.open(worker, folder(workers))))
            siblings = await stack.enter_async_context(Siblings.open(worker, workers, lambda q: answer(metrics, q)))
            jobs = [metrics.watch_loop(), metrics.watch_disk(), metrics.remember()]
            for job in [*jobs, *([kernel.watch()] if kernel else [])]:
                await stack.enter_async_context(running(job))
            yield cls(metrics, siblings)

    @property
    def route(self) -> Route:
        """`GET /metrics`: of all workers of this supervisor, `?worker=self`: of this one; `?recent=<unix seconds>`:
        as JSON, what the workers remember since then."""

        async def metrics(request: Request) -> Response:
            query = request.query_params
            if "recent" in query:
                return await self._recent(query["recent"])
            if query.get("worker") == "self":
                return Response(self._metrics.exposition(), media_type=CONTENT_TYPE)
            answers = await self._siblings.ask(_EXPOSITION)
            texts = {worker: None if answer is None else answer.decode() for worker, answer in answers.items()}
            return Response(merged(texts), media_type=CONTENT_TYPE)

        return Route("/metrics", metrics)

    async def _recent(self, since: str) -> Response:
        try:
            since_s = float(since)
        except ValueError:
            return problem_response(Problem(Kind.invalid_field, "A time in Unix seconds.", field="recent"))
        answers = await self._siblings.ask(f"{_RECENT}{since_s}")
        workers: list[dict[str, Any]] = []
        for worker, answer in answers.items():
            told = {"series": [], "rows": []} if answer is None else orjson.loads(answer)
            workers.append({"worker": worker, "up": answer is not None, **told})
        return respond({"interval_s": RECENT_INTERVAL_S, "answered_by": self._metrics.worker, "workers": workers})
