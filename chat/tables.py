"""The tables of the chat."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, true

from live.core.database import metadata
from live.core.limits import (
    CHAT_REASON_BYTES_MAX,
    CHAT_TEXT_BYTES_MAX,
    IDEMPOTENCY_KEY_CHARS_MAX,
    SHOW_ID_CHARS_MAX,
    VIEWER_ID_CHARS_MAX,
    VIEWER_NAME_BYTES_MAX,
)

chat_message = Table(
    "chat_message",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("show_id", String(SHOW_ID_CHARS_MAX), ForeignKey("show.id"), nullable=False),
    Column("viewer_id", String(VIEWER_ID_CHARS_MAX), nullable=False),
    Column("viewer_name", String(VIEWER_NAME_BYTES_MAX), nullable=False),
    Column("viewer_role", String(16), nullable=False),
    Column("text", String(CHAT_TEXT_BYTES_MAX), nullable=False),
    Column("sent_at_ms", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),  # on the show's clock, for the replay
    Column("reply_to", String(32)),
    Column("post_key", String(IDEMPOTENCY_KEY_CHARS_MAX)),
    Column("deleted_at_ms", BigInteger),
    Column("deleted_by", String(VIEWER_ID_CHARS_MAX)),
    Column("shown", Boolean, nullable=False, server_default=true()),
    Index("ix_chat_message_show_id", "show_id", "id"),
    Index("uq_chat_message_post_key", "show_id", "viewer_id", "post_key", unique=True),
)
_shown = chat_message.c.shown
Index(  # as `store.history` asks, word for word: otherwise SQLite does not use it
    "ix_chat_message_left_out",
    *(chat_message.c[name] for name in ("show_id", "viewer_id", "id")),
    sqlite_where=_shown.is_(False),
    postgresql_where=_shown.is_(False),
)
chat_member = Table(
    "chat_member",
    metadata,
    Column("show_id", String(SHOW_ID_CHARS_MAX), ForeignKey("show.id"), primary_key=True),
    Column("viewer_id", String(VIEWER_ID_CHARS_MAX), primary_key=True),
    Column("name", String(VIEWER_NAME_BYTES_MAX), nullable=False),
    Column("role", String(16), nullable=False),
    Column("posted_at_ms", BigInteger),
    Column("mute", String(16), nullable=False),
    Column("muted_until_ms", BigInteger),
    Column("reason", String(CHAT_REASON_BYTES_MAX), nullable=False),
)
chat_mode = Table(
    "chat_mode",
    metadata,
    Column("show_id", String(SHOW_ID_CHARS_MAX), ForeignKey("show.id"), primary_key=True),
    Column("slow_s", Integer, nullable=False),
)
moderation_log = Table(
    "moderation_log",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("show_id", String(SHOW_ID_CHARS_MAX), ForeignKey("show.id"), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("action", String(16), nullable=False),
    Column("moderator_id", String(VIEWER_ID_CHARS_MAX), nullable=False),
    Column("viewer_id", String(VIEWER_ID_CHARS_MAX)),
    Column("message_id", String(32)),
    Column("seconds", BigInteger),
    Column("reason", String(CHAT_REASON_BYTES_MAX), nullable=False),
    Index("ix_moderation_log_show_id", "show_id", "id"),
)
