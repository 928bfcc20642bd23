"""Backups and restores: what is in them, what is spoilt, what is refused. Kills are in tests/faults/test_backup_kills.py."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from stratal.cli.app import main
from stratal.core.errors import Conflict, Damaged, Misuse, NotFound
from stratal.store import migrating
from stratal.store.backups import Progress, back_up, restore, snapshots, verify
from stratal.store.collecting import collect
from stratal.store.migrating import newest_version, open_database
from stratal.store.store import Store
from stratal.store.upgrading import migrate_store, schema_of
from stratal.tracking.deleting import delete, purge
from stratal.tracking.finding import find_runs
from stratal.tracking.opening import open_store, use_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


def log_one(store: Store, content: bytes, value: float = 1.0) -> str:
    with run("churn", store=store) as made:
        made.log({"loss": value}, step=0)
        made.save_bytes("file", content)
    return made.id


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def pool_of(backup: Path) -> dict[str, Path]:
    return {path.parent.name + path.name: path for path in (backup / "blobs").glob("??/*")}


def test_a_restored_store_holds_what_was_logged_and_goes_on(store, tmp_path):
    id = log_one(store, b"x" * 10_000)
    with run("churn", store=store) as living:  # its journal is open, and not settled
        living.log({"loss": 0.25}, step=7)
        done = back_up(store, tmp_path / "backup")
    assert (done.snapshot.blobs, done.copied, done.missing, done.damaged) == (1, 1, (), ())
    restored = restore(tmp_path / "backup", tmp_path / "new")
    assert (restored.blobs, restored.lacking) == (1, ())
    again = open_store(tmp_path / "new")
    assert get_run(id, store=again).artifacts[0].digest == get_run(id, store=store).artifacts[0].digest
    assert again.blobs.read(get_run(id, store=again).artifacts[0].digest) == b"x" * 10_000
    assert get_run(living.id, store=again).series("loss").steps.tolist() == [7]
    log_one(again, b"more")
    assert len(find_runs(store=again)) == 3
    again.close()


def test_what_was_logged_after_the_backup_is_settled_from_the_journals_of_the_lost_store(store, tmp_path):
    with run("churn", store=store) as made:
        for step in range(10):
            made.log({"loss": 1.0}, step=step)
        back_up(store, tmp_path / "backup")
        for step in range(10, 20):
            made.log({"loss": 1.0}, step=step)
    restore(tmp_path / "backup", tmp_path / "new")
    for path in store.journals.iterdir():
        shutil.copy(path, tmp_path / "new" / "journal")
    again = open_store(tmp_path / "new")
    assert get_run(made.id, store=again).series("loss").steps.tolist() == list(range(20))
    assert get_run(made.id, store=again).status == "finished"
    again.close()


def test_a_second_backup_copies_only_what_is_new(store, tmp_path):
    log_one(store, b"one")
    back_up(store, tmp_path / "backup")
    before = {path: path.stat().st_ino for path in pool_of(tmp_path / "backup").values()}
    log_one(store, b"two")
    done = back_up(store, tmp_path / "backup")
    assert (done.snapshot.blobs, done.copied, done.copied_bytes) == (2, 1, 3)
    assert all(path.stat().st_ino == inode for path, inode in before.items())
    assert [each.blobs for each in snapshots(tmp_path / "backup")] == [2, 1]


def test_an_earlier_snapshot_can_be_restored_when_its_files_are_gone_from_the_store(store, tmp_path):
    id = log_one(store, b"gone")
    first = back_up(store, tmp_path / "backup").snapshot
    delete(id, store=store)
    purge(id, store=store)
    assert len(collect(store, grace_s=0, events_s=1e9, dry_run=False).blobs) == 1
    assert back_up(store, tmp_path / "backup").snapshot.blobs == 0
    restore(tmp_path / "backup", tmp_path / "new", name=first.name)
    again = open_store(tmp_path / "new")
    assert again.blobs.read(get_run(id, store=again).artifacts[0].digest) == b"gone"
    again.close()


def test_old_snapshots_go_with_the_files_that_only_they_need(store, tmp_path):
    id = log_one(store, b"gone")
    back_up(store, tmp_path / "backup")
    delete(id, store=store)
    purge(id, store=store)
    collect(store, grace_s=0, events_s=1e9, dry_run=False)
    log_one(store, b"kept")
    done = back_up(store, tmp_path / "backup", keep=1)
    assert len(done.dropped) == 1 and [each.name for each in snapshots(tmp_path / "backup")] == [done.snapshot.name]
    assert [path.read_bytes() for path in pool_of(tmp_path / "backup").values()] == [b"kept"]
    assert verify(tmp_path / "backup")[1] == []


def test_a_file_that_is_spoilt_or_missing_in_the_store_is_said_and_spoils_no_backup(store, tmp_path):
    spoilt, missing = log_one(store, b"spoilt"), log_one(store, b"missing")
    back_up(store, tmp_path / "backup")
    digests = [get_run(id, store=store).artifacts[0].digest for id in (spoilt, missing)]
    spoil(store.blobs.path(digests[0]))
    store.blobs.path(digests[1]).unlink()
    done = back_up(store, tmp_path / "backup")
    assert (done.missing, done.damaged, done.snapshot.blobs) == ((), (), 2), "the backup has both of them whole, from before"
    fresh = back_up(store, tmp_path / "other")
    assert (fresh.missing, fresh.damaged, fresh.snapshot.blobs) == ((digests[1],), (digests[0],), 0)
    restore(tmp_path / "backup", tmp_path / "new")
    again = open_store(tmp_path / "new")
    assert [again.blobs.read(digest) for digest in digests] == [b"spoilt", b"missing"]
    again.close()


def test_a_bit_that_flipped_in_the_backup_is_found_and_nothing_is_left(store, tmp_path):
    log_one(store, b"x" * 1000)
    log_one(store, b"y" * 1000)
    snapshot = back_up(store, tmp_path / "backup").snapshot
    digest, path = sorted(pool_of(tmp_path / "backup").items())[0]
    spoil(path)
    assert verify(tmp_path / "backup")[1] == [digest]
    with pytest.raises(Damaged, match="1 of 2"):
        restore(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".new-*"))
    done = restore(tmp_path / "backup", tmp_path / "new", allow_lacking=True)
    assert (done.lacking, done.blobs) == ((digest,), 1)
    spoil(tmp_path / "backup" / "snapshots" / snapshot.name / "stratal.db")
    for call in (lambda: verify(tmp_path / "backup"), lambda: restore(tmp_path / "backup", tmp_path / "newer", allow_lacking=True)):
        with pytest.raises(Damaged, match="database"):
            call()
    assert not (tmp_path / "newer").exists()


def test_nothing_is_written_over(store, tmp_path):
    log_one(store, b"x")
    back_up(store, tmp_path / "backup")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(Conflict, match="not empty"):
        restore(tmp_path / "backup", tmp_path / "full")
    with pytest.raises(Conflict):
        restore(tmp_path / "backup", store.folder)
    with pytest.raises(Misuse, match="something else"):
        back_up(store, tmp_path / "full")
    with pytest.raises(Misuse, match="is a file"):
        back_up(store, tmp_path / "full" / "file")
    with pytest.raises(Misuse, match="in the store itself"):
        back_up(store, store.folder / "backup")
    with pytest.raises(Misuse, match="keep 1"):
        back_up(store, tmp_path / "backup", keep=0)
    assert (tmp_path / "full" / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "backup", tmp_path / "empty")


def test_what_is_no_backup_or_has_no_such_snapshot_is_said(store, tmp_path):
    with pytest.raises(NotFound, match="no backup"):
        snapshots(tmp_path)
    back_up(store, tmp_path / "backup")
    with pytest.raises(NotFound, match="no snapshot 1999"):
        restore(tmp_path / "backup", tmp_path / "new", name="1999")


def test_one_backup_at_a_time_goes_into_a_folder(store, tmp_path):
    back_up(store, tmp_path / "backup")

    def again(point: str) -> None:
        if point == "after the database":
            with pytest.raises(Conflict, match="another backup"):
                back_up(store, tmp_path / "backup")

    store.database.fault = again
    back_up(store, tmp_path / "backup")


def test_a_store_of_an_older_release_is_migrated_when_it_is_asked_for(tmp_path, monkeypatch, caplog):
    folder = tmp_path / "old"
    folder.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(migrating, "newest_version", lambda: 13)
        patched.setattr(migrating, "TARGET", "0013")
        open_database(folder / "stratal.db").close()
    assert schema_of(folder) == 13
    dry = migrate_store(folder, dry_run=True)
    assert (dry.found, dry.wanted, dry.backup, schema_of(folder)) == (13, newest_version(), None, 13)
    done = migrate_store(folder)
    assert schema_of(folder) == newest_version() and Path(done.backup).is_file()
    said = [each.levelname for each in caplog.records if each.name == "stratal.store.migrating"]
    assert "WARNING" not in said, "its result says it"
    assert migrate_store(folder).backup is None
    with pytest.raises(NotFound):
        migrate_store(tmp_path / "nowhere")


def test_a_store_behind_a_server_is_backed_up_and_examined_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for words in (["backup", "make", str(tmp_path / "backup")], ["doctor", "--deep"], ["migrate"]):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--store", "http://127.0.0.1:1"])
        assert ended.value.code == 2
        assert "--store FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "backup").exists()


def test_a_store_in_postgresql_is_not_looked_for_in_a_folder_to_migrate_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(SystemExit) as ended:
        main(["migrate", "--dry-run", "--store", "postgresql://ada@127.0.0.1:1/none"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "is in PostgreSQL" in said and "pg_dump" in said


def test_how_far_it_is_is_told_up_to_the_end(store, tmp_path):
    for content in (b"x", b"yy", b"x"):
        log_one(store, content)
    backup = tmp_path / "backup"

    def told_by(work: Callable[[Progress], object]) -> dict[str, list[tuple[int, int]]]:
        told: dict[str, list[tuple[int, int]]] = {}
        work(lambda what, done, size: told.setdefault(what, []).append((done, size)))
        for steps in told.values():
            assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]
        return told

    size = back_up(store, backup).snapshot.size_bytes
    assert told_by(lambda told: back_up(store, backup, progress=told)) == {"database": [(0, 1), (1, 1)], "files": [(1, 2), (2, 2)]}
    files = sorted(told_by(lambda told: verify(backup, progress=told))["files"])
    assert files in ([(1, 3), (3, 3)], [(2, 3), (3, 3)])
    told = told_by(lambda told: restore(backup, tmp_path / "new", progress=told))
    assert told["files"] == files and told["database"][-1] == (size, size)


def test_the_commands_make_list_verify_and_restore(store, tmp_path, capsys):
    log_one(store, b"x")
    use_store(store)
    backup, new = str(tmp_path / "backup"), str(tmp_path / "new")

    def output(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == code
        return capsys.readouterr().out

    assert "1 files (1 bytes)" in output("backup", "make", backup)
    assert json.loads(output("backup", "make", backup, "--json"))["copied"] == 0
    assert len(json.loads(output("backup", "list", backup, "--json"))) == 2
    assert "whole" in output("backup", "verify", backup)
    assert "with 1 files" in output("backup", "restore", backup, new)
    with sqlite3.connect(f"{new}/stratal.db") as connection:
        assert connection.execute("select count(*) from run").fetchone() == (1,)
    for path in pool_of(tmp_path / "backup").values():
        spoil(path)
    assert "spoilt" in output("backup", "verify", backup, code=1)
    assert "Nothing to do" in output("migrate")
