"""Copying stored files out of the store: under their own names, verified, whole or not at all, and never over another file."""

import secrets
from collections.abc import Callable
from pathlib import Path

from stratal.core.errors import Conflict, Misuse
from stratal.store.files.blobs import Blobs, damaged, digest_of, digest_of_file


def copy_out(blobs: Blobs, digest: str, target: Path) -> Path:
    """Copy a blob to a path, making its folders; nothing happens if it is there. Raises Conflict, Damaged, NotFound."""
    return _put(target, digest, lambda aside: blobs.copy_to(digest, aside))


def write_out(data: bytes, target: Path) -> Path:
    """Write bytes to a path, as `copy_out` does."""
    return _put(target, digest_of(data), lambda aside: aside.write_bytes(data))


def _put(target: Path, digest: str, write: Callable[[Path], object]) -> Path:
    if not _is_free(target, digest):
        return target
    aside = target.with_name(f".{secrets.token_hex(8)}.new")  # a name that nobody has: beside the target may lie another one's file
    try:
        write(aside)
        if digest_of_file(aside) != digest:
            raise damaged(digest)
        aside.rename(target)
    finally:
        aside.unlink(missing_ok=True)
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
        raise Conflict(f"{target} is there, and is another file", hint="move it away, or choose another folder")
    return False
