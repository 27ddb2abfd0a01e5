"""The tables of orders.

What was ordered never changes: the words, prices and taxes of the lines are copies, and so are the address and the
way it goes. `payment_step` is the ledger of what a payment's provider is asked: a row is written in the transaction
that decides it, and done afterwards, as often as it takes; its `key` is unique here and with the provider.
"""

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text

from cart.tables import CART_CHARS
from live.core.database import metadata
from live.core.limits import (
    BUYER_NAME_CHARS_MAX,
    EMAIL_CHARS_MAX,
    EXTERNAL_NUMBER_CHARS_MAX,
    ID_CHARS_MAX,
    ORDER_NOTE_CHARS_MAX,
    PAYMENT_KEY_CHARS_MAX,
    PAYMENT_REFERENCE_CHARS_MAX,
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
    Column("language", String(2), nullable=False),
    Column("subtotal_minor", BigInteger, nullable=False),
    Column("shipping_minor", BigInteger, nullable=False),
    Column("shipping", JSON(none_as_null=True)),  # NULL: nothing to choose from when it was ordered
    Column("address", JSON(none_as_null=True)),  # NULL: none was needed
    Column("discounts", JSON, nullable=False),
    Column("taxes", JSON, nullable=False),
    Column("captured_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    Column("shipping_refunded_minor", BigInteger, nullable=False),
    Column("shipped_at_ms", BigInteger),
    Column("source", String(16), nullable=False, server_default="showcart"),
    Column("external_number", String(EXTERNAL_NUMBER_CHARS_MAX)),  # of the merchant's books; NULL: none
    Index("uq_orders_number", "number", unique=True),
    Index("uq_orders_external_number", "external_number", unique=True),
    Index("ix_orders_show", "show", "state", "id"),
    Index("ix_orders_show_id", "show", "id"),
    Index("ix_orders_state", "state", "id"),
    Index("ix_orders_viewer_id", "viewer_id", "id"),
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
    Column("list_minor", BigInteger, nullable=False),
    Column("off_minor", BigInteger, nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("tax_minor", BigInteger, nullable=False),
    Column("tax_bp", Integer, nullable=False),
    Column("quote", JSON(none_as_null=True)),
    Column("cancelled", Integer, nullable=False),
    Column("refunded", Integer, nullable=False),
    Column("returned", Integer, nullable=False),
)
payment_step = Table(
    "payment_step",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("order_id", String(32), ForeignKey("orders.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("key", String(PAYMENT_KEY_CHARS_MAX), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("reference", String(PAYMENT_REFERENCE_CHARS_MAX), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(ORDER_NOTE_CHARS_MAX), nullable=False),
    Column("detail", JSON(none_as_null=True)),  # what a refund is for
    Column("attempts", Integer, nullable=False),
    Column("due_at_ms", BigInteger),  # NULL: nothing is left to do
    Column("created_at_ms", BigInteger, nullable=False),
    Column("done_at_ms", BigInteger),
    Index("uq_payment_step_key", "key", unique=True),
    Index("ix_payment_step_order_id", "order_id", "id"),
    Index("ix_payment_step_due_at_ms", "due_at_ms"),
)
withdrawal = Table(
    "withdrawal",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("order_id", String(32), ForeignKey("orders.id"), nullable=False),
    Column("name", String(BUYER_NAME_CHARS_MAX), nullable=False),
    Column("email", String(EMAIL_CHARS_MAX), nullable=False),
    Column("language", String(2), nullable=False),
    Column("lines", JSON, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("ix_withdrawal_order_id", "order_id", "id"),
)
letter = Table(
    "letter",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("order_id", String(32), ForeignKey("orders.id"), nullable=False),
    Column("recipient", String(EMAIL_CHARS_MAX), nullable=False),
    Column("language", String(2), nullable=False),
    Column("facts", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at_ms", BigInteger),  # NULL: nothing is left to do
    Column("created_at_ms", BigInteger, nullable=False),
    Column("sent_at_ms", BigInteger),
    Column("subject", Text),  # what was sent; NULL until then
    Column("body", Text),
    Index("ix_letter_order_id", "order_id", "id"),
    Index("ix_letter_due_at_ms", "due_at_ms"),
)
shipping_method = Table(
    "shipping_method",
    metadata,
    Column("id", String(ID_CHARS_MAX), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("method", JSON, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
)
shop_fact = Table(
    "shop_fact",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
)
