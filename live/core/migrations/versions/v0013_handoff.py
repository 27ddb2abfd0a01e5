"""Carts handed to a shop's own check-out."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let orders say who sold them, and remember what was handed over."""
    op.add_column("orders", sa.Column("source", sa.String(16), nullable=False, server_default="showcart"))
    op.add_column("orders", sa.Column("external_number", sa.String(64)))
    op.create_index("uq_orders_external_number", "orders", ["external_number"], unique=True)
    op.create_table(
        "handoff",
        sa.Column("order_id", sa.String(32), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
        sa.Column("report_hash", sa.String(64)),
        sa.Column("answer", sa.JSON),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("order_id", name="pk_handoff"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_handoff_order_id_orders"),
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_table("handoff")
    op.drop_index("uq_orders_external_number", "orders")
    op.drop_column("orders", "external_number")
    op.drop_column("orders", "source")
