"""The tables of orders. What was ordered never changes; the words and prices of the lines are copies."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table

from cart.tables import CART_CHARS
from live.core.database import metadata
from live.core.limits import (
    BUYER_NAME_CHARS_MAX,
    EMAIL_CHARS_MAX,
    ID_CHARS_MAX,
    ORDER_NOTE_CHARS_MAX,
    SHOW_ID_CHARS_MAX,
    TITLE_CHARS_MAX,
    VIEWER_ID_CHARS_MAX,
)

orders = Table(
    "orders",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("number", String(16), nullable=False),
    Column("cart", String(CART_CHARS), nullable=False),
    Column("show", String(SHOW_ID_CHARS_MAX), nullable=False),
    Column("viewer_id", String(VIEWER_ID_CHARS_MAX), nullable=False),
    Column("state", String(16), nullable=False),
    Column("name", String(BUYER_NAME_CHARS_MAX), nullable=False),
    Column("email", String(EMAIL_CHARS_MAX), nullable=False),
    Column("note", String(ORDER_NOTE_CHARS_MAX), nullable=False),
    Column("payment", String(32), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("placed_at_ms", BigInteger),
    Index("uq_orders_number", "number", unique=True),
    Index("ix_orders_show", "show", "state"),
)
order_line = Table(
    "order_line",
    metadata,
    Column("order_id", String(32), ForeignKey("orders.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("sku", String(ID_CHARS_MAX), nullable=False),
    Column("product_id", String(ID_CHARS_MAX), nullable=False),
    Column("title", String(TITLE_CHARS_MAX), nullable=False),
    Column("variant", String(TITLE_CHARS_MAX), nullable=False),
    Column("picture", String(500), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("line_minor", BigInteger, nullable=False),
    Column("hold_id", String(32), nullable=False),
    Column("pin_id", String(32)),
    Column("at_ms", BigInteger, nullable=False),
)
