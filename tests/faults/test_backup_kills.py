"""Backups beside writers that log, and kill -9 of the backup at any point: what was acknowledged before it began is in it."""

import itertools
import os
from pathlib import Path

import pytest

from stratal.core.ids import new_id, to_bytes
from stratal.store.backups import back_up, restore, snapshots, verify
from stratal.store.store import Store
from stratal.testing.victims import Victims
from stratal.testing.workloads import acknowledged_steps
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run


def fill(store: Store, files: int) -> None:
    with run("churn", store=store) as made:
        for number in range(files):
            made.save_bytes(f"f{number}", os.urandom(100))


@pytest.mark.slow
def test_what_was_acknowledged_before_a_backup_began_is_in_it(store, tmp_path, victims: Victims):
    ids = [new_id() for _ in range(3)]
    writers = [victims.start("stratal.testing.workloads:log_until_killed", str(store.folder), str(tmp_path / id), id) for id in ids]
    try:
        for id in ids:
            while not (tmp_path / id).exists() or acknowledged_steps(tmp_path / id) < 100:
                pass
        for number in range(5):
            told = {id: acknowledged_steps(tmp_path / id) for id in ids}
            back_up(store, tmp_path / "backup")
            restore(tmp_path / "backup", tmp_path / f"new{number}")
            again = open_store(tmp_path / f"new{number}")
            for id in ids:
                with again.snapshot() as snapshot:
                    steps = snapshot.series(to_bytes(id), "m0").steps.tolist()
                assert steps == list(range(len(steps))) and len(steps) >= told[id] > 0
            again.close()
    finally:
        for writer in writers:
            writer.kill()


@pytest.mark.slow
def test_kill_9_of_a_backup_at_any_point_leaves_older_snapshots_whole_and_the_next_one_finishes(store, tmp_path, victims: Victims):
    fill(store, 6)
    backup = tmp_path / "backup"
    back_up(store, backup)
    kills = 0
    for points in itertools.count(1):
        fill(store, 3)
        before = len(snapshots(backup))
        ended = victims.start("stratal.testing.workloads:back_up_until_killed", str(store.folder), str(backup), points).wait()
        found = snapshots(backup)
        assert len(found) == before + (ended == 0)
        assert [verify(backup, each.name)[1] for each in found] == [[]] * len(found)
        if ended == 0:
            break
        kills += 1
    assert kills >= 5
    done = back_up(store, backup, keep=2)
    assert (done.missing, done.damaged) == ((), ())
    assert list(Path(backup).rglob(".*")) == [], "nothing half-written stays"
    restore(backup, tmp_path / "new")


def test_kill_9_of_a_restore_leaves_no_store(store, tmp_path, victims: Victims):
    fill(store, 50)
    back_up(store, tmp_path / "backup")
    victim = victims.start("stratal.testing.workloads:restore_and_die", str(tmp_path / "backup"), str(tmp_path / "new"))
    assert victim.wait() == -9
    assert not (tmp_path / "new").exists()
    restore(tmp_path / "backup", tmp_path / "new")
