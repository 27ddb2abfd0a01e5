"""The keys of services, and the shop's tokens that may be used once."""

from sqlalchemy import JSON, BigInteger, Column, Index, String, Table

from live.core.database import metadata
from live.core.limits import LABEL_CHARS_MAX, SHOW_ID_CHARS_MAX, VIEWER_ID_CHARS_MAX

_HASH = String(64)  # SHA-256 as hex

service_key = Table(
    "service_key",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("label", String(LABEL_CHARS_MAX), nullable=False),
    Column("prefix", String(16), nullable=False),  # the key's first characters, for people
    Column("hash", _HASH, nullable=False),
    Column("old_hash", _HASH),  # of the key before the last rotation ...
    Column("old_until_ms", BigInteger),  # ... which is good until then
    Column("scopes", JSON, nullable=False),
    Column("show", String(SHOW_ID_CHARS_MAX)),  # NULL: all
    Column("created_at_ms", BigInteger, nullable=False),
    Column("created_by", String(VIEWER_ID_CHARS_MAX), nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("last_used_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
    Column("made_key", _HASH),  # who created it under which Idempotency-Key ...
    Column("made_body", _HASH, nullable=False),  # ... and what they asked for
    Index("uq_service_key_hash", "hash", unique=True),
    Index("uq_service_key_old_hash", "old_hash", unique=True),
    Index("uq_service_key_made_key", "made_key", unique=True),
)

service_key_turn = Table(
    "service_key_turn",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("turned_key", _HASH, primary_key=True),  # who rotated it under which Idempotency-Key ...
    Column("body", _HASH, nullable=False),  # ... and what they asked for
    Column("at_ms", BigInteger, nullable=False),
    Index("ix_service_key_turn_at_ms", "at_ms"),
)

sign_on_used = Table(
    "sign_on_used",
    metadata,
    Column("id", _HASH, primary_key=True),  # of a token's jti
    Column("request", _HASH, nullable=False),  # what it was used for, so that the same request may be sent again
    Column("until_ms", BigInteger, nullable=False),  # no token with this jti is good after it
    Index("ix_sign_on_used_until_ms", "until_ms"),
)
