"""What is sold: products, stock, holds, orders and the answers kept for idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = (
    "order_line",
    "orders",
    "idempotency",
    "stock_movement",
    "hold",
    "stock_level",
    "variant",
    "product",
)


def upgrade() -> None:
    """Create the tables of commerce."""
    _catalogue()
    _stock()
    _orders()


def downgrade() -> None:
    """Drop them."""
    for table in _TABLES:
        op.drop_table(table)


def _catalogue() -> None:
    op.create_table(
        "product",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("title", sa.String(140), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("picture", sa.String(500), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_product"),
    )
    op.create_table(
        "variant",
        sa.Column("sku", sa.String(64), nullable=False),
        sa.Column("product_id", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("title", sa.String(140), nullable=False),
        sa.Column("price_minor", sa.BigInteger, nullable=False),
        sa.Column("list_price_minor", sa.BigInteger),
        sa.PrimaryKeyConstraint("sku", name="pk_variant"),
        sa.ForeignKeyConstraint(["product_id"], ["product.id"], name="fk_variant_product_id"),
    )
    op.create_index("ix_variant_product_id", "variant", ["product_id", "position"])


def _stock() -> None:
    op.create_table(
        "stock_level",
        sa.Column("sku", sa.String(64), nullable=False),
        sa.Column("location", sa.String(64), nullable=False),
        sa.Column("on_hand", sa.BigInteger, nullable=False),
        sa.Column("allocated", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sku", "location", name="pk_stock_level"),
        sa.ForeignKeyConstraint(["sku"], ["variant.sku"], name="fk_stock_level_sku"),
        sa.CheckConstraint("held >= 0", name="ck_stock_level_held"),
        sa.CheckConstraint("allocated >= 0", name="ck_stock_level_allocated"),
        sa.CheckConstraint("on_hand - allocated - held >= 0", name="ck_stock_level_available"),
    )
    op.create_table(
        "hold",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("cart", sa.String(193), nullable=False),
        sa.Column("show", sa.String(64), nullable=False),
        sa.Column("viewer_id", sa.String(128), nullable=False),
        sa.Column("sku", sa.String(64), nullable=False),
        sa.Column("location", sa.String(64), nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("price_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
        sa.Column("claim_until_ms", sa.BigInteger),
        sa.Column("order_id", sa.String(32)),
        sa.Column("pin_id", sa.String(32)),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_hold"),
        sa.ForeignKeyConstraint(["sku"], ["variant.sku"], name="fk_hold_sku"),
        sa.CheckConstraint("quantity > 0", name="ck_hold_quantity"),
    )
    living = sa.text("state IN ('active', 'claiming')")
    op.create_index("ix_hold_cart", "hold", ["cart", "id"])
    op.create_index("ix_hold_order_id", "hold", ["order_id"])
    op.create_index(
        "uq_hold_cart", "hold", ["cart", "sku", "location"], unique=True, sqlite_where=living, postgresql_where=living
    )
    op.create_index("ix_hold_level", "hold", ["sku", "location"], sqlite_where=living, postgresql_where=living)
    op.create_index("ix_hold_expires_at_ms", "hold", ["expires_at_ms"], sqlite_where=living, postgresql_where=living)
    op.create_index("ix_hold_show", "hold", ["show"], sqlite_where=living, postgresql_where=living)
    op.create_table(
        "stock_movement",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("sku", sa.String(64), nullable=False),
        sa.Column("location", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("hold_id", sa.String(32)),
        sa.Column("order_id", sa.String(32)),
        sa.Column("show", sa.String(64)),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stock_movement"),
    )
    op.create_index("ix_stock_movement_show", "stock_movement", ["show", "kind", "created_at_ms"])
    op.create_index("ix_stock_movement_sku", "stock_movement", ["sku", "location"])


def _orders() -> None:
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.String(193), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("response", sa.JSON),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created_at_ms", "idempotency", ["created_at_ms"])
    op.create_table(
        "orders",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("number", sa.String(16), nullable=False),
        sa.Column("cart", sa.String(193), nullable=False),
        sa.Column("show", sa.String(64), nullable=False),
        sa.Column("viewer_id", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("note", sa.String(500), nullable=False),
        sa.Column("payment", sa.String(32), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("placed_at_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
    )
    op.create_index("uq_orders_number", "orders", ["number"], unique=True)
    op.create_index("ix_orders_show", "orders", ["show", "state"])
    op.create_table(
        "order_line",
        sa.Column("order_id", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("sku", sa.String(64), nullable=False),
        sa.Column("product_id", sa.String(64), nullable=False),
        sa.Column("title", sa.String(140), nullable=False),
        sa.Column("variant", sa.String(140), nullable=False),
        sa.Column("picture", sa.String(500), nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("price_minor", sa.BigInteger, nullable=False),
        sa.Column("line_minor", sa.BigInteger, nullable=False),
        sa.Column("hold_id", sa.String(32), nullable=False),
        sa.Column("pin_id", sa.String(32)),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("order_id", "position", name="pk_order_line"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_order_line_order_id"),
    )
