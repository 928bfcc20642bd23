"""Tables of MLflow's protocol: the numbers that its clients know experiments by, and what they say of them."""

from sqlalchemy import BigInteger, Column, ForeignKey, Table, Text

from stratal.store.tables import Number, metadata, numbered

# An experiment here is a name that runs have. MLflow's clients know it by a number, and may say more of it.
experiment = Table(
    "mlflow_experiment",
    metadata,
    numbered(),
    Column("name", Text, nullable=False, unique=True),
    Column("location", Text, nullable=False, server_default=""),  # of artifacts, where a client gave one
    Column("created_ns", BigInteger, nullable=False),
    Column("changed_ns", BigInteger, nullable=False),
    Column("deleted_ns", BigInteger),
)

experiment_tag = Table(
    "mlflow_experiment_tag",
    metadata,
    Column("experiment", Number, ForeignKey("mlflow_experiment.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)
