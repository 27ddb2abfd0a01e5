"""Who waits for what is sold out, and sales with a window and limits."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and have levels say whether anybody needs to look at them."""
    for name in ("waiting", "drops"):
        op.add_column("stock_level", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "waitlist",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("sku", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("product_id", sa.String(64), nullable=False),
        sa.Column("viewer_id", sa.String(128), nullable=False),
        sa.Column("show", sa.String(64), nullable=False),
        sa.Column("cart", sa.String(193), nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("joined_at_ms", sa.BigInteger, nullable=False),
        sa.Column("hold_id", sa.String(32)),
        sa.Column("offered", sa.Integer),
    )
    op.create_index("uq_waitlist_viewer_id", "waitlist", ["viewer_id", "sku"], unique=True)
    waiting = sa.text("hold_id IS NULL")
    op.create_index("ix_waitlist_sku", "waitlist", ["sku", "number"], sqlite_where=waiting, postgresql_where=waiting)
    op.create_table(
        "sale_drop",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("show", sa.String(64), nullable=False),
        sa.Column("sku", sa.String(64), nullable=False),
        sa.Column("product_id", sa.String(64), nullable=False),
        sa.Column("opens_at_ms", sa.BigInteger, nullable=False),
        sa.Column("closes_at_ms", sa.BigInteger),
        sa.Column("total_limit", sa.BigInteger),
        sa.Column("per_customer_limit", sa.BigInteger),
        sa.Column("taken", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger),
        sa.CheckConstraint("taken >= 0", name="taken"),
    )
    current = sa.text("ended_at_ms IS NULL")
    op.create_index(
        "uq_sale_drop_sku", "sale_drop", ["sku", "show"], unique=True, sqlite_where=current, postgresql_where=current
    )
    op.create_index("ix_sale_drop_show", "sale_drop", ["show"], sqlite_where=current, postgresql_where=current)
    op.create_table(
        "sale_drop_share",
        sa.Column("drop_id", sa.String(32), primary_key=True),
        sa.Column("viewer_id", sa.String(128), primary_key=True),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.CheckConstraint("quantity >= 0", name="quantity"),
    )


def downgrade() -> None:
    """Drop them; nobody waits any more, and everything sells without a window."""
    for table in ("sale_drop_share", "sale_drop", "waitlist"):
        op.drop_table(table)
    for name in ("drops", "waiting"):
        op.drop_column("stock_level", name)
