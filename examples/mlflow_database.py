"""Copy what `stratal import mlflow` reads out of an MLflow database on PostgreSQL, MySQL or another server into a SQLite file.

python examples/mlflow_database.py postgresql+psycopg://mlflow@db/mlflow mlflow.db

The first argument is what `mlflow server --backend-store-uri` has, with a driver that is installed here. It is only read, as it is at one
moment. Run it again, with the same file, to bring what is new: rows of metrics keep their places, so the next import adds only these. Traces,
judges, webhooks and secrets are not copied.
"""

import sqlite3
import sys
from contextlib import closing

from sqlalchemy import Connection, MetaData, Table, create_engine, select
from sqlalchemy.engine import make_url

TABLES = (
    "alembic_version", "experiments", "experiment_tags", "runs", "params", "tags", "datasets", "inputs", "input_tags", "logged_models",
    "logged_model_params", "logged_model_tags", "logged_model_metrics", "registered_models", "registered_model_tags",
    "registered_model_aliases", "model_versions", "model_version_tags",
)  # fmt: skip
# Of one point, in the order in which points of a run were logged, as far as rows tell.
POINT = ("run_uuid", "timestamp", "step", "key", "value", "is_nan")
# By which `stratal import` looks.
LOOKED_FOR = {"run_uuid", "experiment_id", "model_id", "source_run_id", "source_id", "destination_id", "input_uuid", "name"}
ROWS_AT_ONCE = 5000


def main(source: str, target: str) -> None:
    url = make_url(source)
    if url.get_backend_name() == "sqlite":
        raise SystemExit("this is a SQLite file already: stratal import mlflow FILE")
    try:
        engine = create_engine(url).execution_options(isolation_level="REPEATABLE READ")
    except ModuleNotFoundError as error:
        raise SystemExit(f"the driver of {url.drivername} is not here: pip install {error.name}") from error
    with engine.connect() as there, closing(sqlite3.connect(target, isolation_level=None)) as here:
        known = MetaData()
        known.reflect(there, only=lambda name, _: name in (*TABLES, "metrics"))
        for column in (column for table in known.tables.values() for column in table.columns if getattr(column.type, "asdecimal", False)):
            column.type.asdecimal = False  # of MySQL's doubles SQLAlchemy would give decimals of ten places
        if "metrics" not in known.tables:
            raise SystemExit(f"{url.render_as_string()} holds no tables of MLflow")
        here.execute("BEGIN IMMEDIATE")
        for name in TABLES:
            if name in known.tables:
                here.execute(f"DROP TABLE IF EXISTS {name}")
                print(name, copy(there, known.tables[name], here))
        print("metrics, new", copy(there, known.tables["metrics"], here, key=POINT))
        here.execute("COMMIT")


def copy(there: Connection, table: Table, here: sqlite3.Connection, *, key: tuple[str, ...] = ()) -> int:
    """Copy the rows that are not here yet, and give how many there were. key: columns that tell a row."""
    columns = [column.name for column in table.columns]
    unique = f", UNIQUE ({', '.join(map(quote, key))})" if key else ""
    here.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({', '.join(map(quote, columns))}{unique})")
    for column in sorted(LOOKED_FOR.intersection(columns)):
        here.execute(f"CREATE INDEX IF NOT EXISTS {table.name}_by_{column} ON {table.name} ({column})")
    before = here.total_changes
    rows = there.execution_options(yield_per=ROWS_AT_ONCE).execute(select(table).order_by(*(table.c[name] for name in key)))
    for some in rows.partitions():
        here.executemany(f"INSERT OR IGNORE INTO {table.name} VALUES ({', '.join('?' * len(columns))})", [tuple(row) for row in some])
    return here.total_changes - before


def quote(name: str) -> str:
    return f'"{name}"'


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
