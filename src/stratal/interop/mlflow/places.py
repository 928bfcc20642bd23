"""Where artifacts lie. A store of MLflow keeps the places of the machine that wrote it, and nobody may be led by them: only what
lies beside the store, or where the user says, is read.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stratal.interop.bounds import walk
from stratal.interop.foreign import Remark

_ID = re.compile(r"(m-)?[0-9a-f]{32}")  # of a run, or of a logged model


class Places:
    """Finds folders of artifacts. rules: beginnings of places there, and what they are here; beside: folders to look in."""

    def __init__(self, beside: Sequence[Path], rules: Mapping[str, Path]) -> None:
        self._beside = [folder for folder in beside if folder.is_dir()]
        self._rules = dict(sorted(rules.items(), key=lambda rule: -len(rule[0])))  # the longest that fits

    def find(self, place: str, marker: str) -> Path | None:
        """Give the folder here that `place` was there, None if it is not here. marker: the id that must stand in its path."""
        path = _path_of(place)
        for old, new in self._rules.items():
            for text in (place, path):
                rest = text.removeprefix(old.rstrip("/"))
                if rest != text and rest[:1] in ("", "/") and (found := _inside(new, rest.split("/"))) is not None:
                    return found
        parts = [part for part in path.split("/") if part]
        if marker not in parts or not _ID.fullmatch(marker):  # a stranger's word may not name any folder beside the store
            return None
        # The longest end of the path that lies beside the store: mlruns/0/<run>/artifacts, else 0/<run>/artifacts, ...
        for start in range(parts.index(marker) + 1):
            for folder in self._beside:
                if (found := _inside(folder, parts[start:])) is not None:
                    return found
        return None


def files_of(folder: Path, remarks: list[Remark]) -> list[tuple[str, Path]]:
    """List the files below a folder by their path in it. Links are not followed, and remarked."""
    return [((at / name).relative_to(folder).as_posix(), at / name) for at, names in walk(folder, remarks) for name in names]


def state_of(files: Sequence[tuple[str, Path]]) -> str:
    """Give a digest that changes when a file comes, goes, or is written."""
    hashing = blake2b(digest_size=16)
    for name, path in files:
        stat = path.stat()
        hashing.update(f"{len(name)} {name} {stat.st_size} {stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return hashing.hexdigest()


def _path_of(place: str) -> str:
    """Give the path of a place: file:///a/b, mlflow-artifacts:/a/b, s3://bucket/a/b and plain /a/b are all a/b below something."""
    try:
        parts = urlsplit(place)
    except ValueError:  # no address at all
        return place
    return unquote(parts.path) if len(parts.scheme) > 1 else place


def _inside(folder: Path, parts: Sequence[str]) -> Path | None:
    at = folder
    for part in parts:
        if part in ("", "."):
            continue
        at = at / part
        if part == ".." or "\0" in part or at.is_symlink():
            return None
    return at if at.is_dir() else None
