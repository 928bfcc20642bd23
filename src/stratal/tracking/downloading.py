"""Copying stored files out of the store: under their own names, verified, and never over another file."""

import shutil
from pathlib import Path

from stratal.core.errors import Conflict, Damaged, Misuse
from stratal.store.blobs import Blobs, digest_of, digest_of_file


def copy_out(blobs: Blobs, digest: str, target: Path) -> Path:
    """Copy a blob to a path, making its folders; nothing happens if it is there. Raises Conflict, Damaged, NotFound."""
    source = blobs.path(digest)
    if _is_free(target, digest):
        shutil.copyfile(source, target)
        if digest_of_file(target) != digest:
            target.unlink()
            raise Damaged(f"blob {digest[:12]}… does not hold the bytes that were stored", hint="restore it from a backup")
    return target


def write_out(data: bytes, target: Path) -> Path:
    """Write bytes to a path, as `copy_out` does."""
    if _is_free(target, digest_of(data)):
        target.write_bytes(data)
    return target


def _is_free(target: Path, digest: str) -> bool:
    """Make the folder of a path, and tell whether the path is free; it is not if it holds that content already."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise Misuse(f"{target.parent} cannot be a folder: a file is in its place", hint="choose another folder") from error
    if not target.is_symlink() and not target.exists():
        return True
    if not target.is_file() or digest_of_file(target) != digest:
        raise Conflict(f"{target} is there already, with another content", hint="choose another folder, or move that one away")
    return False
