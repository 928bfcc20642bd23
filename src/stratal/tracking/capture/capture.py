"""The capture of a run: a quick part when it starts, a thorough part beside it.

`quick` takes under 3 ms and is done by the thread that starts the run. `thorough` runs programs and reads files, on a
background thread. Neither raises: a part that fails is named in `skipped`, with the reason.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from stratal.core.records import Record, to_json
from stratal.core.settings import environment
from stratal.tracking.capture.entry import Entry, current_entry
from stratal.tracking.capture.environment import allowed_variables, thread_variables
from stratal.tracking.capture.git import Git, GitState, read_git
from stratal.tracking.capture.hardware import Hardware, read_hardware
from stratal.tracking.capture.packages import read_packages
from stratal.tracking.capture.secrets import mask_argv
from stratal.tracking.capture.seeds import Seeds, seeds_now
from stratal.tracking.capture.sources import CapturedFile, Files, captured, notebook_cells, project_root, read_configurations, read_sources

log = logging.getLogger(__name__)
T = TypeVar("T")

PACKAGES = "environment/packages.json"


class StoredFile(Record, frozen=True, kw_only=True):
    """A file that was kept as a blob. `original`: digest of what was on disk, where a secret was masked in the blob."""

    digest: str
    size_bytes: int
    original: str | None = None


class PackageList(Record, frozen=True, kw_only=True):
    """Installed packages: a blob with a `Packages` document, because thousands of runs share one list."""

    digest: str
    count: int


class Capture(Record, frozen=True, kw_only=True):
    """What a run was. Parts that are None were not read: not yet, not there, or `skipped` says why."""

    entry: Entry
    argv: tuple[str, ...]
    python: str
    implementation: str
    system: str
    host: str
    pid: int
    user: str
    at_ns: int
    threads: dict[str, str]
    seeds: Seeds | None = None
    git: Git | None = None
    packages: PackageList | None = None
    hardware: Hardware | None = None
    environment: dict[str, str] | None = None
    files: dict[str, StoredFile] = msgspec.field(default_factory=dict)  # sources, configuration, patch, by name
    skipped: tuple[str, ...] = ()  # what is missing, and why


class Captured(Record, frozen=True, kw_only=True):
    """A capture, and the files that belong to it, to be stored by the caller."""

    capture: Capture
    files: tuple[CapturedFile, ...]


def quick(*, user: str, now_ns: int, entry: Entry | None = None, root: Path | None = None) -> Capture:
    """Say who started what, where and when, in under 3 ms. Reads no file of the project and starts no program.

    entry: what to write down instead of how this process was started. root: the project's top; found if None."""
    skipped: list[str] = []
    seeds = _attempt("seeds", seeds_now, skipped)
    if entry is None:
        entry = _attempt("entry", lambda: _own_entry(root, seeds), skipped)
    system = os.uname()
    return Capture(
        entry=entry or Entry(kind="unknown", target=""),
        argv=mask_argv(sys.argv),
        python=".".join(str(part) for part in sys.version_info[:3]),
        implementation=sys.implementation.name,
        system=f"{system.sysname} {system.release} {system.machine}",
        host=system.nodename,
        pid=os.getpid(),
        user=user,
        at_ns=now_ns,
        threads=thread_variables(environment()),
        seeds=seeds,
        skipped=tuple(skipped),
    )


def thorough(start: Capture, *, root: Path | None = None, configurations: Sequence[Path] = ()) -> Captured:
    """Complete a quick capture: git, sources, configuration files, packages, hardware, environment, seeds.

    Takes 10 to 500 ms, most of it git's; meant for a background thread. Never raises."""
    skipped = list(start.skipped)
    place = root or _attempt("project", lambda: project_root(Path.cwd()), skipped) or Path()
    git = _attempt("git", lambda: read_git(place), skipped)
    sources = _attempt("sources", lambda: read_sources(place), skipped)
    cells = _attempt("notebook", notebook_cells, skipped)
    given = _attempt("configuration", lambda: read_configurations(configurations, place), skipped)
    files = _files(git, sources, cells, given)
    packages = _attempt("packages", read_packages, skipped)
    listed = _attempt("packages", lambda: captured(PACKAGES, to_json(packages).encode()), skipped)
    for part in (sources, given):
        skipped.extend(part.left_out if part else ())
    complete = msgspec.structs.replace(
        start,
        git=git.git if git else None,
        packages=PackageList(digest=listed.digest, count=len(packages.versions)) if packages and listed else None,
        hardware=_attempt("hardware", read_hardware, skipped),
        environment=_attempt("environment", lambda: allowed_variables(environment()), skipped),
        seeds=_attempt("seeds", seeds_now, skipped) or start.seeds,
        files={file.name: StoredFile(digest=file.digest, size_bytes=len(file.data), original=file.original) for file in files},
        skipped=tuple(skipped),
    )
    return Captured(capture=complete, files=(*files, listed) if listed else files)


def _own_entry(root: Path | None, seeds: Seeds | None) -> Entry:
    return current_entry(root or project_root(Path.cwd()), seed=seeds.seed if seeds else None)


def _files(git: GitState | None, sources: Files | None, cells: CapturedFile | None, given: Files | None) -> tuple[CapturedFile, ...]:
    files: list[CapturedFile] = []
    if git is not None and git.git.patch is not None:
        files.append(captured(git.git.patch, git.patch.encode()))
    files.extend(sources.files if sources else ())
    files.extend([cells] if cells else ())
    files.extend(given.files if given else ())
    return tuple(files)


def _attempt(part: str, read: Callable[[], T], skipped: list[str]) -> T | None:
    try:
        return read()
    except Exception as error:  # noqa: BLE001  # an edge: a capture must never end somebody's training
        log.info("capture skipped part=%s error=%r", part, error)
        skipped.append(f"{part}: {type(error).__name__}: {error}")
        return None
