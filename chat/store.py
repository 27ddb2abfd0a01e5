"""SQL of the chat: messages, members, modes and the moderation log.

A message stays when it is deleted, marked by whom: screens do not get it again, the log is complete. A message that
came too fast for viewers' screens is here like any other, marked `shown` false. A member's row is locked by every post
and every mute of that viewer, so that a ban and a message in flight come in one order.
"""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Row,
    and_,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from chat.moderation import Mute, Standing
from chat.tables import chat_member, chat_message, chat_mode, moderation_log
from live.core.auth import Role
from live.core.pairs import pairs_in
from live.store import show


class Author(msgspec.Struct, frozen=True):
    """Who wrote a message, as they were called then."""

    id: str
    name: str
    role: str


class Message(msgspec.Struct, frozen=True):
    """A chat message as screens see it. `sent_at_ms` is Unix time; `reply_to` None: it answers nobody.

    `shown` is there, and False, only when the message was left out of viewers' screens because the chat was too fast.
    """

    id: str
    viewer: Author
    text: str
    sent_at_ms: int
    reply_to: str | None = None
    shown: bool | msgspec.UnsetType = msgspec.UNSET


class Member(msgspec.Struct, frozen=True):
    """A viewer who wrote in a show, with the role of the last time."""

    role: Role
    standing: Standing


class Room(msgspec.Struct, frozen=True):
    """A show as its chat sees it: when it was on air (Unix time), seconds between two messages of one viewer."""

    started_at_ms: int | None
    ended_at_ms: int | None
    slow_s: int


class LogEntry(msgspec.Struct, frozen=True):
    """What a moderator did. `at_ms` is Unix time; members that an action does not have are None or ""."""

    id: str
    at_ms: int
    action: str
    moderator_id: str
    viewer_id: str | None = None
    message_id: str | None = None
    seconds: int | None = None
    reason: str = ""


_MESSAGE_COLUMNS = [
    chat_message.c[name]
    for name in ("id", "viewer_id", "viewer_name", "viewer_role", "text", "sent_at_ms", "reply_to", "shown")
]

# Statements of every post are made once: putting one together costs as much as SQLite takes to do it.
_INSERT_MESSAGES = insert(chat_message)
_POSTED_UNDER = select(chat_message.c.post_key, *_MESSAGE_COLUMNS).where(
    chat_message.c.show_id == bindparam("of_show"),
    pairs_in(chat_message.c.viewer_id, chat_message.c.post_key),
)
_HISTORY = (
    select(*_MESSAGE_COLUMNS)
    .where(chat_message.c.show_id == bindparam("of_show"), chat_message.c.deleted_at_ms.is_(None))
    .order_by(chat_message.c.id.desc())
    .limit(bindparam("most"))
)
_HAVE_POSTED = (
    update(chat_member)
    .where(
        chat_member.c.show_id == bindparam("of_show"),
        chat_member.c.viewer_id.in_(bindparam("viewers", expanding=True)),
    )
    .values(posted_at_ms=bindparam("at"))
)
_STANDINGS = (
    select(func.coalesce(chat_mode.c.slow_s, 0).label("slow_s"), *chat_member.c)
    .select_from(
        show.outerjoin(chat_mode).outerjoin(
            chat_member,
            and_(
                chat_member.c.show_id == show.c.id,
                chat_member.c.viewer_id.in_(bindparam("viewers", expanding=True)),
            ),
        )
    )
    .where(show.c.id == bindparam("of_show"))
)
_ROOM = (
    select(show.c.started_at_ms, show.c.ended_at_ms, func.coalesce(chat_mode.c.slow_s, 0).label("slow_s"))
    .select_from(show.outerjoin(chat_mode))
    .where(show.c.id == bindparam("of_show"))
)
_SLOW_MODE = select(chat_mode.c.slow_s).where(chat_mode.c.show_id == bindparam("of_show"))
_FIND_MEMBER = select(*chat_member.c).where(
    chat_member.c.show_id == bindparam("of_show"), chat_member.c.viewer_id == bindparam("viewer")
)


def _enter(dialect: Any) -> Any:
    new = dialect.insert(chat_member)
    return new.on_conflict_do_update(
        index_elements=["show_id", "viewer_id"], set_={"name": new.excluded.name, "role": new.excluded.role}
    ).returning(*chat_member.c)


