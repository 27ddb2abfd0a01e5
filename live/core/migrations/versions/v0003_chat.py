"""Chat: messages, members, modes and the moderation log."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create `chat_message`, `chat_member`, `chat_mode` and `moderation_log`."""
    op.create_table(
        "chat_message",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("show_id", sa.String(64), nullable=False),
        sa.Column("viewer_id", sa.String(128), nullable=False),
        sa.Column("viewer_name", sa.String(200), nullable=False),
        sa.Column("viewer_role", sa.String(16), nullable=False),
        sa.Column("text", sa.String(1000), nullable=False),
        sa.Column("sent_at_ms", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("reply_to", sa.String(32)),
        sa.Column("post_key", sa.String(128)),
        sa.Column("deleted_at_ms", sa.BigInteger),
        sa.Column("deleted_by", sa.String(128)),
        sa.PrimaryKeyConstraint("id", name="pk_chat_message"),
        sa.ForeignKeyConstraint(["show_id"], ["show.id"], name="fk_chat_message_show_id"),
    )
    op.create_index("ix_chat_message_show_id", "chat_message", ["show_id", "id"])
    op.create_index("uq_chat_message_post_key", "chat_message", ["show_id", "viewer_id", "post_key"], unique=True)
    op.create_table(
        "chat_member",
        sa.Column("show_id", sa.String(64), nullable=False),
        sa.Column("viewer_id", sa.String(128), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("posted_at_ms", sa.BigInteger),
        sa.Column("mute", sa.String(16), nullable=False),
        sa.Column("muted_until_ms", sa.BigInteger),
        sa.Column("reason", sa.String(600), nullable=False),
        sa.PrimaryKeyConstraint("show_id", "viewer_id", name="pk_chat_member"),
        sa.ForeignKeyConstraint(["show_id"], ["show.id"], name="fk_chat_member_show_id"),
    )
    op.create_table(
        "chat_mode",
        sa.Column("show_id", sa.String(64), nullable=False),
        sa.Column("slow_s", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("show_id", name="pk_chat_mode"),
        sa.ForeignKeyConstraint(["show_id"], ["show.id"], name="fk_chat_mode_show_id"),
    )
    op.create_table(
        "moderation_log",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("show_id", sa.String(64), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("moderator_id", sa.String(128), nullable=False),
        sa.Column("viewer_id", sa.String(128)),
        sa.Column("message_id", sa.String(32)),
        sa.Column("seconds", sa.BigInteger),
        sa.Column("reason", sa.String(600), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_moderation_log"),
        sa.ForeignKeyConstraint(["show_id"], ["show.id"], name="fk_moderation_log_show_id"),
    )
    op.create_index("ix_moderation_log_show_id", "moderation_log", ["show_id", "id"])


def downgrade() -> None:
    """Drop them."""
    for table in ("moderation_log", "chat_mode", "chat_member", "chat_message"):
        op.drop_table(table)
