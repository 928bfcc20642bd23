"""Placing an export: written aside, renamed when it is whole, and never over something that is not an export."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from stratal.core.errors import Misuse
from stratal.core.records import Record

MANIFEST = "export.json"
KIND = "stratal export"


class Manifest(Record, frozen=True, kw_only=True):
    """What an export says of itself, in its file export.json. tables: name to number of rows."""

    kind: str = KIND
    version: int = 1
    format: str
    stratal: str
    made: str
    where: str
    experiments: list[str] | None
    runs: int
    tables: dict[str, int]
    artifact_files: int | None
    losses: dict[str, int] = {}


@contextlib.contextmanager
def placed(path: Path, *, force: bool) -> Iterator[Path]:
    """Give a folder to write into; it becomes `path` when the block ends well, and vanishes if it does not.

    force: replace an older export that stands there. Raises Misuse if anything else does, before anything is written."""
    target = path.resolve()
    check_place(target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".{target.name[:100]}.{secrets.token_hex(4)}.partial"
    aside.mkdir()
    try:
        yield aside
        _swap(aside, target, force=force)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_place(target: Path, *, force: bool) -> None:
    """Refuse a place that holds something. Raises Misuse."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not _is_export(target):
        raise Misuse(f"{target} is there already, and is no export", hint="name a folder that does not exist yet")
    if not force:
        raise Misuse(f"{target} already holds an export", hint="name another folder, or replace it with --force (force=True)")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write what the export says of itself; the last file of it."""
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def _is_export(folder: Path) -> bool:
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest).kind == KIND
    except (OSError, msgspec.DecodeError):
        return False


def _swap(aside: Path, target: Path, *, force: bool) -> None:
    check_place(target, force=force)  # again: the export may have taken an hour
    old = aside.with_suffix(".replaced")
    if target.exists():
        target.rename(old)
    aside.rename(target)
    shutil.rmtree(old, ignore_errors=True)
