"""Asides: files on their way in by numbered parts, whose digest nobody knows before they are whole. They lie beside the blobs, where no
reader looks, so that any server of the store takes the next part.

Laws (tested): 1 a file is there whole, of the very parts that were named when it was finished, or not at all. 2 what was kept of a part
is kept; sent again, the last one counts. 3 an upload is its beginner's, and nobody else learns of it. 4 what is not gone on with is a
leftover, which the next collection deletes; on a disk also the start of a server, after days.
"""

import contextlib
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from stratal.core.errors import Misuse, NotFound, StoreDown
from stratal.core.records import Record
from stratal.store.files.blobs import Blobs
from stratal.store.files.disk import DiskBlobs

# As S3 has it. A part passes through the memory of a server whose blobs lie in an object store.
MOST_PARTS, MOST_PART_BYTES = 10_000, 128 << 20
_PLAN, _PIECE = "upload", 8 << 20
_ID_DIGITS = 32


class Upload(Record, frozen=True, kw_only=True):
    """What is on its way. path: where it is to be; digest, size_bytes: of what came, when it is whole."""

    path: str
    sender: str
    parts: int
    digest: str = ""
    size_bytes: int = 0


class NamedPart(NamedTuple):
    """A part as its sender names it: by its number from 1 on, and the digest that it was told."""

    number: int
    digest: str


