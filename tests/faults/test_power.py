"""Power cuts, simulated: of each file only what was synced is left. Excludes real ones, and disks that lie about a sync."""

import os
import shutil
from pathlib import Path

import pytest

from stratal.core.settings import Settings
from stratal.store import journal
from stratal.store.store import Store
from stratal.tracking.opening import open_store
from stratal.tracking.reading import get_run
from stratal.tracking.runs import run


class Disk:
    """What is on the disk for sure: synced bytes of files, by inode, and names that a synced folder holds."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self._sizes: dict[int, int] = {}
        self._named: set[Path] = set()
        sync, fsync = os.fdatasync, os.fsync

        def watched(fd: int) -> None:
            sync(fd)
            self._sizes[os.fstat(fd).st_ino] = os.fstat(fd).st_size

        def watched_folder(fd: int) -> None:
            fsync(fd)
            folder = Path(f"/proc/self/fd/{fd}").readlink()
            self._named.update(folder / name for name in os.listdir(folder))

        patched.setattr(os, "fdatasync", watched)
        patched.setattr(os, "fsync", watched_folder)

    def after_a_power_cut(self, folder: Path, target: Path) -> Path:
        """Copy the journals and blobs of a store as they would be found."""
        for file in (path for part in ("journal", "blobs") for path in (folder / part).rglob("*") if path.is_file()):
            if file in self._named:
                copy = target / file.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes()[: self._sizes.get(file.stat().st_ino, 0)])
        return target


def test_a_power_safe_call_that_returned_is_there_after_a_power_cut(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 2000)
    disk = Disk(monkeypatch)
    store = open_store(tmp_path / "store", settings=Settings(durability="power"))
    training = run("e", params={"lr": 0.1}, store=store)
    for step in range(40):
        training.log({"m": float(step)}, step=step)
        training.save_bytes(f"file{step}", b"%d" % step)
        if step % 13 == 0:
            shutil.copytree(migrated, tmp_path / f"cut{step}")  # its database is made: quicker
            found = open_store(disk.after_a_power_cut(store.folder, tmp_path / f"cut{step}"))
            read = get_run(training.id, store=found)
            assert read.params == {"lr": 0.1}
            assert read.series("m").steps.tolist() == list(range(step + 1))
            assert read.read_artifact(f"file{step}") == b"%d" % step
            found.close()
    store.close()


def test_a_process_safe_call_needs_no_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is why it costs microseconds, and what it does not promise."""
    disk = Disk(monkeypatch)
    store = open_store(tmp_path / "store")
    run("e", store=store).log({"m": 1.0})
    assert disk.after_a_power_cut(store.folder, tmp_path / "cut").exists() is False
    store.close()


@pytest.mark.parametrize(("durability", "synchronous"), [("process", 1), ("power", 2)])
def test_commits_are_synced_as_the_level_says(tmp_path: Path, migrated: Path, durability: str, synchronous: int):
    """SQLite: 1 is NORMAL, which a kill cannot hurt, 2 is FULL, a sync per commit."""
    shutil.copytree(migrated, tmp_path / "store")
    store: Store = open_store(tmp_path / "store", settings=Settings(durability=durability))
    connection = store.database.connect()
    assert connection.execute("pragma synchronous").fetchone() == (synchronous,)
    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    connection.close()
    store.close()
