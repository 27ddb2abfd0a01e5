"""The tables of commerce.

Shows are named without a foreign key: a stamp says what sold something, and an order outlives the show. Every change
to the holds of a SKU is made with its `stock_level` row locked; that row is the mutex, and its CHECK the last guard.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    false,
)

from live.core.database import metadata
from live.core.limits import (
    ID_CHARS_MAX,
    IDEMPOTENCY_KEY_CHARS_MAX,
    SHOW_ID_CHARS_MAX,
    STOCK_REASON_CHARS_MAX,
    TITLE_CHARS_MAX,
    VIEWER_ID_CHARS_MAX,
)

CART_CHARS = SHOW_ID_CHARS_MAX + 1 + VIEWER_ID_CHARS_MAX

product = Table(
    "product",
    metadata,
    Column("id", String(ID_CHARS_MAX), primary_key=True),
    Column("title", String(TITLE_CHARS_MAX), nullable=False),
    Column("description", Text, nullable=False),
    Column("picture", String(500), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("categories", JSON, nullable=False, server_default="[]"),
    Column("tax_bp", Integer),  # of the gross price's net, in basis points; NULL: the installation's own rate
    Column("updated_at_ms", BigInteger, nullable=False),
)
variant = Table(
    "variant",
    metadata,
    Column("sku", String(ID_CHARS_MAX), primary_key=True),
    Column("product_id", String(ID_CHARS_MAX), ForeignKey("product.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("title", String(TITLE_CHARS_MAX), nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("list_price_minor", BigInteger),
    Column("tax_bp", Integer),  # NULL: as the product
    Column("content_amount", BigInteger),  # of `content_unit` in a pack; NULL: its unit price is not named
    Column("content_unit", String(8)),
    Column("hidden", Boolean, nullable=False, server_default=false()),
    Column("facts", JSON(none_as_null=True)),  # what feeds say of it beside
    Index("ix_variant_product_id", "product_id", "position"),
)
stock_level = Table(
    "stock_level",
    metadata,
    Column("sku", String(ID_CHARS_MAX), ForeignKey("variant.sku"), primary_key=True),
    Column("location", String(ID_CHARS_MAX), primary_key=True),
    Column("on_hand", BigInteger, nullable=False),
    Column("allocated", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("waiting", Integer, nullable=False, server_default="0"),  # places on the waitlist that have no offer
    Column("drops", Integer, nullable=False, server_default="0"),  # of now, in all shows
    CheckConstraint("held >= 0", name="held"),
    CheckConstraint("allocated >= 0", name="allocated"),
    CheckConstraint("on_hand - allocated - held >= 0", name="available"),
    Index("ix_stock_level_location", "location", "sku"),
)
hold = Table(
    "hold",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("cart", String(CART_CHARS), nullable=False),
    Column("show", String(SHOW_ID_CHARS_MAX), nullable=False),
    Column("viewer_id", String(VIEWER_ID_CHARS_MAX), nullable=False),
    Column("sku", String(ID_CHARS_MAX), ForeignKey("variant.sku"), nullable=False),
    Column("location", String(ID_CHARS_MAX), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("state", String(16), nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("claim_until_ms", BigInteger),
    Column("order_id", String(32)),
    Column("pin_id", String(32)),
    Column("at_ms", BigInteger, nullable=False),
    Column("quote", Text),  # JSON; NULL: of before there were any
    CheckConstraint("quantity > 0", name="quantity"),
    Index("ix_hold_cart", "cart", "id"),
    Index("ix_hold_order_id", "order_id"),
)
_LIVE = hold.c.state.in_(["active", "claiming"])
Index(
    "uq_hold_cart",
    hold.c.cart, hold.c.sku, hold.c.location,
    unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE,
)  # fmt: skip
Index("ix_hold_level", hold.c.sku, hold.c.location, sqlite_where=_LIVE, postgresql_where=_LIVE)
Index("ix_hold_expires_at_ms", hold.c.expires_at_ms, sqlite_where=_LIVE, postgresql_where=_LIVE)
_CLAIMING = hold.c.state == "claiming"
Index("ix_hold_claim_until_ms", hold.c.claim_until_ms, sqlite_where=_CLAIMING, postgresql_where=_CLAIMING)
Index("ix_hold_show", hold.c.show, sqlite_where=_LIVE, postgresql_where=_LIVE)

stock_movement = Table(
    "stock_movement",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("sku", String(ID_CHARS_MAX), nullable=False),
    Column("location", String(ID_CHARS_MAX), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("hold_id", String(32)),
    Column("order_id", String(32)),
    Column("show", String(SHOW_ID_CHARS_MAX)),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("transfer_id", String(32)),  # NULL: from nowhere else
    Column("reason", String(STOCK_REASON_CHARS_MAX)),  # NULL: nobody said one
    Index("ix_stock_movement_show", "show", "kind", "created_at_ms"),
    Index("ix_stock_movement_sku", "sku", "location"),
)
_TRANSFERRED = stock_movement.c.transfer_id.is_not(None)
Index(
    "ix_stock_movement_transfer_id", stock_movement.c.transfer_id,
    sqlite_where=_TRANSFERRED, postgresql_where=_TRANSFERRED,
)  # fmt: skip
idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", String(CART_CHARS), primary_key=True),
    Column("key", String(IDEMPOTENCY_KEY_CHARS_MAX), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("response", JSON(none_as_null=True)),  # NULL: the request is still running
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_idempotency_created_at_ms", "created_at_ms"),
)
