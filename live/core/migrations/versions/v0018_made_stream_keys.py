"""A stream key is made once for an Idempotency-Key."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_HASH = sa.String(64)


def upgrade() -> None:
    """Remember under which key each is made, and what was asked for."""
    op.add_column("stream_key", sa.Column("create_key", _HASH))
    op.add_column("stream_key", sa.Column("create_body", _HASH))
    op.create_index("uq_stream_key_create_key", "stream_key", ["create_key"], unique=True)


def downgrade() -> None:
    """Remember it no longer."""
    op.drop_index("uq_stream_key_create_key", "stream_key")
    op.drop_column("stream_key", "create_body")
    op.drop_column("stream_key", "create_key")
