"""What happens in shows: lineups, pins and timelines."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create `lineup_item`, `pin` and `timeline_event`."""
    op.create_table(
        "lineup_item",
        sa.Column("show_id", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("product_id", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("show_id", "position", name="pk_lineup_item"),
        sa.ForeignKeyConstraint(["show_id"], ["show.id"], name="fk_lineup_item_show_id"),
    )
    op.create_index("uq_lineup_item_product_id", "lineup_item", ["product_id", "show_id"], unique=True)
    op.create_table(
        "pin",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("show_id", sa.String(64), nullable=False),
        sa.Column("product_id", sa.String(128), nullable=False),
        sa.Column("pinned_at_ms", sa.BigInteger, nullable=False),
        sa.Column("unpinned_at_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_pin"),
        sa.ForeignKeyConstraint(["show_id"], ["show.id"], name="fk_pin_show_id"),
    )
    on_screen = sa.text("unpinned_at_ms IS NULL")
    op.create_index(
        "uq_pin_show_id", "pin", ["show_id"], unique=True, sqlite_where=on_screen, postgresql_where=on_screen
    )
    op.create_table(
        "timeline_event",
        sa.Column("show_id", sa.String(64), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("show_id", "seq", name="pk_timeline_event"),
        sa.ForeignKeyConstraint(["show_id"], ["show.id"], name="fk_timeline_event_show_id"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("timeline_event")
    op.drop_table("pin")
    op.drop_table("lineup_item")
