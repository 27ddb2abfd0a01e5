"""What was found by reading a table whole, or all of a show, is looked up."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make indexes of pages of orders, of a show's pins, and of check-outs that take too long."""
    op.drop_index("ix_orders_show", "orders")
    op.create_index("ix_orders_show", "orders", ["show", "state", "id"])
    op.create_index("ix_orders_show_id", "orders", ["show", "id"])
    op.create_index("ix_orders_state", "orders", ["state", "id"])
    op.create_index("ix_pin_show_id", "pin", ["show_id", "id"])
    claiming = sa.text("state = 'claiming'")
    op.create_index(
        "ix_hold_claim_until_ms", "hold", ["claim_until_ms"], sqlite_where=claiming, postgresql_where=claiming
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_hold_claim_until_ms", "hold")
    op.drop_index("ix_pin_show_id", "pin")
    op.drop_index("ix_orders_state", "orders")
    op.drop_index("ix_orders_show_id", "orders")
    op.drop_index("ix_orders_show", "orders")
    op.create_index("ix_orders_show", "orders", ["show", "state"])
