"""The chat over HTTP (`/api/shows/{show}/chat…`) and over WebSocket (`chat.*`)."""

from typing import Any

import msgspec
from starlette.requests import Request

from chat.counting import Reactions
from chat.reactions import Reaction
from chat.service import Chat
from chat.store import LogEntry, Message
from live.api import query_number
from live.core.auth import Principal, Role
from live.core.errors import Kind
from live.core.limits import CHAT_HISTORY_SHOWN, MODERATION_LOG_LISTED_MAX
from live.core.rest import Operation, idempotency_key, principal_of, respond
from live.realtime.commands import Commands, Context, Replayed

_POST_ERRORS = (
    Kind.unknown_show, Kind.chat_empty, Kind.chat_too_long, Kind.unknown_message, Kind.rate_limited, Kind.slow_mode,
    Kind.timed_out, Kind.banned, Kind.key_reused, Kind.overloaded,
)  # fmt: skip


class Post(msgspec.Struct, forbid_unknown_fields=True):
    """A message to write. `reply_to` None: it answers nobody."""

    text: str
    reply_to: str | None = None


class Delete(msgspec.Struct, forbid_unknown_fields=True):
    """The message to take off the screens."""

    id: str


class Timeout(msgspec.Struct, forbid_unknown_fields=True):
    """Who is kept from writing, for how long and why."""

    viewer_id: str
    seconds: int
    reason: str = ""


class Ban(msgspec.Struct, forbid_unknown_fields=True):
    """Who is kept from writing for good, and why."""

    viewer_id: str
    reason: str = ""


class Unban(msgspec.Struct, forbid_unknown_fields=True):
    """Who may write again."""

    viewer_id: str


class Slow(msgspec.Struct, forbid_unknown_fields=True):
    """Seconds between two messages of one viewer; 0: no slow mode."""

    seconds: int


class React(msgspec.Struct, forbid_unknown_fields=True):
    """One reaction."""

    kind: Reaction


class MutePut(msgspec.Struct, forbid_unknown_fields=True):
    """How long a viewer is kept from writing; `seconds` None: for good."""

    seconds: int | None = None
    reason: str = ""


class Posted(msgspec.Struct):
    """The message; `shown` False: it is stored, but the chat is too fast for viewers' screens to show it."""

    message: Message
    shown: bool


class History(msgspec.Struct):
    """Messages, the oldest first. `next` None: there are no older ones; else the next `before`."""

    messages: list[Message]
    next: str | None


class Log(msgspec.Struct):
    """What moderators did, the newest first. `next` as in the history."""

    entries: list[LogEntry]
    next: str | None


class _Operations:
    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    async def history(self, request: Request) -> History:
        limit = query_number(request, "limit", CHAT_HISTORY_SHOWN)
        messages = await self._chat.history(_show_id(request), before=request.query_params.get("before"), limit=limit)
        return History(messages=messages, next=messages[0].id if len(messages) == limit else None)

    async def post(self, request: Request, body: Post) -> Any:
        """Stored before anyone sees it. What had been written before, under the same key, is answered alike."""
        key = idempotency_key(request)
        message, replayed = await self._chat.post(
            _show_id(request), _bearer(request), body.text, reply_to=body.reply_to, key=key
        )
        return respond(_posted(message), 201, {"idempotency-replayed": "true"} if replayed else None)

    async def delete(self, request: Request) -> None:
        await self._chat.delete(_show_id(request), _bearer(request), request.path_params["id"])

    async def mute(self, request: Request, body: MutePut) -> None:
        """Clears what the viewer wrote."""
        show_id, by, viewer_id = _show_id(request), _bearer(request), request.path_params["viewer"]
        if body.seconds is None:
            await self._chat.ban(show_id, by, viewer_id, body.reason)
        else:
            await self._chat.timeout(show_id, by, viewer_id, body.seconds, body.reason)

    async def unmute(self, request: Request) -> None:
        await self._chat.unban(_show_id(request), _bearer(request), request.path_params["viewer"])

    async def set_mode(self, request: Request, body: Slow) -> None:
        await self._chat.set_slow_mode(_show_id(request), _bearer(request), body.seconds)

    async def log(self, request: Request) -> Log:
        before = request.query_params.get("before")
        entries = await self._chat.log(_show_id(request), _bearer(request), before=before)
        return Log(entries=entries, next=entries[-1].id if len(entries) == MODERATION_LOG_LISTED_MAX else None)


