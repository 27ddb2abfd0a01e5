"""The table of locations. `main` is always there: shoppers buy from it."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, String, Table

from live.core.database import metadata
from live.core.limits import ADDRESS_LINE_CHARS_MAX, ID_CHARS_MAX, LABEL_CHARS_MAX, POSTCODE_CHARS_MAX

location = Table(
    "location",
    metadata,
    Column("id", String(ID_CHARS_MAX), primary_key=True),
    Column("name", String(LABEL_CHARS_MAX), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("street", String(ADDRESS_LINE_CHARS_MAX), nullable=False),
    Column("city", String(ADDRESS_LINE_CHARS_MAX), nullable=False),
    Column("postcode", String(POSTCODE_CHARS_MAX), nullable=False),
    Column("country", String(2), nullable=False),
    Column("hours", JSON, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
)
