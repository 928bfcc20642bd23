"""Dataset versions that were deleted, and those whose content was purged."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("dataset_version", sa.Column("deleted_by", sa.Text()))
    op.add_column("dataset_version", sa.Column("deleted_ns", sa.BigInteger()))
    op.add_column("dataset_version", sa.Column("purged_ns", sa.BigInteger()))
