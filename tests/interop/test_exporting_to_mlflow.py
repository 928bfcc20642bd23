"""Exports into a store of MLflow: its schema is MLflow's own, its rows follow MLflow's rules, and MLflow itself reads it.

The last tests need an installed mlflow (`pip install mlflow-skinny==3.17.2`), and are left out where there is none.
"""

import gzip
import math
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stratal.core.ids import to_bytes
from stratal.interop.exporting.exports import Export, export_runs
from stratal.interop.exporting.mlflow import LARGEST, LONGEST_KEY, mlflow_key, schema
from stratal.store.store import Store
from stratal.tracking import leased
from stratal.tracking.runs import run
from stratal.tracking.store import runs as run_rows

MADE_BY_MLFLOW = Path(__file__).parent / "mlflow_files/mlflow-3.17.2.db.gz"


@pytest.fixture
def exported(store: Store, tmp_path: Path) -> Export:
    with run("churn", name="parent", params={"lr": 0.5, "on": True, "none": None, 'odd "name"': "a\nb" * 4000}, store=store) as outer:
        for step in range(600):
            outer.log({"loss": 1 / (step + 1)}, step=step)
        outer.log({"odd": math.nan, "val/auc": 0.5}, step=-3)
        outer.log({"odd": math.inf}, step=4)
        outer.log({"odd": -math.inf}, step=2)
        outer.log({"odd": math.nan}, step=9)
        outer.note("first")
        outer.note("second ü")
        outer.edge("used", "dataset:churn@3", role="train")
        outer.edge("produced", "model:churn@1", role="model")
        outer.state("checked", {"x": 1})
        outer.save_bytes("plots/roc.txt", b"curve")
        with run(name="child", tags={"team": "growth"}, store=store) as inner:
            inner.log({"loss": 2.0}, step=1)
    try:
        with run("other", store=store):
            raise RuntimeError("out of memory")
    except RuntimeError:
        pass
    run("other", store=store).finish("stopped")
    return export_runs(tmp_path / "out", format="mlflow", artifacts=True, store=store)


def opened(exported: Export) -> sqlite3.Connection:
    return sqlite3.connect(Path(exported.path) / "mlflow.db")


