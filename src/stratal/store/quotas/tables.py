"""Tables of quotas, and of the counters that they are compared with."""

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from stratal.store.tables import metadata

quota = Table(
    "quota",
    metadata,
    Column("experiment", Text, primary_key=True),  # '*': the default for all
    Column("most_bytes", BigInteger),  # NULL: as the default says; -1: without limit
    Column("most_runs", BigInteger),
    Column("set_by", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

use = Table(  # what an experiment holds, kept by each transaction that changes it
    "quota_use",
    metadata,
    Column("experiment", Text, primary_key=True),
    Column("runs", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("told", Integer, nullable=False, server_default="0"),  # of what was told that it is nearly full: 1 bytes, 2 runs
    sqlite_with_rowid=False,
)

blob = Table(  # the files of an experiment, each once; with 0 runs: on their way. size_bytes: 0 where nobody said one
    "quota_blob",
    metadata,
    Column("experiment", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("runs", BigInteger, nullable=False),  # that hold it
    Column("is_waiting", Integer, nullable=False, server_default="0"),  # 1: there was no room for its bytes, and it is not counted
    Column("at_ns", BigInteger, nullable=False, server_default="0"),  # when room was asked for, before a run named it
    sqlite_with_rowid=False,
)
