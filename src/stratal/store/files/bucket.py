"""Blobs in an object store: large ones in parts, so that an upload goes on where it stopped, and collections without any lock.

How copies are named and why that is safe: copies.py. What is written is known by its digest before anybody can read it; what is read
whole is verified; files come through the cache.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from stratal.core.errors import Conflict, NotFound, Refused, StoreDown
from stratal.store.files.blobs import (
    Blobs,
    Digest,
    Entry,
    Leftover,
    Receiving,
    check_digest,
    check_range,
    damaged,
    digest_of,
    digest_of_file,
    not_here,
    open_source,
)
from stratal.store.files.cache import Cache
from stratal.store.files.copies import WHOLE, YOUNG, Copies, Copy, chain_of, folder_of, offset_of, part_name, understand
from stratal.store.files.objects import Held, Objects
from stratal.store.files.uploads import ReceivingAside, ReceivingParts, aside

# Bytes of a part: 16 of them are a gigabyte, and so much is sent again at most after a break. One is held in memory at a time.
PART = 64 << 20
# Bytes that one request reads, and how many requests of one blob run beside each other. Guesses: 64 MiB in memory.
_READ, _AT_ONCE = 16 << 20, 4
# How often a writer begins anew when a collection marks what it writes. Each needs another collection at that very moment.
_TRIES = 5
_DAY_NS = 86400 * 10**9
_EVER_NS = 2**62
_OWNER = "owner"
# Seconds for which who only looks whether the place is there waits for it.
LOOK_S = 5.0
# Where transfers lie until they are verified (transferring.py), and what one owner must send all of (uploads.py).
_ASIDE = ("incoming", "checked")


class _NoRoom(Exception):
    """A blob is larger than all that the cache may keep."""


class Part(NamedTuple):
    """A part of a blob that is to be written."""

    offset: int
    size: int
    digest: str

    @property
    def name(self) -> str:
        return part_name(self.offset, self.digest)


class BucketBlobs(Blobs):
    """Blobs below a prefix of an object store. cache: for files that are read. owner: the store that these are of, None: not checked."""

    def __init__(self, objects: Objects, *, cache: Cache, owner: str | None = None, part_bytes: int = PART) -> None:
        self.objects = objects
        self.part_bytes = part_bytes
        self._cache, self._owner = cache, owner
        self._is_ours = owner is None

    @property
    def name(self) -> str:
        return self.objects.name

    def wait_at_most(self, seconds: float) -> None:
        self.objects.patience_s = seconds

    def put(self, data: bytes) -> Digest:
        digest = digest_of(data)
        for _ in range(_TRIES):
            copies = self.copies(digest)
            if self._has_renewed(copies):
                return digest
            if len(data) > self.part_bytes:
                parts = [
                    Part(start, min(self.part_bytes, len(data) - start), digest_of(data[start : start + self.part_bytes]))
                    for start in range(0, len(data), self.part_bytes)
                ]
                if self._put_parts(copies, parts, lambda part: data[part.offset : part.offset + part.size]):
                    return digest
            else:
                self.claim()
                self.objects.put(f"{folder_of(digest)}/{copies.free().number}/{WHOLE}", data)
                return digest
        raise _busy(digest)

    def put_file(self, path: Path) -> Digest:
        with open_source(path) as source:
            if os.fstat(source.fileno()).st_size <= self.part_bytes:
                return self.put(source.read())
            digest, parts = self._measure(source)

            def read(part: Part) -> bytes:
                source.seek(part.offset)
                data = source.read(part.size)
                if digest_of(data) != part.digest:
                    raise Conflict(f"the file {path} was changed while it was saved", hint="save it when nobody writes to it")
                return data

            for _ in range(_TRIES):
                copies = self.copies(digest)
                if self._has_renewed(copies) or self._put_parts(copies, parts, read):
                    return digest
        raise _busy(digest)

    def renew(self, digest: str) -> bool:
        return self._has_renewed(self.copies(check_digest(digest)))

    def open(self, digest: str) -> BinaryIO:
        check_digest(digest)
        with contextlib.suppress(_NoRoom, FileNotFoundError):  # or dropped from the cache in between
            return (self._cache.folder_of({"blob": digest}, self._copy_if_small, keeps=False) / "blob").open("rb")
        return self._open_aside(digest)

    def read_range(self, digest: str, start: int, size: int) -> bytes:
        check_range(start, size)
        copy = self._readable(digest)
        return b"".join(self._ranges(digest, copy, start, min(start + size, copy.size_bytes)))

    def copy_to(self, digest: str, target: Path) -> None:
        self._write(digest, self._readable(digest), target)

    def path(self, digest: str) -> Path:
        check_digest(digest)
        return self._cache.folder_of({"blob": digest}, self.copy_to) / "blob"

    def has(self, digest: str) -> bool:
        return self.copies(check_digest(digest)).readable() is not None

    def size_bytes(self, digest: str) -> int:
        return self._readable(digest).size_bytes

    def receive(self, digest: str, size: int, offset: int, *, owner: str = "") -> AbstractContextManager[Receiving]:
        check_digest(digest)
        if owner:
            return ReceivingAside.begin_of(self, digest, size, offset, owner)
        return ReceivingParts.begin(self, digest, size, offset)

    def received_bytes(self, digest: str, *, owner: str = "") -> int:
        if owner:
            return sum(part.size_bytes for part in chain_of(self.objects.below(aside(check_digest(digest), owner))))
        copies = self.copies(check_digest(digest))
        return 0 if copies.live() else sum(part.size_bytes for part in copies.free().chain())

    def drop_old_parts(self) -> int:
        return 0  # they are leftovers, which a collection finds: nobody lists a whole bucket when a server starts

    def entries(self) -> Iterator[Entry]:
        for copies in self._all():
            if (copy := copies.readable()) is not None:
                yield Entry(copies.digest, copy.size_bytes, copies.newest_ns)

    def drop(self, digest: str, *, older_than_ns: int) -> bool:
        copies = self.copies(check_digest(digest))
        if copies.readable() is None or copies.newest_ns >= older_than_ns:
            return False
        gone = [self._condemn(digest, copy, older_than_ns) for copy in copies.copies.values() if copy.is_published]
        return bool(gone) and all(gone)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold nothing: each drop looks after itself. Raises Refused if these blobs are of another store."""
        self.claim()
        yield

    def leftovers(self, *, older_than_ns: int) -> Iterator[Leftover]:
        for copies in self._all():
            for copy in copies.copies.values():
                when_ns = max((each.changed_ns for each in (*copy.content, *copy.dead)), default=0)
                if not copy.is_published and when_ns < older_than_ns:
                    yield Leftover(f"{folder_of(copies.digest)}/{copy.number}", copy.size_bytes)
        for folder in _ASIDE:
            for found in self.objects.below(folder):
                if found.changed_ns < older_than_ns:
                    yield Leftover(found.name, found.size_bytes)

    def drop_leftover(self, name: str, *, older_than_ns: int) -> bool:
        if name.startswith(tuple(f"{folder}/" for folder in _ASIDE)):
            return self._drop_aside(name, older_than_ns)
        first, rest, number = name.split("/")
        copy = self.copies(check_digest(first + rest)).copies.get(int(number))
        return copy is not None and not copy.is_published and self._condemn(first + rest, copy, older_than_ns)

    def clock_shift_ns(self) -> int:
        """As the port says; less a second, since most object stores tell whole seconds."""
        self.claim()
        name = f"clock-{secrets.token_hex(8)}"
        self.objects.put(name, b"")
        try:
            return self.objects.head(name).changed_ns - time.time_ns() - 10**9
        finally:
            self.objects.delete(name)

    def copies(self, digest: str) -> Copies:
        """List what lies there of a blob."""
        return understand(self.objects.below(folder_of(digest))).get(digest, Copies(Digest(digest)))

    def claim(self) -> None:
        """See to it that nobody but one store writes and collects here. Raises Refused if it is another one's."""
        if self._is_ours or self._owner is None:
            return
        if not self.objects.put_first(_OWNER, self._owner.encode()):
            self._check_owner(self.objects)
        self._is_ours = True

    def look(self) -> None:
        with contextlib.suppress(NotFound):  # nobody has written here yet
            self._check_owner(self.objects.for_a_look(LOOK_S))

    def _check_owner(self, objects: Objects) -> None:
        owner = objects.read(_OWNER).decode()
        if self._owner is not None and owner != self._owner:
            raise Refused(
                f"{self.name} holds the blobs of another store, whose collections would delete yours",
                hint="give each store a prefix of its own",
            )

    def publish(self, digest: str, copy: int, size: int, names: Sequence[str]) -> bool:
        """Make a blob of parts readable, whose digest is known to be right; False if a collection has taken one of them."""
        folder = f"{folder_of(digest)}/{copy}"
        self.objects.put(f"{folder}/parts-{size}", msgspec.json.encode(names))
        now = self.copies(digest).copies.get(copy)
        return now is not None and not now.dead and set(names) <= {part.name.rpartition("/")[2] for part in now.parts}

    def discard(self, digest: str, number: int) -> None:
        """Delete what is there of a copy that nobody can read."""
        copy = self.copies(digest).copies.get(number)
        if copy is not None and not copy.is_published:
            self._condemn(digest, copy, _EVER_NS)

    def _has_renewed(self, copies: Copies) -> bool:
        live = copies.live()
        if live is None:
            return False
        self.claim()
        self.objects.put(f"{folder_of(copies.digest)}/{live.number}/{YOUNG}", b"")
        now = self.copies(copies.digest).copies.get(live.number)  # after it is young, as copies.py says
        return now is not None and now.is_published and not now.dead

    def _put_parts(self, copies: Copies, parts: Sequence[Part], read: Callable[[Part], bytes]) -> bool:
        """Write what is missing of a blob, and publish it; False if a collection came in between."""
        self.claim()
        copy, digest = copies.free(), copies.digest
        folder = f"{folder_of(digest)}/{copy.number}"
        if copy.parts:  # of an upload that broke off: keep a collection from taking them
            self.objects.put(f"{folder}/{YOUNG}", b"")
            copy = self.copies(digest).copies.get(copy.number, Copy(copy.number))
            if copy.dead:
                return False
        there = {part.name.rpartition("/")[2]: part.size_bytes for part in copy.parts}
        for part in parts:
            if there.get(part.name) != part.size:
                self.objects.put(f"{folder}/{part.name}", read(part))
        return self.publish(digest, copy.number, sum(part.size for part in parts), [part.name for part in parts])

    def _measure(self, source: BinaryIO) -> tuple[Digest, list[Part]]:
        """Give the digest of a file, and its parts with theirs, read once."""
        whole, parts, offset = sha256(), list[Part](), 0
        while data := source.read(self.part_bytes):
            whole.update(data)
            parts.append(Part(offset, len(data), digest_of(data)))
            offset += len(data)
        return Digest(whole.hexdigest()), parts

    def _readable(self, digest: str) -> Copy:
        copy = self.copies(check_digest(digest)).readable()
        if copy is None:
            raise not_here(digest)
        return copy

    def _ranges(self, digest: str, copy: Copy, start: int, stop: int) -> Iterator[bytes]:
        """Give the bytes of a copy from `start` to `stop`, which are there, piece by piece, a few requests at a time."""
        wanted = [
            (name, first, min(first + _READ, to))
            for name, frm, to in _cut(self._pieces(digest, copy), start, stop)
            for first in range(frm, to, _READ)
        ]
        try:
            if len(wanted) == 1:
                yield self.objects.read_range(*wanted[0])
                return
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="stratal-blobs") as threads:
                for at in range(0, len(wanted), _AT_ONCE):
                    yield from threads.map(lambda one: self.objects.read_range(*one), wanted[at : at + _AT_ONCE])
        except NotFound:
            raise not_here(digest) from None  # collected a moment ago

    def _pieces(self, digest: str, copy: Copy) -> list[tuple[str, int, int]]:
        """Give (name, offset, size) of the objects that hold a copy's bytes."""
        if copy.whole is not None:
            return [(copy.whole.name, 0, copy.whole.size_bytes)]
        assert copy.manifest is not None
        try:
            names = msgspec.json.decode(self.objects.read(copy.manifest.name), type=list[str])
            offsets = [offset_of(name) for name in names] + [copy.size_bytes]
        except (msgspec.MsgspecError, ValueError, IndexError):
            raise damaged(digest) from None
        except NotFound:
            raise not_here(digest) from None
        folder = f"{folder_of(digest)}/{copy.number}"
        return [(f"{folder}/{name}", offsets[at], offsets[at + 1] - offsets[at]) for at, name in enumerate(names)]

    def _copy_if_small(self, digest: str, target: Path) -> None:
        copy = self._readable(digest)
        if copy.size_bytes > self._cache.limit_bytes:
            raise _NoRoom
        self._write(digest, copy, target)

    def _write(self, digest: str, copy: Copy, target: Path) -> None:
        with target.open("wb") as file:
            for piece in self._ranges(digest, copy, 0, copy.size_bytes):
                file.write(piece)

    def _open_aside(self, digest: str) -> BinaryIO:
        """Open a file of its own, for what the cache has no room for."""
        aside = self._cache.folder / f"{secrets.token_hex(8)}.blob"
        try:
            self.copy_to(digest, aside)
            if digest_of_file(aside) != digest:
                raise damaged(digest)
            return aside.open("rb")
        except OSError as error:
            raise StoreDown(f"the cache {self._cache.folder} cannot be written: {error.strerror}", hint="make room there") from error
        finally:
            aside.unlink(missing_ok=True)

    def _all(self) -> Iterator[Copies]:
        for folder in self.objects.folders():
            if len(folder) == 2:
                found = understand(self.objects.below(folder))
                yield from (found[digest] for digest in sorted(found))

    def _drop_aside(self, name: str, older_than_ns: int) -> bool:
        """Delete an object of a transfer; one that was sent again keeps its name, and is young."""
        with contextlib.suppress(NotFound, Held):  # or whoever sent it keeps it, by the URL that they had: the others go
            if self.objects.head(name).changed_ns < older_than_ns:
                self.objects.delete(name)
                return True
        return False

    def _condemn(self, digest: str, copy: Copy, older_than_ns: int) -> bool:
        """Delete a copy, unless it is young or has become so."""
        mark = f"{folder_of(digest)}/{copy.number}/dead-{secrets.token_hex(8)}"
        self.objects.put(mark, b"")
        try:
            now = self.copies(digest).copies[copy.number]
            if now.newest_ns >= older_than_ns or (now.is_published and not copy.is_published):
                return False
            for each in now.content:
                self.objects.delete(each.name)
            marked_ns = next(each.changed_ns for each in now.dead if each.name == mark)
            for other in now.dead:
                if other.changed_ns < marked_ns - _DAY_NS:  # of a collection that died; no living one takes a day between two requests
                    self.objects.delete(other.name)
            return True
        finally:
            self.objects.delete(mark)


def _cut(pieces: Sequence[tuple[str, int, int]], start: int, stop: int) -> Iterator[tuple[str, int, int]]:
    """Give (name, from, to) inside of each object that holds bytes between `start` and `stop`."""
    for name, offset, size in pieces:
        first, last = max(start, offset), min(stop, offset + size)
        if first < last:
            yield name, first - offset, last - offset


def _busy(digest: str) -> Conflict:
    return Conflict(f"blob {digest[:12]}… is being collected all the time", hint="save it again")
