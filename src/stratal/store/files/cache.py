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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from stratal.core.errors import Misuse, StoreDown
from stratal.core.records import Record, to_json
from stratal.store.files.blobs import damaged, digest_of_file
from stratal.store.journal import give_back, try_lock

# The file in each cache that names what this process was given, locked for as long as it or a child lives that it forked. One for all
# folders: a process may be given more of them than it may open files.
_uses: dict[Path, int] = {}
_held: set[Path] = set()


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

    def folder_of(self, files: Mapping[str, str], fetch: Callable[[str, Path], object], *, keeps: bool = True) -> Path:
        """Give a folder that holds these files, read-only: relative path to digest.

        fetch: writes a blob into a fresh file. keeps: whether the folder stays while this process lives; else it may go at any moment.
        The same files give the same folder, without a copy the second time. Raises Damaged, NotFound, or StoreDown if there is no room.
        """
        key = hashlib.sha256(to_json(sorted(files.items())).encode()).hexdigest()
        place = self.folder / key
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if keeps:
                self._hold(place)
            if not _is_whole(place, files):
                self._make(place, files, fetch)
                self._make_room()
            with contextlib.suppress(*(() if keeps else (FileNotFoundError,))):
                os.utime(place / "kept.json")
        except OSError as error:
            raise StoreDown(
                f"the cache {self.folder} cannot be written: {error.strerror}",
                hint="make room there, or set STRATAL_CACHE to another folder",
            ) from error
        return place / "files"

    def _hold(self, place: Path) -> None:
        """Keep this folder from being dropped while this process lives."""
        if place not in _held:
            with self._locked(fcntl.LOCK_SH):
                os.write(self._uses(), f"{place.name}\n".encode())
            _held.add(place)

    def _uses(self) -> int:
        """Give the file of what this process was given. Called under the lock: else it passes for a dead one's before it is locked."""
        if self.folder not in _uses:
            fd = os.open(self.folder / f"{secrets.token_hex(8)}.uses", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            fcntl.flock(fd, fcntl.LOCK_EX)
            _uses[self.folder] = fd
        return _uses[self.folder]

    def _in_use(self) -> set[str]:
        """Give the names of folders that living processes were given."""
        found: set[str] = set()
        for path in self.folder.glob("*.uses"):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if try_lock(fd):
                    path.unlink()  # its process has died
                else:
                    found.update(path.read_text().split())
            finally:
                give_back(fd)
        return found

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        fd = os.open(self.folder / "cache.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, kind)
            yield
        finally:
            give_back(fd)

    def _make(self, place: Path, files: Mapping[str, str], fetch: Callable[[str, Path], object]) -> None:
        aside = self.folder / f"{secrets.token_hex(8)}.new"
        try:
            kept = {path: _copy(fetch, aside / "files", path, digest) for path, digest in files.items()}
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
        if total > self.limit_bytes:
            with self._locked(fcntl.LOCK_EX):
                in_use = self._in_use()
                for entry in entries:
                    if total > self.limit_bytes and entry.place.name not in in_use:
                        with contextlib.suppress(FileNotFoundError):  # another process dropped it
                            entry.place.rename(self.folder / f"{secrets.token_hex(8)}.old")
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


def _copy(fetch: Callable[[str, Path], object], folder: Path, path: str, digest: str) -> tuple[int, int]:
    target = folder / path
    if ".." in target.parts:
        raise Misuse(f"{path[:100]!r} leads out of its folder", hint="such an artifact was not written by Stratal; read its bytes instead")
    target.parent.mkdir(parents=True, exist_ok=True)
    fetch(digest, target)
    if digest_of_file(target) != digest:
        raise damaged(digest)
    target.chmod(0o444)
    return _state(target)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


os.register_at_fork(after_in_child=_uses.clear)  # what it is given itself goes into a file of its own; that of its parent stays open
