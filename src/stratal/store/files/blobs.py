"""Blobs: bytes under their own sha256, in a place that a disk or an object store gives.

Laws, each tested on every place: 1 put(b), then read gives b, or Damaged; never other bytes. 2 put twice stores once. 3 a reader
never sees a partial blob, whatever dies. 4 a digest that is no digest is refused before any name is made of it. 5 a blob that was put
or renewed is young, and no collection takes it, however old its bytes are. 6 whoever saves what is being collected has it, or writes it
anew. 7 a range is cut where the blob ends. 8 each blob is listed once, with its size and the time since which it is young. 9 what is
received in pieces goes on where it broke off, and is published whole and verified, or not at all. 10 what one owner has begun to send,
no other one goes on with, or learns of; an owner sends all of a blob, also of one that is there.
That a blob is needed, uses.py knows, and no place.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple, NewType, Protocol

from stratal.core.errors import Damaged, Misuse, NotFound

Digest = NewType("Digest", str)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIECE = 1 << 20


class Entry(NamedTuple):
    """A blob in a place. young_ns: when it was put or renewed last, by the place's clock."""

    digest: Digest
    size_bytes: int
    young_ns: int


class Leftover(NamedTuple):
    """What a dead process left half-written. name: in the place."""

    name: str
    size_bytes: int


class Receiving(Protocol):
    """A blob on its way in. offset: what is here of it; is_there: it was complete before."""

    offset: int
    is_there: bool

    def write(self, piece: bytes) -> None:
        """Append. Raises StoreDown if the place refuses; what was appended before stays."""

    def publish(self) -> None:
        """Verify, and make it readable. Raises Damaged for other bytes than the digest's; they are dropped."""


class Blobs(ABC):
    """A place for blobs. Safe for any number of processes and threads."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What opens this place again: a folder or a URL."""

    @abstractmethod
    def put(self, data: bytes) -> Digest:
        """Store bytes, give their digest. Raises StoreDown if they cannot be written."""

    @abstractmethod
    def put_file(self, path: Path) -> Digest:
        """Store a file's bytes, whatever its size. Raises NotFound if there is no such file, Misuse if it cannot be read."""

    def take(self, other: "Blobs", digest: str) -> None:
        """Take a blob over from another place. Raises NotFound if it is not there."""
        if not self.renew(digest):
            self.put_file(other.path(digest))

    @abstractmethod
    def renew(self, digest: str) -> bool:
        """Make a blob young again, so that a use of it can be written down; False if it is not there, or cannot be renewed."""

    @abstractmethod
    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading; not verified. Raises NotFound."""

    def read(self, digest: str) -> bytes:
        """Give the bytes, verified. Raises NotFound, or Damaged if the place holds other bytes."""
        with self.open(digest) as source:
            data = source.read()
        if digest_of(data) != digest:
            raise damaged(digest)
        return data

    def read_range(self, digest: str, start: int, size: int) -> bytes:
        """Give at most `size` bytes from `start` on, not verified: fewer, or none, where the blob ends. Raises NotFound."""
        check_range(start, size)
        with self.open(digest) as source:
            source.seek(start)
            return source.read(size)

    @abstractmethod
    def copy_to(self, digest: str, target: Path) -> None:
        """Write the bytes into a fresh file, not verified: whoever copies looks at what came. Raises NotFound."""

    @abstractmethod
    def path(self, digest: str) -> Path:
        """Give a (read-only) file with the bytes of a blob; it stays for as long as this process lives. Raises NotFound."""

    @abstractmethod
    def has(self, digest: str) -> bool:
        """Tell whether the blob is there."""

    @abstractmethod
    def size_bytes(self, digest: str) -> int:
        """Give the size. Raises NotFound if it is not there."""

    @abstractmethod
    def receive(self, digest: str, size: int, offset: int, *, owner: str = "") -> AbstractContextManager[Receiving]:
        """Go on receiving a blob at `offset`. Raises OtherOffset if something else is here, Conflict if somebody sends it now.

        owner: who sends it, where that must be all of it; '': nobody asks, and what is there need not come again."""

    @abstractmethod
    def received_bytes(self, digest: str, *, owner: str = "") -> int:
        """Give how much of a blob is here, of an owner, that is not whole yet."""

    @abstractmethod
    def drop_old_parts(self) -> int:
        """Delete what was received in part and not gone on with for days; give how many blobs that were."""

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """List all blobs, by digest. For collections, and who copies them all."""

    @abstractmethod
    def drop(self, digest: str, *, older_than_ns: int) -> bool:
        """Delete a blob unless it is younger; for collections only, inside `alone`."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """Be the only one who may drop. Raises Conflict if somebody is at it for seconds."""

    @abstractmethod
    def leftovers(self, *, older_than_ns: int) -> Iterator[Leftover]:
        """List what dead processes left here half-written."""

    @abstractmethod
    def drop_leftover(self, name: str, *, older_than_ns: int) -> bool:
        """Delete what a dead process left, unless somebody has gone on with it."""

    def wait_at_most(self, seconds: float) -> None:  # noqa: B027  # not abstract: most places are there, or not
        """Fail when the place has been away for so long, for who keeps others waiting. A folder is never waited for."""

    def look(self) -> None:  # noqa: B027  # as above: opening a folder has looked
        """See whether the place answers, takes who asks, and is this store's. Changes nothing. Raises StoreDown, Refused."""

    def clock_shift_ns(self) -> int:
        """Give how far the clock that dates blobs here may be ahead of this machine's."""
        return 0


