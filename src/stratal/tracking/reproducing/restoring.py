"""Restoring what was captured into a fresh folder: sources, configuration, inputs. Nothing is ever written outside of that folder.

What a store says of files is read as if an enemy had written it: paths that leave the folder are refused, also by way of links.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from stratal.core.errors import Refused
from stratal.core.records import Record
from stratal.core.settings import environment
from stratal.store.files.blobs import Blobs, digest_of_file
from stratal.tracking.capture import Capture, StoredFile
from stratal.tracking.capture.secrets import MASK
from stratal.tracking.capture.sources import ROOT_MARKS

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TIMEOUT_S = 600.0
_SHOWN = 3


class Restored(Record, frozen=True, kw_only=True):
    """Where a program stands again. project: its root. working: its working folder. notes: what is not as it was, for people.

    how: what the sources came from, in words."""

    project: Path
    working: Path
    how: str
    notes: tuple[str, ...]


def restore(capture: Capture, blobs: Blobs, folder: Path, *, from_working_tree: bool = False) -> Restored:
    """Restore a program into `folder`, which is made and must not be there yet.

    from_working_tree: take the captured files as they are in the project today. Raises Refused for a path that leaves the folder,
    and if there is nothing to restore."""
    folder.mkdir(parents=True)
    notes: list[str] = []
    top, project, how = folder / "project", folder / "project", "the captured files"
    git = capture.git
    if git is not None and git.commit is not None and _check_out(git.top, git.commit, top, notes):
        how = f"commit {git.commit[:10]}" + (_apply(git.patch, capture, blobs, top, notes) if git.patch else "")
    if git is not None:
        project = inside(top, git.folder)
        _write(top, "untracked/", capture, blobs, notes)
    project.mkdir(parents=True, exist_ok=True)
    for prefix in ("sources/", "configuration/"):
        _write(project, prefix, capture, blobs, notes)
    if from_working_tree:
        how = "the working tree of today"
        _overlay(Path(capture.project), project, capture, notes)
    if not any((project / mark).exists() for mark in ROOT_MARKS):
        (project / "stratal.toml").touch()  # so that the project ends here, and not at one around this folder
    working = _working_folder(capture, project, folder)
    _restore_inputs(capture, blobs, project, working, notes)
    return Restored(project=project, working=working, how=how, notes=tuple(notes))


def inside(folder: Path, name: str) -> Path:
    """Give the path of a name inside a folder. Raises Refused if it would lie elsewhere: '..', absolute, or behind a link."""
    parts = PurePosixPath(name).parts
    is_odd = not name or name.startswith("/") or "\\" in name or "\0" in name or ".." in parts
    root = folder.resolve()
    path = root.joinpath(*parts)
    if is_odd or (not path.parent.resolve().is_relative_to(root) and path != root) or path.is_symlink():
        raise Refused(
            f"the capture names the file {name[:200]!r}, which would lie outside of the fresh folder",
            hint="this capture was not written by Stratal as it is; nothing was run",
        )
    return path


def code_of(capture: Capture, blobs: Blobs, name: str) -> bytes:
    """Give a captured file's bytes. Raises Refused if there is none of that name."""
    held = capture.files.get(name)
    if held is None:
        raise Refused(f"the run's capture holds no {name}", hint="it cannot be started again by itself")
    return blobs.read(held.digest)


def _check_out(repository: str, commit: str, top: Path, notes: list[str]) -> bool:
    """Check a commit out into `top`, from the repository where it lies; tell whether it was there."""
    found = Path(repository) if repository else None
    if _COMMIT.fullmatch(commit) is None or found is None or not found.is_absolute() or not found.is_dir():
        notes.append(f"the repository with commit {commit[:10]} is not here: only the captured files are restored")
        return False
    failed = _git(found, "clone", "--quiet", "--shared", "--no-checkout", "--", str(found), str(top))
    failed = failed or _git(top, "checkout", "--quiet", "--detach", commit)
    if failed:
        notes.append(f"commit {commit[:10]} cannot be had from {found}, only the captured files are restored: {failed.splitlines()[-1]}")
        shutil.rmtree(top, ignore_errors=True)
        return False
    if (top / ".gitmodules").is_file():
        notes.append("the repository has submodules, which are not restored")
    return True


