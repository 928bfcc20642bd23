"""Git: commit, branch, remote, and the patch of what was not committed. Read by the `git` program, never written.

No optional locks, no file system monitor, no external diff programs, a time-out on each call and a bound on what is
read, so that neither a large repository nor a slow disk can hold a run.
"""

import os
import re
import selectors
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from stratal.core.records import Record
from stratal.core.settings import environment
from stratal.tracking.capture.secrets import CODE, is_secret_file, mask
from stratal.tracking.capture.sources import FOREIGN

TIMEOUT_S = 5.0
PATCH_BYTES = 4 << 20
UNTRACKED = 200
_READ_BYTES, _PART_BYTES = 32 << 20, 1 << 20
_OPTIONS = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "color.ui=false")
# The caller's own git (a hook, a rebase) must not lead us to its index.
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_EXTERNAL_DIFF", "GIT_CONFIG_PARAMETERS")
_SOURCE_SUFFIXES = (
    ".py", ".pyx", ".ipynb", ".toml", ".yaml", ".yml", ".json", ".cfg", ".ini", ".sh", ".sql", ".r", ".jl", ".c",
    ".cc", ".cpp", ".cu", ".h", ".rs",
)  # fmt: skip
_SECTION = re.compile(r"^diff --git ", re.MULTILINE)
_PATH = re.compile(r"^\+\+\+ b/(.+?)\t?$|^--- a/(.+?)\t?$", re.MULTILINE)


class Git(Record, frozen=True, kw_only=True):
    """The state of the repository. `commit` is None before the first one; `patch` names the stored file with the changes."""

    commit: str | None
    branch: str | None
    remote: str | None
    is_dirty: bool
    folder: str  # the working folder, relative to the repository
    top: str = ""  # where the repository lies on the run's machine
    patch: str | None = None
    untracked: tuple[str, ...] = ()  # sources that git does not know yet, at most 200
    left_out: tuple[str, ...] = ()  # changed files that are not in the patch, each with the reason


class GitState(Record, frozen=True, kw_only=True):
    """What was read: the record, and the text of the patch."""

    git: Git
    patch: str


def read_git(folder: Path, *, timeout_s: float = TIMEOUT_S) -> GitState | None:
    """Read the repository that holds `folder`; None where there is none or no git program.

    Raises TimeoutError if git does not answer in time, OSError if it cannot be run."""
    program = shutil.which("git")
    if program is None:
        return None
    git = _Caller(program, folder, timeout_s)
    top = git.call("rev-parse", "--show-toplevel", "--show-prefix")
    if top is None:
        return None
    place, _, prefix = top.strip("\n").partition("\n")
    status = _Status(git.status())
    sections, left_out = _patch(git) if status.is_dirty and status.commit else ("", ())
    record = Git(
        commit=status.commit,
        branch=status.branch,
        remote=_remote(git, status.branch),
        is_dirty=status.is_dirty,
        folder=prefix.rstrip("/") or ".",
        top=place,
        patch="git/patch.diff" if sections else None,
        untracked=status.untracked,
        left_out=left_out,
    )
    return GitState(git=record, patch=sections)


