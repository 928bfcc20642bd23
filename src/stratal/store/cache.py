"""The cache: folders of files under their own names, made from blobs when somebody needs them so, and dropped when room is short.

One folder per user, for all stores, shared by any number of processes and threads.

Laws (tested): 1 what it gives was verified against the digests. 2 a folder is there whole, or not at all. 3 a folder that a living
process was given is never dropped; of all others the least recently used go first, until the rest is within the limit.
4 a file that was changed by hand is made again for the next one who asks.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from stratal.core.errors import Damaged, Misuse, StoreDown
from stratal.core.records import Record, to_json
from stratal.store.blobs import digest_of_file

# Locks that this process holds on folders that it was given, for as long as it lives. A forked child holds them, too.
_held: dict[Path, int] = {}


class _Kept(Record, frozen=True, kw_only=True):
    """What a folder of the cache held when it was made: path to (size, time of change); another state means that somebody changed it."""

    size_bytes: int
    files: dict[str, tuple[int, int]]


class _Entry(NamedTuple):
    used_ns: int
    size_bytes: int
    place: Path


class Cache:
    """A folder of folders. limit_bytes: what may be kept there that nobody uses now."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    def folder_of(self, files: Mapping[str, str], find: Callable[[str], Path]) -> Path:
        """Give a folder that holds these files, read-only: relative path to digest. find: digest to the file of its blob.

        The same files give the same folder, without a copy the second time. Raises Damaged, NotFound, or StoreDown if there is no room.
        """
        key = hashlib.sha256(to_json(sorted(files.items())).encode()).hexdigest()
        place = self.folder / key
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._hold(place)
            if not _is_whole(place, files):
                self._make(place, files, find)
                self._make_room()
            os.utime(place / "kept.json")
        except OSError as error:
            raise StoreDown(
                f"the cache {self.folder} cannot be written: {error.strerror}",
                hint="make room there, or set STRATAL_CACHE to another folder",
            ) from error
        return place / "files"

    def _hold(self, place: Path) -> None:
        """Keep this folder from being dropped while this process lives."""
        if place in _held:
            return
        lock = place.with_suffix(".lock")
        while True:
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(fd, fcntl.LOCK_SH)  # waits only while somebody drops the folder
            if lock.exists() and os.path.samestat(os.fstat(fd), lock.stat()):
                _held[place] = fd
                return
            os.close(fd)  # it was dropped, and its lock with it

    def _make(self, place: Path, files: Mapping[str, str], find: Callable[[str], Path]) -> None:
        aside = self.folder / f"{secrets.token_hex(8)}.new"
        try:
            kept = {path: _copy(find(digest), aside / "files", path, digest) for path, digest in files.items()}
            document = _Kept(size_bytes=sum(size for size, _ in kept.values()), files=kept)
            (aside / "kept.json").write_bytes(msgspec.json.encode(document))
            if place.exists() and not _is_whole(place, files):  # somebody changed it
                place.rename(self.folder / f"{secrets.token_hex(8)}.old")
            try:
                aside.rename(place)
            except OSError:
                if not _is_whole(place, files):  # else another process was faster
                    raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _make_room(self) -> None:
        entries = sorted(self._entries())
        total = sum(entry.size_bytes for entry in entries)
        for entry in entries:
            if total <= self.limit_bytes:
                break
            if entry.place not in _held and self._drop(entry.place):
                total -= entry.size_bytes
        for left in (*self.folder.glob("*.old"), *(new for new in self.folder.glob("*.new") if _is_left(new))):
            shutil.rmtree(left, ignore_errors=True)

    def _entries(self) -> list[_Entry]:
        found = []
        for kept in self.folder.glob("*/kept.json"):
            try:
                found.append(_Entry(kept.stat().st_mtime_ns, msgspec.json.decode(kept.read_bytes(), type=_Kept).size_bytes, kept.parent))
            except (OSError, msgspec.DecodeError):  # dropped meanwhile, or changed by hand
                continue
        return [entry for entry in found if entry.place.suffix not in (".new", ".old")]

    def _drop(self, place: Path) -> bool:
        """Drop a folder unless somebody uses it."""
        lock = place.with_suffix(".lock")
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            old = self.folder / f"{secrets.token_hex(8)}.old"
            place.rename(old)
            lock.unlink()
            shutil.rmtree(old, ignore_errors=True)
        except OSError:  # in use, or dropped by another process
            return False
        finally:
            os.close(fd)
        return True


def _is_left(aside: Path) -> bool:
    """Tell whether a folder that is being made is so for a day already: its process has died."""
    with contextlib.suppress(OSError):
        return aside.stat().st_mtime < time.time() - 86400
    return False


def _is_whole(place: Path, files: Mapping[str, str]) -> bool:
    try:
        kept = msgspec.json.decode((place / "kept.json").read_bytes(), type=_Kept)
        return kept.files.keys() == files.keys() and all(_state(place / "files" / path) == kept.files[path] for path in files)
    except (OSError, msgspec.DecodeError):
        return False


def _copy(source: Path, folder: Path, path: str, digest: str) -> tuple[int, int]:
    target = folder / path
    if ".." in target.parts:
        raise Misuse(f"{path[:100]!r} leads out of its folder", hint="such an artifact was not written by Stratal; read its bytes instead")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    if digest_of_file(target) != digest:
        raise Damaged(f"blob {digest[:12]}… does not hold the bytes that were stored", hint="restore it from a backup")
    target.chmod(0o444)
    return _state(target)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
