"""Receiving a blob into an object store: part by part, each durable there before it counts, published when the whole is verified.

Where somebody must send all of it, what they send lies aside, and is copied into its place when it is verified.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Protocol

from stratal.core.errors import Conflict, NotFound, StoreDown
from stratal.store.files.blobs import Receiving, damaged, digest_of, part_of
from stratal.store.files.copies import WHOLE, YOUNG, Copies, chain_of, folder_of, offset_of, part_name
from stratal.store.files.objects import Object, Objects
from stratal.store.shipments import OtherOffset

_sending: set[tuple[str, str]] = set()
_lock = threading.Lock()


class Parts(Protocol):
    """The place that parts are received into."""

    objects: Objects
    part_bytes: int

    @property
    def name(self) -> str: ...

    def copies(self, digest: str) -> Copies: ...

    def claim(self) -> None: ...

    def renew(self, digest: str) -> bool: ...

    def publish(self, digest: str, copy: int, size: int, names: Sequence[str]) -> bool: ...

    def discard(self, digest: str, number: int) -> None: ...


class ReceivingParts:
    """A blob on its way into an object store. What is written counts in `offset`; less than a part of it waits in memory."""

    def __init__(self, place: Parts, digest: str, copy: int, chain: list[Object], *, folder: str = "") -> None:
        self._place, self._digest, self._copy = place, digest, copy
        self._folder = folder or f"{folder_of(digest)}/{copy}"
        self._names = [part.name.rpartition("/")[2] for part in chain]
        self._stored = sum(part.size_bytes for part in chain)
        self._waiting = bytearray()
        self._hash = None if chain else sha256()  # None: what came before was seen by another process
        self.offset = self._stored
        self.is_there = False

    @classmethod
    @contextlib.contextmanager
    def begin(cls, place: Parts, digest: str, size: int, offset: int) -> Iterator[Receiving]:
        """Go on at `offset`. Raises OtherOffset if something else is there, Conflict if this process receives it already."""
        with _one_sender(place.name, digest):
            if place.renew(digest):
                there = cls(place, digest, 0, [])
                there.offset, there.is_there = size, True
                yield there
                return
            place.claim()
            with cls(place, digest, *_resumed(place, digest, size, offset)).keeping() as receiving:
                yield receiving

    @contextlib.contextmanager
    def keeping(self) -> Iterator["ReceivingParts"]:
        """Keep what has come when the block ends: a sender whose connection broke goes on at the last byte."""
        try:
            yield self
        except BaseException:
            with contextlib.suppress(StoreDown):
                self._flush()
            raise
        self._flush()

    def write(self, piece: bytes) -> None:
        self._waiting += piece
        self.offset += len(piece)
        if self._hash is not None:
            self._hash.update(piece)
        while len(self._waiting) >= self._place.part_bytes:
            self._store(bytes(self._waiting[: self._place.part_bytes]))

    def publish(self) -> None:
        if self._hash is not None and not self._names and self._hash.hexdigest() == self._digest:
            self._put_whole(bytes(self._waiting))
            self._waiting.clear()
            return
        self._flush()
        if self._measured() != self._digest:
            self._discard()
            raise damaged(self._digest)
        self._publish()

    def _put_whole(self, data: bytes) -> None:
        self._place.objects.put(f"{self._folder}/{WHOLE}", data)

    def _discard(self) -> None:
        self._place.discard(self._digest, self._copy)

    def _publish(self) -> None:
        if not self._place.publish(self._digest, self._copy, self._stored, self._names):
            raise Conflict(f"blob {self._digest[:12]}… was collected while it came", hint="send it again from the start")

    def _flush(self) -> None:
        if self._waiting:
            self._store(bytes(self._waiting))

    def _store(self, data: bytes) -> None:
        name = part_name(self._stored, digest_of(data))
        self._place.objects.put(f"{self._folder}/{name}", data)
        del self._waiting[: len(data)]
        self._names.append(name)
        self._stored += len(data)

    def _measured(self) -> str:
        if self._hash is not None:
            return self._hash.hexdigest()
        found, ends = sha256(), [offset_of(name) for name in self._names[1:]] + [self._stored]
        for name, end in zip(self._names, ends, strict=True):
            size = end - offset_of(name)
            found.update(self._place.objects.read_range(f"{self._folder}/{name}", 0, size))
        return found.hexdigest()


class ReceivingAside(ReceivingParts):
    """A blob of which one owner sends all bytes, whatever is there of it already."""

    @classmethod
    @contextlib.contextmanager
    def begin_of(cls, place: Parts, digest: str, size: int, offset: int, owner: str) -> Iterator[Receiving]:
        """Go on at `offset` with what this owner has sent. Raises as `begin`."""
        name = part_of(digest, owner)
        with _one_sender(place.name, name):
            place.claim()
            receiving = cls(place, digest, -1, chain_of(place.objects.below(folder := aside(digest, owner))), folder=folder)
            if receiving.offset > size or (offset == 0 and receiving.offset):
                receiving._discard()
                receiving = cls(place, digest, -1, [], folder=folder)
            if receiving.offset != offset:
                raise OtherOffset(f"blob {digest[:12]}… is at {receiving.offset} here", receiving.offset)
            with receiving.keeping():
                yield receiving

    def publish(self) -> None:
        try:
            super().publish()
        except NotFound:  # a part of it was taken by a collection
            self._discard()
            raise Conflict(f"blob {self._digest[:12]}… was thrown away a moment ago", hint="send it again from the start") from None

    def _put_whole(self, data: bytes) -> None:
        if not self._place.renew(self._digest):
            self._place.objects.put(f"{folder_of(self._digest)}/{self._place.copies(self._digest).free().number}/{WHOLE}", data)

    def _discard(self) -> None:
        for found in self._place.objects.below(self._folder):
            self._place.objects.delete(found.name)

    def _publish(self) -> None:
        if not self._place.renew(self._digest):
            self._copy = self._place.copies(self._digest).free().number
            for name in self._names:
                self._place.objects.copy(f"{self._folder}/{name}", f"{folder_of(self._digest)}/{self._copy}/{name}")
            super()._publish()
        self._discard()


def aside(digest: str, owner: str) -> str:
    """Give the folder of what an owner has sent of a blob."""
    return f"incoming/{part_of(digest, owner)}"


def _resumed(place: Parts, digest: str, size: int, offset: int) -> tuple[int, list[Object]]:
    """Give the number of the copy to go on with, and the parts that are there of it."""
    copy = place.copies(digest).free()
    here = sum(part.size_bytes for part in copy.chain())
    if here > size or (offset == 0 and here):
        place.discard(digest, copy.number)
        return copy.number, []
    if here != offset:
        raise OtherOffset(f"blob {digest[:12]}… is at {here} here", here)
    if here:  # keep a collection from taking them, and look whether one was faster
        place.objects.put(f"{folder_of(digest)}/{copy.number}/{YOUNG}", b"")
        now = place.copies(digest).copies.get(copy.number)
        if now is None or now.dead or sum(part.size_bytes for part in now.chain()) != here:
            raise Conflict(f"blob {digest[:12]}… was thrown away a moment ago", hint="send it again from the start")
    return copy.number, copy.chain()


@contextlib.contextmanager
def _one_sender(place: str, digest: str) -> Iterator[None]:
    with _lock:
        if (place, digest) in _sending:
            raise Conflict(f"blob {digest[:12]}… is being sent by somebody else", hint="come again in a moment")
        _sending.add((place, digest))
    try:
        yield
    finally:
        with _lock:
            _sending.discard((place, digest))