def begin_upload(blobs: Blobs, path: str, parts: int, *, sender: str) -> str:
    """Begin to take a file, and give the upload's id. Raises Misuse for a number of parts that cannot be."""
    if not 1 <= parts <= MOST_PARTS:
        raise Misuse(f"a file of {parts} parts is not taken", hint=f"from 1 to {MOST_PARTS} parts")
    id = secrets.token_hex(_ID_DIGITS // 2)
    _place(blobs).put(id, _PLAN, msgspec.json.encode(Upload(path=path, sender=sender, parts=parts)))
    return id


def find_upload(blobs: Blobs, id: str, *, sender: str) -> Upload:
    """Give an upload. Raises NotFound if there is none of this sender."""
    unknown = NotFound("there is no such upload of yours", hint="begin one")
    if len(id) != _ID_DIGITS or not set(id) <= set("0123456789abcdef"):
        raise unknown
    try:
        upload = msgspec.json.decode(_place(blobs).read(id, _PLAN), type=Upload)
    except (NotFound, msgspec.MsgspecError):
        raise unknown from None
    if upload.sender != sender:
        raise unknown
    return upload


def keep_part(blobs: Blobs, id: str, number: int, data: bytes | Path) -> str:
    """Keep a part, in the place of one that came before, and give its digest."""
    if isinstance(data, bytes):
        _place(blobs).put(id, _name(number), data)
        return sha256(data).hexdigest()
    with data.open("rb") as file:
        digest = sha256()
        while piece := file.read(_PIECE):
            digest.update(piece)
    _place(blobs).put_file(id, _name(number), data)
    return digest.hexdigest()


def finish_upload(blobs: Blobs, id: str, upload: Upload, parts: Sequence[NamedPart], *, aside: Path) -> Upload:
    """Put the parts together, verify each, and store the file. O(bytes). aside: a file that does not exist, for as long as it takes.

    Repeats give the same. Raises Misuse for parts that are missing, twice, or others than those that were kept."""
    if upload.digest:
        return upload
    if [part.number for part in parts] != [*range(1, upload.parts + 1)]:
        raise Misuse(f"the upload has {upload.parts} parts, and is finished with all of them", hint="name parts 1 to the last, in order")
    place = _place(blobs)
    try:
        with aside.open("xb") as file:
            for part in parts:
                _append(place, id, part, file)
            size = file.tell()
        done = msgspec.structs.replace(upload, digest=blobs.put_file(aside), size_bytes=size)
    except OSError as error:
        raise StoreDown(f"the file cannot be put together: {error.strerror}", hint="make room on the server's disk") from error
    finally:
        aside.unlink(missing_ok=True)
    place.put(id, _PLAN, msgspec.json.encode(done))
    return done


def drop_parts(blobs: Blobs, id: str) -> None:
    """Delete the parts of an upload that is finished; that it was, is remembered for those who ask again."""
    _place(blobs).drop(id, keeps=_PLAN)


def drop_upload(blobs: Blobs, id: str) -> None:
    """Delete all of an upload."""
    _place(blobs).drop(id, keeps="")


def _append(place: "_Place", id: str, part: NamedPart, file: BinaryIO) -> None:
    other = Misuse(f"part {part.number} was not sent, or was another one", hint="send it again, then finish with what you are told of it")
    found = sha256()
    try:
        for piece in place.pieces(id, _name(part.number)):
            found.update(piece)
            file.write(piece)
    except NotFound:
        raise other from None
    if found.hexdigest() != part.digest:
        raise other


def _name(number: int) -> str:
    return f"{number:05d}"


class _Place(ABC):
    """Where the files of uploads lie."""

    @abstractmethod
    def put(self, id: str, name: str, data: bytes) -> None: ...

    @abstractmethod
    def put_file(self, id: str, name: str, source: Path) -> None: ...

    @abstractmethod
    def pieces(self, id: str, name: str) -> Iterator[bytes]: ...

    @abstractmethod
    def drop(self, id: str, *, keeps: str) -> None: ...

    def read(self, id: str, name: str) -> bytes:
        return b"".join(self.pieces(id, name))


class _OnDisk(_Place):
    """Files `incoming/ID.NAME.part` in the folder of blobs: a collection, and the start of a server, know such as leftovers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "incoming"

    def put(self, id: str, name: str, data: bytes) -> None:
        with self._written(id, name) as aside:
            aside.write_bytes(data)

    def put_file(self, id: str, name: str, source: Path) -> None:
        with self._written(id, name) as aside:
            try:
                os.link(source, aside)
            except OSError:  # another disk, or one without links
                shutil.copyfile(source, aside)

    def pieces(self, id: str, name: str) -> Iterator[bytes]:
        try:
            with self._path(id, name).open("rb") as file:
                while piece := file.read(_PIECE):
                    yield piece
        except FileNotFoundError:
            raise NotFound(f"there is no part {name}") from None

    def drop(self, id: str, *, keeps: str) -> None:
        for path in self._folder.glob(f"{id}.*.part"):
            if path != self._path(id, keeps):
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _written(self, id: str, name: str) -> Iterator[Path]:
        aside = self._folder / f"{id}.{secrets.token_hex(8)}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            yield aside
            aside.rename(self._path(id, name))
        except OSError as error:
            raise StoreDown(f"the part cannot be written: {error.strerror}", hint="make room on the server's disk") from error
        finally:
            aside.unlink(missing_ok=True)

    def _path(self, id: str, name: str) -> Path:
        return self._folder / f"{id}.{name}.part"


class _InBucket(_Place):
    """Objects `incoming/ID/NAME`: a collection knows such as leftovers."""

    def __init__(self, blobs: Blobs) -> None:
        from stratal.store.files.bucket import BucketBlobs  # obstore: only for those who have such a place

        assert isinstance(blobs, BucketBlobs)
        self._blobs, self._objects = blobs, blobs.objects

    def put(self, id: str, name: str, data: bytes) -> None:
        self._blobs.claim()
        self._objects.put(f"incoming/{id}/{name}", data)

    def put_file(self, id: str, name: str, source: Path) -> None:
        self.put(id, name, source.read_bytes())

    def pieces(self, id: str, name: str) -> Iterator[bytes]:
        place = f"incoming/{id}/{name}"
        size = self._objects.head(place).size_bytes
        for at in range(0, size, _PIECE):
            yield self._objects.read_range(place, at, min(size, at + _PIECE))

    def drop(self, id: str, *, keeps: str) -> None:
        for found in self._objects.below(f"incoming/{id}"):
            if found.name != f"incoming/{id}/{keeps}":
                self._objects.delete(found.name)


def _place(blobs: Blobs) -> _Place:
    return _OnDisk(blobs.folder) if isinstance(blobs, DiskBlobs) else _InBucket(blobs)