def shape(db: sqlite3.Connection) -> set[tuple[str, ...]]:
    return {tuple(str(cell) for cell in row) for row in db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")}


def test_the_schema_is_that_of_a_file_which_mlflow_made(exported: Export, tmp_path: Path) -> None:
    (tmp_path / "theirs.db").write_bytes(gzip.decompress(MADE_BY_MLFLOW.read_bytes()))
    theirs, ours = sqlite3.connect(tmp_path / "theirs.db"), opened(exported)

    assert shape(ours) == shape(theirs)
    assert ours.execute("SELECT * FROM alembic_version").fetchall() == theirs.execute("SELECT * FROM alembic_version").fetchall()
    assert ours.execute("SELECT name FROM workspaces").fetchall() == theirs.execute("SELECT name FROM workspaces").fetchall()


def test_the_file_is_whole_and_its_references_hold(exported: Export) -> None:
    db = opened(exported)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_odd_numbers_follow_mlflows_rule_and_the_latest_is_of_the_highest_step(exported: Export) -> None:
    db = opened(exported)
    odd = db.execute("SELECT step, value, is_nan FROM metrics WHERE key = 'odd' ORDER BY step").fetchall()
    assert odd == [(-3, 0.0, 1), (2, -LARGEST, 0), (4, LARGEST, 0), (9, 0.0, 1)]
    parent = "SELECT run_uuid FROM runs WHERE name = 'parent'"
    rows = db.execute(f"SELECT key, step, is_nan FROM latest_metrics WHERE run_uuid = ({parent})")
    latest = {key: (step, nan) for key, step, nan in rows}
    assert latest == {"loss": (599, 0), "odd": (9, 1), "val/auc": (-3, 0)}


def test_what_was_left_out_or_changed_is_counted(exported: Export) -> None:
    assert exported.tables["runs"] == 4 and exported.tables["metrics"] == 606
    assert exported.losses == {
        "names that MLflow does not allow, and were changed": 1,
        "authors and times of notes": 2,
        "lineage edges that are no used data": 1,
        "statements": 1,
    }


def test_points_that_a_takeover_hid_and_twins_are_left_out_and_counted(store: Store, tmp_path: Path) -> None:
    made = leased.start_leased("e", store=store, kind="job", ttl_s=0.0)
    for at_ns in (1_700_000_000_000_000_000, 1_700_000_000_000_000_001):  # the same millisecond
        store.writer.log(to_bytes(made.id), made.token, {"m": 1.0}, 0, at_ns)
    made.log({"m": 1.0}, step=5)
    with store.command(runs=[made.id]) as tx:
        run_rows.take_over(tx, store, made.id, ttl_s=60.0, from_step=4)

    done = export_runs(tmp_path / "out", format="mlflow", store=store)

    assert opened(done).execute("SELECT step, value FROM metrics").fetchall() == [(0, 1.0)]
    assert done.losses == {"points that a takeover hid": 1, "points equal to another to the millisecond": 1}


def test_without_artifacts_the_loss_says_so(store: Store, tmp_path: Path) -> None:
    with run("e", store=store) as made:
        made.save_bytes("a.txt", b"x")

    done = export_runs(tmp_path / "out", format="mlflow", store=store)

    assert done.losses == {"artifacts, which were not asked for (--artifacts)": 1}


@given(some.lists(some.text(some.characters(exclude_categories=["Cs"]), min_size=1, max_size=400), unique=True))
def test_names_become_such_as_mlflow_takes_and_stay_apart(names: list[str]) -> None:
    keys = [mlflow_key(name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(0 < len(key) <= LONGEST_KEY and mlflow_key(key) == key for key in keys)


@pytest.mark.parametrize("name", ["loss", "val/auc", "a b:c-d.e", "ünï", "m" * 250])
def test_names_that_mlflow_takes_are_left_alone(name: str) -> None:
    assert mlflow_key(name) == name


def test_the_schema_holds_nothing_of_a_machine() -> None:
    assert "INSERT" not in schema().replace('INSERT INTO "alembic_version"', "").replace('INSERT INTO "workspaces"', "")
    assert "/home" not in schema() and "/tmp" not in schema()


def test_mlflow_reads_what_was_exported_and_goes_on_with_it(exported: Export) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{exported.path}/mlflow.db")
    churn = client.get_experiment_by_name("churn")
    found = {one.info.run_name: one for one in client.search_runs([churn.experiment_id])}
    parent, child = found["parent"], found["child"]

    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id and child.data.tags["team"] == "growth"
    assert parent.data.params["lr"] == "0.5" and parent.data.params["on"] == "True" and parent.data.params["none"] == "None"
    assert parent.data.params[mlflow_key('odd "name"')] == "a\nb" * 4000
    assert parent.data.tags["mlflow.note.content"] == "first\n\nsecond ü"
    history = client.get_metric_history(parent.info.run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(step, 1 / (step + 1)) for step in range(600)]
    assert math.isnan(parent.data.metrics["odd"]) and parent.data.metrics["val/auc"] == 0.5
    assert [one.dataset.name for one in parent.inputs.dataset_inputs] == ["churn@3"]
    assert [one.path for one in client.list_artifacts(parent.info.run_id, "plots")] == ["plots/roc.txt"]
    assert Path(client.download_artifacts(parent.info.run_id, "plots/roc.txt")).read_bytes() == b"curve"
    other = client.search_runs([client.get_experiment_by_name("other").experiment_id])
    assert sorted(one.info.status for one in other) == ["FAILED", "KILLED"]

    client.log_metric(parent.info.run_id, "loss", 0.25, step=1000)
    client.log_artifact(parent.info.run_id, __file__)
    assert client.get_run(parent.info.run_id).data.metrics["loss"] == 0.25
    assert client.search_runs([churn.experiment_id], "metrics.loss < 0.3 and params.lr = '0.5'")[0].info.run_id == parent.info.run_id
    assert client.create_experiment("new one")
