"""The outbox and who is told."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_POSITION = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables of webhooks."""
    op.create_table(
        "webhook_endpoint",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("label", sa.String(60), nullable=False),
        sa.Column("types", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("old_secret", sa.LargeBinary),
        sa.Column("old_until_ms", sa.BigInteger),
        sa.Column("failing_since_ms", sa.BigInteger),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_endpoint"),
    )
    op.create_table(
        "webhook_event",
        sa.Column("position", _POSITION, nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("show", sa.String(64)),
        sa.Column("subject", sa.String(199), nullable=False),
        sa.Column("newest", sa.String(199)),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("spread", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_webhook_event"),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_webhook_event_id", "webhook_event", ["id"], unique=True)
    op.create_index("uq_webhook_event_newest", "webhook_event", ["newest"], unique=True)
    op.create_index("ix_webhook_event_at_ms", "webhook_event", ["at_ms"])
    op.create_index(
        "ix_webhook_event_waiting", "webhook_event", ["position"],
        sqlite_where=sa.text("spread IS 0"), postgresql_where=sa.text("spread IS false"),
    )  # fmt: skip
    op.create_table(
        "webhook_delivery",
        sa.Column("endpoint_id", sa.String(32), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.String(32), nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(199), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("due_at_ms", sa.BigInteger, nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("settled_at_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("endpoint_id", "position", name="pk_webhook_delivery"),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoint.id"], name="fk_webhook_delivery_endpoint_id_webhook_endpoint"
        ),
    )
    op.create_index("ix_webhook_delivery_event_id", "webhook_delivery", ["event_id"])
    op.create_index("ix_webhook_delivery_settled_at_ms", "webhook_delivery", ["settled_at_ms"])
    for name, columns in (("pending", ["endpoint_id", "subject", "position"]), ("due", ["endpoint_id", "due_at_ms"])):
        op.create_index(
            f"ix_webhook_delivery_{name}", "webhook_delivery", columns,
            sqlite_where=sa.text("state = 'pending'"), postgresql_where=sa.text("state = 'pending'"),
        )  # fmt: skip
    op.create_table(
        "webhook_attempt",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("endpoint_id", sa.String(32), nullable=False),
        sa.Column("event_id", sa.String(32), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("problem", sa.String(200), nullable=False),
        sa.Column("response", sa.String(1024), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_attempt"),
    )
    op.create_index("ix_webhook_attempt_delivery", "webhook_attempt", ["endpoint_id", "event_id", "id"])
    op.create_index("ix_webhook_attempt_at_ms", "webhook_attempt", ["at_ms"])


def downgrade() -> None:
    """Drop them, and what waits to be told."""
    for table in ("webhook_attempt", "webhook_delivery", "webhook_event", "webhook_endpoint"):
        op.drop_table(table)
