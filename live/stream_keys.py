"""Who may publish to a show: whoever has one of its stream keys, or a token of the role host."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from live import shows, store
from live.core.auth import Rank, Role, Tokens, hash_stream_key
from live.core.codec import digest
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import secret_token, uuid7
from live.core.limits import LABEL_CHARS_MAX, STREAM_KEYS_MAX
from live.shows import Show
from live.store import StreamKey
from live.transaction import Transaction

Find = Callable[[AsyncConnection, str], Awaitable[Show]]
Changing = Callable[[str], AbstractAsyncContextManager[tuple[Transaction, Show]]]


class Issued(NamedTuple):
    """A stream key and its secret; None: it was told before, under the same Idempotency-Key, and is not kept."""

    key: StreamKey
    secret: str | None


class StreamKeys:
    """The stream keys of all shows. `find` and `changing` raise `Problem` unknown_show; so does every verb.

    `tokens` None: only stream keys may publish.
    """

    def __init__(self, database: Database, find: Find, changing: Changing, tokens: Tokens | None) -> None:
        self._database = database
        self._find = find
        self._changing = changing
        self._tokens = tokens

    async def create(
        self, show_id: str, label: str = "", *, backup: bool = False, key: str | None = None, subject: str = ""
    ) -> Issued:
        """A new key; `backup`: it publishes with that rank. `key`, of the client `subject`, makes it idempotent.

        Raises `Problem` invalid_field, too_many_stream_keys, or key_reused when `key` made another one.
        """
        label = shows.clean_line(label, "label", LABEL_CHARS_MAX) if label.strip() else ""
        made_key = None if key is None else digest(show_id, subject, key)
        asked = digest(label, backup)
        async with self._changing(show_id) as (tx, _):
            if made_key is not None and (made := await store.stream_key_made_under(tx.conn, made_key)):
                if made[1] != asked:
                    raise Problem(Kind.key_reused, field="Idempotency-Key")
                return Issued(made[0], None)
            if await store.count_stream_keys(tx.conn, show_id) >= STREAM_KEYS_MAX:
                raise Problem(Kind.too_many_stream_keys, f"At most {STREAM_KEYS_MAX}; revoke one first.")
            new = StreamKey(uuid7(tx.now_ms), label, tx.now_ms, revoked_at_ms=None, backup=backup)
            secret = secret_token()
            await store.insert_stream_key(tx.conn, show_id, new, hash_stream_key(secret), made_key, asked)
            return Issued(new, secret)

    async def good(self, show_id: str) -> list[StreamKey]:
        """The show's good keys, the oldest first."""
        async with self._database.read() as conn:
            await self._find(conn, show_id)
            return await store.stream_keys(conn, show_id)

    async def get(self, show_id: str, key_id: str) -> StreamKey:
        """One key, good or revoked; raises `Problem` unknown_stream_key."""
        async with self._database.read() as conn:
            await self._find(conn, show_id)
            return await _found(conn, show_id, key_id)

    async def revoke(self, show_id: str, key_id: str) -> None:
        """Make a key useless for publishers to come; raises `Problem` unknown_stream_key."""
        async with self._changing(show_id) as (tx, _):
            key = await _found(tx.conn, show_id, key_id)
            if key.revoked_at_ms is None:
                await store.revoke_stream_key(tx.conn, key_id, tx.now_ms)

    async def authorise(self, show_id: str, bearer: str) -> Rank:
        """The rank of whoever may publish to the show: that of its stream key; a token of the role host is primary.

        Raises `Problem` token_missing, token_invalid, token_expired, role_forbidden, show_forbidden.
        """
        async with self._database.read() as conn:
            await self._find(conn, show_id)
            if not bearer:
                raise Problem(Kind.token_missing)
            found = await store.good_stream_key(conn, hash_stream_key(bearer))
        if found is not None:
            owner, key = found
            if owner != show_id:
                raise Problem(Kind.show_forbidden, "The stream key belongs to another show.")
            return key.rank
        if self._tokens is None:
            raise Problem(Kind.token_invalid)
        self._tokens.verify(bearer).require(Role.host, show_id)
        return Rank.primary


async def _found(conn: AsyncConnection, show_id: str, key_id: str) -> StreamKey:
    key = await store.find_stream_key(conn, show_id, key_id) if key_id.isalnum() else None
    if key is None:
        raise Problem(Kind.unknown_stream_key, field="id")
    return key
