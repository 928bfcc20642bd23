"""Environments that are rebuilt from the recorded packages, exact versions, each once per list, in the user's cache folder.

Installed by uv where there is one, else by pip; index addresses are those that the machine's pip is configured with. Stratal
itself is the one that runs: the store of the replay is of its schema, and the recorded version is told if it is another one.
"""

import contextlib
import fcntl
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from stratal.core.errors import Refused
from stratal.core.settings import environment, load_settings
from stratal.tracking.capture.packages import normal_name
from stratal.tracking.reproducing.requirements import Requirements, without_pin
from stratal.version import __version__

SOURCE = Path(__file__).parents[3]  # what `import stratal` finds
_IS_WHOLE = "whole"  # the file that says that nothing of an environment is missing
_TIMEOUT_S = 3600.0
_ABSENT = (
    re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+)"),
    re.compile(r"there is no version of ([A-Za-z0-9._-]+)"),
    re.compile(r"[Bb]ecause ([A-Za-z0-9._-]+) was not found"),
    re.compile(r"[Bb]ecause ([A-Za-z0-9._-]+)==\S+ (?:has no|needs)"),
)
# pip's options, uv's variables for them, and what stands between several values
_UV = {
    "index-url": ("UV_DEFAULT_INDEX", " "), "extra-index-url": ("UV_INDEX", " "), "find-links": ("UV_FIND_LINKS", ","),
    "cert": ("SSL_CERT_FILE", " "),
}  # fmt: skip
_CHECK = "import stratal.tracking.runs, stratal.tracking.capturing, stratal.store.settling, stratal.tracking.store.settling"


class Environment(NamedTuple):
    """An environment that was rebuilt. notes: what in it is not as it was."""

    folder: Path
    notes: tuple[str, ...]

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    @property
    def stratal(self) -> Path:
        """The folder of its import path that holds us, and nothing else."""
        return self.folder / "stratal-as-it-runs"


