"""Writers on other machines, and the pieces in which their segments arrive."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "remote_writer",
        sa.Column("writer", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), nullable=False),
        sa.Column("seen_ns", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("writer", name="remote_writer_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("remote_writer_by_seen_ns", "remote_writer", ["seen_ns"])
    op.create_table(
        "shipment",
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("stop", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("segment", "start", name="shipment_key"),
        sqlite_with_rowid=False,
    )
