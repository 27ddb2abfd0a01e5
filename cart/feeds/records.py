"""SQL of where feeds come from, and of what came of them."""

from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from cart.feeds.report import ImportReport, Missing, StockMeans
from cart.feeds.tables import feed_run, feed_source

State = Literal["active", "paused", "deleted"]
RunState = Literal["running", "done", "failed", "unchanged"]
_LIVING = feed_source.c.state != "deleted"


class Source(msgspec.Struct, frozen=True):
    """Where a feed comes from. `url`: https://…, or file:name in the data folder's `feeds`.

    `authorization`: the header's value, sealed (None: none is sent). `etag` and `last_modified`: of what was read last
    ("": nothing, or it has none). `turns_at_ms`: the feed changes a price then (None: it says of none). `failures` in a
    row, `problem` of the last one ("": none). Times are Unix milliseconds.
    """

    id: str
    name: str
    url: str
    format: str
    interval_s: int
    missing: Missing
    stock_means: StockMeans
    authorization: bytes | None
    state: State
    asked: bool
    etag: str
    last_modified: str
    turns_at_ms: int | None
    due_at_ms: int
    lease: str
    lease_until_ms: int
    failures: int
    problem: str
    created_at_ms: int


class Run(msgspec.Struct, frozen=True):
    """One reading of a feed. `state` unchanged: there was nothing new. `report` None: it was not read, or not yet.

    `size_bytes` of it (0: not known), of which `done_bytes` are read. Times are Unix milliseconds; `ended_at_ms` None:
    it goes on.
    """

    id: str
    feed: str
    state: RunState
    dry_run: bool
    began_at_ms: int
    ended_at_ms: int | None
    alive_until_ms: int
    size_bytes: int
    done_bytes: int
    problem: str
    report: ImportReport | None


# --- sources --------------------------------------------------------------------------------------------------


def sources(conn: Connection) -> list[Source]:
    """All of them, by name."""
    return [
        Source(**row._mapping) for row in conn.execute(select(feed_source).where(_LIVING).order_by(feed_source.c.name))
    ]


def find_source(conn: Connection, name: str) -> Source | None:
    """The source of this name."""
    row = conn.execute(select(feed_source).where(feed_source.c.name == name, _LIVING)).first()
    return None if row is None else Source(**row._mapping)


def count_sources(conn: Connection) -> int:
    """How many there are."""
    return int(conn.scalar(select(func.count()).select_from(feed_source).where(_LIVING)) or 0)


def insert_source(conn: Connection, source: Source) -> None:
    """A new source."""
    conn.execute(insert(feed_source).values(msgspec.structs.asdict(source)))


def change_source(conn: Connection, id_: str, **values: Any) -> None:
    """Write some of a source's members."""
    conn.execute(update(feed_source).where(feed_source.c.id == id_).values(values))


def claim(conn: Connection, now_ms: int, lease: str, until_ms: int) -> Source | None:
    """A source whose turn it is, for whoever holds `lease` until then; None: there is none.

    One that is paused was asked for, and stays so until its turn is settled: when the holder dies, nothing else says
    that it is to be read.
    """
    turn = or_(and_(feed_source.c.state == "active", feed_source.c.due_at_ms <= now_ms), feed_source.c.asked.is_(True))
    free = feed_source.c.lease_until_ms <= now_ms
    due = select(feed_source.c.id).where(turn, free, _LIVING).order_by(feed_source.c.due_at_ms).limit(1)
    id_ = conn.scalar(due.with_for_update(skip_locked=True))
    if id_ is None:
        return None
    values = {"lease": lease, "lease_until_ms": until_ms, "asked": feed_source.c.state != "active"}
    row = conn.execute(update(feed_source).where(feed_source.c.id == id_).values(values).returning(feed_source)).one()
    return Source(**row._mapping)


def is_due(conn: Connection, now_ms: int) -> bool:
    """Whether there is something to claim."""
    turn = or_(and_(feed_source.c.state == "active", feed_source.c.due_at_ms <= now_ms), feed_source.c.asked.is_(True))
    found = select(feed_source.c.id).where(turn, feed_source.c.lease_until_ms <= now_ms, _LIVING).limit(1)
    return conn.scalar(found) is not None


def renew(conn: Connection, id_: str, lease: str, until_ms: int) -> bool:
    """Hold a lease until then; False: somebody else does, or the source is gone."""
    mine = update(feed_source).where(feed_source.c.id == id_, feed_source.c.lease == lease, _LIVING)
    return conn.execute(mine.values(lease_until_ms=until_ms)).rowcount == 1


def settle(conn: Connection, id_: str, lease: str, **values: Any) -> None:
    """End a turn, if it is still the holder's; a source that was changed meanwhile is free for who reads it anew."""
    mine = update(feed_source).where(feed_source.c.id == id_, feed_source.c.lease == lease)
    asked = and_(feed_source.c.asked, feed_source.c.state == "active")  # of one that is paused it is done
    if conn.execute(mine.values({"lease": "", "lease_until_ms": 0, "asked": asked} | values)).rowcount == 0:
        nobodys = update(feed_source).where(feed_source.c.id == id_, feed_source.c.lease == "")
        conn.execute(nobodys.values(lease_until_ms=0))


# --- runs -----------------------------------------------------------------------------------------------------


def insert_run(conn: Connection, run: Run, kept: int) -> None:
    """A new run; of its feed's only the newest are `kept`."""
    conn.execute(insert(feed_run).values(msgspec.to_builtins(run)))
    newest = select(feed_run.c.id).where(feed_run.c.feed == run.feed).order_by(feed_run.c.id.desc()).limit(kept)
    others = feed_run.c.feed == run.feed, feed_run.c.id.not_in(newest), feed_run.c.state != "running"
    conn.execute(delete(feed_run).where(*others))


def change_run(conn: Connection, id_: str, **values: Any) -> None:
    """Write some of a run's members."""
    if values.get("report") is not None:
        values["report"] = msgspec.to_builtins(values["report"])
    conn.execute(update(feed_run).where(feed_run.c.id == id_).values(values))


def find_run(conn: Connection, id_: str, now_ms: int) -> Run | None:
    """One run; see `_run`."""
    row = conn.execute(select(feed_run).where(feed_run.c.id == id_)).first()
    return None if row is None else _run(dict(row._mapping), now_ms)


def runs(conn: Connection, feed: str | None, before: str | None, limit: int, now_ms: int) -> list[Run]:
    """A page, the newest first; `feed` None: of all, `before` None: from the newest on."""
    statement = select(feed_run).order_by(feed_run.c.id.desc()).limit(limit)
    if feed is not None:
        statement = statement.where(feed_run.c.feed == feed)
    if before is not None:
        statement = statement.where(feed_run.c.id < before)
    return [_run(dict(row._mapping), now_ms) for row in conn.execute(statement)]


def _run(members: dict[str, Any], now_ms: int) -> Run:
    """A run as it is; whoever did it may have died without a word."""
    if members["state"] == "running" and members["alive_until_ms"] <= now_ms:
        members |= {
            "state": "failed",
            "problem": "The worker that read it has ended.",
            "ended_at_ms": members["alive_until_ms"],
        }
    report = members["report"]
    return Run(**members | {"report": None if report is None else msgspec.convert(report, ImportReport)})