class _Caller:
    """Runs git in one folder, bounded in time and in bytes."""

    def __init__(self, program: str, folder: Path, timeout_s: float) -> None:
        self._program = program
        self._folder = folder
        self._timeout_s = timeout_s
        self._environ = {name: value for name, value in environment().items() if name not in _FOREIGN}
        self._environ.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", GIT_PAGER="cat", LC_ALL="C")

    def call(self, *words: str) -> str | None:
        """Give what git printed, at most 32 MiB of it; None if it failed."""
        until_s = time.monotonic() + self._timeout_s
        process = subprocess.Popen(
            [self._program, *_OPTIONS, *words],
            cwd=self._folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with process:
            try:
                read = _read(process.stdout, until_s) if process.stdout else b""
                is_whole = len(read) < _READ_BYTES
                if is_whole:
                    process.wait(max(until_s - time.monotonic(), 0.0))
            except (TimeoutError, subprocess.TimeoutExpired) as error:
                raise TimeoutError(f"git {words[0]} did not answer within {self._timeout_s:g} s") from error
            finally:
                process.kill()  # does nothing to one that has ended
        return read.decode("utf-8", "replace") if process.returncode == 0 or not is_whole else None

    def status(self) -> str:
        """Give `git status`; without untracked files where looking for them takes too long."""
        words = ("status", "--porcelain=v2", "--branch", "-z", "--ignore-submodules=none")
        try:
            return self.call(*words, "--untracked-files=all") or ""
        except TimeoutError:
            return self.call(*words, "--untracked-files=no") or ""


def _read(pipe: IO[bytes], until_s: float) -> bytes:
    """Read all that a program prints, at most 32 MiB. Raises TimeoutError if that takes longer.

    Without a thread beside: a process that ends, and waits for what it captures, gets none any more since Python 3.12."""
    parts, size = list[bytes](), 0
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while size < _READ_BYTES:
            if not ready.select(max(until_s - time.monotonic(), 0.0)):
                raise TimeoutError
            part = os.read(pipe.fileno(), min(_PART_BYTES, _READ_BYTES - size))
            if not part:
                break
            parts.append(part)
            size += len(part)
    return b"".join(parts)


class _Status:
    """`git status --porcelain=v2 --branch -z`, read."""

    def __init__(self, text: str) -> None:
        self.commit: str | None = None
        self.branch: str | None = None
        self.is_dirty = False
        untracked: list[str] = []
        parts = iter(text.split("\0"))
        for part in parts:
            if part.startswith("# branch.oid "):
                self.commit = None if part.endswith("(initial)") else part[13:]
            elif part.startswith("# branch.head "):
                self.branch = None if part.endswith("(detached)") else part[14:]
            elif part.startswith("? "):
                untracked.append(part[2:])
            elif part[:2] in ("1 ", "2 ", "u "):
                self.is_dirty = True
                if part.startswith("2 "):  # a rename is followed by its old name
                    next(parts, None)
        sources = [name for name in untracked if name.lower().endswith(_SOURCE_SUFFIXES) and not is_secret_file(name)]
        sources = [name for name in sources if not FOREIGN.intersection(name.split("/"))]
        self.untracked = tuple(sources[:UNTRACKED])


def _remote(git: _Caller, branch: str | None) -> str | None:
    name = (git.call("config", "--get", f"branch.{branch}.remote") or "").strip() if branch else ""
    url = git.call("config", "--get", f"remote.{name or 'origin'}.url")
    return strip_credentials(url.strip()) if url else None


def strip_credentials(url: str) -> str:
    """Give a remote without user, password or token: `https://host/path`, `git@host:path` (a login name, no secret)."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        user, at, place = url.rpartition("@")
        return mask(f"{user.partition(':')[0]}@{place}" if at else url)
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    return mask(f"{scheme}://{host}{slash}{path.partition('?')[0]}")


def _patch(git: _Caller) -> tuple[str, tuple[str, ...]]:
    """Give the masked patch, in whole sections per file so that it still applies, and what was left out."""
    text = git.call(
        "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/", "--submodule=short"
    )
    kept: list[str] = []
    left_out: list[str] = []
    size = 0
    for path, section in _sections(text or ""):
        if is_secret_file(path):
            left_out.append(f"{path}: may hold secrets")
        elif "\nBinary files " in section:
            left_out.append(f"{path}: binary")
        elif size + len(section) > PATCH_BYTES:
            left_out.append(f"{path}: the patch is full ({PATCH_BYTES >> 20} MiB)")
        else:
            size += len(section)
            kept.append(mask(section, is_code=path.endswith(CODE)))
            if kept[-1] != section:
                left_out.append(f"{path}: what looked like a secret is masked")
    return "".join(kept), tuple(left_out)


def _sections(text: str) -> Iterator[tuple[str, str]]:
    starts = [match.start() for match in _SECTION.finditer(text)]
    for start, stop in zip(starts, [*starts[1:], len(text)], strict=True):
        section = text[start:stop]
        head = section.partition("\n@@")[0]
        names = [new or old for new, old in _PATH.findall(head)]
        yield (names[-1] if names else head.partition("\n")[0].rpartition(" b/")[2]), section
