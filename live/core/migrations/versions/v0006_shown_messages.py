"""Whether a chat message was shown to viewers, or left out because the chat was too fast."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `chat_message.shown`; the messages of before were shown."""
    op.add_column("chat_message", sa.Column("shown", sa.Boolean, nullable=False, server_default=sa.true()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("chat_message", "shown")
