"""Dataset versions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "dataset_version",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=True),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=True),
        sa.Column("findings", sa.Text(), nullable=True),
        sa.Column("checked_in", sa.Text(), nullable=True),
        sa.Column("checked_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", "version", name="dataset_version_key"),
        sa.UniqueConstraint("name", "digest", name="dataset_version_unique_name_digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("dataset_version_by_digest", "dataset_version", ["digest"], unique=False)
