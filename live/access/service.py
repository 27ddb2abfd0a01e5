"""What can be done with service keys; every verb is one transaction, done once for an Idempotency-Key."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from live.access import store
from live.access.holders import Holders
from live.access.keys import ServiceKey, check_overlap, check_scopes, check_ttl, digest, prefix_of
from live.core.auth import SERVICE_KEY_PREFIX
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import (
    IDEMPOTENCY_KEPT_S,
    LABEL_CHARS_MAX,
    SERVICE_KEY_BYTES,
    SERVICE_KEY_OVERLAP_S,
    SERVICE_KEYS_MAX,
)
from live.shows import clean_line, is_show_id

T = TypeVar("T")


class Issued(msgspec.Struct, frozen=True):
    """A key and its secret; None: it was told before, under the same Idempotency-Key, and is not kept."""

    key: ServiceKey
    secret: str | None


class Keys:
    """The service keys of this installation. `holders`: who on this worker remembers them (None: nobody)."""

    def __init__(self, database: Database, holders: Holders | None = None) -> None:
        self._database = database
        self._holders = holders

    async def create(
        self,
        by: str,
        label: str,
        scopes: Sequence[str],
        *,
        show: str | None = None,
        expires_in_s: int | None = None,
        key: str | None = None,
    ) -> Issued:
        """A new key, made by the subject `by`. `show` None: for all; `expires_in_s` None: it never expires.

        Raises `Problem` invalid_field, too_many_service_keys, key_reused.
        """
        label = clean_line(label, "label", LABEL_CHARS_MAX)
        kept = check_scopes(scopes)
        check_ttl(expires_in_s)
        if show is not None and not is_show_id(show):
            raise Problem(Kind.invalid_field, "Not a show's id.", field="show")
        made_key = None if key is None else digest("create", by, key)
        asked = digest(label, " ".join(kept), str(show), str(expires_in_s))
        secret = _secret()

        def work(conn: Connection) -> Issued:
            store.lock(conn)
            if made_key is not None and (made := store.made_under(conn, made_key)):
                if made[1] != asked:
                    raise Problem(Kind.key_reused, field="Idempotency-Key")
                return Issued(made[0], None)
            if store.count_keys(conn) >= SERVICE_KEYS_MAX:
                raise Problem(Kind.too_many_service_keys, f"At most {SERVICE_KEYS_MAX}; revoke one first.")
            now_ms = self._database.now_ms_sync(conn)
            expires_at_ms = None if expires_in_s is None else now_ms + expires_in_s * 1000
            new = ServiceKey(
                id=uuid7(now_ms), label=label, prefix=prefix_of(secret), scopes=kept, show=show, created_at_ms=now_ms,
                created_by=by, expires_at_ms=expires_at_ms, last_used_at_ms=None, revoked_at_ms=None, old_until_ms=None,
            )  # fmt: skip
            store.insert_key(conn, new, digest(secret), made_key, asked)
            return Issued(new, secret)

        return await self._change(work)

    async def all(self) -> list[ServiceKey]:
        """Those that are not revoked, the oldest first."""
        return await self._database.read_sync(lambda conn: store.good_keys(conn, SERVICE_KEYS_MAX))

    async def get(self, key_id: str) -> ServiceKey:
        """One key, good or revoked; raises `Problem` unknown_service_key."""
        return await self._database.read_sync(lambda conn: _find(conn, key_id))

    async def rotate(
        self, by: str, key_id: str, overlap_s: int = SERVICE_KEY_OVERLAP_S, *, key: str | None = None
    ) -> Issued:
        """Another secret; the one before is good for `overlap_s` longer, the one before that no more.

        Raises `Problem` invalid_field, unknown_service_key (also when it is revoked), key_reused.
        """
        check_overlap(overlap_s)
        turned_key = None if key is None else digest("rotate", by, key)
        asked, secret = digest(str(overlap_s)), _secret()

        def work(conn: Connection) -> Issued:
            store.lock(conn)
            found = _find(conn, key_id)
            if found.revoked_at_ms is not None:
                raise Problem(Kind.unknown_service_key, "The key is revoked.", field="id")
            now_ms = self._database.now_ms_sync(conn)
            if turned_key is not None:
                before = store.turned_under(conn, key_id, turned_key)
                if before is not None and before != asked:
                    raise Problem(Kind.key_reused, field="Idempotency-Key")
                if before is not None:
                    return Issued(found, None)
                store.keep_turn(conn, key_id, turned_key, asked, now_ms, IDEMPOTENCY_KEPT_S * 1000)
            until_ms = now_ms + overlap_s * 1000 if overlap_s else None
            changes: dict[str, Any] = {"prefix": prefix_of(secret), "old_until_ms": until_ms}
            store.turn(conn, key_id, changes | {"hash": digest(secret)}, overlap=overlap_s > 0)
            return Issued(msgspec.structs.replace(found, **changes), secret)

        return await self._change(work)

    async def revoke(self, key_id: str) -> None:
        """Make a key useless within SERVICE_KEY_FRESH_S, on all workers; raises `Problem` unknown_service_key."""

        def work(conn: Connection) -> None:
            if _find(conn, key_id).revoked_at_ms is None:
                store.revoke(conn, key_id, self._database.now_ms_sync(conn))

        await self._change(work)

    async def _change(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._database.write_sync(work)
        finally:
            if self._holders is not None:
                self._holders.forget()


def _find(conn: Connection, key_id: str) -> ServiceKey:
    found = store.find_key(conn, key_id) if key_id.isascii() and key_id.isalnum() else None
    if found is None:
        raise Problem(Kind.unknown_service_key, field="id")
    return found


def _secret() -> str:
    return SERVICE_KEY_PREFIX + secrets.token_urlsafe(SERVICE_KEY_BYTES)
