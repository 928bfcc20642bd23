"""Tables of the room: pipeline runs, attempts at steps, keys by part, and results that serve later runs."""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from stratal.store.tables import metadata

pipeline_run = Table(
    "pipeline_run",
    metadata,
    Column("run", Text, primary_key=True),
    Column("pipeline", Text, nullable=False),
    Column("entry", Text, nullable=False),  # JSON: where the pipeline's function is found again
    Column("params", Text, nullable=False),  # JSON: payloads by name
    Column("nodes", Text, nullable=False),  # JSON: the graph, in the order of its calls
    Index(None, "pipeline"),
    sqlite_with_rowid=False,
)

pipeline_step = Table(
    "pipeline_step",
    metadata,
    Column("run", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("pipeline", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("step_run", Text, nullable=False),  # of a hit: the run that made the result; "" of a skipped step
    Column("step_epoch", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("why", Text, nullable=False),  # JSON: sentences
    Column("output", Text),  # JSON: a payload
    Column("refs", Text, nullable=False),  # JSON: [ref, digest] as they were resolved inside
    Column("error", Text),  # JSON
    Column("started_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Index(None, "pipeline", "path", "started_ns"),
    sqlite_with_rowid=False,
)

pipeline_key = Table(
    "pipeline_key",
    metadata,
    Column("key", Text, primary_key=True),
    Column("parts", Text, nullable=False),  # JSON
)

pipeline_result = Table(
    "pipeline_result",
    metadata,
    Column("key", Text, primary_key=True),
    Column("refs_digest", Text, primary_key=True),  # one code and input may give different results as its refs move
    Column("refs", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("step_run", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
)
