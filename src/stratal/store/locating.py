"""Where a store lies: from what a user says to a folder, refusing places where it could not keep its promises."""

import re
from itertools import islice
from pathlib import Path

from stratal.core.errors import Misuse, NotFound
from stratal.core.settings import FOLDER, Settings, find_store_folder

# File systems shared between machines: locks and memory maps do not hold there as SQLite and the journals need them.
NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "orangefs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.beegfs",
}  # fmt: skip
_SCHEME = re.compile(r"([a-z][a-z0-9+]+)://", re.IGNORECASE)
_MOUNTS = Path("/proc/self/mountinfo")


def locate(url: str | None, settings: Settings, working: Path) -> Path:
    """Give the absolute folder of a store. Raises Misuse for what cannot be a store here."""
    said = url or settings.store
    if said and (scheme := _SCHEME.match(said)):
        if scheme[1].lower() != "file":
            raise Misuse(
                f"{said!r}: stores of kind {scheme[1]}:// are not in this version",
                hint="use a folder on a local disk, postgresql://, or http://HOST:PORT",
            )
        said = said[len(scheme[0]) :]
    folder = Path(said).expanduser() if said else find_store_folder(working)
    folder = (working / folder).resolve()
    if folder.is_file():
        raise Misuse(f"{folder} is a file", hint="a store is a folder")
    check_disk(folder)
    return folder


def need_store(url: str | None, settings: Settings, working: Path) -> None:
    """Raise NotFound if a store that lies in a folder is not there. One behind a URL answers for itself."""
    said = url or settings.store or ""
    if (scheme := _SCHEME.match(said)) and scheme[1].lower() != "file":
        return
    folder = locate(url, settings, working)
    if (folder / "journal").is_dir():
        return
    near = _stores_below(working)
    hint = "the first run, import or dataset makes one; or name one that is there: --store FOLDER, or STRATAL_STORE"
    if near:
        hint = f"the nearest: {', '.join(f'--store {place}' for place in near)}; or log a run here, which makes one"
    where = f"in {folder}" if said else f"here ({working}), nor in a folder above"
    raise NotFound(f"there is no store {where}", hint=hint)


def _stores_below(working: Path) -> list[Path]:
    """List stores of the folders right below, at most three: people stand one too high."""
    try:
        found = (folder.relative_to(working) for folder in sorted(working.glob(f"*/{FOLDER}")) if (folder / "journal").is_dir())
        return list(islice(found, 3))
    except OSError:  # a folder that may not be looked into
        return []


def check_disk(folder: Path) -> None:
    """Refuse a folder where locks do not hold. Raises Misuse."""
    kind = file_system(folder, _MOUNTS.read_text() if _MOUNTS.exists() else "")
    if kind in NETWORK:
        raise Misuse(
            f"{folder} lies on a network file system ({kind}), where a store could lose what it acknowledged",
            hint="use a folder on a local disk (STRATAL_STORE=/path), or a team store on PostgreSQL behind a server",
        )


def file_system(folder: Path, mountinfo: str) -> str:
    """Give the kind of file system that holds a folder, by the text of /proc/self/mountinfo; '' if unknown."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split()
        if not separator or len(fields) < 5:
            continue
        place = Path(_unescape(fields[4]))
        if (folder == place or place in folder.parents) and len(place.parts) >= best:
            best, kind = len(place.parts), right.split()[0]
    return kind


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
