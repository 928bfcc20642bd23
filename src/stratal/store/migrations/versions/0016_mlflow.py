"""Experiments as MLflow's clients know them."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    experiments = op.create_table(
        "mlflow_experiment",
        sa.Column("id", NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), server_default="", nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("changed_ns", sa.BigInteger(), nullable=False),
        sa.Column("deleted_ns", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="mlflow_experiment_key"),
        sa.UniqueConstraint("name", name="mlflow_experiment_unique_name"),
    )
    op.create_table(
        "mlflow_experiment_tag",
        sa.Column("experiment", NUMBER, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["mlflow_experiment.id"], name="mlflow_experiment_tag_to_mlflow_experiment"),
        sa.PrimaryKeyConstraint("experiment", "name", name="mlflow_experiment_tag_key"),
        sqlite_with_rowid=False,
    )
    # MLflow's own: every store has it, under the number 0.
    op.bulk_insert(experiments, [{"id": 0, "name": "Default", "location": "", "created_ns": 0, "changed_ns": 0}])
