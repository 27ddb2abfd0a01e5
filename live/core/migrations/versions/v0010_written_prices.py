"""How far price history has come, so that any worker writes down what another one did not."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = (("written_ruleset", sa.Integer), ("written_at_ms", sa.BigInteger), ("writing_until_ms", sa.BigInteger))


def upgrade() -> None:
    """Add it. What is in force is written down once more, where history does not know it."""
    for name, kind in _COLUMNS:
        op.add_column("price_clock", sa.Column(name, kind, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop it."""
    for name, _ in _COLUMNS:
        op.drop_column("price_clock", name)
