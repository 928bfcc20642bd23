"""Short writes and full disks: a clear error, nothing lost, and the next call works when there is room again."""

import errno
import os
import resource
from pathlib import Path

import pytest
from disks import SmallDisk

from stratal.core.errors import StoreDown
from stratal.core.ids import new_id, to_bytes
from stratal.store import journal
from stratal.store.frames import salt_of, scan
from stratal.store.journal import Writer, segments
from stratal.tracking.opening import open_store
from stratal.tracking.runs import run


def read_back(store_folder: Path, id: str) -> list[int]:
    store = open_store(store_folder)
    store.settle()
    with store.snapshot() as snapshot:
        steps = snapshot.series(to_bytes(id), "a").steps.tolist()
    store.close()
    return steps


@pytest.mark.parametrize("limit", [10_001, 20_050, 20_051])
def test_a_file_size_limit_refuses_calls_and_loses_nothing(tmp_path: Path, limit: int):
    folder, id, good, refused = tmp_path / "store", new_id(), [], 0
    (folder / "journal").mkdir(parents=True)
    writer = Writer(folder / "journal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        for step in range(400):
            try:
                writer.log(to_bytes(id), 0, {"a": 1.0}, step)
                good.append(step)
            except StoreDown as error:
                assert "nothing that was acknowledged is lost" in str(error)
                refused += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.log(to_bytes(id), 0, {"a": 1.0}, 1000)
    writer.close()
    assert refused > 0
    assert len(segments(folder / "journal")) == 1, "a full disk must not make a file per refused call"
    assert read_back(folder, id) == [*good, 1000]


def test_a_short_write_is_cut_back_and_the_next_call_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The disk fills in the middle of a frame, at each possible byte."""
    folder, id, good = tmp_path / "store", new_id(), []
    (folder / "journal").mkdir(parents=True)
    writer = Writer(folder / "journal")
    writer.log(to_bytes(id), 0, {"a": 1.0}, 0)
    good.append(0)
    whole_write = os.write
    for room in range(1, 80):
        with monkeypatch.context() as patched:
            patched.setattr(journal.os, "write", lambda fd, data, room=room: whole_write(fd, data[:room]))
            with pytest.raises(StoreDown):
                writer.log(to_bytes(id), 0, {"a": 1.0}, 10_000 + room)
        writer.log(to_bytes(id), 0, {"a": 1.0}, room)
        good.append(room)
    writer.close()
    [name] = segments(folder / "journal")
    assert scan((folder / "journal" / name).read_bytes(), salt_of(name)).damage == [], "nothing is left of a refused call"
    assert read_back(folder, id) == good


def test_a_disk_that_also_refuses_to_cut_back_seals_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, id = tmp_path / "store", new_id()
    (folder / "journal").mkdir(parents=True)
    writer = Writer(folder / "journal")
    writer.log(to_bytes(id), 0, {"a": 1.0}, 0)
    whole_write = os.write

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(journal.os, "write", lambda fd, data: whole_write(fd, data[:30]))
        patched.setattr(journal.os, "ftruncate", refuse)
        with pytest.raises(StoreDown):
            writer.log(to_bytes(id), 0, {"a": 1.0}, 1)
    writer.log(to_bytes(id), 0, {"a": 1.0}, 2)
    writer.close()
    assert len(segments(folder / "journal")) == 2
    assert read_back(folder, id) == [0, 2]


def test_a_failed_sync_seals_the_segment_and_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, id = tmp_path / "store", new_id()
    (folder / "journal").mkdir(parents=True)
    writer = Writer(folder / "journal", power=True)
    writer.log(to_bytes(id), 0, {"a": 1.0}, 0)

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(journal.os, "fdatasync", refuse)
        with pytest.raises(StoreDown):
            writer.log(to_bytes(id), 0, {"a": 1.0}, 1)
    writer.log(to_bytes(id), 0, {"a": 1.0}, 2)
    writer.close()
    assert len(segments(folder / "journal")) == 2
    assert set(read_back(folder, id)) >= {0, 2}


def test_a_full_disk_refuses_logs_blobs_and_commands_and_goes_on_when_there_is_room(tmp_path: Path):
    with SmallDisk(tmp_path / "disk", "1m") as disk:
        store = open_store(tmp_path / "disk" / "store")
        store.settle()
        good, refused = [], 0
        writing = run("full", store=store)
        for step in range(40_000):
            try:
                writing.log({"a": 1.0}, step=step)
                good.append(step)
            except StoreDown:
                refused += 1
                if refused > 50:
                    break
        assert refused > 50
        with pytest.raises(StoreDown):
            store.blobs.put(b"x" * 500_000)
        with pytest.raises(StoreDown):
            store.settle()
        with store.snapshot() as snapshot:
            assert snapshot.series(to_bytes(writing.id), "a").steps.tolist() == good
        disk.resize("64m")
        writing.log({"a": 1.0}, step=50_000)
        writing.finish()
        store.settle()
        with store.snapshot() as snapshot:
            assert snapshot.series(to_bytes(writing.id), "a").steps.tolist() == [*good, 50_000]
        digest = store.blobs.put(b"x" * 500_000)
        assert store.blobs.read(digest) == b"x" * 500_000
        store.close()
