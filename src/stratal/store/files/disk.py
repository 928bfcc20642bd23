"""Blobs on a disk: written aside and renamed, so that a name never shows half a blob; the folder's own lock keeps collections away."""

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from stratal.core.errors import Conflict, StoreDown
from stratal.store.files.blobs import (
    Blobs,
    Digest,
    Entry,
    Leftover,
    Receiving,
    check_digest,
    copy_hashed,
    digest_of,
    is_digest,
    not_here,
    open_source,
)
from stratal.store.files.receiving import drop_old_parts, receive_blob, received_bytes
from stratal.store.journal import give_back, sync_folder, try_lock

# How long a collection waits for its turn: ten seconds. Each of those before it takes microseconds.
_TRIES, _TRY_S = 1000, 0.01


class DiskBlobs(Blobs):
    """A folder of blobs."""

    def __init__(self, folder: Path, *, power: bool = False) -> None:
        self.folder = folder
        self.power = power

    @property
    def name(self) -> str:
        return str(self.folder)

    def put(self, data: bytes) -> Digest:
        digest = digest_of(data)
        if not self.renew(digest):
            self._publish(lambda aside: _write_all(aside, data), digest)
        return digest

    def put_file(self, path: Path) -> Digest:
        incoming = self._incoming()
        with open_source(path) as source:
            try:
                with incoming.open("xb") as aside:
                    digest = copy_hashed(source, aside)
                    self._finish(aside)
                self._rename(incoming, digest)
            except OSError as error:
                raise _cannot_write(self.folder, error) from error
            finally:
                with contextlib.suppress(OSError):
                    incoming.unlink(missing_ok=True)
        return digest

    def adopt(self, aside: Path, digest: Digest) -> None:
        """Publish a file of `incoming` whose bytes were verified. Raises StoreDown if it cannot be."""
        try:
            with aside.open("rb") as file:
                self._finish(file)
            self._rename(aside, digest)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def take(self, other: Blobs, digest: str) -> None:
        """Take a blob over from another place: by a link, where both lie on one disk."""
        if self.renew(digest):
            return
        source, place = other.path(digest), self._place(digest)
        if not isinstance(other, DiskBlobs):
            self.put_file(source)
            return
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with self._shared():
                os.link(source, place)
                os.utime(place)  # young, as what was put
        except FileExistsError:
            self.renew(digest)
        except OSError:  # another disk, or one without links
            self.put_file(source)

    def renew(self, digest: str) -> bool:
        place = self._place(digest)
        try:
            with self._shared():
                os.utime(place)
        except (FileNotFoundError, PermissionError):  # or it is another user's file: a put then writes it anew
            return False
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        return True

    def drop(self, digest: str, *, older_than_ns: int) -> bool:
        place = self._place(digest)
        with contextlib.suppress(FileNotFoundError):
            if place.stat().st_mtime_ns < older_than_ns:
                place.unlink()
                return True
        return False

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._locking() as fd:
            for _ in range(_TRIES):
                if try_lock(fd):
                    break
                time.sleep(_TRY_S)
            else:
                raise Conflict("files are being saved into this store all the time", hint="collect when less is saved")
            yield

    @contextlib.contextmanager
    def _shared(self) -> Iterator[None]:
        """Keep collections away while a blob is renewed or renamed into its place."""
        with self._locking() as fd:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def _locking(self) -> Iterator[int]:
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the folder is its own lock
        try:
            yield fd
        finally:
            give_back(fd)

    def open(self, digest: str) -> BinaryIO:
        return self.path(digest).open("rb")

    def copy_to(self, digest: str, target: Path) -> None:
        shutil.copyfile(self.path(digest), target)

    def path(self, digest: str) -> Path:
        place = self._place(digest)
        if not place.is_file():
            raise not_here(digest)
        return place

    def has(self, digest: str) -> bool:
        return self._place(digest).is_file()

    def size_bytes(self, digest: str) -> int:
        return self.path(digest).stat().st_size

    def receive(self, digest: str, size: int, offset: int, *, owner: str = "") -> AbstractContextManager[Receiving]:
        return receive_blob(self, digest, size, offset, owner)

    def received_bytes(self, digest: str, *, owner: str = "") -> int:
        return received_bytes(self, digest, owner)

    def drop_old_parts(self) -> int:
        return drop_old_parts(self)

    def entries(self) -> Iterator[Entry]:
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                digest = folder.name + entry.name
                with contextlib.suppress(FileNotFoundError):
                    if is_digest(digest):
                        found = entry.stat()
                        yield Entry(Digest(digest), found.st_size, found.st_mtime_ns)

    def leftovers(self, *, older_than_ns: int) -> Iterator[Leftover]:
        for path in sorted((self.folder / "incoming").glob("*")):
            with contextlib.suppress(FileNotFoundError):
                if (found := path.stat()).st_mtime_ns < older_than_ns:
                    yield Leftover(f"incoming/{path.name}", found.st_size)

    def drop_leftover(self, name: str, *, older_than_ns: int) -> bool:
        return unlink_unless_held(self.folder / name)

    def _place(self, digest: str) -> Path:
        check_digest(digest)
        return self.folder / digest[:2] / digest[2:]

    def _incoming(self) -> Path:
        folder = self.folder / "incoming"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        return folder / f"{os.getpid()}-{secrets.token_hex(8)}"

    def _publish(self, write: Callable[[BinaryIO], None], digest: Digest) -> None:
        incoming = self._incoming()
        try:
            with incoming.open("xb") as aside:
                write(aside)
                self._finish(aside)
            self._rename(incoming, digest)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        finally:
            with contextlib.suppress(OSError):
                incoming.unlink(missing_ok=True)

    def _finish(self, aside: BinaryIO) -> None:
        aside.flush()
        os.fchmod(aside.fileno(), 0o444)
        if self.power:
            os.fdatasync(aside.fileno())

    def _rename(self, incoming: Path, digest: Digest) -> None:
        place = self._place(digest)
        place.parent.mkdir(exist_ok=True)
        os.utime(incoming)  # a large one took its time
        with self._shared():
            incoming.rename(place)
        if self.power:
            sync_folder(place.parent)
            sync_folder(self.folder)  # which may have got that folder just now


def _write_all(aside: BinaryIO, data: bytes) -> None:
    aside.write(data)


def unlink_unless_held(path: Path) -> bool:
    """Unlink a file unless its writer lives after all."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not try_lock(fd):
            return False
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)
    return True


def _cannot_write(folder: Path, error: OSError) -> StoreDown:
    return StoreDown(f"blobs in {folder} cannot be written: {error.strerror}", hint="make room or mend the disk, then call again")
