"""Packages: names and versions of what is installed, from the names of folders. No pip, no metadata is parsed.

Reading metadata takes 60 to 2,000 ms in a usual environment, the names of its `*.dist-info` folders 1 to 4.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stratal.core.records import Record
from stratal.tracking.capture.git import strip_credentials

_NAME = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py[0-9.]+)?\.(?:dist|egg)-info")


class Packages(Record, frozen=True, kw_only=True):
    """Installed packages. `versions`: normal name to version. `direct`: those that came from a folder or URL, and from which,
    as pip takes it (`git+https://...@commit`). `editable`: those of them that are used where their source lies."""

    versions: dict[str, str]
    direct: dict[str, str] = msgspec.field(default_factory=dict)
    editable: tuple[str, ...] = ()


class _Folder(msgspec.Struct):
    editable: bool = False


class _Repository(msgspec.Struct):
    vcs: str
    commit_id: str = ""


class _DirectUrl(msgspec.Struct):
    """As https://packaging.python.org/en/latest/specifications/direct-url describes it."""

    url: str
    dir_info: _Folder | None = None
    vcs_info: _Repository | None = None


def read_packages(path: Sequence[str] | None = None) -> Packages:
    """Scan the import path (`sys.path` by default). The first of a name wins, as for imports."""
    versions: dict[str, str] = {}
    direct: dict[str, str] = {}
    editable: list[str] = []
    for entry in sys.path if path is None else path:
        folder = Path(entry or ".")
        try:
            names = sorted(child.name for child in folder.iterdir() if child.name.endswith("-info"))
        except OSError:  # zip files and folders that are not there are legal entries of the path
            continue
        for name in names:
            match = _NAME.fullmatch(name)
            key = normal_name(match["name"]) if match else ""
            if match and key not in versions:
                versions[key] = match["version"]
                if origin := _direct_url(folder / name / "direct_url.json"):
                    direct[key] = _requirement(origin)
                    editable += [key] if origin.dir_info is not None and origin.dir_info.editable else []
    return Packages(versions=dict(sorted(versions.items())), direct=direct, editable=tuple(sorted(editable)))


def normal_name(name: str) -> str:
    """Give the name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _direct_url(path: Path) -> _DirectUrl | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_DirectUrl)
    except (OSError, msgspec.DecodeError):
        return None


def _requirement(origin: _DirectUrl) -> str:
    url = strip_credentials(origin.url)
    if origin.vcs_info is None:
        return url
    return f"{origin.vcs_info.vcs}+{url}@{origin.vcs_info.commit_id}".removesuffix("@")
