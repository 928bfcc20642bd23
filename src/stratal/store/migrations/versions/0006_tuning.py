"""Studies: their versions, their trials, and what trials report on the way."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "study",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("run", sa.LargeBinary(length=16), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("is_maximized", sa.Integer(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("objective", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("sampler", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("budget", sa.Integer(), nullable=False),
        sa.Column("asked", sa.Integer(), server_default="0", nullable=False),
        sa.Column("told", sa.Integer(), server_default="0", nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="study_key"),
        sa.UniqueConstraint("run", name="study_unique_run"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "study_trial",
        sa.Column("study", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("run", sa.LargeBinary(length=16), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("known", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("told", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("asked_ns", sa.BigInteger(), nullable=False),
        sa.Column("told_ns", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["study", "version"], ["study.name", "study.version"], name="study_trial_to_study"),
        sa.PrimaryKeyConstraint("study", "version", "number", name="study_trial_key"),
        sa.UniqueConstraint("run", name="study_trial_unique_run"),
        sqlite_with_rowid=False,
    )
    op.create_index("study_trial_by_study_version_status", "study_trial", ["study", "version", "status"], unique=False)
    op.create_index("study_trial_by_study_version_told", "study_trial", ["study", "version", "told"], unique=True)
    op.create_table(
        "study_report",
        sa.Column("study", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["study", "version", "number"],
            ["study_trial.study", "study_trial.version", "study_trial.number"],
            name="study_report_to_study_trial",
        ),
        sa.PrimaryKeyConstraint("study", "version", "number", "step", name="study_report_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("study_report_by_study_version_step", "study_report", ["study", "version", "step"], unique=False)
