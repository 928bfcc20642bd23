"""Experiments of MLflow after a move: numbers, tags; and the bin, of experiments and runs. Excludes what the real client sees
(tests/server/test_moved_from_mlflow.py)."""

import gzip
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from stratal.core.errors import Misuse
from stratal.interop.importing import import_runs
from stratal.interop.mlflow.operations import MOST_NUMBER, MovedExperiments
from stratal.interop.mlflow.service.store import experiments as rows
from stratal.interop.mlflow.service.store.experiments import ExperimentRow
from stratal.store.store import Store
from stratal.tracking.deleting import restore
from stratal.tracking.finding import find_runs
from stratal.tracking.runs import run as start_run
from stratal.tracking.store import deleting

FILES = Path(__file__).parent / "mlflow_files"
Change = Callable[[str], Path]


@pytest.fixture
def theirs(tmp_path: Path) -> Change:
    """MLflow's database, with the experiment churn, number 1, tag team = x; changed by SQL each time that it is asked for."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(gzip.decompress((FILES / "mlflow-3.17.2.db.gz").read_bytes()))

    def change(script: str) -> Path:
        with closing(sqlite3.connect(path)) as db:
            db.executescript(script)
        return path

    return change


NUMBER_7 = """
    UPDATE experiments SET experiment_id = 7, creation_time = 1000, last_update_time = 2000 WHERE experiment_id = 1;
    UPDATE runs SET experiment_id = 7; UPDATE experiment_tags SET experiment_id = 7;
"""


def known(store: Store, name: str) -> tuple[ExperimentRow, dict[str, str]]:
    with store.query() as tx:
        row = rows.by_name(tx, name)
        assert row is not None
        return row, rows.tags_of(tx, [row.id])[row.id]


def made(store: Store, name: str) -> int:
    with store.command() as tx:
        assert rows.add(tx, name, "")
    return known(store, name)[0].id


def test_an_experiment_keeps_its_number_its_tags_and_its_times(store: Store, theirs: Change):
    report = import_runs("mlflow", theirs(NUMBER_7), store=store)

    row, tags = known(store, "churn")
    assert (row.id, row.created_ns, row.changed_ns, tags) == (7, 10**9, 2 * 10**9, {"team": "x"})
    assert report.counts["experiments"].imported == 1 and not any("number" in remark for remark in report.remarks)
    assert made(store, "next") == 8
    again = import_runs("mlflow", theirs(""), store=store)
    assert again.unchanged == again.sources and again.counts["experiments"].already == 1


def test_a_folder_keeps_its_numbers_too(store: Store, tmp_path: Path):
    with tarfile.open(FILES / "mlruns-3.17.2.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    import_runs("mlflow", tmp_path / "mlruns", store=store)
    row, tags = known(store, "churn")
    assert (row.id, tags) == (800055225215220704, {"team": "x"})
    assert made(store, "next") == 800055225215220705


def test_a_number_that_is_taken_is_replaced_and_the_report_says_by_which(store: Store, theirs: Change):
    assert made(store, "other") == 1
    report = import_runs("mlflow", theirs(""), store=store)
    assert known(store, "churn")[0].id == 2 and known(store, "other")[0].id == 1
    [said] = [remark for remark in report.remarks if "number" in remark]
    assert "'churn' has the number 2 here" in said and "must say 2" in said and said not in report.losses


def test_an_experiment_that_clients_knew_here_keeps_what_it_is(store: Store, theirs: Change):
    assert made(store, "churn") == 1
    with store.command() as tx:
        rows.set_tag(tx, 1, "team", "ours")
    report = import_runs("mlflow", theirs(NUMBER_7), store=store)
    assert known(store, "churn")[0].id == 1 and known(store, "churn")[1] == {"team": "ours"}
    assert any("has the number 1 here: 7" in remark for remark in report.remarks)


def test_an_experiment_of_ours_that_no_client_asked_for_takes_the_number(store: Store, theirs: Change):
    with start_run("churn", store=store):
        pass
    report = import_runs("mlflow", theirs(NUMBER_7), store=store)
    assert known(store, "churn")[0].id == 7 and report.counts["experiments"].already == 1


def test_runs_that_go_elsewhere_take_no_number_along(store: Store, theirs: Change):
    import_runs("mlflow", theirs(NUMBER_7), experiment="mine", store=store)
    with store.query() as tx:
        assert [row.name for row in rows.every(tx)] == ["Default"]
    assert {run.experiment for run in find_runs(store=store)} >= {"mine"}


def test_number_0_stays_the_default_one_and_who_had_it_takes_none_of_its_siblings(store: Store, theirs: Change):
    report = import_runs("mlflow", theirs("UPDATE experiments SET name = 'base' WHERE experiment_id = 0"), store=store)
    assert [known(store, name)[0].id for name in ("Default", "base", "churn")] == [0, 2, 1]
    assert sum("has the number" in remark for remark in report.remarks) == 1


def test_an_experiment_without_runs_comes_too(store: Store, theirs: Change):
    empty = "INSERT INTO experiments (experiment_id, name, lifecycle_stage, workspace) VALUES (3, 'plans', 'active', 'default');"
    import_runs("mlflow", theirs(empty), store=store)
    assert known(store, "plans")[0].id == 3


IN_THE_BIN = """
    UPDATE experiments SET lifecycle_stage = 'deleted', last_update_time = 1795466790000 WHERE name = 'churn';
    UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = 1795466790001;
