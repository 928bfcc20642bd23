"""Blobs: bytes under their own sha256, written aside and renamed, so that a name never shows half a blob.

Laws: 1 put(b) then read gives b, or Damaged, never other bytes. 2 put twice stores once. 3 a reader never sees a partial
blob, whatever dies. 4 a digest that is no digest is refused before any path is made of it. 5 a blob with a use is needed (uses.py).
6 a blob that was put or renewed is young, and no collection takes it, however old its bytes are.
"""

import contextlib
import fcntl
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NewType

from stratal.core.errors import Conflict, Damaged, Misuse, NotFound, StoreDown
from stratal.store.journal import give_back, sync_folder, try_lock

Digest = NewType("Digest", str)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIECE = 1 << 20
# How long a collection waits for its turn: ten seconds. Each of those before it takes microseconds.
_TRIES, _TRY_S = 1000, 0.01


class Blobs:
    """Blobs in a folder. Safe for any number of processes and threads."""

    def __init__(self, folder: Path, *, power: bool = False) -> None:
        self.folder = folder
        self.power = power

    def put(self, data: bytes) -> Digest:
        """Store bytes, give their digest. Raises StoreDown if they cannot be written."""
        digest = digest_of(data)
        if not self.renew(digest):
            self._publish(lambda aside: _write_all(aside, data), digest)
        return digest

    def put_file(self, path: Path) -> Digest:
        """Store a file's bytes, whatever its size. Raises NotFound if there is no such file, Misuse if it cannot be read."""
        incoming = self._incoming()
        with _open(path) as source:
            try:
                with incoming.open("xb") as aside:
                    digest = _copy(source, aside)
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

    def take(self, other: "Blobs", digest: str) -> None:
        """Take a blob over from another folder, by a link where both lie on one disk. Raises NotFound if it is not there."""
        if self.renew(digest):
            return
        source, place = other.path(digest), self._place(digest)
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
        """Make a blob young again, so that a use of it can be written down; False if it is not there, or cannot be renewed."""
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
        """Unlink a blob unless it is younger; for collections only, inside `alone`."""
        place = self._place(digest)
        with contextlib.suppress(FileNotFoundError):
            if place.stat().st_mtime_ns < older_than_ns:
                place.unlink()
                return True
        return False

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep all others from putting and renewing blobs. Raises Conflict if somebody is at it for seconds."""
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

    def read(self, digest: str) -> bytes:
        """Give the bytes, verified. Raises NotFound, or Damaged if the disk holds other bytes."""
        data = self.path(digest).read_bytes()
        if digest_of(data) != digest:
            raise Damaged(f"blob {digest[:12]}… does not hold the bytes that were stored", hint="restore it from a backup")
        return data

    def path(self, digest: str) -> Path:
        """Give the (read-only) file of a blob. Raises NotFound if it is not there."""
        place = self._place(digest)
        if not place.is_file():
            raise NotFound(f"blob {digest[:12]}… is not in this store", hint="it was collected, or never uploaded here")
        return place

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there."""
        return self._place(digest).is_file()

    def size_bytes(self, digest: str) -> int:
        """Give the size. Raises NotFound if it is not there."""
        return self.path(digest).stat().st_size

    def _place(self, digest: str) -> Path:
        if not is_digest(digest):
            raise Misuse(f"{digest[:80]!r} is not a digest", hint="a digest is 64 hex digits of sha256")
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


def digest_of(data: bytes) -> Digest:
    """Give the sha256 of bytes, as 64 hex digits."""
    return Digest(sha256(data).hexdigest())


def digest_of_file(path: Path) -> Digest:
    """Give the sha256 of a file's bytes."""
    with path.open("rb") as source:
        return _copy(source, None)


def is_digest(text: str) -> bool:
    """Tell whether a text is a digest."""
    return _DIGEST.fullmatch(text) is not None


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except IsADirectoryError as error:
        raise Misuse(f"{path} is a folder", hint="save its files, or the folder as an artifact") from error
    except OSError as error:
        raise Misuse(f"the file {path} cannot be read: {error.strerror}", hint="mend its rights, or name another one") from error


def _copy(source: BinaryIO, target: BinaryIO | None) -> Digest:
    hashing = sha256()
    while piece := source.read(_PIECE):
        hashing.update(piece)
        if target is not None:
            target.write(piece)
    return Digest(hashing.hexdigest())


def _write_all(aside: BinaryIO, data: bytes) -> None:
    aside.write(data)


def _cannot_write(folder: Path, error: OSError) -> StoreDown:
    return StoreDown(f"blobs in {folder} cannot be written: {error.strerror}", hint="make room or mend the disk, then call again")
