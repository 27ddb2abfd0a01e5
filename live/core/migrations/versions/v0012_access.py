"""Keys of services with scopes, and shoppers whom a shop has signed in."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_HASH = sa.String(64)


def upgrade() -> None:
    """Create the tables of access."""
    op.create_table(
        "service_key",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("label", sa.String(60), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("hash", _HASH, nullable=False),
        sa.Column("old_hash", _HASH),
        sa.Column("old_until_ms", sa.BigInteger),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("show", sa.String(64)),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger),
        sa.Column("last_used_at_ms", sa.BigInteger),
        sa.Column("revoked_at_ms", sa.BigInteger),
        sa.Column("made_key", _HASH),
        sa.Column("made_body", _HASH, nullable=False),
        sa.Column("turned_key", _HASH),
        sa.Column("turned_body", _HASH),
        sa.PrimaryKeyConstraint("id", name="pk_service_key"),
    )
    for name in ("hash", "old_hash", "made_key"):
        op.create_index(f"uq_service_key_{name}", "service_key", [name], unique=True)
    op.create_table(
        "sign_on_used",
        sa.Column("id", _HASH, nullable=False),
        sa.Column("request", _HASH, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sign_on_used"),
    )
    op.create_index("ix_sign_on_used_until_ms", "sign_on_used", ["until_ms"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("sign_on_used")
    op.drop_table("service_key")
