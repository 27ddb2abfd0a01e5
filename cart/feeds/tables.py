"""The tables of feeds: what each has named, where feeds come from, and what came of them."""

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
from live.core.limits import FEED_NAME_CHARS_MAX, FEED_URL_CHARS_MAX, ID_CHARS_MAX

feed_item = Table(
    "feed_item",
    metadata,
    Column("feed", String(FEED_NAME_CHARS_MAX), primary_key=True),
    Column("sku", String(ID_CHARS_MAX), ForeignKey("variant.sku"), primary_key=True),
    Index("ix_feed_item_sku", "sku"),
)
feed_source = Table(
    "feed_source",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(FEED_NAME_CHARS_MAX), nullable=False, unique=True),
    Column("url", String(FEED_URL_CHARS_MAX), nullable=False),
    Column("format", String(8), nullable=False),
    Column("interval_s", Integer, nullable=False),
    Column("missing", String(8), nullable=False),
    Column("stock_means", String(16), nullable=False),
    Column("authorization", LargeBinary),  # sealed; NULL: none is sent
    Column("state", String(16), nullable=False),
    Column("asked", Boolean, nullable=False),  # somebody wants it now
    Column("etag", String(500), nullable=False),
    Column("last_modified", String(100), nullable=False),
    Column("turns_at_ms", BigInteger),  # the feed has a price change then, so it is read whether it is new or not
    Column("due_at_ms", BigInteger, nullable=False),
    Column("lease", String(32), nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),  # in a row
    Column("problem", String(200), nullable=False),  # of the last time; "": none
    Column("created_at_ms", BigInteger, nullable=False),
)
feed_run = Table(
    "feed_run",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("feed", String(FEED_NAME_CHARS_MAX), nullable=False),
    Column("state", String(16), nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("began_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),
    Column("alive_until_ms", BigInteger, nullable=False),  # whoever does it has said so
    Column("size_bytes", BigInteger, nullable=False),
    Column("done_bytes", BigInteger, nullable=False),
    Column("problem", String(200), nullable=False),
    Column("report", JSON(none_as_null=True)),
    Index("ix_feed_run_feed", "feed", "id"),
)
