"""Stock of several places."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the locations, of which the one that shoppers buy from is there; movements say what they belong to."""
    made = op.create_table(
        "location",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("street", sa.String(100), nullable=False),
        sa.Column("city", sa.String(100), nullable=False),
        sa.Column("postcode", sa.String(12), nullable=False),
        sa.Column("country", sa.String(2), nullable=False),
        sa.Column("hours", sa.JSON, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_location"),
    )
    main = {"id": "main", "name": "Main", "kind": "warehouse", "active": True, "hours": [], "changed_at_ms": 0}
    op.bulk_insert(made, [main | dict.fromkeys(("street", "city", "postcode", "country"), "")])
    op.add_column("stock_movement", sa.Column("transfer_id", sa.String(32)))
    op.add_column("stock_movement", sa.Column("reason", sa.String(200)))
    transferred = sa.text("transfer_id IS NOT NULL")
    op.create_index(
        "ix_stock_movement_transfer_id", "stock_movement", ["transfer_id"],
        sqlite_where=transferred, postgresql_where=transferred,
    )  # fmt: skip
    op.create_index("ix_stock_level_location", "stock_level", ["location", "sku"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_stock_level_location", "stock_level")
    op.drop_index("ix_stock_movement_transfer_id", "stock_movement")
    with op.batch_alter_table("stock_movement") as movement:
        movement.drop_column("reason")
        movement.drop_column("transfer_id")
    op.drop_table("location")
