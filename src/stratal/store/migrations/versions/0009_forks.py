"""Forks: runs that go on from another run's points."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("run", sa.Column("fork_of", sa.LargeBinary(length=16)))
    op.add_column("run", sa.Column("fork_step", sa.BigInteger()))
    op.add_column("run", sa.Column("fork_epoch", sa.Integer()))
    is_fork = sa.text("fork_of IS NOT NULL")
    op.create_index("run_by_fork_of", "run", ["fork_of"], sqlite_where=is_fork, postgresql_where=is_fork)
