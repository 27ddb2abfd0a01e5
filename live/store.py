"""SQL of shows: the shows, their lineups, pins, timelines and stream keys.

`timeline_seq` counts a show's events. It is raised with the show's row locked, right before COMMIT, so events are
numbered without gaps in the order in which their transactions commit.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Row,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from live.core.auth import Rank
from live.core.database import metadata
from live.core.limits import (
    LABEL_CHARS_MAX,
    PRODUCT_ID_CHARS_MAX,
    SHOW_ID_CHARS_MAX,
    SHOWS_OVER_RENEWED_MAX,
    SHOWS_RENEWED_MAX,
)
from live.shows import ON_AIR, OVER, Show, ShowState
from live.timeline import Entry, Pin

show = Table(
    "show",
    metadata,
    Column("id", String(SHOW_ID_CHARS_MAX), primary_key=True),
    Column("title", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("scheduled_at_ms", BigInteger),
    Column("started_at_ms", BigInteger),
    Column("ended_at_ms", BigInteger),
    Column("publishing", Boolean, nullable=False),
    Column("publisher_lost_at_ms", BigInteger),
    Column("auto_live", Boolean, nullable=False),
    Column("timeline_seq", Integer, nullable=False),
    Column("timeline_at_ms", BigInteger, nullable=False),  # of the newest event: the show's clock never goes back
    Column("create_key", String(64)),  # hash of who created it under which Idempotency-Key
    Column("create_body", String(64)),  # hash of what was asked for
    Index("uq_show_create_key", "create_key", unique=True),
    Index("ix_show_created_at_ms", "created_at_ms", "id"),
)
stream_key = Table(
    "stream_key",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("show_id", String(SHOW_ID_CHARS_MAX), ForeignKey("show.id"), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("label", String(LABEL_CHARS_MAX), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger),
    Column("backup", Boolean, nullable=False),
    Column("create_key", String(64)),  # hash of who made it under which Idempotency-Key
    Column("create_body", String(64)),  # hash of what was asked for
    Index("uq_stream_key_hash", "hash", unique=True),
    Index("uq_stream_key_create_key", "create_key", unique=True),
    Index("ix_stream_key_show_id", "show_id"),
)
lineup_item = Table(
    "lineup_item",
    metadata,
    Column("show_id", String(SHOW_ID_CHARS_MAX), ForeignKey("show.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("product_id", String(PRODUCT_ID_CHARS_MAX), nullable=False),
    Index("uq_lineup_item_product_id", "product_id", "show_id", unique=True),
)
pin = Table(
    "pin",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("show_id", String(SHOW_ID_CHARS_MAX), ForeignKey("show.id"), nullable=False),
    Column("product_id", String(PRODUCT_ID_CHARS_MAX), nullable=False),
    Column("pinned_at_ms", BigInteger, nullable=False),
    Column("unpinned_at_ms", BigInteger),
    Index("ix_pin_show_id", "show_id", "id"),
)
# The database's own guard: one product is on screen at a time.
Index(
    "uq_pin_show_id",
    pin.c.show_id,
    unique=True,
    sqlite_where=pin.c.unpinned_at_ms.is_(None),
    postgresql_where=pin.c.unpinned_at_ms.is_(None),
)
timeline_event = Table(
    "timeline_event",
    metadata,
    Column("show_id", String(SHOW_ID_CHARS_MAX), ForeignKey("show.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("name", String(64), nullable=False),
    Column("data", JSON, nullable=False),
)

_SHOW_COLUMNS = [show.c[name] for name in Show.__struct_fields__]

# Made once: putting a statement together costs as much as SQLite takes to do it, and these are asked with every click.
_SHOWS_WITH = (
    select(lineup_item.c.show_id)
    .join(show, show.c.id == lineup_item.c.show_id)
    .where(
        lineup_item.c.product_id.in_(bindparam("product_ids", expanding=True)),
        show.c.state.not_in([state.value for state in OVER]),
    )
    .distinct()
    .order_by(lineup_item.c.show_id)
)
_LINEUP = (
    select(lineup_item.c.product_id)
    .where(lineup_item.c.show_id == bindparam("of_show"))
    .order_by(lineup_item.c.position)
)
_ON_SCREEN = (
    select(
        *_SHOW_COLUMNS,
        pin.c.id.label("pin_id"),
        pin.c.product_id.label("pin_product_id"),
        pin.c.pinned_at_ms,
    )
    .outerjoin(pin, (pin.c.show_id == show.c.id) & pin.c.unpinned_at_ms.is_(None))
    .where(show.c.id.in_(bindparam("show_ids", expanding=True)))
)


class StreamKey(msgspec.Struct, frozen=True):
    """A stream key without its secret. Times are Unix milliseconds; `revoked_at_ms` None: it is good.

    `backup`: whoever publishes with it stands by until there is nobody else.
    """

    id: str
    label: str
    created_at_ms: int
    revoked_at_ms: int | None
    backup: bool = False

    @property
    def rank(self) -> Rank:
        return Rank.backup if self.backup else Rank.primary


class Clocked(msgspec.Struct, frozen=True):
    """Where a show's timeline stands: the newest event's number and time, and what its clock is made of."""

    timeline_seq: int
    timeline_at_ms: int
    started_at_ms: int | None
    ended_at_ms: int | None


def _show(row: Row[Any]) -> Show:
    return Show(**{**row._mapping, "state": ShowState(row.state)})


def _values(value: Show) -> dict[str, Any]:
    return {**msgspec.structs.asdict(value), "state": value.state.value}


# --- shows ----------------------------------------------------------------------------------------------------


async def insert_show(conn: AsyncConnection, value: Show, create_key: str | None, create_body: str) -> bool:
    """Store a new show; False: its id or its key is taken."""
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    row = _values(value) | {
        "timeline_seq": 0,
        "timeline_at_ms": 0,
        "create_key": create_key,
        "create_body": create_body,
    }
    statement = dialect.insert(show).values(row).on_conflict_do_nothing().returning(show.c.id)
    return (await conn.execute(statement)).first() is not None


async def created_under(conn: AsyncConnection, create_key: str) -> tuple[Show, str] | None:
    """The show that was created under an idempotency key, and the hash of what was asked for."""
    row = (
        await conn.execute(select(*_SHOW_COLUMNS, show.c.create_body).where(show.c.create_key == create_key))
    ).first()
    if row is None:
        return None
    members = dict(row._mapping)
    body = str(members.pop("create_body"))
    return Show(**{**members, "state": ShowState(row.state)}), body


async def find_show(conn: AsyncConnection, show_id: str, *, lock: bool = False) -> Show | None:
    """The show. `lock`: nobody else changes it before this transaction ends; others may still refer to it."""
    statement = select(*_SHOW_COLUMNS).where(show.c.id == show_id)
    if lock:
        # Not plain FOR UPDATE: that waits for every chat message in flight, whose foreign key locks the row.
        statement = statement.with_for_update(key_share=True)
    row = (await conn.execute(statement)).first()
    return None if row is None else _show(row)


async def save_show(conn: AsyncConnection, value: Show) -> None:
    """Write a show that is locked."""
    values = _values(value)
    await conn.execute(update(show).where(show.c.id == values.pop("id")).values(values))


async def list_shows(conn: AsyncConnection, states: Sequence[ShowState], before: Show | None, limit: int) -> list[Show]:
    """Shows in one of `states`, the newest first; `before` None: from the newest on."""
    statement = (
        select(*_SHOW_COLUMNS)
        .where(show.c.state.in_([state.value for state in states]))
        .order_by(show.c.created_at_ms.desc(), show.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        older = (show.c.created_at_ms == before.created_at_ms) & (show.c.id < before.id)
        statement = statement.where((show.c.created_at_ms < before.created_at_ms) | older)
    return [_show(row) for row in await conn.execute(statement)]


async def publishing_shows(conn: AsyncConnection) -> list[str]:
    """Ids of the shows that somebody was last seen to publish to."""
    return list(await conn.scalars(select(show.c.id).where(show.c.publishing).order_by(show.c.id)))


def followed_shows(conn: Connection) -> list[str]:
    """Ids of the shows that somebody may have on a screen: those on air first, then what comes, then what is over."""
    on_air, over = ([state.value for state in states] for states in (ON_AIR, OVER))
    ids = select(show.c.id)
    coming = ids.where(show.c.state.not_in(over)).order_by(show.c.state.not_in(on_air), show.c.created_at_ms.desc())
    ended = ids.where(show.c.state.in_(over)).order_by(show.c.ended_at_ms.desc())
    return [*conn.scalars(coming.limit(SHOWS_RENEWED_MAX)), *conn.scalars(ended.limit(SHOWS_OVER_RENEWED_MAX))]


# --- lineup and pin -------------------------------------------------------------------------------------------


def lineup(conn: Connection, show_id: str) -> list[str]:
    """Product ids in the show's order."""
    return list(conn.scalars(_LINEUP, {"of_show": show_id}))