def damaged(digest: str) -> Damaged:
    """Say that a blob is spoilt."""
    return Damaged(f"blob {digest[:12]}… does not hold the bytes that were stored", hint="restore it from a backup")


def not_here(digest: str) -> NotFound:
    """Say that a blob is missing."""
    return NotFound(f"blob {digest[:12]}… is not in this store", hint="it was collected, or never uploaded here")


def check_digest(digest: str) -> Digest:
    """Give a text as the digest that it is. Raises Misuse."""
    if not is_digest(digest):
        raise Misuse(f"{digest[:80]!r} is not a digest", hint="a digest is 64 hex digits of sha256")
    return Digest(digest)


def check_range(start: int, size: int) -> None:
    """Raise Misuse for a range that is none."""
    if start < 0 or size < 0:
        raise Misuse(f"no range begins at {start} and has {size} bytes", hint="give two numbers from 0 on")


def digest_of(data: bytes) -> Digest:
    """Give the sha256 of bytes, as 64 hex digits."""
    return Digest(sha256(data).hexdigest())


def part_of(digest: str, owner: str) -> str:
    """Name what is there of a blob that an owner sends."""
    return f"{digest}-{digest_of(owner.encode())[:32]}" if owner else digest


def digest_of_file(path: Path) -> Digest:
    """Give the sha256 of a file's bytes."""
    with path.open("rb") as source:
        return copy_hashed(source, None)


def is_digest(text: str) -> bool:
    """Tell whether a text is a digest."""
    return _DIGEST.fullmatch(text) is not None


def open_source(path: Path) -> BinaryIO:
    """Open a user's file. Raises NotFound if there is none, Misuse if it cannot be read."""
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except IsADirectoryError as error:
        raise Misuse(f"{path} is a folder", hint="save its files, or the folder as an artifact") from error
    except OSError as error:
        raise Misuse(f"the file {path} cannot be read: {error.strerror}", hint="mend its rights, or name another one") from error


def copy_hashed(source: BinaryIO, target: BinaryIO | None) -> Digest:
    """Copy all of a file into another one, if there is one, and give its digest."""
    hashing = sha256()
    while piece := source.read(_PIECE):
        hashing.update(piece)
        if target is not None:
            target.write(piece)
    return Digest(hashing.hexdigest())