def rebuild(wanted: Requirements, *, lenient: bool = False) -> Environment:
    """Give an environment with the recorded packages, from the cache if it was built before.

    lenient: take any version of what can no longer be had. Raises Refused, with the whole list, for what cannot be had otherwise."""
    python, notes = _interpreter(wanted.python)
    if wanted.gone and not lenient:
        raise _not_to_be_had(wanted.gone)
    cache = load_settings().cache.expanduser() / "environments"
    cache.mkdir(parents=True, exist_ok=True)
    name = f"{wanted.digest[:16]}{'-lenient' if lenient else ''}"
    folder = cache / name
    with _locked(cache / f"{name}.lock"):
        if not (folder / _IS_WHOLE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            missing = _install(python, folder, wanted, lenient=lenient)
            (folder / _IS_WHOLE).write_text("".join(f"{each} could not be had as it was\n" for each in missing))
        _bring_ourselves(folder)
        other = tuple((folder / _IS_WHOLE).read_text().splitlines())
    if wanted.ours not in ("", __version__):
        notes = (*notes, f"Stratal {wanted.ours} made the run, and {__version__} replays it")
    made = Environment(folder, (*notes, *(f"{each} is not there" for each in wanted.gone), *other))
    failed = _failure([made.python, "-c", _CHECK], {"PYTHONPATH": str(made.stratal)})
    if failed:
        raise Refused(
            f"Stratal does not start in the rebuilt environment: {failed.splitlines()[-1]}",
            hint="the recorded packages are older than this Stratal needs: reproduce with --here, or with the Stratal of that time",
        )
    return made


def _interpreter(version: str) -> tuple[str, tuple[str, ...]]:
    """Give a Python of that version: ours, one that uv knows, or one on the path; ours, with a note, if there is none."""
    ours = ".".join(map(str, sys.version_info[:3]))
    if version == ours:
        return sys.executable, ()
    if uv := shutil.which("uv"):
        found = subprocess.run([uv, "python", "find", version], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        if found.returncode == 0:
            return found.stdout.strip(), ()
    minor = ".".join(version.split(".")[:2])
    if other := shutil.which(f"python{minor}"):
        told = subprocess.run([other, "-V"], capture_output=True, text=True, timeout=60, check=False).stdout.split()[-1:]
        if told:
            return other, () if told == [version] else (f"Python {version} is not here: {told[0]} is used",)
    return sys.executable, (f"Python {version} is not here: {ours} is used",)


def _install(python: str, folder: Path, wanted: Requirements, *, lenient: bool) -> tuple[str, ...]:
    """Make the environment; gives what could only be had in another version. All that cannot be had is found before it is said."""
    uv = shutil.which("uv")
    makes, words = _tools(uv, python, folder)
    if failed := _failure(makes):
        raise Refused(f"no environment can be made: {failed.splitlines()[-1]}", hint="install the venv module, or reproduce with --here")
    file = folder / "requirements.txt"
    words += ["--quiet", "--no-deps", "-r", str(file)]
    variables = _indexes(python) if uv else {}
    missing: list[str] = []
    left = wanted
    while left.lines:
        file.write_text(left.text())
        # Nothing is installed any more once it is known that it will be refused.
        failed = _failure([*words, *(["--dry-run"] if missing and not lenient else [])], variables)
        if not failed:
            break
        name = _absent(failed)
        if name is None or name not in left.lines:
            shutil.rmtree(folder, ignore_errors=True)
            raise Refused(f"the recorded packages cannot be installed: {_reason(failed)}", hint="--here uses the packages that are here")
        missing.append(name)
        if lenient and left.lines[name] != name:
            left = without_pin(left, (name,))
        else:
            left = Requirements(python=left.python, lines={each: line for each, line in left.lines.items() if each != name})
    if missing and not lenient:
        shutil.rmtree(folder, ignore_errors=True)
        raise _not_to_be_had(tuple(wanted.lines[name] for name in missing))
    return tuple(dict.fromkeys(wanted.lines[name] for name in missing))


def _tools(uv: str | None, python: str, folder: Path) -> tuple[list[str], list[str]]:
    """Give the commands that make an environment, and that install into it. Our own pip serves it too, where there is one."""
    if uv is not None:
        return [uv, "venv", "--quiet", "--python", python, str(folder)], [uv, "pip", "install", "--python", str(folder)]
    quiet = ["-m", "pip", "--disable-pip-version-check"]
    own = str(folder / "bin" / "python")
    if importlib.util.find_spec("pip") is None:
        return [python, "-m", "venv", str(folder)], [own, *quiet, "install"]
    return [python, "-m", "venv", "--without-pip", str(folder)], [sys.executable, *quiet, "--python", own, "install"]


def _not_to_be_had(gone: tuple[str, ...]) -> Refused:
    return Refused(
        f"{len(gone)} package{'s' if len(gone) > 1 else ''} of the run can no longer be had: {', '.join(gone)}",
        hint="nothing was run. --lenient takes any version of these, --here the packages that are here",
    )


def _bring_ourselves(folder: Path) -> None:
    place = folder / "stratal-as-it-runs"
    place.mkdir(exist_ok=True)
    link = place / "stratal"
    if not link.exists() or link.resolve() != (SOURCE / "stratal").resolve():
        link.unlink(missing_ok=True)
        link.symlink_to(SOURCE / "stratal")


def _indexes(python: str) -> dict[str, str]:
    """Give uv what the machine's pip is configured with, as far as uv has a word for it and was not told otherwise."""
    environ = environment()
    given = {}
    for key, (variable, separator) in _UV.items():
        told = environ.get(f"PIP_{key.replace('-', '_').upper()}") or _configured(python, key)
        if told and variable not in environ:
            given[variable] = separator.join(told.split())
    if "UV_INDEX" in given and "UV_INDEX_STRATEGY" not in environ:
        given["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip looks at all of its indexes; uv stops at the first that knows a name
    return given


def _configured(python: str, key: str) -> str:
    words = [python, "-m", "pip", "config", "get", f"global.{key}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _failure(words: list[str], variables: Mapping[str, str] | None = None) -> str:
    """Run a program; give what it said if it failed, '' if not."""
    environ = {name: value for name, value in environment().items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    done = subprocess.run(
        words,
        env=environ | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    return "" if done.returncode == 0 else (done.stderr + done.stdout).strip() or f"exit code {done.returncode}"


def _absent(text: str) -> str | None:
    for pattern in _ABSENT:
        if found := pattern.search(text):
            return normal_name(found[1])
    return None


def _reason(text: str) -> str:
    """Give the line that says most; addresses of indexes may hold passwords, and are left out."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines
    return re.sub(r"\w+://\S+", "<address>", errors[-1].strip())[:500]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Build each environment once, however many ask for it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