def _apply(name: str, capture: Capture, blobs: Blobs, top: Path, notes: list[str]) -> str:
    patch = code_of(capture, blobs, name)
    failed = _git(top, "apply", "--whitespace=nowarn", "-", given=patch)
    if failed:
        notes.append(f"what was not committed could not be applied: {failed}")
        return ""
    for reason in capture.git.left_out if capture.git is not None else ():
        notes.append(f"not in the patch: {reason}")
    return " with its patch"


def _git(folder: Path, *words: str, given: bytes = b"") -> str:
    """Run git without the user's hooks; give what it complained about, '' if it did not."""
    program = shutil.which("git")
    if program is None:
        return "there is no git program"
    environ = {name: value for name, value in environment().items() if not name.startswith("GIT_")}
    done = subprocess.run(
        [program, "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "protocol.file.allow=always", *words],
        cwd=folder,
        env=environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        input=given,
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr.decode("utf-8", "replace").strip() or f"git ended with {done.returncode}"


def _write(folder: Path, prefix: str, capture: Capture, blobs: Blobs, notes: list[str]) -> None:
    for name, file in _files(capture, prefix):
        path = inside(folder, name)
        if path.is_file() and digest_of_file(path) in (file.digest, file.original):
            continue  # git has it, with what was masked in the copy
        data = blobs.read(file.digest)
        if file.original is not None:
            notes.append(f"{name}: what looked like a secret was not kept, and stands there as {MASK}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _overlay(origin: Path, project: Path, capture: Capture, notes: list[str]) -> None:
    """Replace the captured files by those of the same names in the project as it is today."""
    if not origin.is_dir():
        raise Refused(f"the project {origin} is not here", hint="leave the working tree out: the captured files are restored then")
    changed = []
    for prefix in ("sources/", "configuration/"):
        for name, _ in _files(capture, prefix):
            today, path = origin / name, inside(project, name)
            if today.is_file() and today.read_bytes() != path.read_bytes():
                path.write_bytes(today.read_bytes())
                changed.append(name)
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        notes.append(f"as it is today: {', '.join(changed[:_SHOWN])}{more}")


def _files(capture: Capture, prefix: str) -> Iterator[tuple[str, StoredFile]]:
    for name, file in sorted(capture.files.items()):
        if name.startswith(prefix):
            yield name.removeprefix(prefix), file


def _working_folder(capture: Capture, project: Path, folder: Path) -> Path:
    """Give the working folder: in the project, or a fresh one where the program was started from elsewhere."""
    told = capture.entry.folder
    working = folder / "working" if told.startswith(("..", "/")) else inside(project, told)
    working.mkdir(parents=True, exist_ok=True)
    return working


def _restore_inputs(capture: Capture, blobs: Blobs, project: Path, working: Path, notes: list[str]) -> None:
    """Put inputs where the program will look for them: those of the project, and those of its working folder."""
    came_from = Path(os.path.normpath(Path(capture.project) / capture.entry.folder))
    for name, given in capture.inputs.items():
        original = Path(name) if name.startswith("/") else Path(capture.project) / name
        if not name.startswith("/"):
            path = inside(project, name)
        elif original.is_relative_to(came_from):
            path = inside(working, original.relative_to(came_from).as_posix())
        else:
            if not original.is_file() or digest_of_file(original) != given.digest:
                notes.append(f"input {name} is no longer what it was (sha256 {given.digest[:12]})")
            continue
        if path.is_file() and digest_of_file(path) == given.digest:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if blobs.has(given.digest):
            blobs.copy_to(given.digest, path)
        elif original.is_file():
            shutil.copyfile(original, path)
            if digest_of_file(path) != given.digest:
                notes.append(f"input {name} is no longer what it was (sha256 {given.digest[:12]}): it is taken as it is today")
        else:
            notes.append(f"input {name} (sha256 {given.digest[:12]}) is neither in the store nor where it was")


def restored_words(words: tuple[str, ...], capture: Capture, project: Path) -> list[str]:
    """Give a command line with the paths of the old project turned to the new one."""
    old = capture.project.rstrip("/")
    return [word.replace(f"{old}/", f"{project}/") if old else word for word in words]
