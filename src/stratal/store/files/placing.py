"""Where the blobs of a store lie: in its own folder, or where the settings said when it was made, which its folder then remembers.

A place holds the blobs of one store, whose collections delete there what that store does not need: so each store signs its place.
"""

import contextlib
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from stratal.core.errors import Misuse, StoreDown
from stratal.core.records import Record
from stratal.store.files.blobs import Blobs
from stratal.store.files.disk import DiskBlobs
from stratal.store.locating import check_disk

if TYPE_CHECKING:
    from stratal.store.files.cache import Cache

FILE = "blobs.json"


class Placed(Record, frozen=True, kw_only=True):
    """Where a store's blobs lie, and the name by which the store signs that place."""

    place: str
    owner: str


def open_blobs(place: str | Path, *, cache: "Cache", owner: str | None = None, power: bool = False) -> Blobs:
    """Open a place for blobs: a folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix.

    cache: where files of an object store are read from. owner: the store that it is opened for; None: nobody looks whose it is.
    Raises Misuse for what is no such place, or for a folder of another store; an object store is asked at the first write.
    """
    text = str(place)
    if "://" in text and not text.startswith("file://"):
        from stratal.store.files.bucket import BucketBlobs  # obstore: only for those who have such a place
        from stratal.store.files.objects import open_objects

        return BucketBlobs(open_objects(text), cache=cache, owner=owner)
    folder = Path(text.removeprefix("file://"))
    check_disk(folder)
    if owner is not None:
        _sign(folder, owner)
    return DiskBlobs(folder, power=power)


def blobs_of(folder: Path, said: str | None, *, must_agree: bool, cache: "Cache", power: bool) -> Blobs:
    """Open the blobs of a store in a folder.

    said: where the settings want them. A store that has blobs keeps them where they are; must_agree: raise Misuse if that is elsewhere.
    """
    own = folder / "blobs"
    wanted, placed = _spelled(said, own), read_placed(folder)
    if placed is None and wanted is not None and not own.is_dir():
        placed = _remember(folder, Placed(place=wanted, owner=secrets.token_hex(16)))
    here = None if placed is None else placed.place
    if said and must_agree and here != wanted:
        raise Misuse(
            f"the blobs of {folder} lie in {here or own}, and the settings want them in {wanted or own}",
            hint="a store keeps its blobs where they are: take `blobs` (STRATAL_BLOBS) away, or begin a new store",
        )
    if placed is None:
        return DiskBlobs(own, power=power)
    return open_blobs(placed.place, cache=cache, owner=placed.owner, power=power)


def blobs_of_database(url: str, said: str | None, own: Path, *, cache: "Cache", power: bool) -> Blobs:
    """Open the blobs of a store in a database server, which all its machines must name alike. said: None for the folder `own`."""
    if said is None or "://" not in said:
        return DiskBlobs(own if said is None else Path(said).expanduser(), power=power)
    parts = urlsplit(url)
    owner = sha256(f"{parts.hostname}:{parts.port or 5432}{parts.path}".encode()).hexdigest()[:32]  # whoever it is that connects
    return open_blobs(said, cache=cache, owner=owner, power=power)


def read_placed(folder: Path) -> Placed | None:
    """Give where a store's blobs lie, None for its own folder. Raises Misuse for a file that was changed by hand."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Placed)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.MsgspecError as error:
        raise Misuse(f"{folder / FILE} cannot be read: {error}", hint="restore it: it says where the store's blobs lie") from error


def share_place(source: Path, target: Path) -> None:
    """Let a store in another folder have the blobs of this one: for a store whose files are this one's, too."""
    if (placed := read_placed(source)) is not None:
        _remember(target, placed)
    else:
        (target / "blobs").symlink_to(source / "blobs")


def _remember(folder: Path, placed: Placed) -> Placed:
    """Write it down, unless another process was faster; give what is written."""
    aside = folder / f"{FILE}.{secrets.token_hex(4)}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(msgspec.json.encode(placed))
        with contextlib.suppress(FileExistsError):
            os.link(aside, folder / FILE)
    except OSError as error:
        raise StoreDown(f"the store {folder} cannot be written: {error.strerror}", hint="choose another folder") from error
    finally:
        aside.unlink(missing_ok=True)
    return read_placed(folder) or placed


def _spelled(said: str | None, own: Path) -> str | None:
    """Give a place in its one spelling, None for the store's own folder."""
    if not said:
        return None
    if "://" in said and not said.startswith("file://"):
        from stratal.store.files.objects import checked_url  # obstore: only for those who have such a place

        return checked_url(said)
    if said.startswith(("s3:", "gs:", "az:")):
        raise Misuse(f"{said:.60} is not the place of blobs", hint="write s3://bucket/prefix, with two slashes")
    folder = Path(said.removeprefix("file://")).expanduser().resolve()
    return None if folder == own.resolve() else str(folder)  # a store whose files are another's has a link there


def _sign(folder: Path, owner: str) -> None:
    signed = folder / "owner"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), signed.open("x") as file:
            file.write(owner)
        found = signed.read_text()
    except OSError as error:
        raise StoreDown(f"blobs in {folder} cannot be written: {error.strerror}", hint="make room or mend the disk") from error
    if found != owner:
        raise Misuse(
            f"{folder} holds the blobs of another store, whose collections would delete yours", hint="give each store a folder of its own"
        )
