"""SQL of access: service keys, and the shop's tokens that were used."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from live.access.keys import ServiceKey
from live.access.tables import service_key, service_key_turn, sign_on_used

_LOCK = 0x53434B  # one change of keys at a time: they are few, and the bound must hold
_SHOWN = [service_key.c[name] for name in ServiceKey.__struct_fields__]
_FORGET_MAX = 200  # used tokens at a time


class Holder(NamedTuple):
    """Whose secret it is. `ends_at_ms`: when this secret is no longer good, None: never."""

    id: str
    label: str
    hash: str
    scopes: frozenset[str]
    show: str | None
    ends_at_ms: int | None
    last_used_at_ms: int | None


def lock(conn: Connection) -> None:
    """Wait for every other change of keys. SQLite has one writer anyway."""
    if conn.dialect.name == "postgresql":
        conn.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def insert_key(conn: Connection, key: ServiceKey, hash_: str, made_key: str | None, made_body: str) -> None:
    """Store a new key."""
    values = {name: getattr(key, name) for name in ServiceKey.__struct_fields__}
    values |= {"scopes": list(key.scopes), "hash": hash_, "made_key": made_key, "made_body": made_body}
    conn.execute(insert(service_key).values(**values))


def count_keys(conn: Connection) -> int:
    """How many are not revoked."""
    statement = select(func.count()).select_from(service_key).where(service_key.c.revoked_at_ms.is_(None))
    return int(conn.scalar(statement) or 0)


def good_keys(conn: Connection, limit: int) -> list[ServiceKey]:
    """Those that are not revoked, the oldest first."""
    statement = select(*_SHOWN).where(service_key.c.revoked_at_ms.is_(None)).order_by(service_key.c.id).limit(limit)
    return [_key(row) for row in conn.execute(statement)]


def find_key(conn: Connection, key_id: str) -> ServiceKey | None:
    """One key, good or revoked; None: there is none."""
    row = conn.execute(select(*_SHOWN).where(service_key.c.id == key_id)).one_or_none()
    return None if row is None else _key(row)


def made_under(conn: Connection, made_key: str) -> tuple[ServiceKey, str] | None:
    """The key that was created under an Idempotency-Key, and what was asked for."""
    statement = select(*_SHOWN, service_key.c.made_body).where(service_key.c.made_key == made_key)
    row = conn.execute(statement).one_or_none()
    return None if row is None else (_key(row), row.made_body)


def turned_under(conn: Connection, key_id: str, turned_key: str) -> str | None:
    """What was asked for when a key was rotated under an Idempotency-Key; None: it was not."""
    turn = service_key_turn.c
    found: str | None = conn.scalar(select(turn.body).where(turn.key_id == key_id, turn.turned_key == turned_key))
    return found


def keep_turn(conn: Connection, key_id: str, turned_key: str, body: str, now_ms: int, kept_ms: int) -> None:
    """Remember under which Idempotency-Key a key was rotated, and forget what is older than `kept_ms`."""
    conn.execute(delete(service_key_turn).where(service_key_turn.c.at_ms < now_ms - kept_ms))
    values = {"key_id": key_id, "turned_key": turned_key, "body": body, "at_ms": now_ms}
    conn.execute(insert(service_key_turn).values(values))


def turn(conn: Connection, key_id: str, changes: dict[str, Any], *, overlap: bool) -> None:
    """Give a key another secret; `overlap`: the one before is kept beside it."""
    old = service_key.c.hash if overlap else None
    conn.execute(update(service_key).where(service_key.c.id == key_id).values(old_hash=old, **changes))


def revoke(conn: Connection, key_id: str, now_ms: int) -> None:
    """Make a key useless."""
    conn.execute(update(service_key).where(service_key.c.id == key_id).values(revoked_at_ms=now_ms))


def holders(conn: Connection, hashes: Collection[str]) -> dict[str, Holder]:
    """By hash whose secrets these are; revoked ones are left out, expired ones are not."""
    table = service_key.c
    statement = select(*_SHOWN, table.hash, table.old_hash).where(
        table.revoked_at_ms.is_(None), or_(table.hash.in_(hashes), table.old_hash.in_(hashes))
    )
    found = {}
    for row in conn.execute(statement):
        ends = [row.expires_at_ms]
        for hash_, ends_at in ((row.hash, ends), (row.old_hash, [*ends, row.old_until_ms])):
            if hash_ in hashes:
                end = min((each for each in ends_at if each is not None), default=None)
                found[hash_] = Holder(
                    row.id, row.label, hash_, frozenset(row.scopes), row.show, end, row.last_used_at_ms
                )
    return found


def note_used(conn: Connection, key_ids: Sequence[str], now_ms: int, again_ms: int) -> None:
    """Write down that keys are used now, unless that was done within `again_ms`, by whichever worker."""
    table = service_key.c
    stale = or_(table.last_used_at_ms.is_(None), table.last_used_at_ms <= now_ms - again_ms)
    conn.execute(update(service_key).where(table.id.in_(key_ids), stale).values(last_used_at_ms=now_ms))


def use_token(conn: Connection, id_: str, request: str, until_ms: int, now_ms: int) -> bool:
    """Whether a shop's token may be used for `request`; False: it was used for another one.

    Forgets some of those that nobody could use any more.
    """
    over = select(sign_on_used.c.id).where(sign_on_used.c.until_ms < now_ms).limit(_FORGET_MAX)
    conn.execute(delete(sign_on_used).where(sign_on_used.c.id.in_(over)))
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    row = {"id": id_, "request": request, "until_ms": until_ms}
    new = dialect.insert(sign_on_used).values(row).on_conflict_do_nothing().returning(sign_on_used.c.id)
    if conn.execute(new).first() is not None:
        return True
    return bool(conn.scalar(select(sign_on_used.c.request).where(sign_on_used.c.id == id_)) == request)


def _key(row: Any) -> ServiceKey:
    values = {name: getattr(row, name) for name in ServiceKey.__struct_fields__}
    return ServiceKey(**(values | {"scopes": tuple(row.scopes)}))
