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
    """Installed packages. `versions`: normal name to version. `direct`: those that came from a folder or URL, and from which."""

    versions: dict[str, str]
    direct: dict[str, str] = msgspec.field(default_factory=dict)


class _DirectUrl(msgspec.Struct):
    url: str


def read_packages(path: Sequence[str] | None = None) -> Packages:
    """Scan the import path (`sys.path` by default). The first of a name wins, as for imports."""
    versions: dict[str, str] = {}
    direct: dict[str, str] = {}
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
                if url := _direct_url(folder / name / "direct_url.json"):
                    direct[key] = url
    return Packages(versions=dict(sorted(versions.items())), direct=direct)


def normal_name(name: str) -> str:
    """Give the name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _direct_url(path: Path) -> str:
    try:
        return strip_credentials(msgspec.json.decode(path.read_bytes(), type=_DirectUrl).url)
    except (OSError, msgspec.DecodeError):
        return ""
