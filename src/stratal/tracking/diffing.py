"""Differences in code: the files that two captures kept, line by line."""

import difflib
from collections.abc import Mapping

from stratal.core.errors import Damaged, NotFound
from stratal.core.records import Record
from stratal.store.files.blobs import Blobs
from stratal.tracking.capture import StoredFile

MOST_LINES = 400  # of one file's difference; the rest is counted


class FileDiff(Record, frozen=True, kw_only=True):
    """One file. change: added, removed, changed. lines: a unified diff, without its two head lines. hidden: lines left out."""

    name: str
    change: str
    lines: tuple[str, ...] = ()
    hidden: int = 0


def diff_files(base: Mapping[str, StoredFile], other: Mapping[str, StoredFile], blobs: Blobs) -> tuple[FileDiff, ...]:
    """Give what differs in the files kept of two runs, by name. A file whose bytes are gone, or no text, is named without lines."""
    found = []
    for name in sorted({*base, *other}):
        left, right = base.get(name), other.get(name)
        if left is not None and right is not None and (left.original or left.digest) == (right.original or right.digest):
            continue
        change = "added" if left is None else "removed" if right is None else "changed"
        lines = _unified(_text(left, blobs), _text(right, blobs))
        found.append(FileDiff(name=name, change=change, lines=tuple(lines[:MOST_LINES]), hidden=max(0, len(lines) - MOST_LINES)))
    return tuple(found)


def _unified(left: list[str] | None, right: list[str] | None) -> list[str]:
    if left is None or right is None:
        return []
    return [line.rstrip("\n") for line in difflib.unified_diff(left, right, n=3)][2:]


def _text(file: StoredFile | None, blobs: Blobs) -> list[str] | None:
    if file is None:
        return []
    try:
        return blobs.read(file.digest).decode().splitlines()
    except (NotFound, Damaged, UnicodeDecodeError):
        return None
