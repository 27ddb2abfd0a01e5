"""What viewers may ask for by name: each command with the type of its data and the least role."""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from msgspec import Struct

from live.core.auth import Principal, Role
from live.core.buckets import Buckets
from live.core.codec import Malformed, convert, plain
from live.core.errors import Kind, Problem
from live.core.limits import IDEMPOTENCY_KEY_CHARS_MAX
from live.core.tracing import Tracing
from live.realtime.protocol import Command, Refused, Reply, Viewer

log = logging.getLogger(__name__)
StructT = TypeVar("StructT", bound=Struct)
Outcome = Literal["done", "refused", "failed"]


class Context(Struct, frozen=True):
    """Who asks, and where. `key` makes the command idempotent; `become` gives the socket another principal.

    `expires_s` is when the asker's token expires on the clock's monotonic scale, None: never.
    """

    show: str
    principal: Principal
    key: str | None
    viewer: Viewer
    become: Callable[[Principal], None] = lambda principal: None
    expires_s: float | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A handler's answer when the command had been done before, under the same key: `data` is what it was then."""

    data: dict[str, Any] | Struct


Done = dict[str, Any] | Struct | Replayed
CommandHandler = Callable[[Context, StructT], Awaitable[Done]]


@dataclass(frozen=True, slots=True)
class _Entry:
    type_: type[Struct]
    handler: Callable[[Context, Any], Awaitable[Done]]
    role: Role
    key_required: bool


class Commands:
    """The registry. A handler answers the reply's data, or raises `Problem`, and then nothing was changed."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self.tracing: Tracing | None = None
        self.outcomes: dict[tuple[str, Outcome], int] = {}  # by name ("unknown": none of ours) and outcome
        self.seconds = Buckets((0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0))

    def add(
        self,
        name: str,
        type_: type[StructT],
        handler: CommandHandler[StructT],
        *,
        role: Role = Role.viewer,
        key_required: bool = False,
    ) -> None:
        """Let bearers of at least `role` call `handler` as `name` with data of `type_`.

        `key_required`: it is refused without a key.
        """
        assert name not in self._entries, "a command has one owner"
        self._entries[name] = _Entry(type_, handler, role, key_required)

    async def run(self, context: Context, command: Command) -> Reply | Refused:
        """Carry `command` out; never raises but when cancelled."""
        if self.tracing is None:
            return await self._counted(context, command)
        with self.tracing.root(f"command {command.name if command.name in self._entries else 'unknown'}"):
            return await self._counted(context, command)

    async def _counted(self, context: Context, command: Command) -> Reply | Refused:
        began_s = time.perf_counter()
        outcome: Outcome = "done"
        try:
            done = await self._run(context, command)
            if isinstance(done, Replayed):
                return Reply(command.id, plain(done.data), replayed=True)
            return Reply(command.id, plain(done))
        except Problem as problem:
            outcome = "refused"
            return Refused(command.id, problem.body())
        except Exception:  # our own bug: it costs this one command, not the viewer's socket
            outcome = "failed"
            log.exception("the command %s failed", command.name)
            return Refused(command.id, Problem(Kind.internal).body())
        finally:
            self.seconds.observe(time.perf_counter() - began_s)
            counted = command.name if command.name in self._entries else "unknown", outcome
            self.outcomes[counted] = self.outcomes.get(counted, 0) + 1

    async def _run(self, context: Context, command: Command) -> Done:
        entry = self._entries.get(command.name)
        if entry is None:
            raise Problem(Kind.unknown_command, f"There is no command {command.name[:64]!r}.", field="name")
        context.principal.require(entry.role, context.show)
        key = context.key
        if key is None and entry.key_required:
            raise Problem(Kind.key_required, field="key")
        if key is not None and (not 0 < len(key) <= IDEMPOTENCY_KEY_CHARS_MAX or "\0" in key):  # no database keeps a 0
            raise Problem(Kind.invalid_field, f"A key has 1 to {IDEMPOTENCY_KEY_CHARS_MAX} characters.", field="key")
        try:
            body = convert(command.data, entry.type_)
        except Malformed as error:
            field = f"data.{error.field}" if error.field else "data"
            raise Problem(Kind.invalid_field, error.detail, field=field) from None
        return await entry.handler(context, body)
