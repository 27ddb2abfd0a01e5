"""The tables of webhooks: who is told, what happened, and who has been told of it.

An event stands in `webhook_event` from the transaction that made it happen; once it is *spread*, each endpoint that
wants it has a row in `webhook_delivery`. Positions are given while the event's subject is locked, so they have the
order in which the subject's transactions commit.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
)

from live.core.database import metadata
from live.core.limits import (
    LABEL_CHARS_MAX,
    SHOW_ID_CHARS_MAX,
    VIEWER_ID_CHARS_MAX,
    WEBHOOK_RESPONSE_BYTES_KEPT,
    WEBHOOK_TYPE_CHARS_MAX,
    WEBHOOK_URL_CHARS_MAX,
)

_POSITION = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows of an INTEGER PRIMARY KEY only
_SUBJECT = String(len("order:") + SHOW_ID_CHARS_MAX + 1 + VIEWER_ID_CHARS_MAX)  # a cart's is the longest
_REASON = String(200)

webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("url", String(WEBHOOK_URL_CHARS_MAX), nullable=False),
    Column("label", String(LABEL_CHARS_MAX), nullable=False),
    Column("types", JSON, nullable=False),  # a list; an empty one is all
    Column("state", String(16), nullable=False),
    Column("reason", _REASON, nullable=False),  # why it is disabled
    Column("secret", LargeBinary, nullable=False),  # sealed
    Column("old_secret", LargeBinary),  # sealed; signs beside the other one until ...
    Column("old_until_ms", BigInteger),  # ... then
    Column("failing_since_ms", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
)
webhook_event = Table(
    "webhook_event",
    metadata,
    Column("position", _POSITION, primary_key=True),
    Column("id", String(32), nullable=False),
    Column("type", String(WEBHOOK_TYPE_CHARS_MAX), nullable=False),
    Column("show", String(SHOW_ID_CHARS_MAX)),
    Column("subject", _SUBJECT, nullable=False),
    Column("newest", _SUBJECT),  # its subject, as long as a newer event may take its place
    Column("data", JSON, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("spread", Boolean, nullable=False),
    Index("uq_webhook_event_id", "id", unique=True),
    Index("uq_webhook_event_newest", "newest", unique=True),
    Index("ix_webhook_event_at_ms", "at_ms"),
    sqlite_autoincrement=True,  # a position is never given twice
)
_WAITS = webhook_event.c.spread.is_(False)
Index("ix_webhook_event_waiting", webhook_event.c.position, sqlite_where=_WAITS, postgresql_where=_WAITS)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("endpoint_id", String(32), ForeignKey("webhook_endpoint.id"), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", String(32), nullable=False),
    Column("type", String(WEBHOOK_TYPE_CHARS_MAX), nullable=False),
    Column("subject", _SUBJECT, nullable=False),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),  # since it was last asked for
    Column("due_at_ms", BigInteger, nullable=False),
    Column("lease_until_ms", BigInteger),  # some worker sends it until then
    Column("created_at_ms", BigInteger, nullable=False),
    Column("settled_at_ms", BigInteger),
    Index("ix_webhook_delivery_event_id", "event_id"),
    Index("ix_webhook_delivery_settled_at_ms", "settled_at_ms"),
)
_PENDING = webhook_delivery.c.state == "pending"
Index(
    "ix_webhook_delivery_pending",
    webhook_delivery.c.endpoint_id, webhook_delivery.c.subject, webhook_delivery.c.position,
    sqlite_where=_PENDING, postgresql_where=_PENDING,
)  # fmt: skip
Index(
    "ix_webhook_delivery_due",
    webhook_delivery.c.endpoint_id, webhook_delivery.c.due_at_ms,
    sqlite_where=_PENDING, postgresql_where=_PENDING,
)  # fmt: skip

webhook_attempt = Table(
    "webhook_attempt",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("endpoint_id", String(32), nullable=False),
    Column("event_id", String(32), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("status", Integer),  # NULL: there was no answer
    Column("problem", _REASON, nullable=False),  # why there was none
    Column("response", String(WEBHOOK_RESPONSE_BYTES_KEPT), nullable=False),  # its first bytes
    Index("ix_webhook_attempt_delivery", "endpoint_id", "event_id", "id"),
    Index("ix_webhook_attempt_at_ms", "at_ms"),
)
