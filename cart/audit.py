"""Who changed what, and when: one row for each change of an order, a price rule or the stock, never edited.

A row is written in the transaction of the change, so there is no change without one. The table refuses UPDATE and
DELETE by itself (a trigger, on both databases); what is in it leaves with the database only.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import JSON, BigInteger, Column, Connection, Index, String, Table, insert, select

from live.core.auth import Principal
from live.core.database import metadata
from live.core.ids import serial7
from live.core.limits import AUDIT_LISTED_MAX, AUDIT_SUBJECT_CHARS_MAX, SHOW_ID_CHARS_MAX, VIEWER_ID_CHARS_MAX

audit = Table(
    "audit",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", String(VIEWER_ID_CHARS_MAX), nullable=False),
    Column("role", String(16), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(AUDIT_SUBJECT_CHARS_MAX), nullable=False),
    Column("show", String(SHOW_ID_CHARS_MAX)),
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Index("ix_audit_subject", "subject", "id"),
)
_INSERT = insert(audit)


class Actor(msgspec.Struct, frozen=True):
    """Who did it: the subject and role of a token, or a part of this server (role "server")."""

    subject: str
    role: str


SERVER = Actor("showcart", "server")  # what happens by itself: a time ran out, a provider answered
BUYER = Actor("buyer", "buyer")  # somebody who proved to know an order's number and e-mail address


class Entry(msgspec.Struct, frozen=True):
    """One change. `subject` is "order:<id>", "sku:<sku>", "rule:<id>" …; `before` None: it was not there."""

    id: str
    at_ms: int
    actor: str
    role: str
    action: str
    subject: str
    show: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Change(msgspec.Struct, frozen=True):
    """What `write` is told: see `Entry`."""

    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    show: str | None = None


def actor(principal: Principal) -> Actor:
    """The bearer of a token or of a service key (role "service") as the trail names them."""
    return Actor(principal.subject, principal.role.value if principal.scopes is None else "service")


def write(conn: Connection, now_ms: int, who: Actor, *changes: Change) -> None:
    """Write changes down, in this transaction; only what differs between before and after is kept."""
    rows = []
    for change in changes:
        before, after = _differing(change.before, change.after)
        rows.append(
            {
                "id": serial7(now_ms),
                "at_ms": now_ms,
                "actor": who.subject,
                "role": who.role,
                "action": change.action,
                "subject": change.subject[:AUDIT_SUBJECT_CHARS_MAX],
                "show": change.show,
                "before": before,
                "after": after,
            }
        )
    if rows:
        conn.execute(_INSERT, rows)


def entries(conn: Connection, subject: str, after: str = "", limit: int = AUDIT_LISTED_MAX) -> Sequence[Entry]:
    """What happened to a subject ("": to all), the oldest first; `after`: the last id of the page before."""
    statement = select(audit).where(audit.c.id > after).order_by(audit.c.id).limit(limit)
    if subject:
        statement = statement.where(audit.c.subject == subject)
    return [Entry(**row._mapping) for row in conn.execute(statement)]


def _differing(
    before: dict[str, Any] | None, after: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    if before is None or after is None:
        return before, after
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return (
        {name: value for name, value in before.items() if name in names},
        {name: value for name, value in after.items() if name in names},
    )
