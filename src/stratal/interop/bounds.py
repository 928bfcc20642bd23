"""Bounds: what foreign bytes may ask for. Paths stay inside their folder, sizes and depths end somewhere, texts can be stored."""

import json
import math
import os
import re
from collections.abc import Collection, Iterator
from hashlib import blake2b
from pathlib import Path

from stratal.core.errors import Damaged, Misuse
from stratal.interop.foreign import LAST_NS, Remark
from stratal.tracking.facts import check_artifact_path

MOST_RECORD_BYTES = 256 << 20
# Deeper documents are attacks: no tool's own files come near.
MOST_DEPTH = 100
# A param or tag is shown in tables and held by the run's document; what is longer becomes a file.
MOST_TEXT = 100_000
_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def read_json(data: bytes) -> object:
    """Decode JSON, with the NaN and infinities that Python's tools write. Raises Damaged for what is none, or is too deep."""
    if data.count(b"[") + data.count(b"{") > MOST_DEPTH and _depth(data) > MOST_DEPTH:
        raise Damaged(f"a JSON document is nested more than {MOST_DEPTH} deep")
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"a value is no JSON: {error}") from error
    return value


def is_storable(text: str) -> bool:
    """Tell whether every database and journal can hold a text: no NUL, no lone surrogates."""
    return "\0" not in text and (text.isascii() or text.encode("utf-8", "ignore").decode("utf-8") == text)


def to_ns(seconds: float, default: int) -> int:
    """Give seconds since 1970 as ns; the default for what is no time."""
    if not math.isfinite(seconds) or not 0 <= seconds * 1e9 < LAST_NS:
        return default
    return round(seconds * 1e9)


def safe_file(root: Path, relative: str) -> Path | None:
    """Give the plain file that a foreign path names inside `root`; None if it leaves it, is a link, or is not there."""
    if not relative or "\0" in relative or Path(relative).is_absolute() or ".." in Path(relative).parts:
        return None
    at = root
    for part in Path(relative).parts:
        at /= part
        if at.is_symlink():
            return None
    return at if at.is_file() else None


def walk(top: Path, remarks: list[Remark], *, without: Collection[str] = ()) -> Iterator[tuple[Path, list[str]]]:
    """Give each folder under `top` with the names of its plain files, both in order. Links are not followed, and remarked.

    without: names of folders, links and files that are passed over."""
    for folder, folders, names in os.walk(top):
        at = Path(folder)
        folders[:] = [name for name in folders if name not in without]
        names[:] = [name for name in names if name not in without]
        for name in [name for name in (*folders, *names) if (at / name).is_symlink()]:
            remarks.append(Remark(f"{at / name} is a link, and was not followed"))
        folders[:] = sorted(name for name in folders if not (at / name).is_symlink())
        yield at, sorted(name for name in names if not (at / name).is_symlink() and (at / name).is_file())


def artifact_path(folder: str, name: str, ending: str = "") -> str:
    """Give a path for what another tool calls `name`: as it is where that can be, else cleaned and told apart by a digest."""
    plain = f"{folder}/{name}{ending}"
    try:
        return check_artifact_path(plain)
    except Misuse:
        parts = (re.sub(r"[^\w.@=+-]+", "_", part).strip(".") for part in re.split(r"[/\\]", name))
        clean = "/".join(part[:80] for part in parts if part)[:400]
        told_apart = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        return f"{folder}/{clean}~{told_apart}{ending}"


def _depth(data: bytes) -> int:
    depth = deepest = 0
    for found in _BRACKET.finditer(data):
        mark = found[0]
        if mark in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif mark in (b"]", b"}"):
            depth -= 1
    return deepest
