"""What can be done in a show's chat: write, read, moderate. A message is in SQL before anyone sees it."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from chat import messages, moderation, store
from chat.moderation import Mute, Standing
from chat.posting import Post, Posting
from chat.store import Author, LogEntry, Message
from live.core.auth import Principal, Role, is_subject
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import (
    CHAT_HISTORY_SHOWN,
    CHAT_PACE_S,
    IDEMPOTENCY_KEY_CHARS_MAX,
    MODERATION_LOG_LISTED_MAX,
)
from live.core.tallies import TakeEach
from live.core.text import shown_name
from live.service import Shows, Transaction
from live.timeline import show_clock

NOT_MUTED: dict[str, Any] = {"muted": None}
"""What `Chat.personal` says of a viewer who may write, and of everybody who has not written yet."""

_ROW_ID = re.compile(r"[0-9a-f]{32}")


class Chat:
    """The chats of all shows. `take_each` counts rates over all workers (the bus does); `pace_s`: see `Lane`."""

    def __init__(self, shows: Shows, database: Database, take_each: TakeEach, *, pace_s: float = CHAT_PACE_S) -> None:
        self._shows = shows
        self._database = database
        self.posting = Posting(shows, database, take_each, pace_s=pace_s)

    async def close(self) -> None:
        """Take no more posts, and wait until those that were taken are committed and told."""
        await self.posting.close()

    # --- viewers ----------------------------------------------------------------------------------------------

    async def post(
        self, show_id: str, author: Principal, text: str, *, reply_to: str | None = None, key: str | None = None
    ) -> tuple[Message, bool]:
        """Write a message; it, and whether it had been written before under the same `key`.

        It may have been left out of viewers' screens (`shown`): see `chat.posting`.
        Raises `Problem` unknown_show, show_forbidden, chat_empty, chat_too_long, unknown_message (for `reply_to`),
        rate_limited, banned, timed_out, slow_mode, overloaded, and key_reused when `key` wrote something else.
        """
        author.require(Role.viewer, show_id)
        text = messages.clean_text(text)
        _check_key(key)
        _check_subject(author)
        if reply_to is not None and not _ROW_ID.fullmatch(reply_to):
            await self._shows.get(show_id)
            raise Problem(Kind.unknown_message, "The message to reply to is gone.", field="reply_to")
        viewer = Author(id=author.subject, name=shown_name(author.name), role=author.role.value)
        exempt = moderation.is_exempt(author, show_id)
        return await self.posting.write(show_id, Post(viewer, text, reply_to, key, exempt))

    async def history(
        self, show_id: str, *, before: str | None = None, limit: int = CHAT_HISTORY_SHOWN
    ) -> list[Message]:
        """Up to `limit` messages older than the id `before` (None: the newest), the oldest first.

        Raises `Problem` unknown_show or invalid_field.
        """
        if before is not None and not _ROW_ID.fullmatch(before):
            raise Problem(Kind.invalid_field, "The id of a message.", field="before")
        if not 1 <= limit <= CHAT_HISTORY_SHOWN:
            raise Problem(Kind.invalid_field, f"Between 1 and {CHAT_HISTORY_SHOWN}.", field="limit")

        def read(conn: Connection) -> list[Message]:
            self._shows.on_screen(conn, show_id)
            return store.history(conn, show_id, before, limit)

        return await self._database.read_sync(read)

    async def snapshot(self, show_id: str) -> dict[str, Any]:
        """The chat's part of a show's snapshot: `messages` (those that viewers are shown), `slow_s`."""

        def read(conn: Connection) -> tuple[list[Message], int]:
            newest = store.history(conn, show_id, None, CHAT_HISTORY_SHOWN, shown=True)
            return newest, store.slow_mode(conn, show_id)

        newest, slow_s = await self._database.read_sync(read)
        return {"messages": plain(newest), "slow_s": slow_s}

    async def known(self, show_id: str, viewer_ids: Sequence[str]) -> set[str]:
        """Those of these viewers who wrote in the show before; `personal` says NOT_MUTED of all others but staff."""
        return set((await self._database.glance(lambda conn: store.standings(conn, show_id, viewer_ids)))[1])

    async def personal(self, show_id: str, viewer: Principal) -> dict[str, Any]:
        """What only this viewer needs to know: `muted`, with the data of the notice `chat.muted`, or None.

        `left_out`, when there are any: the newest messages that viewers are not shown; for the staff those among the
        last CHAT_HISTORY_SHOWN of all, for anybody else their own.
        """
        if not is_subject(viewer.subject):
            return NOT_MUTED

        def read(conn: Connection) -> dict[str, Any]:
            if moderation.is_exempt(viewer, show_id):
                newest = store.history(conn, show_id, None, CHAT_HISTORY_SHOWN)
                return NOT_MUTED | _left_out([message for message in newest if message.shown is False])
            member = store.find_member(conn, show_id, viewer.subject)
            if member is None:
                return NOT_MUTED
            left_out = store.history(conn, show_id, None, CHAT_HISTORY_SHOWN, shown=False, viewer_id=viewer.subject)
            muted = None
            if member.standing.muted_at(self._database.now_ms_sync(conn)) is not Mute.none:
                muted = {"until_ms": member.standing.muted_until_ms, "reason": member.standing.reason}
            return {"muted": muted} | _left_out(left_out)

        return await self._database.glance(read)

    # --- moderators -------------------------------------------------------------------------------------------

    async def delete(self, show_id: str, by: Principal, message_id: str) -> None:
        """Take a message off the screens; doing it twice does no harm.

        Raises `Problem` unknown_show, role_forbidden, show_forbidden, unknown_message.
        """
        async with self._shows.transaction() as tx:
            at_ms = await self._moderate(tx, show_id, by)
            found = await store.deletion_of(tx.conn, show_id, message_id) if _ROW_ID.fullmatch(message_id) else None
            if found is None:
                raise Problem(Kind.unknown_message, field="id")
            author, deleted = found
            if not deleted:
                await store.delete_message(tx.conn, message_id, by.subject, tx.now_ms)
                await _log(tx, show_id, by, "delete", viewer_id=author, message_id=message_id)
                tx.broadcast(show_id, at_ms, "chat.deleted", {"id": message_id}, key=uuid7(tx.now_ms))

    async def timeout(self, show_id: str, by: Principal, viewer_id: str, seconds: int, reason: str = "") -> None:
        """Keep a viewer from writing for `seconds` and clear what they wrote.

        Raises `Problem` unknown_show, role_forbidden, show_forbidden, unknown_viewer, invalid_field.
        """
        reason = messages.clean_reason(reason)
        async with self._shows.transaction() as tx:
            standing = moderation.timeout(seconds, tx.now_ms, reason)
            await self._mute(tx, show_id, by, viewer_id, standing, "timeout", seconds)

    async def ban(self, show_id: str, by: Principal, viewer_id: str, reason: str = "") -> None:
        """Keep a viewer from writing in this show and clear what they wrote.

        Raises `Problem` unknown_show, role_forbidden, show_forbidden, unknown_viewer, invalid_field.
        """
        standing = Standing(mute=Mute.ban, reason=messages.clean_reason(reason))
        async with self._shows.transaction() as tx:
            await self._mute(tx, show_id, by, viewer_id, standing, "ban", None)

    async def unban(self, show_id: str, by: Principal, viewer_id: str) -> None:
        """Let a viewer write again, after a ban or a timeout; what was cleared stays cleared.

        Raises `Problem` unknown_show, role_forbidden, show_forbidden, unknown_viewer.
        """
        async with self._shows.transaction() as tx:
            await self._moderate(tx, show_id, by)
            member = await _find_member(tx.conn, show_id, viewer_id)
            if member.standing.mute is not Mute.none:
                standing = Standing(posted_at_ms=member.standing.posted_at_ms)
                await store.save_standing(tx.conn, show_id, viewer_id, standing)
                await _log(tx, show_id, by, "unban", viewer_id=viewer_id)
                tx.notice(show_id, viewer_id, "chat.muted", {"until_ms": 0, "reason": ""})

    async def set_slow_mode(self, show_id: str, by: Principal, seconds: int) -> None:
        """Have every viewer wait `seconds` between two messages; 0 ends it.

        Raises `Problem` unknown_show, role_forbidden, show_forbidden, invalid_field.
        """
        moderation.check_slow(seconds)
        async with self._shows.transaction() as tx:
            await self._moderate(tx, show_id, by)
            await store.save_slow_mode(tx.conn, show_id, seconds)
            await _log(tx, show_id, by, "slow", seconds=seconds)
            tx.event(show_id, "chat.mode", {"slow_s": seconds})

    async def log(self, show_id: str, by: Principal, *, before: str | None = None) -> list[LogEntry]:
        """A page of what moderators did, the newest first; `before` None: from the newest on.

        Raises `Problem` unknown_show, role_forbidden, show_forbidden, invalid_field.
        """
        by.require(Role.moderator, show_id)
        if before is not None and not _ROW_ID.fullmatch(before):
            raise Problem(Kind.invalid_field, "The id of an entry.", field="before")
        async with self._database.read() as conn:
            await self._shows.find(conn, show_id)
            return await store.log_entries(conn, show_id, before, MODERATION_LOG_LISTED_MAX)

    async def _moderate(self, tx: Transaction, show_id: str, by: Principal) -> int:
        """The show's clock, for a moderator of the show; raises `Problem` unknown_show and what `require` raises."""
        show = await self._shows.find(tx.conn, show_id)
        by.require(Role.moderator, show_id)
        _check_subject(by)
        return show_clock(show.started_at_ms, show.ended_at_ms, tx.now_ms)

    async def _mute(
        self,
        tx: Transaction,
        show_id: str,
        by: Principal,
        viewer_id: str,
        standing: Standing,
        action: str,
        seconds: int | None,
    ) -> None:
        at_ms = await self._moderate(tx, show_id, by)
        member = await _find_member(tx.conn, show_id, viewer_id)
        moderation.check_mutable(member.role)
        standing = msgspec.structs.replace(standing, posted_at_ms=member.standing.posted_at_ms)
        await store.save_standing(tx.conn, show_id, viewer_id, standing)
        await store.delete_messages_of(tx.conn, show_id, viewer_id, by.subject, tx.now_ms)
        await _log(tx, show_id, by, action, viewer_id=viewer_id, seconds=seconds, reason=standing.reason)
        tx.broadcast(show_id, at_ms, "chat.cleared", {"viewer_id": viewer_id}, key=uuid7(tx.now_ms))
        muted = {"until_ms": standing.muted_until_ms, "reason": standing.reason}
        tx.notice(show_id, viewer_id, "chat.muted", muted)


