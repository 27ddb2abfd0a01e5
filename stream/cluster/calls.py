"""Asking another worker: WHIP and WHEP sessions live in one process, and their URLs work on all of them.

A worker's id is the first part of its sessions' ids, `<worker>.<secret>`, so whoever is asked knows whom to ask. A
request is sent once and never again, so it is never done twice; when no answer comes it may or may not have been done.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from live.core import codec
from live.core.bus import Bus, BusError
from live.core.errors import Kind, Problem
from live.core.ids import secret_token
from live.core.limits import CALL_TIMEOUT_S, CALLS_MAX
from live.core.listener import Message
from live.core.tasks import end

log = logging.getLogger(__name__)

_EVERYBODY = "workers"
Handle = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Does what another worker asks for, by name and arguments; answers plain values, raises `Problem`."""


class _Request(msgspec.Struct, tag="request", frozen=True):
    id: str
    sender: str
    name: str
    arguments: dict[str, Any]


class _Refusal(msgspec.Struct, frozen=True):
    kind: str
    detail: str
    field: str
    retry_after_s: int | None
    extra: dict[str, Any]


class _Answer(msgspec.Struct, tag="answer", frozen=True):
    id: str
    result: Any = None
    refusal: _Refusal | None = None


class Calls:
    """Questions to other workers, and the answers to theirs, on one channel for each worker."""

    def __init__(self, bus: Bus, worker: str, handle: Handle) -> None:
        self._bus = bus
        self._worker = worker
        self._handle = handle
        self._waiting: dict[str, asyncio.Future[_Answer]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._subscription = AsyncExitStack()

    async def start(self) -> None:
        """Begin to answer; raises `BusError`."""
        for channel in (_channel(self._worker), _EVERYBODY):
            await self._subscription.enter_async_context(self._bus.subscribe(channel, self._heard))

    async def stop(self) -> None:
        """Answer nothing more."""
        await self._subscription.aclose()
        await end(*self._running)

    async def ask(self, worker: str, name: str, **arguments: Any) -> Any:
        """What `worker` answers. Raises the `Problem` that it raises there, and unavailable when it does not answer.

        Raises `Problem` unknown_session when there is no such worker: what it had is gone with it.
        """
        request = _Request(secret_token(9), self._worker, name, arguments)
        waiting = self._waiting[request.id] = asyncio.get_running_loop().create_future()
        try:
            if not await self._bus.send(_channel(worker), codec.encode(request, "msgpack"), "direct"):
                raise Problem(Kind.unknown_session)
            async with asyncio.timeout(CALL_TIMEOUT_S):
                answer = await waiting
        except TimeoutError:
            raise Problem(Kind.unavailable, "The worker of this session does not answer.", retry_after_s=1) from None
        finally:
            del self._waiting[request.id]
        if answer.refusal is not None:
            refused = answer.refusal
            raise Problem(
                Kind.__members__.get(refused.kind, Kind.internal),
                refused.detail,
                field=refused.field,
                retry_after_s=refused.retry_after_s,
                extra=refused.extra,
            )
        return answer.result

    async def tell_all(self, name: str, **arguments: Any) -> None:
        """Have every worker do something, this one too; nobody answers. Raises `BusError`."""
        await self._bus.send(_EVERYBODY, codec.encode(_Request("", "", name, arguments), "msgpack"), "direct")

    def _heard(self, message: Message) -> None:
        if message.kind == "gone":
            return  # whoever waits for an answer that was lost is told so in time
        try:
            said = codec.decode(message.payload, "msgpack", _Request | _Answer)  # type: ignore[arg-type]
        except codec.Malformed as error:
            log.warning("a call that is not ours was ignored: %s", error)
            return
        if isinstance(said, _Answer):
            waiting = self._waiting.get(said.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(said)
            return
        task = asyncio.create_task(self._serve(said, full=len(self._running) >= CALLS_MAX), name=f"call {said.name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, request: _Request, *, full: bool) -> None:
        try:
            if full:
                raise Problem(Kind.overloaded, retry_after_s=1)
            answer = _Answer(request.id, await self._handle(request.name, request.arguments))
        except Problem as problem:
            refusal = _Refusal(problem.kind.name, problem.detail, problem.field, problem.retry_after_s, problem.extra)
            answer = _Answer(request.id, refusal=refusal)
        except Exception:  # our own bug: the asking side is told rather than left waiting
            log.exception("the call %s failed", request.name)
            answer = _Answer(request.id, refusal=_Refusal("internal", "", "", None, {}))
        if not request.sender:
            return
        try:
            await self._bus.send(_channel(request.sender), codec.encode(answer, "msgpack"), "direct")
        except BusError as error:
            log.warning("an answer could not be sent: %s", error)


def _channel(worker: str) -> str:
    return f"worker/{worker}"
