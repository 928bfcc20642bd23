"""Webhooks, and the runs of which it was told that they are lost."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "webhook",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.Column("belongs", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="webhook_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("event", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_ns", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("done_ns", sa.BigInteger()),
        sa.ForeignKeyConstraint(["webhook"], ["webhook.name"], name="webhook_delivery_to_webhook"),
        sa.PrimaryKeyConstraint("id", name="webhook_delivery_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("webhook_delivery_by_webhook_id", "webhook_delivery", ["webhook", "id"])
    op.create_index(
        "webhook_waiting", "webhook_delivery", ["due_ns"],
        sqlite_where=sa.text("state = 'waiting'"), postgresql_where=sa.text("state = 'waiting'"),
    )  # fmt: skip
    op.create_table(
        "lost_run",
        sa.Column("run", sa.LargeBinary(length=16), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", name="lost_run_key"),
        sqlite_with_rowid=False,
    )
