"""Tables of the data room."""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, UniqueConstraint

from stratal.store.tables import metadata

dataset_version = Table(
    "dataset_version",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", Text, nullable=False),  # of the content, whatever file it came from
    Column("rows", BigInteger, nullable=False),
    Column("columns", Text, nullable=False),  # JSON: [{"name":, "type":}], in order
    Column("content", Text, nullable=False),  # blob: the frame, as Arrow IPC
    Column("profile", Text, nullable=False),  # blob: the profile, as JSON
    Column("source", Text, nullable=False),  # where it came from, for people
    Column("part", Text),  # JSON: which part of which version this is, if it is one
    Column("author", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    # The last verdict; the history is in the statements of runs. All else above never changes.
    Column("status", Text, nullable=False),
    Column("schema", Text),  # TOML
    Column("findings", Text),  # JSON
    Column("checked_in", Text),  # id of the run that states the verdict
    Column("checked_ns", BigInteger),
    # Who hid it, and when; and when its content was given up. Number, digest, schema and verdict stay for good.
    Column("deleted_by", Text),
    Column("deleted_ns", BigInteger),
    Column("purged_ns", BigInteger),
    UniqueConstraint("name", "digest"),
    Index(None, "digest"),
    sqlite_with_rowid=False,
)
