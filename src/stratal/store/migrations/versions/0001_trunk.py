"""The first tables: runs, series, journals' offsets, leases, events, blobs' uses, and what is said about runs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "access_grant",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("given_by", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("person", "role", "object", name="access_grant_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blob_use",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "holder", name="blob_use_key"),
        sa.UniqueConstraint("holder", "digest", name="blob_use_unique_holder_digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "damage",
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("stop", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("segment", "start", name="damage_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="event_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "kept_fact",
        sa.Column("writer", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("run", sa.LargeBinary(length=16), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("writer", "sequence", name="kept_fact_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("kept_fact_by_run", "kept_fact", ["run"], unique=False)
    op.create_table(
        "key",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="key_key"),
        sa.UniqueConstraint("name", name="key_unique_name"),
    )
    op.create_table(
        "participant",
        sa.Column("run", sa.LargeBinary(length=16), nullable=False),
        sa.Column("writer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run", "writer", name="participant_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run",
        sa.Column("no", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False),
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("short", sa.Text(), nullable=False),
        sa.Column("experiment", sa.Text(), server_default="", nullable=False),
        sa.Column("kind", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        sa.Column("parent", sa.LargeBinary(length=16), nullable=True),
        sa.Column("started_ns", sa.BigInteger(), nullable=True),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("expires_ns", sa.BigInteger(), nullable=True),
        sa.Column("doc", sa.Text(), server_default="{}", nullable=False),
        sa.Column("metrics", sa.Text(), server_default="{}", nullable=False),
        sa.Column("is_lagging", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("no", name="run_key"),
        sa.UniqueConstraint("id", name="run_unique_id"),
        sqlite_autoincrement=False,
    )
    op.create_index("run_by_experiment_started_ns", "run", ["experiment", "started_ns"], unique=False)
    op.create_index("run_by_parent", "run", ["parent"], unique=False)
    op.create_index("run_by_short", "run", ["short"], unique=False)
    op.create_index("run_by_started_ns", "run", ["started_ns"], unique=False)
    op.create_table(
        "segment",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("torn", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name="segment_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "shape",
        sa.Column("digest", sa.LargeBinary(length=8), nullable=False),
        sa.Column("names", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="shape_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "artifact",
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="artifact_to_run"),
        sa.PrimaryKeyConstraint("run", "path", name="artifact_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("artifact_by_digest", "artifact", ["digest"], unique=False)
    op.create_table(
        "block",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False),
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="block_to_run"),
        sa.PrimaryKeyConstraint("id", name="block_key"),
    )
    op.create_index("block_by_run", "block", ["run"], unique=False)
    op.create_table(
        "chunk",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False),
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("first_time", sa.BigInteger(), nullable=False),
        sa.Column("last_time", sa.BigInteger(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("total", sa.Double(), nullable=True),
        sa.Column("last", sa.Double(), nullable=True),
        sa.Column("nans", sa.Integer(), nullable=False),
        sa.Column("infs", sa.Integer(), nullable=False),
        sa.Column("is_ascending", sa.Integer(), nullable=False),
        sa.Column("marks", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["key.id"], name="chunk_to_key"),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="chunk_to_run"),
        sa.PrimaryKeyConstraint("id", name="chunk_key"),
    )
    op.create_index("chunk_by_run_key_epoch_id", "chunk", ["run", "key", "epoch", "id"], unique=False)
    op.create_table(
        "edge",
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="edge_to_run"),
        sa.PrimaryKeyConstraint("run", "verb", "target", "role", name="edge_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("edge_by_target", "edge", ["target"], unique=False)
    op.create_table(
        "epoch",
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("from_step", sa.BigInteger(), nullable=True),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="epoch_to_run"),
        sa.PrimaryKeyConstraint("run", "epoch", name="epoch_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metric",
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("is_nan", sa.Integer(), server_default="0", nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("next_step", sa.BigInteger(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["key.id"], name="metric_to_key"),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="metric_to_run"),
        sa.PrimaryKeyConstraint("run", "key", name="metric_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("metric_by_key_experiment_value_run", "metric", ["key", "experiment", "value", "run"], unique=False)
    op.create_index("metric_by_key_value_run", "metric", ["key", "value", "run"], unique=False)
    op.create_table(
        "note",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False),
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="note_to_run"),
        sa.PrimaryKeyConstraint("id", name="note_key"),
    )
    op.create_index("note_by_run", "note", ["run"], unique=False)
    op.create_table(
        "param",
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("num", sa.Double(), nullable=True),
        sa.Column("txt", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["key.id"], name="param_to_key"),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="param_to_run"),
        sa.PrimaryKeyConstraint("run", "key", name="param_key"),
        sqlite_with_rowid=False,
    )
    numbers = sa.text("num IS NOT NULL")
    op.create_index("param_by_number", "param", ["key", "experiment", "num", "run"], sqlite_where=numbers, postgresql_where=numbers)
    op.create_index("param_by_text", "param", ["key", "experiment", "txt", "run"])
    op.create_table(
        "statement",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False),
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="statement_to_run"),
        sa.PrimaryKeyConstraint("id", name="statement_key"),
    )
    op.create_index("statement_by_kind_subject", "statement", ["kind", "subject"], unique=False)
    op.create_index("statement_by_run_kind", "statement", ["run", "kind"], unique=False)
    op.create_table(
        "tag",
        sa.Column("run", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["key.id"], name="tag_to_key"),
        sa.ForeignKeyConstraint(["run"], ["run.no"], name="tag_to_run"),
        sa.PrimaryKeyConstraint("run", "key", name="tag_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("tag_by_key_value_run", "tag", ["key", "value", "run"], unique=False)
