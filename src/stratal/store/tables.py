"""The store's own tables, and the one MetaData that every room's `tables.py` adds to.

Columns are of five plain types only (BigInteger, Integer, Double, Text, LargeBinary), so that SQLite and PostgreSQL hold
the same bits and rows need no conversion: documents are JSON text, booleans 0 or 1, times nanoseconds in UTC.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_by_%(column_0_N_name)s",
        "uq": "%(table_name)s_unique_%(column_0_N_name)s",
        "ck": "%(table_name)s_check_%(constraint_name)s",
        "fk": "%(table_name)s_to_%(referred_table_name)s",
        "pk": "%(table_name)s_key",
    }
)

# SQLite gives row numbers by itself only to INTEGER PRIMARY KEY.
Number = BigInteger().with_variant(Integer(), "sqlite")


def numbered(name: str = "id") -> Column[int]:
    """Give a primary key that the database counts up."""
    return Column(name, Number, Identity(always=False), primary_key=True)


run = Table(
    "run",
    metadata,
    numbered("no"),
    Column("id", LargeBinary(16), nullable=False, unique=True),
    Column("short", Text, nullable=False),  # the last 8 hex digits of the id
    Column("experiment", Text, nullable=False, server_default=""),
    Column("kind", Text, nullable=False, server_default=""),
    Column("status", Text, nullable=False, server_default="running"),
    Column("parent", LargeBinary(16)),
    Column("started_ns", BigInteger),
    Column("ended_ns", BigInteger),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("holder", Text),
    Column("expires_ns", BigInteger),
    Column("doc", Text, nullable=False, server_default="{}"),
    Column("metrics", Text, nullable=False, server_default="{}"),
    # 1: rows of `metric` lag behind `metrics`, until the next quiet tick
    Column("is_lagging", Integer, nullable=False, server_default="0"),
    # Of a fork: the run that it goes on from, the step before which that run's points are inherited, and that run's epoch then.
    Column("fork_of", LargeBinary(16)),
    Column("fork_step", BigInteger),
    Column("fork_epoch", Integer),
    Index(None, "experiment", "started_ns"),
    Index(None, "started_ns"),
    Index(None, "parent"),
    Index(None, "short"),
    Index(None, "fork_of", sqlite_where=text("fork_of IS NOT NULL"), postgresql_where=text("fork_of IS NOT NULL")),
    Index("run_lagging", "is_lagging", sqlite_where=text("is_lagging = 1"), postgresql_where=text("is_lagging = 1")),
    sqlite_autoincrement=False,
)

epoch = Table(
    "epoch",
    metadata,
    Column("run", Number, ForeignKey("run.no"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("from_step", BigInteger),
    Column("at_ns", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    sqlite_with_rowid=False,
)

deletion = Table(  # runs that were deleted and can be restored; a table of its own, so that rows of runs stay as narrow as they were
    "deletion",
    metadata,
    Column("run", Number, ForeignKey("run.no"), primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
)

tombstone = Table(  # runs that were purged: what an old journal still brings of them is dropped
    "tombstone",
    metadata,
    Column("run", LargeBinary(16), primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    sqlite_with_rowid=False,
)

about = Table(  # of the store itself. release: which one made its tables, for older ones that meet it
    "about",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

participant = Table(
    "participant",
    metadata,
    Column("run", LargeBinary(16), primary_key=True),
    Column("writer", Text, primary_key=True),
    Column("heard_ns", BigInteger),  # of a relay: when a client last said something of the run through it (relays.py)
    sqlite_with_rowid=False,
)

key = Table("key", metadata, numbered(), Column("name", Text, nullable=False, unique=True))

shape = Table(
    "shape",
    metadata,
    Column("digest", LargeBinary(8), primary_key=True),
    Column("names", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

segment = Table(
    "segment",
    metadata,
    Column("name", Text, primary_key=True),
    Column("offset", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # live; done, its file may go; shipped, done and the server has it
    Column("torn", BigInteger, nullable=False, server_default="0"),
    Column("sealed_ns", BigInteger),  # when a sender said that it has ended
    sqlite_with_rowid=False,
)

damage = Table(
    "damage",
    metadata,
    Column("segment", Text, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("stop", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

remote_writer = Table(  # a writer on another machine, whose frames arrive over the network
    "remote_writer",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("opened_ns", BigInteger, nullable=False),
    Column("seen_ns", BigInteger, nullable=False, server_default="0"),  # when its machine last said that it lives
    Index(None, "seen_ns"),
    sqlite_with_rowid=False,
)

shipment = Table(  # the pieces in which a segment arrived: a repeat is told from other bytes by them
    "shipment",
    metadata,
    Column("segment", Text, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("stop", BigInteger, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    sqlite_with_rowid=False,
)

metric = Table(
    "metric",
    metadata,
    Column("run", Number, ForeignKey("run.no"), primary_key=True),
    Column("key", Number, ForeignKey("key.id"), primary_key=True),
    Column("experiment", Text, nullable=False),
    Column("value", Double),  # of the last point; NULL with is_nan: databases do not agree on NaN
    Column("is_nan", Integer, nullable=False, server_default="0"),
    Column("step", BigInteger, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("next_step", BigInteger, nullable=False),
    Column("low", Double),
    Column("high", Double),
    Column("points", BigInteger, nullable=False),
    Index(None, "key", "experiment", "value", "run"),
    Index(None, "key", "value", "run"),
    sqlite_with_rowid=False,
)

block = Table(
    "block",
    metadata,
    numbered(),
    Column("run", Number, ForeignKey("run.no"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("series", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index(None, "run"),
)

chunk = Table(
    "chunk",
    metadata,
    numbered(),
    Column("run", Number, ForeignKey("run.no"), nullable=False),
    Column("key", Number, ForeignKey("key.id"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("first_step", BigInteger, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("first_time", BigInteger, nullable=False),
    Column("last_time", BigInteger, nullable=False),
    Column("low", Double),
    Column("high", Double),
    Column("total", Double),
    Column("last", Double),  # NULL is NaN
    Column("nans", Integer, nullable=False),
    Column("infs", Integer, nullable=False),
    Column("is_ascending", Integer, nullable=False),
    Column("marks", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index(None, "run", "key", "epoch", "id"),
)

kept_fact = Table(  # facts that do not count: of an unknown kind, or superseded by a takeover; kept as they were written
    "kept_fact",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("run", LargeBinary(16), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("what", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),  # unknown, superseded, unreadable
    Index(None, "run"),
    sqlite_with_rowid=False,
)

event = Table(
    "event",
    metadata,
    numbered("seq"),
    Column("at_ns", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("body", Text, nullable=False),
    sqlite_autoincrement=True,
)

lost_run = Table(  # runs of which was told that they never ended and their process is gone
    "lost_run",
    metadata,
    Column("run", LargeBinary(16), primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

grant = Table(
    "access_grant",  # GRANT is a word of SQL
    metadata,
    Column("person", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("object", Text, primary_key=True),
    Column("given_by", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

blob_use = Table(
    "blob_use",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("holder", Text, primary_key=True),
    UniqueConstraint("holder", "digest"),
    sqlite_with_rowid=False,
)

blob_proof = Table(  # who has shown to have all bytes of a blob; kept for a while, until facts that name it have come
    "blob_proof",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("sender", Text, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

blob_claim = Table(  # uses that facts name, which count as soon as their sender has shown to have the bytes
    "blob_claim",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("sender", Text, primary_key=True),
    Column("holder", Text, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Index(None, "holder"),
    sqlite_with_rowid=False,
)