async def replace_lineup(conn: AsyncConnection, show_id: str, product_ids: Sequence[str]) -> None:
    """Put `product_ids`, without doubles, in place of the lineup."""
    await conn.execute(delete(lineup_item).where(lineup_item.c.show_id == show_id))
    rows = [
        {"show_id": show_id, "position": position, "product_id": product_id}
        for position, product_id in enumerate(product_ids)
    ]
    if rows:
        await conn.execute(insert(lineup_item), rows)


def shows_with(conn: Connection, product_ids: Sequence[str]) -> list[str]:
    """Ids of the shows that are not over and whose lineup holds one of `product_ids`."""
    return list(conn.scalars(_SHOWS_WITH, {"product_ids": list(product_ids)}))


def on_screen(conn: Connection, show_ids: Sequence[str]) -> dict[str, tuple[Show, Pin | None]]:
    """Those of the shows that exist, each with what is pinned in it."""
    found: dict[str, tuple[Show, Pin | None]] = {}
    for row in conn.execute(_ON_SCREEN, {"show_ids": list(show_ids)}):
        members = dict(row._mapping)
        pin_id, product_id, at_ms = (members.pop(name) for name in ("pin_id", "pin_product_id", "pinned_at_ms"))
        pinned = None if pin_id is None else Pin(id=pin_id, product_id=product_id, pinned_at_ms=at_ms)
        found[row.id] = Show(**{**members, "state": ShowState(row.state)}), pinned
    return found


