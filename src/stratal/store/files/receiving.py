"""Receiving blobs into a folder: in pieces, resumed where the last try broke off, published only if every byte is right.

Laws (tested): 1 a blob is published whole and verified, or not at all. 2 what was received before a break need not come
again. 3 bytes that are not the blob are thrown away, all of them. 4 one sender per part at a time; others are told to wait. 5 each
owner has a part of their own, and sends all of the blob, also if it is here.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from stratal.core.errors import Conflict, Damaged, StoreDown
from stratal.store.files.blobs import Digest, Receiving, check_digest, digest_of_file, part_of
from stratal.store.journal import give_back, try_lock
from stratal.store.shipments import OtherOffset

# Parts of blobs that nobody went on with for so long are dropped. A guess: longer than any outage that is waited out.
KEEP_PARTS_S = 7 * 86400


class Place(Protocol):
    """The folder of blobs that a part lies in until it is one."""

    folder: Path

    def renew(self, digest: str) -> bool: ...

    def adopt(self, aside: Path, digest: Digest) -> None: ...


class ReceivingOnDisk:
    """A blob on its way into a folder."""

    def __init__(self, blobs: Place, digest: str, part: Path, fd: int, offset: int) -> None:
        self._blobs, self._digest, self._part, self._fd = blobs, digest, part, fd
        self.offset = offset
        self.is_there = fd < 0

    def write(self, piece: bytes) -> None:
        try:
            view = memoryview(piece)
            while view:
                view = view[os.write(self._fd, view) :]
                self.offset = os.fstat(self._fd).st_size
        except OSError as error:
            raise StoreDown(
                f"blobs cannot be written: {error.strerror}", hint="make room on the server's disk; then send it again"
            ) from error

    def publish(self) -> None:
        if digest_of_file(self._part) != self._digest:
            self._part.unlink()
            raise Damaged(f"blob {self._digest[:12]}… did not arrive whole", hint="send it again from the start")
        if self._blobs.renew(self._digest):  # another owner's, of the same bytes
            self._part.unlink()
        else:
            self._blobs.adopt(self._part, Digest(self._digest))


@contextlib.contextmanager
def receive_blob(blobs: Place, digest: str, size: int, offset: int, owner: str) -> Iterator[Receiving]:
    """Go on receiving a blob at `offset`. Raises OtherOffset if something else is here, Conflict if somebody sends it now."""
    part = _part(blobs, check_digest(digest), owner)
    if not owner and blobs.renew(digest):  # young until the facts that name it have come, too
        yield ReceivingOnDisk(blobs, digest, part, -1, size)
        return
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreDown(f"blobs cannot be written: {error.strerror}", hint="make room on the server's disk") from error
    try:
        if not try_lock(fd):
            raise Conflict(f"blob {digest[:12]}… is being sent by somebody else", hint="come again in a moment")
        if not owner and blobs.renew(digest):  # somebody published it in between, and this part is an empty new one
            part.unlink(missing_ok=True)
            yield ReceivingOnDisk(blobs, digest, part, -1, size)
            return
        if not part.exists() or part.stat().st_ino != os.fstat(fd).st_ino:
            raise Conflict(f"blob {digest[:12]}… was thrown away a moment ago", hint="send it again from the start")
        here = os.fstat(fd).st_size
        if here > size or (offset == 0 and here):
            os.ftruncate(fd, 0)
            here = 0
        if here != offset:
            raise OtherOffset(f"blob {digest[:12]}… is at {here} here", here)
        yield ReceivingOnDisk(blobs, digest, part, fd, here)
    finally:
        give_back(fd)


def received_bytes(blobs: Place, digest: str, owner: str) -> int:
    """Give how much of a blob is here, of an owner, that is not whole yet."""
    with contextlib.suppress(FileNotFoundError):
        return _part(blobs, check_digest(digest), owner).stat().st_size
    return 0


def drop_old_parts(blobs: Place) -> int:
    """Delete parts that nobody went on with; give how many."""
    dropped = 0
    for part in (blobs.folder / "incoming").glob("*.part"):
        with contextlib.suppress(FileNotFoundError):
            if part.stat().st_mtime < time.time() - KEEP_PARTS_S:
                part.unlink()
                dropped += 1
    return dropped


def _part(blobs: Place, digest: str, owner: str) -> Path:
    return blobs.folder / "incoming" / f"{part_of(digest, owner)}.part"
