"""Tables of interop: how far each foreign source has been imported, the numbers that MLflow's clients know experiments by, and what they
say of these and of models."""

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, Table, Text

from stratal.store.tables import Number, metadata, numbered

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
    Column("sender", Text, nullable=False, server_default=""),  # who imported up to here; '' before this was noted
    sqlite_with_rowid=False,
)

# An experiment here is a name that runs have. MLflow's clients know it by a number, and may say more of it.
mlflow_experiment = Table(
    "mlflow_experiment",
    metadata,
    numbered(),
    Column("name", Text, nullable=False, unique=True),
    Column("location", Text, nullable=False, server_default=""),  # of artifacts, where a client gave one
    Column("created_ns", BigInteger, nullable=False),
    Column("changed_ns", BigInteger, nullable=False),
    Column("deleted_ns", BigInteger),
)

mlflow_experiment_tag = Table(
    "mlflow_experiment_tag",
    metadata,
    Column("experiment", Number, ForeignKey("mlflow_experiment.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

# What MLflow's clients say of models, beside what the registry knows of them. A model or version without a row here was made by us.
mlflow_model = Table(
    "mlflow_model",
    metadata,
    Column("model", Text, primary_key=True),  # its name in the registry
    Column("name", Text, unique=True),  # what clients call it; NULL: they have deleted it
    Column("description", Text, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

mlflow_version = Table(
    "mlflow_version",
    metadata,
    Column("model", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("description", Text, nullable=False),
    Column("source", Text, nullable=False),  # '' for what was registered by us
    Column("run", Text, nullable=False),  # as the client said, '' for none
    Column("run_link", Text, nullable=False),
    Column("logged_model", Text, nullable=False),
    Column("is_deleted", Integer, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
    # Who made it where it was imported from, and when: as whoever imported it said. The registry knows who that was.
    Column("stated_author", Text, nullable=False, server_default=""),
    Column("stated_ns", BigInteger),
    sqlite_with_rowid=False,
)

mlflow_tag = Table(
    "mlflow_tag",
    metadata,
    Column("model", Text, primary_key=True),
    Column("number", Integer, primary_key=True),  # 0: of the model itself
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)
