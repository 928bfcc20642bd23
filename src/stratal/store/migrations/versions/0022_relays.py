"""Writers that write for clients elsewhere, and when those last said something of a run."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.add_column("participant", sa.Column("heard_ns", sa.BigInteger()))
