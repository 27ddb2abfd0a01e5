"""Shows, and the stream keys that publish to them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create `show` and `stream_key`."""
    op.create_table(
        "show",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("title", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("scheduled_at_ms", sa.BigInteger),
        sa.Column("started_at_ms", sa.BigInteger),
        sa.Column("ended_at_ms", sa.BigInteger),
        sa.Column("publishing", sa.Boolean, nullable=False),
        sa.Column("auto_live", sa.Boolean, nullable=False),
        sa.Column("timeline_seq", sa.Integer, nullable=False),
        sa.Column("timeline_at_ms", sa.BigInteger, nullable=False),
        sa.Column("create_key", sa.String(64)),
        sa.Column("create_body", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_show"),
    )
    op.create_index("uq_show_create_key", "show", ["create_key"], unique=True)
    op.create_index("ix_show_created_at_ms", "show", ["created_at_ms", "id"])
    op.create_table(
        "stream_key",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("show_id", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("label", sa.String(60), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_stream_key"),
        sa.ForeignKeyConstraint(["show_id"], ["show.id"], name="fk_stream_key_show_id"),
    )
    op.create_index("uq_stream_key_hash", "stream_key", ["hash"], unique=True)
    op.create_index("ix_stream_key_show_id", "stream_key", ["show_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("stream_key")
    op.drop_table("show")
