"""Quotas of experiments, and what each holds: counted here of what is there, and kept up to date from now on."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

_HOLDER = {"sqlite": "'run:' || lower(hex(r.id))", "postgresql": "'run:' || encode(r.id, 'hex')"}
_BLOBS = """
INSERT INTO quota_blob (experiment, digest, size_bytes, runs)
SELECT r.experiment, u.digest, COALESCE(MAX(s.size_bytes), 0), COUNT(*)
FROM run r JOIN blob_use u ON u.holder = {holder}
LEFT JOIN (
    SELECT o.experiment AS experiment, a.digest AS digest,
        MAX(CASE WHEN a.size_bytes > {most} THEN {most} ELSE a.size_bytes END) AS size_bytes
    FROM artifact a JOIN run o ON o.no = a.run GROUP BY o.experiment, a.digest
) s ON s.experiment = r.experiment AND s.digest = u.digest
GROUP BY r.experiment, u.digest
"""
_USES = """
INSERT INTO quota_use (experiment, runs, size_bytes, told)
SELECT r.experiment, COUNT(*), COALESCE((SELECT SUM(b.size_bytes) FROM quota_blob b WHERE b.experiment = r.experiment), 0), 0
FROM run r WHERE r.experiment <> '' GROUP BY r.experiment
"""


def upgrade() -> None:
    op.create_table(
        "quota",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("most_bytes", sa.BigInteger(), nullable=True),
        sa.Column("most_runs", sa.BigInteger(), nullable=True),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", name="quota_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quota_use",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("experiment", name="quota_use_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quota_blob",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.Column("is_waiting", sa.Integer(), server_default="0", nullable=False),
        sa.Column("at_ns", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("experiment", "digest", name="quota_blob_key"),
        sqlite_with_rowid=False,
    )
    op.execute(_BLOBS.format(holder=_HOLDER[op.get_bind().dialect.name], most=1 << 40))
    op.execute(_USES)
