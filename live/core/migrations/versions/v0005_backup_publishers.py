"""Stream keys of backup publishers, and since when a show on air has no publisher."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `stream_key.backup` and `show.publisher_lost_at_ms`; the keys of before are primary."""
    op.add_column("stream_key", sa.Column("backup", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("show", sa.Column("publisher_lost_at_ms", sa.BigInteger))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("show", "publisher_lost_at_ms")
    op.drop_column("stream_key", "backup")
