"""Stores of released schemas, with real rows, brought to today's; newer ones refused; failures that leave the old store as it was."""

import logging
import os
import resource
import shutil
import signal
import sqlite3
import tarfile
from itertools import count
from pathlib import Path

import pytest

from stratal.core.errors import Misuse, StoreDown
from stratal.store.migrating import newest_version, open_database
from stratal.store.store import Store
from stratal.tracking.deleting import delete, purge
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run
from stratal.version import __version__

RELEASED = sorted(Path(__file__).parent.joinpath("released").glob("*.tar.xz"))


@pytest.fixture(params=RELEASED, ids=lambda path: path.name.partition(".")[0])
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / ".stratal"


def _version(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        return int(connection.execute("pragma user_version").fetchone()[0])
    finally:
        connection.close()


def _dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def _check_rows(store: Store) -> None:
    """What the releases' `fill` wrote is there, and can be worked with."""
    runs = {found.name: found for found in find_runs(experiment="churn", store=store)}
    first = runs["first"]
    assert first.params == {"lr": 0.1, "deep": True} and first.tags == {"team": "growth"} and first.status == "finished"
    assert first.series("loss").values.tolist() == [1.0 / (step + 1) for step in range(700)]
    assert first.metrics["auc"] == 0.9 and first.notes[0].text == "a note"
    assert first.read_artifact("model.bin") == b"weights"
    assert runs["unsettled"].metrics == {"loss": 7.0} and runs["unsettled"].status == "finished"
    [failed] = find_runs("kind = 'job'", store=store)
    assert failed.error == "ValueError: no data"
    with run(fork_from=(first.id, 100), store=store) as made:
        made.log({"loss": 0.0})
    assert len(get_run(made.id, store=store).series("loss").values) == 101
    delete(failed.id, store=store)
    delete(runs["unsettled"].id, store=store)
    assert purge(runs["unsettled"].id, store=store).kept == {}


def test_a_released_store_is_migrated_with_all_its_rows_and_the_old_one_is_kept(released: Path, caplog: pytest.LogCaptureFixture):
    before = _dump(released / "stratal.db")
    version = _version(released / "stratal.db")
    store = open_store(released)
    with caplog.at_level(logging.WARNING):
        _check_rows(store)
    [backup] = released.glob("*.backup.db")
    assert _version(backup) == version and _dump(backup) == before
    assert backup.name in caplog.text and f"from schema {version} to {newest_version()}" in caplog.text
    assert not list(released.glob("*.new*"))
    assert store.database.connect().execute("select value from about where name = 'release'").fetchone() == (__version__,)
    store.close()
    assert _version(released / "stratal.db") == newest_version()


def test_files_that_runs_used_by_content_are_needed_after_the_migration(released: Path):
    store = open_store(released)
    [first] = find_runs("name = 'first'", store=store)
    [edge] = [edge for edge in first.edges if edge.target.startswith("sha256:")]
    found = store.database.connect().execute("select holder from blob_use where digest = ?", [edge.target.removeprefix("sha256:")])
    assert found.fetchall() == [(f"run:{first.id}",)]
    store.close()


def test_the_backup_of_a_store_goes_back_into_its_place(released: Path):
    store = open_store(released)
    store.settle()
    store.close()
    [backup] = released.glob("*.backup.db")
    for left in released.glob("stratal.db*"):
        left.unlink()
    shutil.copy(backup, released / "stratal.db")
    again = open_store(released)
    assert {found.name for found in find_runs(experiment="churn", store=again)} >= {"first", "unsettled"}
    again.close()
    assert backup.exists(), "an older backup is not overwritten"


def test_a_disk_that_is_too_full_for_the_backup_leaves_the_store_as_it_was(released: Path):
    """No file may grow beyond 100,000 bytes."""
    before, version = _dump(released / "stratal.db"), _version(released / "stratal.db")
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            open_database(released / "stratal.db")
        except StoreDown as error:
            code = 0 if "cannot be backed up" in error.message and "the store is as it was" in error.hint else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (_version(released / "stratal.db"), _dump(released / "stratal.db")) == (version, before)
    assert not list(released.glob("*.backup*"))
    store = open_store(released)
    _check_rows(store)
    store.close()


class _Cursor(sqlite3.Cursor):
    """Fails at the n-th statement from now, as on a full disk."""

    left = 0

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        _Cursor.left -= 1
        if _Cursor.left == 0:
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *values)  # type: ignore[arg-type]


class _Connection(sqlite3.Connection):
    def cursor(self, factory: object = None) -> sqlite3.Cursor:  # type: ignore[override]  # what SQLAlchemy asks for
        return super().cursor(_Cursor)


def test_a_migration_that_fails_at_its_nth_statement_leaves_the_store_as_it_was(released: Path, monkeypatch: pytest.MonkeyPatch):
    before, version = _dump(released / "stratal.db"), _version(released / "stratal.db")
    whole = sqlite3.connect
    for n in count(1):
        with monkeypatch.context() as failing:
            failing.setattr(sqlite3, "connect", lambda *a, **k: whole(*a, **k, factory=_Connection))
            _Cursor.left = n
            try:
                open_database(released / "stratal.db").close()
                break
            except StoreDown as error:
                assert "disk is full" in error.message and "the store is as it was" in error.hint
        assert (_version(released / "stratal.db"), _dump(released / "stratal.db")) == (version, before), n
        assert not list(released.glob("*.backup*"))
    assert n > 10, "the loop hardly came to fail"
    assert _version(released / "stratal.db") == newest_version()


def test_a_newer_store_is_refused_with_the_release_to_install(tmp_path: Path):
    store = open_store(tmp_path / "s")
    store.settle()
    store.close()
    with sqlite3.connect(tmp_path / "s/stratal.db") as connection:
        connection.execute(f"pragma user_version = {newest_version() + 5}")
        connection.execute("update about set value = '7.3.0' where name = 'release'")
    with pytest.raises(Misuse, match=r"made by stratal 7\.3\.0") as refused:
        open_store(tmp_path / "s").settle()
    assert refused.value.hint == "install a newer release: pip install 'stratal>=7.3.0'"
