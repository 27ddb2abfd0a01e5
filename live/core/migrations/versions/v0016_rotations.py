"""Every rotation of a service key is remembered for a day, not only the newest."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_HASH = sa.String(64)


def upgrade() -> None:
    """Give rotations a table of their own; the newest of each key are still known for a day from now on."""
    op.create_table(
        "service_key_turn",
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("turned_key", _HASH, nullable=False),
        sa.Column("body", _HASH, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "turned_key", name="pk_service_key_turn"),
    )
    op.create_index("ix_service_key_turn_at_ms", "service_key_turn", ["at_ms"])
    now_ms = "CAST(EXTRACT(EPOCH FROM now()) * 1000 AS bigint)"
    if op.get_bind().dialect.name == "sqlite":
        now_ms = "CAST(strftime('%s', 'now') AS integer) * 1000"
    op.execute(
        "INSERT INTO service_key_turn (key_id, turned_key, body, at_ms)"
        f" SELECT id, turned_key, turned_body, {now_ms} FROM service_key WHERE turned_key IS NOT NULL"
    )
    with op.batch_alter_table("service_key") as keys:
        keys.drop_column("turned_key")
        keys.drop_column("turned_body")


def downgrade() -> None:
    """Remember none."""
    with op.batch_alter_table("service_key") as keys:
        keys.add_column(sa.Column("turned_key", _HASH))
        keys.add_column(sa.Column("turned_body", _HASH))
    op.drop_table("service_key_turn")