_ENTER = {"postgresql": _enter(postgresql), "sqlite": _enter(sqlite)}


def _message(row: Row[Any]) -> Message:
    return Message(
        id=row.id,
        viewer=Author(id=row.viewer_id, name=row.viewer_name, role=row.viewer_role),
        text=row.text,
        sent_at_ms=row.sent_at_ms,
        reply_to=row.reply_to,
        shown=msgspec.UNSET if row.shown else False,
    )


def _member(row: Row[Any]) -> Member:
    return Member(
        role=Role(row.role),
        standing=Standing(
            mute=Mute(row.mute),
            muted_until_ms=row.muted_until_ms,
            reason=row.reason,
            posted_at_ms=row.posted_at_ms,
        ),
    )


# --- messages -------------------------------------------------------------------------------------------------


def insert_messages(conn: Connection, show_id: str, messages: Sequence[tuple[Message, str | None]], at_ms: int) -> None:
    """Store messages, each with its idempotency key or None, whose authors' rows are locked."""
    rows = [
        {
            "id": message.id,
            "show_id": show_id,
            "viewer_id": message.viewer.id,
            "viewer_name": message.viewer.name,
            "viewer_role": message.viewer.role,
            "text": message.text,
            "sent_at_ms": message.sent_at_ms,
            "at_ms": at_ms,
            "reply_to": message.reply_to,
            "post_key": post_key,
            "shown": message.shown is msgspec.UNSET,
        }
        for message, post_key in messages
    ]
    conn.execute(_INSERT_MESSAGES, rows)


def posted_under(conn: Connection, show_id: str, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Message]:
    """What was posted under pairs of a viewer id and an idempotency key, deleted or not."""
    if not keys:
        return {}
    rows = conn.execute(_POSTED_UNDER, {"of_show": show_id, "pairs": list(keys)})
    return {(row.viewer_id, row.post_key): _message(row) for row in rows}


def still_there(conn: Connection, show_id: str, message_ids: Collection[str]) -> set[str]:
    """Which of these messages the show has, and has not deleted."""
    if not message_ids:
        return set()
    statement = select(chat_message.c.id).where(
        chat_message.c.show_id == show_id,
        chat_message.c.id.in_(list(message_ids)),
        chat_message.c.deleted_at_ms.is_(None),
    )
    return set(conn.scalars(statement))


async def deletion_of(conn: AsyncConnection, show_id: str, message_id: str) -> tuple[str, bool] | None:
    """The author of a message and whether it is deleted; None: there is no such message."""
    statement = select(chat_message.c.viewer_id, chat_message.c.deleted_at_ms).where(
        chat_message.c.show_id == show_id, chat_message.c.id == message_id
    )
    row = (await conn.execute(statement)).first()
    return None if row is None else (row.viewer_id, row.deleted_at_ms is not None)


def history(
    conn: Connection,
    show_id: str,
    before: str | None,
    limit: int,
    *,
    shown: bool | None = None,
    viewer_id: str | None = None,
) -> list[Message]:
    """The newest `limit` messages that are not deleted, the oldest first; `before` None: up to now.

    `shown` None: those on the screens and those left out; `viewer_id` None: of everybody.
    """
    statement = _HISTORY
    if before is not None:
        statement = statement.where(chat_message.c.id < before)
    if shown is not None:
        statement = statement.where(chat_message.c.shown.is_(shown))
    if viewer_id is not None:
        statement = statement.where(chat_message.c.viewer_id == viewer_id)
    return [_message(row) for row in conn.execute(statement, {"of_show": show_id, "most": limit})][::-1]


async def delete_message(conn: AsyncConnection, message_id: str, by: str, now_ms: int) -> None:
    """Mark one message deleted."""
    await conn.execute(
        update(chat_message).where(chat_message.c.id == message_id).values(deleted_at_ms=now_ms, deleted_by=by)
    )


async def delete_messages_of(conn: AsyncConnection, show_id: str, viewer_id: str, by: str, now_ms: int) -> None:
    """Mark all of a viewer's messages deleted."""
    await conn.execute(
        update(chat_message)
        .where(
            chat_message.c.show_id == show_id,
            chat_message.c.viewer_id == viewer_id,
            chat_message.c.deleted_at_ms.is_(None),
        )
        .values(deleted_at_ms=now_ms, deleted_by=by)
    )


