"""The cache of named files: verified, whole, shared by processes, within its limit. Excludes who fills it."""

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from stratal.core.errors import Damaged, Misuse, StoreDown
from stratal.store.files.blobs import Blobs
from stratal.store.files.cache import Cache
from stratal.store.files.disk import DiskBlobs


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return DiskBlobs(tmp_path / "blobs")


def _elsewhere(work: Callable[[], None]) -> int:
    """Do something in a process that ends, and give back what it was given with it."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def _ended_well(*pids: int) -> bool:
    return all(os.waitpid(pid, 0)[1] == 0 for pid in pids)


def _folders(cache: Cache) -> set[str]:
    return {place.name for place in cache.folder.iterdir() if place.is_dir()}


def test_files_stand_there_under_their_names_and_cannot_be_written(blobs: Blobs, tmp_path: Path):
    cache = Cache(tmp_path / "cache", limit_bytes=1 << 20)
    files = {"a.txt": blobs.put(b"a"), "deep/b.txt": blobs.put(b"b")}
    folder = cache.folder_of(files, blobs.copy_to)
    assert (folder / "deep/b.txt").read_bytes() == b"b"
    assert stat.S_IMODE((folder / "a.txt").stat().st_mode) == 0o444
    assert cache.folder_of(dict(reversed(files.items())), blobs.copy_to) == folder, "the same files give the same folder"


def test_a_blob_that_holds_other_bytes_never_gets_into_the_cache(blobs: Blobs, tmp_path: Path):
    cache, digest = Cache(tmp_path / "cache", limit_bytes=1 << 20), blobs.put(b"a")
    blobs.path(digest).chmod(0o644)
    blobs.path(digest).write_bytes(b"x")
    with pytest.raises(Damaged):
        cache.folder_of({"a": digest}, blobs.copy_to)
    assert _folders(cache) == set()


def test_a_path_that_leads_out_of_the_folder_is_refused(blobs: Blobs, tmp_path: Path):
    cache = Cache(tmp_path / "cache", limit_bytes=1 << 20)
    with pytest.raises(Misuse, match="leads out"):
        cache.folder_of({"../../a": blobs.put(b"a")}, blobs.copy_to)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("change", ["write", "delete"])
def test_a_file_that_was_changed_by_hand_is_made_again(blobs: Blobs, tmp_path: Path, change: str):
    cache, files = Cache(tmp_path / "cache", limit_bytes=1 << 20), {"a": blobs.put(b"a")}
    path = cache.folder_of(files, blobs.copy_to) / "a"
    path.chmod(0o644)
    path.write_bytes(b"xy") if change == "write" else path.unlink()
    assert (cache.folder_of(files, blobs.copy_to) / "a").read_bytes() == b"a"


def test_what_was_used_least_recently_goes_first_and_what_is_in_use_stays(blobs: Blobs, tmp_path: Path):
    cache = Cache(tmp_path / "cache", limit_bytes=2500)
    digests = [blobs.put(bytes([number]) * 1000) for number in range(4)]
    mine = cache.folder_of({"mine": digests[0]}, blobs.copy_to)
    for number in (1, 2):
        assert _ended_well(_elsewhere(lambda number=number: cache.folder_of({"f": digests[number]}, blobs.copy_to)))
    assert len(_folders(cache)) == 2, "3,000 bytes are too many: the first of the two that nobody uses went"
    assert mine.is_dir()
    assert _ended_well(_elsewhere(lambda: cache.folder_of({"f": digests[3]}, blobs.copy_to)))
    assert mine.is_dir()
    kept = {file.read_bytes()[:1] for file in cache.folder.glob("*/files/*")}
    assert kept == {b"\0", b"\3"}
    assert len(list(cache.folder.glob("*.uses"))) == 2, "those of processes that have ended went when room was made"


def test_however_many_folders_are_given_they_cost_no_open_files(blobs: Blobs, tmp_path: Path):
    cache, digest = Cache(tmp_path / "cache", limit_bytes=1 << 20), blobs.put(b"a")
    cache.folder_of({"first": digest}, blobs.copy_to)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        cache.folder_of({f"f{number}": digest}, blobs.copy_to)
    assert len(os.listdir("/proc/self/fd")) <= before  # a neighbour's may go meanwhile


def test_a_folder_that_a_forked_child_was_given_stays_while_the_child_lives(blobs: Blobs, tmp_path: Path):
    cache = Cache(tmp_path / "cache", limit_bytes=1)
    cache.folder_of({"parents": blobs.put(b"aa")}, blobs.copy_to)
    read, write = os.pipe()

    def work() -> None:
        os.write(write, bytes(cache.folder_of({"childs": blobs.put(b"bb")}, blobs.copy_to)))
        signal.pause()

    child = _elsewhere(work)
    try:
        given = Path(os.fsdecode(os.read(read, 4096)))
        cache.folder_of({"more": blobs.put(b"cc")}, blobs.copy_to)
        assert (given / "childs").read_bytes() == b"bb"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_many_processes_that_ask_at_once_get_whole_folders(blobs: Blobs, tmp_path: Path):
    cache = Cache(tmp_path / "cache", limit_bytes=30_000)
    many = [{f"f{i}": blobs.put(os.urandom(1000)) for i in range(10)} for _ in range(6)]

    def ask() -> None:
        for _ in range(5):
            for files in many:
                folder = cache.folder_of(files, blobs.copy_to)
                assert {name: blobs.put((folder / name).read_bytes()) for name in files} == files

    assert _ended_well(*(_elsewhere(ask) for _ in range(4)))
    assert not list(cache.folder.glob("*.new")) and not list(cache.folder.glob("*.old"))


def test_a_cache_that_cannot_be_written_says_so(blobs: Blobs, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreDown, match="cannot be written"):
        Cache(tmp_path / "file" / "cache", limit_bytes=1).folder_of({"a": blobs.put(b"a")}, blobs.copy_to)
