"""Who has shown to have which blob, and uses of blobs that wait for it."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "blob_proof",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "sender", name="blob_proof_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blob_claim",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "sender", "holder", name="blob_claim_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("blob_claim_by_holder", "blob_claim", ["holder"])
