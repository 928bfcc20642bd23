"""Pipelines: runs of them, attempts at steps, keys by part, results that serve later runs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "pipeline_run",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("nodes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run", name="pipeline_run_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("pipeline_run_by_pipeline", "pipeline_run", ["pipeline"], unique=False)
    op.create_table(
        "pipeline_step",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("step_run", sa.Text(), nullable=False),
        sa.Column("step_epoch", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("refs", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("run", "path", "attempt", name="pipeline_step_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("pipeline_step_by_pipeline_path_started_ns", "pipeline_step", ["pipeline", "path", "started_ns"], unique=False)
    op.create_table(
        "pipeline_key",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pipeline_key_key"),
    )
    op.create_table(
        "pipeline_result",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("refs_digest", sa.Text(), nullable=False),
        sa.Column("refs", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("step_run", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "refs_digest", name="pipeline_result_key"),
    )
