"""Tables of studies. A trial's params and value stand here, because the decisions of a study are made from them; all else is its run's."""

from sqlalchemy import BigInteger, Column, Double, ForeignKeyConstraint, Index, Integer, LargeBinary, Table, Text

from stratal.store.tables import metadata

study = Table(
    "study",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("run", LargeBinary(16), nullable=False, unique=True),
    Column("metric", Text, nullable=False),
    Column("is_maximized", Integer, nullable=False),
    Column("space", Text, nullable=False),  # as JSON
    Column("objective", Text, nullable=False),  # digests
    Column("data", Text, nullable=False),
    Column("sampler", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("budget", Integer, nullable=False),  # the largest number of trials that anybody asked for
    Column("asked", Integer, nullable=False, server_default="0"),  # trials so far; the next one's number
    Column("told", Integer, nullable=False, server_default="0"),  # results so far; the sequence that `known` refers to
    Column("opened_ns", BigInteger, nullable=False),
    Column("why", Text, nullable=False),  # it was opened, for people: first, or what changed
    sqlite_with_rowid=False,
)

study_trial = Table(
    "study_trial",
    metadata,
    Column("study", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("run", LargeBinary(16), nullable=False, unique=True),
    Column("params", Text, nullable=False),  # as JSON
    Column("known", Integer, nullable=False),  # results known at the proposal: those with told <= known
    Column("status", Text, nullable=False),  # running, finished, stopped, failed
    Column("attempts", Integer, nullable=False),
    Column("value", Double),
    Column("step", BigInteger),  # of the last report
    Column("told", Integer),  # place of the result in the study's sequence
    Column("error", Text, nullable=False, server_default=""),
    Column("asked_ns", BigInteger, nullable=False),
    Column("told_ns", BigInteger),
    ForeignKeyConstraint(["study", "version"], ["study.name", "study.version"]),
    Index(None, "study", "version", "told", unique=True),
    Index(None, "study", "version", "status"),
    sqlite_with_rowid=False,
)

study_report = Table(
    "study_report",
    metadata,
    Column("study", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("value", Double),  # NULL is NaN
    ForeignKeyConstraint(["study", "version", "number"], ["study_trial.study", "study_trial.version", "study_trial.number"]),
    Index(None, "study", "version", "step"),
    sqlite_with_rowid=False,
)
