"""Rules, live prices, price history, coupons; what a product is taxed with, and how much of it is in a pack."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them. What things cost until now is where their price history begins."""
    _rules()
    _uses()
    op.add_column("product", sa.Column("categories", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("product", sa.Column("tax_bp", sa.Integer))
    op.add_column("variant", sa.Column("tax_bp", sa.Integer))
    op.add_column("variant", sa.Column("content_amount", sa.BigInteger))
    op.add_column("variant", sa.Column("content_unit", sa.String(8)))
    op.add_column("hold", sa.Column("quote", sa.Text))
    op.execute(
        "INSERT INTO price_clock (id, version, stamp, ruleset, changed_at_ms, told_at_ms) VALUES (1, 0, '', 0, 0, 0)"
    )
    op.execute(
        "INSERT INTO price_history (sku, show, at_ms, price_minor)"
        " SELECT variant.sku, '', product.updated_at_ms, variant.price_minor"
        " FROM variant JOIN product ON product.id = variant.product_id"
    )


def _rules() -> None:
    op.create_table(
        "price_clock",
        sa.Column("id", sa.Integer, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("stamp", sa.String(32), nullable=False),
        sa.Column("ruleset", sa.Integer, nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.Column("told_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_price_clock"),
    )
    op.create_table(
        "price_ruleset",
        sa.Column("number", sa.Integer, autoincrement=False),
        sa.Column("note", sa.String(60), nullable=False),
        sa.Column("rules", sa.JSON, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("published_by", sa.String(128)),
        sa.Column("published_at_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("number", name="pk_price_ruleset"),
    )
    op.create_table(
        "price_change",
        sa.Column("version", sa.BigInteger, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("ruleset", sa.Integer, nullable=False),
        sa.Column("live_price_id", sa.String(32)),
        sa.Column("changed_by", sa.String(128), nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_price_change"),
    )
    op.create_table(
        "live_price",
        sa.Column("id", sa.String(32)),
        sa.Column("show", sa.String(64), nullable=False),
        sa.Column("pin_id", sa.String(32), nullable=False),
        sa.Column("product_id", sa.String(64), nullable=False),
        sa.Column("sku", sa.String(64)),
        sa.Column("rule", sa.JSON, nullable=False),
        sa.Column("started_by", sa.String(128), nullable=False),
        sa.Column("started_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ends_at_ms", sa.BigInteger),
        sa.Column("ended_by", sa.String(128)),
        sa.Column("ended_at_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_live_price"),
    )
    op.create_index(
        "uq_live_price_show", "live_price", ["show"], unique=True,
        sqlite_where=sa.text("ended_at_ms IS NULL"), postgresql_where=sa.text("ended_at_ms IS NULL"),
    )  # fmt: skip


def _uses() -> None:
    op.create_table(
        "price_history",
        sa.Column("sku", sa.String(64)),
        sa.Column("show", sa.String(64)),
        sa.Column("at_ms", sa.BigInteger, autoincrement=False),
        sa.Column("price_minor", sa.BigInteger),
        sa.PrimaryKeyConstraint("sku", "show", "at_ms", name="pk_price_history"),
    )
    op.create_table(
        "price_use",
        sa.Column("rule", sa.String(64)),
        sa.Column("customer", sa.String(128)),
        sa.Column("uses", sa.BigInteger, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("rule", "customer", name="pk_price_use"),
    )
    op.create_table(
        "price_use_order",
        sa.Column("order_id", sa.String(32)),
        sa.Column("rule", sa.String(64)),
        sa.Column("customer", sa.String(128), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("order_id", "rule", name="pk_price_use_order"),
    )
    op.create_table(
        "cart_shopper",
        sa.Column("cart", sa.String(193)),
        sa.Column("customer", sa.String(128)),
        sa.Column("segments", sa.JSON, nullable=False),
        sa.Column("coupons", sa.JSON, nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("cart", name="pk_cart_shopper"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_column("hold", "quote")
    for column in ("content_unit", "content_amount", "tax_bp"):
        op.drop_column("variant", column)
    for column in ("tax_bp", "categories"):
        op.drop_column("product", column)
    op.drop_index("uq_live_price_show", "live_price")
    for table in (
        "cart_shopper", "price_use_order", "price_use", "price_history", "live_price", "price_change",
        "price_ruleset", "price_clock",
    ):  # fmt: skip
        op.drop_table(table)
