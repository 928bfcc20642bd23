"""Webhooks that are paused; and an index by which one endpoint's deliveries are found without passing over those that wait for another."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.add_column("webhook", sa.Column("paused_ns", sa.BigInteger()))
    op.drop_index("webhook_waiting", "webhook_delivery")
    where = sa.text("state = 'waiting'")
    op.create_index("webhook_waiting", "webhook_delivery", ["webhook", "due_ns"], sqlite_where=where, postgresql_where=where)
