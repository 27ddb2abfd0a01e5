"""Is the worker ready? Each store and socket is asked, and none may hang the answer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from live.core.errors import Problem
from live.core.limits import HEALTH_CHECK_S
from live.core.rest import respond

Checks = Mapping[str, Callable[[], Awaitable[None]]]


def routes(checks: Callable[[], Checks]) -> list[Route]:
    """`/healthz`, which answers while the process does, and `/readyz`, which asks what `checks` names at that time."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        return await readiness(checks())

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


async def readiness(checks: Checks) -> Response:
    """200 when every check passes, else 503; the body says "ok" or in a word what is wrong, by name."""
    states = await asyncio.gather(*(state(check) for check in checks.values()))
    return respond(dict(zip(checks, states, strict=True)), 200 if set(states) <= {"ok"} else 503)


async def state(check: Callable[[], Awaitable[None]]) -> str:
    """ "ok", or in a word what is wrong."""
    try:
        async with asyncio.timeout(HEALTH_CHECK_S):
            await check()
    except TimeoutError:  # a store that hangs is as bad as one that refuses
        return "no answer"
    except Problem as problem:
        return problem.kind.name
    return "ok"
