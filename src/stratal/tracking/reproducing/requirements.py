"""What a recorded environment asks of a package installer: exact requirements, and what it cannot be asked for. Pure but for paths."""

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stratal.core.records import Record, to_json
from stratal.tracking.capture import Packages

OURS = "stratal"
_NAME, _VERSION = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?"), re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]*")
_OF_VENV = frozenset(("pip",))  # each environment has its own


class Requirements(Record, frozen=True, kw_only=True):
    """python: its version. lines: as pip's requirement files take them, by package. gone: packages that lie nowhere any more.

    ours: the version of Stratal that made the run, "" if it was not installed."""

    python: str
    lines: dict[str, str]
    gone: tuple[str, ...] = ()
    ours: str = ""

    @property
    def digest(self) -> str:
        """Digest of all of it: equal lists share an environment."""
        return hashlib.sha256(to_json([self.python, self.lines]).encode()).hexdigest()

    def text(self) -> str:
        """Give the file of requirements."""
        return "".join(f"{line}\n" for _, line in sorted(self.lines.items()))

    def text_for_others(self) -> str:
        """Give the file for another machine, where packages of folders of this one are only named."""
        lines = ((line, line.startswith("-e ") or "@ file:" in line) for _, line in sorted(self.lines.items()))
        return "".join(f"{'# only on the machine of the run: ' if is_here else ''}{line}\n" for line, is_here in lines)


def requirements_of(packages: Packages, python: str) -> Requirements:
    """Give the requirements of recorded packages. We ourselves are brought along, and asked of nobody."""
    lines: dict[str, str] = {}
    gone: list[str] = []
    for name, version in packages.versions.items():
        if name == OURS or name in _OF_VENV:
            continue
        if _NAME.fullmatch(name) is None or _VERSION.fullmatch(version) is None or "\n" in packages.direct.get(name, ""):
            gone.append(f"{name[:60]!r} {version[:60]!r} (no package is called that)")
            continue
        origin = packages.direct.get(name)
        if origin is None:
            lines[name] = f"{name}=={version}"
        elif origin.startswith("file:"):
            folder = unquote(urlsplit(origin).path)
            if not Path(folder).exists():
                gone.append(f"{name} {version} (it lay in {folder})")
                continue
            lines[name] = f"-e {folder}" if name in packages.editable else f"{name} @ {origin}"
        else:
            lines[name] = f"{name} @ {origin}"
    return Requirements(python=python, lines=lines, gone=tuple(gone), ours=packages.versions.get(OURS, ""))


def without_pin(requirements: Requirements, missing: tuple[str, ...]) -> Requirements:
    """Give the same with any version of those packages that cannot be had as they were."""
    changed = {name: name if name in missing else line for name, line in requirements.lines.items()}
    return Requirements(python=requirements.python, lines=changed, gone=requirements.gone)
