"""The table of carts that were handed over to the merchant's own check-out.

A hand-off is an order whose source is external: `orders` says how it stands and `hold` which units wait for it. This
says what the order does not: until when, and what the merchant reported.
"""

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, String, Table

from live.core.database import metadata

handoff = Table(
    "handoff",
    metadata,
    Column("order_id", String(32), ForeignKey("orders.id"), primary_key=True),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("report_hash", String(64)),  # of what the merchant reported; NULL: nothing yet
    Column("answer", JSON(none_as_null=True)),  # what that was answered
    Column("created_at_ms", BigInteger, nullable=False),
)