"""


def names(store: Store, filter: str = "") -> list[str]:
    return sorted(run.name for run in find_runs(filter, store=store) if run.experiment == "churn")


def test_a_deleted_run_is_in_the_bin_and_comes_back_by_restore(store: Store, theirs: Change):
    import_runs("mlflow", theirs(""), store=store)
    assert names(store) == ["child", "tiny"] and names(store, "deleted is not null") == ["dead"]
    [dead] = find_runs("deleted is not null", store=store)
    assert restore(f"run:{dead.id}", store=store) == [dead.id]
    again = import_runs("mlflow", theirs(""), store=store)
    assert names(store) == ["child", "dead", "tiny"] and again.unchanged == again.sources, "what people restored here stays"


def test_a_run_that_is_deleted_there_later_is_deleted_here_then(store: Store, theirs: Change):
    import_runs("mlflow", theirs(""), store=store)
    import_runs("mlflow", theirs("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'child'"), store=store)
    assert names(store) == ["tiny"]


def test_a_deleted_experiment_is_in_the_bin_with_its_runs_and_brings_them_back(store: Store, theirs: Change):
    report = import_runs("mlflow", theirs(IN_THE_BIN), store=store)
    row, tags = known(store, "churn")
    assert row.deleted_ns is not None and (row.id, tags) == (1, {"team": "x"})
    assert report.counts["deletions"].imported == 3
    assert names(store) == [] and names(store, "deleted is not null") == ["child", "dead", "tiny"]
    with store.command() as tx:
        for no in rows.unmark_deleted(tx, row):
            deleting.unmark_deleted(tx, no)
    assert names(store) == ["child", "dead", "tiny"], "as MLflow itself brings back all"
    import_runs("mlflow", theirs(""), store=store)
    assert known(store, "churn")[0].deleted_ns is None and names(store) == ["child", "dead", "tiny"]


def test_an_experiment_that_lives_here_is_not_deleted_by_an_import_but_the_runs_are(store: Store, theirs: Change):
    with start_run("churn", name="ours", store=store):
        pass
    report = import_runs("mlflow", theirs(IN_THE_BIN), store=store)
    assert known(store, "churn")[0].deleted_ns is None and names(store) == ["ours"]
    assert any("'churn' is deleted there, and is not here" in remark for remark in report.remarks)


def test_what_mlflow_gives_no_experiment_is_refused_and_changes_nothing(store: Store):
    good = {"experiment": "x", "number": 5, "last": 5, "tags": {"a": "b"}, "created_ns": 1, "changed_ns": 2, "is_deleted": False}
    for odd in (
        {"number": -1}, {"number": MOST_NUMBER + 1}, {"number": 2**70}, {"last": -1}, {"last": 2**70},
        {"created_ns": -1}, {"changed_ns": 2**64}, {"experiment": "a\0"},
        {"tags": {"a": "\0"}}, {"tags": {"a": "x" * 100_001}}, {"experiment": ""},
    ):  # fmt: skip
        with pytest.raises(Misuse):
            MovedExperiments(store).keep_experiment(**good | odd)
    with store.query() as tx:
        assert [row.name for row in rows.every(tx)] == ["Default"]


def test_the_largest_number_leaves_room_for_others(store: Store):
    said = {"last": MOST_NUMBER, "tags": {}, "created_ns": 1, "changed_ns": 2, "is_deleted": False}
    assert MovedExperiments(store).keep_experiment(experiment="x", number=MOST_NUMBER, **said).number == MOST_NUMBER
    assert made(store, "next") == MOST_NUMBER + 1
