"""Media of runs."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "media",
        sa.Column("id", NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("run", NUMBER, nullable=False),
        sa.Column("key", NUMBER, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="media_to_run"),
        sa.ForeignKeyConstraint(["key"], ["key.id"], name="media_to_key"),
        sa.PrimaryKeyConstraint("id", name="media_key"),
    )
    op.create_index("media_by_run_key_epoch_step", "media", ["run", "key", "epoch", "step"])
