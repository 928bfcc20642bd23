"""Deleting: runs that can be restored, tombstones of those that cannot, which release made the tables, and uses of what edges name."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "deletion",
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="deletion_to_run"),
        sa.PrimaryKeyConstraint("run", name="deletion_key"),
    )
    op.create_table(
        "tombstone",
        sa.Column("run", sa.LargeBinary(length=16), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run", name="tombstone_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "about",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="about_key"),
        sqlite_with_rowid=False,
    )
    _hold_what_edges_name()


def _hold_what_edges_name() -> None:
    """Files that runs used by content were kept without a use: say it now, so that they are not collected."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    id = "lower(hex(run.id))" if is_sqlite else "encode(run.id, 'hex')"
    op.execute(
        "INSERT INTO blob_use (digest, holder) "
        f"SELECT DISTINCT substr(edge.target, 8), 'run:' || {id} FROM edge JOIN run ON run.no = edge.run "
        "WHERE edge.target LIKE 'sha256:%' ON CONFLICT DO NOTHING"
    )
