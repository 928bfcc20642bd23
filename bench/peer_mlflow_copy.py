"""Copies an MLflow store from SQLite into an empty database of PostgreSQL, in MLflow's environment: SOURCE-URL, TARGET-URL."""

import sys

from mlflow.store.db.base_sql_model import Base
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
from mlflow.store.model_registry.dbmodels import models as _registry  # noqa: F401  # registers tables
from mlflow.store.tracking.dbmodels import models as _tracking  # noqa: F401
from sqlalchemy import insert, inspect, select, text

ROWS = 5000


def main() -> None:
    source, target = (create_sqlalchemy_engine(url) for url in sys.argv[1:3])
    _initialize_tables(target)
    there = set(inspect(source).get_table_names())
    with source.connect() as reading, target.begin() as writing:
        writing.execute(text("set session_replication_role = replica"))  # foreign keys in any order
        for table in Base.metadata.sorted_tables:
            if table.name not in there:
                continue
            writing.execute(table.delete())  # what initializing has put there
            for rows in reading.execute(select(table)).mappings().partitions(ROWS):
                writing.execute(insert(table), [dict(row) for row in rows])


if __name__ == "__main__":
    main()
