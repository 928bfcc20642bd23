"""The table of interop: how far each foreign source has been imported."""

from sqlalchemy import BigInteger, Column, LargeBinary, Table, Text

from stratal.store.tables import metadata

# Idempotency key: (writer, place). The row moves in the transaction that applies what lies between its places.
import_mark = Table(
    "import_mark",
    metadata,
    Column("writer", Text, primary_key=True),  # of the frames that were made of the source: a digest of its tool, run and part
    Column("tool", Text, nullable=False),
    Column("name", Text, nullable=False),  # the path at the last import
    Column("run", LargeBinary(16), nullable=False),
    Column("place", BigInteger, nullable=False),  # all up to here is applied
    Column("digest", Text, nullable=False),  # of the source up to there
    Column("frames", BigInteger, nullable=False),
    Column("counts", Text, nullable=False),  # what was imported and skipped so far
    Column("at_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