# --- members --------------------------------------------------------------------------------------------------


def enter(conn: Connection, show_id: str, viewers: Collection[Author]) -> dict[str, Standing]:
    """The standings by viewer id; rows that are missing are made, and all are locked until the transaction ends."""
    rows = [
        {
            "show_id": show_id,
            "viewer_id": viewer.id,
            "mute": Mute.none.value,
            "reason": "",
            "name": viewer.name,
            "role": viewer.role,
        }
        for viewer in sorted(viewers, key=lambda viewer: viewer.id)  # one order for all: nobody waits in a circle
    ]
    return {row.viewer_id: _member(row).standing for row in conn.execute(_ENTER[conn.dialect.name], rows)}


def have_posted(conn: Connection, show_id: str, viewer_ids: Collection[str], now_ms: int) -> None:
    """Note when these members, whose rows are locked, wrote last."""
    conn.execute(_HAVE_POSTED, {"of_show": show_id, "viewers": list(viewer_ids), "at": now_ms})


def standings(conn: Connection, show_id: str, viewer_ids: Collection[str]) -> tuple[int, dict[str, Standing]]:
    """The seconds of slow mode, and the standings of those of these viewers who wrote before; nothing is locked."""
    rows = conn.execute(_STANDINGS, {"of_show": show_id, "viewers": list(viewer_ids)}).all()
    slow_s = rows[0].slow_s if rows else 0
    return slow_s, {row.viewer_id: _member(row).standing for row in rows if row.viewer_id is not None}


def find_member(conn: Connection, show_id: str, viewer_id: str, *, lock: bool = False) -> Member | None:
    """A viewer who wrote in the show; `lock`: until the transaction ends."""
    statement = _FIND_MEMBER.with_for_update() if lock else _FIND_MEMBER
    row = conn.execute(statement, {"of_show": show_id, "viewer": viewer_id}).first()
    return None if row is None else _member(row)


async def save_standing(conn: AsyncConnection, show_id: str, viewer_id: str, standing: Standing) -> None:
    """Write the standing of a member whose row is locked."""
    values = msgspec.structs.asdict(standing) | {"mute": standing.mute.value}
    await conn.execute(
        update(chat_member).where(chat_member.c.show_id == show_id, chat_member.c.viewer_id == viewer_id).values(values)
    )


# --- rooms, modes and log --------------------------------------------------------------------------------------------


def room(conn: Connection, show_id: str) -> Room | None:
    """What a post needs to know of the show; None: there is no such show."""
    row = conn.execute(_ROOM, {"of_show": show_id}).first()
    return None if row is None else Room(**row._mapping)


def slow_mode(conn: Connection, show_id: str) -> int:
    """Seconds between two messages of one viewer; 0: no slow mode."""
    return int(conn.scalar(_SLOW_MODE, {"of_show": show_id}) or 0)


async def save_slow_mode(conn: AsyncConnection, show_id: str, slow_s: int) -> None:
    """Set the slow mode."""
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    await conn.execute(
        dialect.insert(chat_mode)
        .values(show_id=show_id, slow_s=slow_s)
        .on_conflict_do_update(index_elements=["show_id"], set_={"slow_s": slow_s})
    )


async def log(conn: AsyncConnection, show_id: str, entry: LogEntry) -> None:
    """Add to the moderation log, which nothing ever changes or removes."""
    await conn.execute(insert(moderation_log).values(msgspec.structs.asdict(entry) | {"show_id": show_id}))


async def log_entries(conn: AsyncConnection, show_id: str, before: str | None, limit: int) -> list[LogEntry]:
    """The newest `limit` entries, the newest first; `before` None: up to now."""
    columns = [moderation_log.c[name] for name in LogEntry.__struct_fields__]
    statement = (
        select(*columns).where(moderation_log.c.show_id == show_id).order_by(moderation_log.c.id.desc()).limit(limit)
    )
    if before is not None:
        statement = statement.where(moderation_log.c.id < before)
    return [LogEntry(**row._mapping) for row in await conn.execute(statement)]