async def current_pin(conn: AsyncConnection, show_id: str) -> Pin | None:
    """What is pinned now."""
    statement = select(pin.c.id, pin.c.product_id, pin.c.pinned_at_ms).where(
        pin.c.show_id == show_id, pin.c.unpinned_at_ms.is_(None)
    )
    row = (await conn.execute(statement)).first()
    return None if row is None else Pin(**row._mapping)


async def insert_pin(conn: AsyncConnection, show_id: str, value: Pin) -> None:
    """Pin a product; the show is locked and nothing is pinned."""
    await conn.execute(insert(pin).values(msgspec.structs.asdict(value) | {"show_id": show_id}))


async def close_pin(conn: AsyncConnection, pin_id: str, now_ms: int) -> None:
    """Take a pin off the screen."""
    await conn.execute(update(pin).where(pin.c.id == pin_id).values(unpinned_at_ms=now_ms))


# --- timeline -------------------------------------------------------------------------------------------------


def timeline_position(conn: Connection, show_id: str, *, lock: bool) -> Clocked | None:
    """Where the show's timeline stands; `lock` as in `find_show`. None: there is no such show."""
    statement = select(*[show.c[name] for name in Clocked.__struct_fields__]).where(show.c.id == show_id)
    if lock:
        statement = statement.with_for_update(key_share=True)
    row = conn.execute(statement).first()
    return None if row is None else Clocked(**row._mapping)


