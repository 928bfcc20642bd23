"""Tables of this room."""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Text

from stratal.store.tables import metadata

# A row is written in the transaction that makes a checkpoint visible, after its file is durable.
# Idempotency key: (run, step); a later generation that comes to the same step replaces the row.
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("run", LargeBinary(16), primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("samples", BigInteger, nullable=False),
    Column("seed", Text, nullable=False),  # decimal digits: any integer
    Column("rows", BigInteger, nullable=False),
    Column("mesh", Text, nullable=False),
    Column("world_size", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
