"""Whether a chat message was shown to viewers, or left out because the chat was too fast."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `chat_message.shown`; the messages of before were shown. What was left out is found by its author."""
    op.add_column("chat_message", sa.Column("shown", sa.Boolean, nullable=False, server_default=sa.true()))
    op.create_index(
        "ix_chat_message_left_out", "chat_message", ["show_id", "viewer_id", "id"],
        sqlite_where=sa.text("shown IS 0"), postgresql_where=sa.text("shown IS false"),
    )  # fmt: skip


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_chat_message_left_out", "chat_message")
    op.drop_column("chat_message", "shown")