def _left_out(messages: list[Message]) -> dict[str, Any]:
    return {"left_out": plain(messages)} if messages else {}


async def _find_member(conn: AsyncConnection, show_id: str, viewer_id: str) -> store.Member:
    member = None
    if is_subject(viewer_id):
        member = await conn.run_sync(lambda sync: store.find_member(sync, show_id, viewer_id, lock=True))
    if member is None:
        raise Problem(Kind.unknown_viewer, "Nobody with this id has written in the show.", field="viewer_id")
    return member


async def _log(
    tx: Transaction,
    show_id: str,
    by: Principal,
    action: str,
    *,
    viewer_id: str | None = None,
    message_id: str | None = None,
    seconds: int | None = None,
    reason: str = "",
) -> None:
    entry = LogEntry(
        id=uuid7(tx.now_ms),
        at_ms=tx.now_ms,
        action=action,
        moderator_id=by.subject,
        viewer_id=viewer_id,
        message_id=message_id,
        seconds=seconds,
        reason=reason,
    )
    await store.log(tx.conn, show_id, entry)


def _check_subject(principal: Principal) -> None:
    if not is_subject(principal.subject):
        raise Problem(Kind.token_invalid, "The token's subject cannot be used in the chat.")


def _check_key(key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= IDEMPOTENCY_KEY_CHARS_MAX and key.isascii() and key.isprintable()):
        raise Problem(Kind.invalid_field, f"1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters.", field="key")
