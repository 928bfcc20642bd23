"""The registry's tables. What must never change is guarded by triggers (`FROZEN`), what must never be twice by keys.

`registry_standing` has one row per version, and a unique (model, stage, slot): with slot 1 of 1, a second version of a
governed model in Production is impossible, not merely unlikely.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from stratal.store.tables import metadata

model = Table(
    "registry_model",
    metadata,
    Column("name", Text, primary_key=True),
    Column("folded", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("next_number", Integer, nullable=False),
    # Raised by each change of stage or policy: a decision made on an older epoch is refused.
    Column("epoch", BigInteger, nullable=False),
    Column("policy", Text),
    Column("at_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

version = Table(
    "registry_version",
    metadata,
    Column("model", Text, ForeignKey("registry_model.name"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("flavor", Text, nullable=False),
    Column("features", Text),
    Column("signature", Text),
    Column("author", Text, nullable=False),
    Column("is_authenticated", Integer, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    UniqueConstraint("model", "digest"),
    Index(None, "digest"),
    sqlite_with_rowid=False,
)

standing = Table(
    "registry_standing",
    metadata,
    Column("model", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("since_ns", BigInteger, nullable=False),
    UniqueConstraint("model", "stage", "slot"),
    sqlite_with_rowid=False,
)

alias = Table(
    "registry_alias",
    metadata,
    Column("model", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    sqlite_with_rowid=False,
)

policy = Table(
    "registry_policy",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)

request = Table(
    "registry_request",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("number", Integer, nullable=False),
    # A stage, or "policy DIGEST"; then number is 0.
    Column("target", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("state", Text, nullable=False),  # open, applied, void
    Column("why", Text, nullable=False),
    Index(None, "model", "state"),
    sqlite_with_rowid=False,
)

approval = Table(
    "registry_approval",
    metadata,
    Column("request", Text, primary_key=True),
    Column("person", Text, primary_key=True),
    Column("is_authenticated", Integer, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("note", Text, nullable=False),
    sqlite_with_rowid=False,
)

audit = Table(
    "registry_audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("is_authenticated", Integer, nullable=False),
    Column("action", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("prev", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index(None, "model", "seq"),
)

# One row: the end of the chain. Taking it is what makes writers of the log queue up on a database with many writers.
head = Table(
    "registry_audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
)

# Rows of these are written once: the database itself refuses to change or delete them.
FROZEN: tuple[str, ...] = (
    "registry_version",
    "registry_policy",
    "registry_approval",
    "registry_audit",
)
