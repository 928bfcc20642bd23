"""Versions that were imported: who made them there, and when, as the import states it."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.add_column("mlflow_version", sa.Column("stated_author", sa.Text(), server_default="", nullable=False))
    op.add_column("mlflow_version", sa.Column("stated_ns", sa.BigInteger()))
