"""Where product feeds come from, what they named, what came of them; and variants that are not shown."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of feeds; every variant is shown."""
    op.add_column("variant", sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("variant", sa.Column("facts", sa.JSON))
    op.create_table(
        "feed_item",
        sa.Column("feed", sa.String(60), nullable=False),
        sa.Column("sku", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["sku"], ["variant.sku"], name="fk_feed_item_sku"),
        sa.PrimaryKeyConstraint("feed", "sku", name="pk_feed_item"),
    )
    op.create_index("ix_feed_item_sku", "feed_item", ["sku"])
    op.create_table(
        "feed_source",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("format", sa.String(8), nullable=False),
        sa.Column("interval_s", sa.Integer, nullable=False),
        sa.Column("missing", sa.String(8), nullable=False),
        sa.Column("stock_means", sa.String(16), nullable=False),
        sa.Column("authorization", sa.LargeBinary),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("asked", sa.Boolean, nullable=False),
        sa.Column("etag", sa.String(500), nullable=False),
        sa.Column("last_modified", sa.String(100), nullable=False),
        sa.Column("turns_at_ms", sa.BigInteger),
        sa.Column("due_at_ms", sa.BigInteger, nullable=False),
        sa.Column("lease", sa.String(32), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("problem", sa.String(200), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_feed_source"),
        sa.UniqueConstraint("name", name="uq_feed_source_name"),
    )
    op.create_table(
        "feed_run",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("feed", sa.String(60), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("began_at_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger),
        sa.Column("alive_until_ms", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("done_bytes", sa.BigInteger, nullable=False),
        sa.Column("problem", sa.String(200), nullable=False),
        sa.Column("report", sa.JSON),
        sa.PrimaryKeyConstraint("id", name="pk_feed_run"),
    )
    op.create_index("ix_feed_run_feed", "feed_run", ["feed", "id"])


def downgrade() -> None:
    """Drop them."""
    for table in ("feed_run", "feed_source", "feed_item"):
        op.drop_table(table)
    with op.batch_alter_table("variant") as variant:
        variant.drop_column("facts")
        variant.drop_column("hidden")
