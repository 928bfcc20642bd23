"""A team whose MLflow keeps its tables on a database server: what examples/mlflow_database.py copies is imported, once, and as it grows.

Excludes what clients see after a move (test_moved_from_mlflow.py): the copy is a SQLite store like any other."""

import getpass
import runpy
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow_peer import run_with_mlflow
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from stratal.interop.importing import import_runs
from stratal.registry import list_versions
from stratal.store.store import Store
from stratal.testing.postgres import PostgresServer
from stratal.tracking.finding import find_runs

COPY = runpy.run_path(str(Path(__file__).parents[2] / "examples/mlflow_database.py"))["main"]
MADE = Path(__file__).with_name("mlflow_moved_script.py")


def losses(store: Store) -> list[float]:
    [parent] = find_runs("name = 'parent'", store=store)
    return parent.series("loss").values.tolist()


@pytest.mark.slow
def test_a_database_on_postgresql_is_copied_and_imported_and_what_is_new_after_that(
    postgres_server: PostgresServer, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    name = postgres_server.make_database()
    there = postgres_server.url(name).replace("postgresql://", "postgresql+psycopg://")
    run_with_mlflow(MADE, "make", there, folder=tmp_path)
    COPY(there, str(tmp_path / "mlflow.db"))

    report = import_runs("mlflow", tmp_path / "mlflow.db", store=store)

    assert report.is_complete, report.losses
    assert {run.name for run in find_runs(store=store)} >= {"parent", "child", "evaluation"}
    assert {run.name for run in find_runs("deleted is not null", store=store)} == {"dead", "first", "second"}
    assert losses(store) == [1.0 / (at + 1) for at in range(5)]
    assert [version.number for version in list_versions("many", store=store)] == [3, 1]
    assert [count.imported for what, count in report.counts.items() if what == "experiments"] == [3]
    # An older run than others grows, and a run comes that is sorted before them.
    postgres_server.run_sql(
        "insert into metrics (key, value, timestamp, step, run_uuid, is_nan)"
        " select 'loss', 0.125, timestamp + 1000, 9, run_uuid, false from metrics where key = 'loss' and step = 4;"
        "insert into runs (run_uuid, name, status, start_time, lifecycle_stage, experiment_id)"
        " select repeat('0', 32), 'new', 'FINISHED', 1, 'active', experiment_id from experiments where name = 'churn';"
        "insert into metrics (key, value, timestamp, step, run_uuid, is_nan) values ('loss', 7, 1, 0, repeat('0', 32), false)",
        database=name,
    )
    COPY(there, str(tmp_path / "mlflow.db"))
    grown = import_runs("mlflow", tmp_path / "mlflow.db", store=store)
    assert grown.is_complete and grown.counts["points"].imported == 2, grown
    assert losses(store)[-1] == 0.125 and len(find_runs("name = 'new'", store=store)) == 1
    assert "secrets" not in capsys.readouterr().out


@pytest.fixture
def mariadb(tmp_path: Path) -> Iterator[Engine]:
    """A database of a MariaDB of its own; skipped where it, or PyMySQL, is not installed."""
    pytest.importorskip("pymysql")
    if (program := shutil.which("mariadbd")) is None or (install := shutil.which("mariadb-install-db")) is None:
        pytest.skip("there is no mariadbd here")
    data = tmp_path / "mariadb"
    options = [f"--datadir={data}", f"--user={getpass.getuser()}"]
    subprocess.run([install, "--no-defaults", *options, "--auth-root-authentication-method=normal"], check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listening = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={data}/socket", f"--pid-file={data}/pid"]
    running = subprocess.Popen([program, "--no-defaults", *options, *listening], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    engine = create_engine(f"mysql+pymysql://root@127.0.0.1:{port}/test")
    try:
        while True:
            try:
                engine.connect().close()
                break
            except OperationalError:
                assert running.poll() is None
        yield engine
    finally:
        engine.dispose()
        running.kill()
        running.wait()


def test_numbers_of_a_mysql_database_are_copied_to_the_last_bit(mariadb: Engine, tmp_path: Path):
    values = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -1e-20, 123456789.123456789]
    with mariadb.begin() as there:
        there.execute(
            text(
                "create table metrics (`key` varchar(250), value double, timestamp bigint, step bigint, run_uuid varchar(32),"
                " is_nan boolean, primary key (`key`, timestamp, step, run_uuid, value, is_nan))"
            )
        )
        point = text("insert into metrics values ('loss', :value, 1, :step, 'r', false)")
        there.execute(point, [{"value": value, "step": step} for step, value in enumerate(values)])
    for _ in range(2):
        COPY(mariadb.url.render_as_string(hide_password=False), str(tmp_path / "mlflow.db"))
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as copied:
        assert [value for (value,) in copied.execute("select value from metrics order by step")] == values


def test_a_driver_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(SystemExit, match=r"the driver of mysql\+pymysql is not here: pip install pymysql"):
        COPY("mysql+pymysql://mlflow@db/mlflow", str(tmp_path / "mlflow.db"))


def test_what_is_no_database_of_mlflow_is_said(postgres_server: PostgresServer, tmp_path: Path):
    there = postgres_server.url(postgres_server.make_database()).replace("postgresql://", "postgresql+psycopg://")
    with pytest.raises(SystemExit, match="holds no tables of MLflow"):
        COPY(there, str(tmp_path / "mlflow.db"))
    with pytest.raises(SystemExit, match="a SQLite file already"):
        COPY("sqlite:///mlflow.db", str(tmp_path / "other.db"))
    assert not (tmp_path / "other.db").exists()