def operations(chat: Chat) -> list[Operation]:
    """The HTTP operations of the chat."""
    on = _Operations(chat)
    path, unknown = "/api/shows/{show}/chat", (Kind.unknown_show,)
    muting = (*unknown, Kind.unknown_viewer)
    return [
        Operation(
            "GET", path, on.history, "Read the chat", result=History, tag="chat", errors=(*unknown, Kind.invalid_field),
            query={"before": "the `next` of the page before", "limit": f"at most {CHAT_HISTORY_SHOWN}"},
        ),
        Operation(
            "POST", path, on.post, "Write a message", body=Post, result=Posted, status=201, role=Role.viewer,
            tag="chat", errors=_POST_ERRORS, keyed=True,
        ),
        Operation(
            "DELETE", f"{path}/{{id}}", on.delete, "Delete a message", role=Role.moderator, tag="chat",
            errors=(*unknown, Kind.unknown_message),
        ),
        Operation(
            "PUT", f"{path}/mutes/{{viewer}}", on.mute, "Time a viewer out, or ban", body=MutePut,
            role=Role.moderator, tag="chat", errors=muting,
        ),
        Operation(
            "DELETE", f"{path}/mutes/{{viewer}}", on.unmute, "Let a viewer write again", role=Role.moderator,
            tag="chat", errors=muting,
        ),
        Operation(
            "PUT", f"{path}/mode", on.set_mode, "Set the slow mode", body=Slow, role=Role.moderator, tag="chat",
            errors=unknown,
        ),
        Operation(
            "GET", f"{path}/log", on.log, "Read the moderation log", result=Log, role=Role.moderator, tag="chat",
            errors=(*unknown, Kind.invalid_field), query={"before": "the `next` of the page before"},
        ),
    ]  # fmt: skip


def commands(registry: Commands, chat: Chat, reactions: Reactions) -> None:
    """Add the commands `chat.*` of viewers and moderators."""

    async def post(context: Context, body: Post) -> Posted | Replayed:
        message, replayed = await chat.post(
            context.show, context.principal, body.text, reply_to=body.reply_to, key=context.key
        )
        posted = _posted(message)
        return Replayed(posted) if replayed else posted

    async def react(context: Context, body: React) -> dict[str, Any]:
        reactions.react(context.show, context.principal, body.kind)
        return {}

    async def delete(context: Context, body: Delete) -> dict[str, Any]:
        await chat.delete(context.show, context.principal, body.id)
        return {}

    async def timeout(context: Context, body: Timeout) -> dict[str, Any]:
        await chat.timeout(context.show, context.principal, body.viewer_id, body.seconds, body.reason)
        return {}

    async def ban(context: Context, body: Ban) -> dict[str, Any]:
        await chat.ban(context.show, context.principal, body.viewer_id, body.reason)
        return {}

    async def unban(context: Context, body: Unban) -> dict[str, Any]:
        await chat.unban(context.show, context.principal, body.viewer_id)
        return {}

    async def slow(context: Context, body: Slow) -> dict[str, Any]:
        await chat.set_slow_mode(context.show, context.principal, body.seconds)
        return {}

    registry.add("chat.post", Post, post)
    registry.add("chat.react", React, react)
    registry.add("chat.delete", Delete, delete, role=Role.moderator)
    registry.add("chat.timeout", Timeout, timeout, role=Role.moderator)
    registry.add("chat.ban", Ban, ban, role=Role.moderator)
    registry.add("chat.unban", Unban, unban, role=Role.moderator)
    registry.add("chat.slow", Slow, slow, role=Role.moderator)


def _posted(message: Message) -> Posted:
    return Posted(message=message, shown=message.shown is not False)


def _show_id(request: Request) -> str:
    show_id: str = request.path_params["show"]
    return show_id


def _bearer(request: Request) -> Principal:
    principal = principal_of(request)
    assert principal is not None, "the operation has a role"
    return principal
