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

from stratal.compute.resources import machine_slots
from stratal.core.origin import origin
from stratal.core.records import Record, to_json
from stratal.core.settings import environment, load_settings
from stratal.tracking.capture.entry import Entry, current_entry, import_paths, own_project
from stratal.tracking.capture.environment import allowed_variables, thread_variables
from stratal.tracking.capture.git import Git, GitState, read_git
from stratal.tracking.capture.hardware import Hardware, read_hardware
from stratal.tracking.capture.inputs import CONFIGURATION, Input, files_in, read_inputs
from stratal.tracking.capture.packages import read_packages
from stratal.tracking.capture.secrets import mask_argv
from stratal.tracking.capture.seeds import Seeds, seeds_now
from stratal.tracking.capture.sources import (
    CapturedFile,
    Files,
    captured,
    command_code,
    notebook_cells,
    read_configurations,
    read_sources,
    read_untracked,
)

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
    program: str = ""  # id of the execution that the run belongs to; equal for all processes that work for it
    is_worker: bool = False  # the process works for the program; its threads and ranks were given to it
    project: str = ""  # the project's root on the run's machine; names of files are seen from there
    slots: int | None = None  # CPU slots that local workers share
    paths: tuple[str, ...] = ()  # folders of the project on the import path
    inputs: dict[str, Input] = msgspec.field(default_factory=dict)  # files that the program was given, by path
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
    place = root or _attempt("project", own_project, skipped) or Path()
    if entry is None:
        entry = _attempt("entry", lambda: current_entry(place, seed=seeds.seed if seeds else None), skipped)
    system = os.uname()
    return Capture(
        entry=entry or Entry(kind="unknown", target=""),
        argv=mask_argv(sys.argv),
        program=origin().program,
        is_worker=origin().pid != os.getpid(),
        project=str(place),
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
    """Complete a quick capture: git, sources, configuration files, inputs, packages, hardware, environment, seeds.

    configurations: files to keep beside those that the command line names. Takes 10 to 500 ms, most of it git's; meant for a
    background thread. Never raises."""
    skipped = list(start.skipped)
    place = root or _attempt("project", own_project, skipped) or Path()
    git = _attempt("git", lambda: read_git(place), skipped)
    files = _read_files(git, place, configurations, skipped)
    packages = _attempt("packages", read_packages, skipped)
    listed = _attempt("packages", lambda: captured(PACKAGES, to_json(packages).encode(), is_named=False), skipped)
    complete = msgspec.structs.replace(
        start,
        slots=_attempt("slots", lambda: load_settings().slots or machine_slots(), skipped),
        paths=_attempt("paths", lambda: import_paths(place), skipped) or (),
        inputs=_inputs(place, skipped),
        git=git.git if git else None,
        packages=PackageList(digest=listed.digest, count=len(packages.versions)) if packages and listed else None,
        hardware=_attempt("hardware", read_hardware, skipped),
        environment=_attempt("environment", lambda: allowed_variables(environment()), skipped),
        seeds=_attempt("seeds", seeds_now, skipped) or start.seeds,
        files={file.name: stored(file) for file in files},
        skipped=tuple(skipped),
    )
    return Captured(capture=complete, files=(*files, listed) if listed else files)


def completed(earlier: Captured) -> Captured:
    """Add what came later: sources that were imported since, inputs that were taken since, cells that ran since.

    What was read before stays as it was read: a file that was edited meanwhile is kept as it was when the run began. Never raises."""
    skipped = list(earlier.capture.skipped)
    place = _attempt("project", own_project, skipped) or Path()
    known = dict(earlier.capture.files)
    sources = _attempt("sources", lambda: read_sources(place, known), skipped)
    cells = _attempt("notebook", notebook_cells, skipped)
    later = (*(sources.files if sources else ()), *([cells] if cells else ()))
    known.update({file.name: stored(file) for file in later})
    seeds, inputs = _attempt("seeds", seeds_now, skipped), _inputs(place, skipped)
    hardware = _attempt("hardware", read_hardware, skipped)
    complete = msgspec.structs.replace(
        earlier.capture,
        seeds=seeds or earlier.capture.seeds,
        hardware=hardware or earlier.capture.hardware,
        files=known,
        inputs={**inputs, **earlier.capture.inputs},
        skipped=tuple(dict.fromkeys((*skipped, *(sources.left_out if sources else ())))),
    )
    return Captured(capture=complete, files=(*earlier.files, *later))


def stored(file: CapturedFile) -> StoredFile:
    """Give what a capture says of a file."""
    return StoredFile(digest=file.digest, size_bytes=len(file.data), original=file.original)


def _read_files(git: GitState | None, place: Path, given: Sequence[Path], skipped: list[str]) -> tuple[CapturedFile, ...]:
    began = origin()
    named = [path for path in files_in(began.argv, Path(began.folder)) if path.suffix.lower() in CONFIGURATION]
    parts: list[Files | None] = [
        _attempt("sources", lambda: read_sources(place), skipped),
        _attempt("untracked", lambda: read_untracked(git.git.untracked, Path(git.git.top)), skipped) if git else None,
        _attempt("configuration", lambda: read_configurations([*given, *named], place), skipped),
    ]
    skipped.extend(reason for part in parts if part for reason in part.left_out)
    single = [_attempt("notebook", notebook_cells, skipped), _attempt("command", command_code, skipped)]
    files = [captured(git.git.patch, git.patch.encode())] if git is not None and git.git.patch is not None else []
    files += [file for part in parts if part for file in part.files]
    return (*files, *(file for file in single if file))


def _inputs(place: Path, skipped: list[str]) -> dict[str, Input]:
    began = origin()
    found = _attempt("inputs", lambda: read_inputs(began.argv, Path(began.folder), place), skipped)
    skipped.extend(found[1] if found else ())
    return found[0] if found else {}


def _attempt(part: str, read: Callable[[], T], skipped: list[str]) -> T | None:
    try:
        return read()
    except Exception as error:  # noqa: BLE001  # an edge: a capture must never end somebody's training
        log.info("capture skipped part=%s error=%r", part, error)
        skipped.append(f"{part}: {type(error).__name__}: {error}")
        return None
