"""Payments, shipping, taxes and returns of orders, what buyers are written, and the trail of changes."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TABLES = ("shop_fact", "shipping_method", "letter", "withdrawal", "payment_step", "audit")


def upgrade() -> None:
    """Widen the orders, and create the tables around them."""
    for column in _of_orders():
        op.add_column("orders", column)
    for column in _of_lines():
        op.add_column("order_line", column)
    op.execute("UPDATE orders SET subtotal_minor = total_minor")
    op.execute("UPDATE order_line SET list_minor = price_minor, net_minor = line_minor")
    op.create_index("ix_orders_viewer_id", "orders", ["viewer_id", "id"])
    _payments()
    _letters()
    _facts()
    _audit()


def downgrade() -> None:
    """Drop them."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER audit_append_only ON audit")
        op.execute("DROP FUNCTION audit_append_only")
    for table in _TABLES:
        op.drop_table(table)
    op.drop_index("ix_orders_viewer_id", "orders")
    for name, columns in (("orders", _of_orders()), ("order_line", _of_lines())):
        for column in columns:
            op.drop_column(name, column.name)


def _payments() -> None:
    op.create_table(
        "payment_step",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("order_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("reference", sa.String(200), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("detail", sa.JSON),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at_ms", sa.BigInteger),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("done_at_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_payment_step"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_payment_step_order_id"),
    )
    op.create_index("uq_payment_step_key", "payment_step", ["key"], unique=True)
    op.create_index("ix_payment_step_order_id", "payment_step", ["order_id", "id"])
    op.create_index("ix_payment_step_due_at_ms", "payment_step", ["due_at_ms"])
    op.create_table(
        "withdrawal",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("order_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("language", sa.String(2), nullable=False),
        sa.Column("lines", sa.JSON, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_withdrawal"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_withdrawal_order_id"),
    )
    op.create_index("ix_withdrawal_order_id", "withdrawal", ["order_id", "id"])


def _letters() -> None:
    op.create_table(
        "letter",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("order_id", sa.String(32), nullable=False),
        sa.Column("recipient", sa.String(254), nullable=False),
        sa.Column("language", sa.String(2), nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at_ms", sa.BigInteger),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("sent_at_ms", sa.BigInteger),
        sa.Column("subject", sa.Text),
        sa.Column("body", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_letter"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_letter_order_id"),
    )
    op.create_index("ix_letter_order_id", "letter", ["order_id", "id"])
    op.create_index("ix_letter_due_at_ms", "letter", ["due_at_ms"])


def _facts() -> None:
    op.create_table(
        "shipping_method",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("method", sa.JSON, nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_shipping_method"),
    )
    op.create_table(
        "shop_fact",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_shop_fact"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("show", sa.String(64)),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_subject", "audit", ["subject", "id"])
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit"
                " BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
    )


def _of_orders() -> list[sa.Column[Any]]:
    """Orders of before: no tax was known, nothing was captured, and what was ordered is what was to be paid."""
    return [
        sa.Column("language", sa.String(2), nullable=False, server_default="en"),
        sa.Column("subtotal_minor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("shipping_minor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("shipping", sa.JSON),
        sa.Column("address", sa.JSON),
        sa.Column("discounts", sa.JSON, nullable=False, server_default="[]"),
        sa.Column("taxes", sa.JSON, nullable=False, server_default="[]"),
        sa.Column("captured_minor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("refunded_minor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("shipping_refunded_minor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("shipped_at_ms", sa.BigInteger),
    ]


def _of_lines() -> list[sa.Column[Any]]:
    return [
        sa.Column("list_minor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("off_minor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("net_minor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("tax_minor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("tax_bp", sa.Integer, nullable=False, server_default="0"),
        sa.Column("quote", sa.JSON),
        sa.Column("cancelled", sa.Integer, nullable=False, server_default="0"),
        sa.Column("refunded", sa.Integer, nullable=False, server_default="0"),
        sa.Column("returned", sa.Integer, nullable=False, server_default="0"),
    ]