def append_events(conn: Connection, show_id: str, entries: Sequence[Entry]) -> None:
    """Add `entries`, at least one, to a timeline whose show is locked."""
    newest = entries[-1]
    conn.execute(update(show).where(show.c.id == show_id).values(timeline_seq=newest.seq, timeline_at_ms=newest.at_ms))
    rows = [msgspec.structs.asdict(entry) | {"show_id": show_id} for entry in entries]
    conn.execute(insert(timeline_event), rows)


async def events_after(conn: AsyncConnection, show_id: str, seq: int, limit: int) -> list[Entry]:
    """Up to `limit` entries whose number is greater than `seq`."""
    statement = (
        select(timeline_event.c.seq, timeline_event.c.at_ms, timeline_event.c.name, timeline_event.c.data)
        .where(timeline_event.c.show_id == show_id, timeline_event.c.seq > seq)
        .order_by(timeline_event.c.seq)
        .limit(limit)
    )
    return [Entry(**row._mapping) for row in await conn.execute(statement)]


async def forget_events(conn: AsyncConnection, show_id: str) -> None:
    """Empty a timeline; its numbers go on counting."""
    await conn.execute(delete(timeline_event).where(timeline_event.c.show_id == show_id))
    await conn.execute(update(show).where(show.c.id == show_id).values(timeline_at_ms=0))


# --- stream keys ----------------------------------------------------------------------------------------------


async def insert_stream_key(
    conn: AsyncConnection, show_id: str, value: StreamKey, hash_: str, create_key: str | None, create_body: str
) -> None:
    """Store a stream key by its hash; `create_key` None: it was made without an Idempotency-Key."""
    made = {"show_id": show_id, "hash": hash_, "create_key": create_key, "create_body": create_body}
    await conn.execute(insert(stream_key).values(msgspec.structs.asdict(value) | made))


_KEY_COLUMNS = [stream_key.c[name] for name in StreamKey.__struct_fields__]


async def stream_keys(conn: AsyncConnection, show_id: str) -> list[StreamKey]:
    """The show's good stream keys, the oldest first."""
    statement = (
        select(*_KEY_COLUMNS)
        .where(stream_key.c.show_id == show_id, stream_key.c.revoked_at_ms.is_(None))
        .order_by(stream_key.c.id)
    )
    return [StreamKey(**row._mapping) for row in await conn.execute(statement)]


async def stream_key_made_under(conn: AsyncConnection, create_key: str) -> tuple[StreamKey, str] | None:
    """The stream key that was made under an idempotency key, and the hash of what was asked for."""
    statement = select(stream_key.c.create_body, *_KEY_COLUMNS).where(stream_key.c.create_key == create_key)
    row = (await conn.execute(statement)).first()
    return None if row is None else (StreamKey(*row[1:]), str(row[0]))


async def find_stream_key(conn: AsyncConnection, show_id: str, key_id: str) -> StreamKey | None:
    """One stream key, good or revoked."""
    statement = select(*_KEY_COLUMNS).where(stream_key.c.show_id == show_id, stream_key.c.id == key_id)
    row = (await conn.execute(statement)).first()
    return None if row is None else StreamKey(**row._mapping)


async def revoke_stream_key(conn: AsyncConnection, key_id: str, now_ms: int) -> None:
    """Make a stream key useless."""
    await conn.execute(update(stream_key).where(stream_key.c.id == key_id).values(revoked_at_ms=now_ms))


async def good_stream_key(conn: AsyncConnection, hash_: str) -> tuple[str, StreamKey] | None:
    """The show that a good stream key belongs to, and the key."""
    statement = select(stream_key.c.show_id, *_KEY_COLUMNS).where(
        stream_key.c.hash == hash_, stream_key.c.revoked_at_ms.is_(None)
    )
    row = (await conn.execute(statement)).first()
    return None if row is None else (str(row[0]), StreamKey(*row[1:]))


async def count_stream_keys(conn: AsyncConnection, show_id: str) -> int:
    """How many good stream keys the show has."""
    statement = select(func.count()).where(stream_key.c.show_id == show_id, stream_key.c.revoked_at_ms.is_(None))
    return int(await conn.scalar(statement) or 0)
