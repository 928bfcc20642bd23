"""Starting a program again: the command line, the variables and the import path that it had, in a folder where it stands again."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from stratal.core.errors import Misuse
from stratal.core.settings import environment
from stratal.store.files.blobs import Blobs
from stratal.store.files.placing import read_placed
from stratal.tracking.capture import Capture
from stratal.tracking.capture.environment import THREADS, is_allowed
from stratal.tracking.capture.secrets import MASK
from stratal.tracking.capture.sources import CELLS, COMMAND
from stratal.tracking.reproducing.restoring import Restored, code_of, inside, restored_words

SOURCE = Path(__file__).parents[3]  # what `import stratal` finds, also where it is not installed
# A launcher of ranks gives these to its ranks; the program that is started again gives them anew.
_OF_WORKERS = frozenset(
    ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GLOO_SOCKET_IFNAME", "OMP_WAIT_POLICY", *THREADS)
)  # fmt: skip
_SHOWN_LINES = 12
_CELL = re.compile(r"# In \[\d+\]\n")  # as captured cells begin
# Magics of a whole cell that is Python all the same.
_OF_PYTHON = (["time"], ["timeit"], ["capture"], ["prun"])


def command_of(capture: Capture, blobs: Blobs, restored: Restored, *, python: str, argv: Sequence[str] | None = None) -> list[str]:
    """Give the command that starts the program again. argv: instead of the captured words.

    Raises Misuse if nobody wrote down how it was started, or a word of it was a secret and is not known any more."""
    entry = capture.entry
    words = list(argv) if argv is not None else restored_words(entry.argv, capture, restored.project)
    if masked := [word for word in words if MASK in word]:
        raise Misuse(
            f"the command line held what looked like a secret, which was not kept: {' '.join(masked)}",
            hint='give the whole command line again: stratal reproduce RUN --argv "WORDS", or reproduce(..., argv=[...])',
        )
    if entry.kind == "script":
        return [python, _script(capture, restored), *words]
    if entry.kind == "module":
        return [python, "-m", entry.target, *words]
    if entry.kind == "stratal":
        return [python, "-m", "stratal.cli.app", *words]
    if entry.kind == "command":
        return [python, "-c", code_of(capture, blobs, COMMAND).decode(), *words]
    if entry.kind == "notebook":
        script = restored.project / "notebook_cells.py"
        script.write_text(without_magics(code_of(capture, blobs, CELLS).decode()))
        return [python, str(script), *words]
    raise Misuse(
        f"a program of kind {entry.kind!r} cannot be started again: nobody wrote down what was typed",
        hint="start runs from a script, a module, a notebook or `python -c`",
    )


def variables_of(capture: Capture, restored: Restored, *, store: Path, ourselves: Path | None = None) -> dict[str, str]:
    """Give the environment: ours, with the variables that change numbers as they were.

    ourselves: the folder that Stratal is imported from in a rebuilt environment, which sees nothing else of ours."""
    environ = environment()
    recorded = recorded_variables(capture)
    for name in list(environ):
        if is_allowed(name) and name not in recorded:
            del environ[name]
    for name in ("PYTHONHOME", "VIRTUAL_ENV") if ourselves is not None else ():
        environ.pop(name, None)
    path = _import_path(capture, restored, environ, ourselves)
    return (
        environ | recorded | {"STRATAL_STORE": str(store), "STRATAL_BLOBS": _blobs_of(store), "STRATAL_CAPTURE": "on", "PYTHONPATH": path}
    )


def _blobs_of(store: Path) -> str:
    """Give where the blobs of a replay's store lie: never where the settings would put those of a store of the user's."""
    placed = read_placed(store)
    return str(store / "blobs") if placed is None else placed.place


def recorded_variables(capture: Capture) -> dict[str, str]:
    """Give the variables that the program had, without those that a launcher gave to its workers and those that were masked."""
    passed_over = _OF_WORKERS if capture.is_worker else frozenset()
    recorded = {**(capture.environment or {}), **capture.threads}
    kept = {name: value for name, value in recorded.items() if name not in passed_over and MASK not in value and is_allowed(name)}
    return kept if capture.slots is None else {**kept, "STRATAL_SLOTS": str(capture.slots)}


def start(command: Sequence[str], folder: Path, variables: Mapping[str, str], output: IO[bytes], timeout_s: float | None) -> int:
    """Run a command to its end and give its exit code; 124 if it took longer than `timeout_s`."""
    with subprocess.Popen(
        command, cwd=folder, env=dict(variables), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
    ) as process:
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return 124
        except BaseException:
            process.terminate()
            raise


def last_lines(path: Path) -> str:
    """Give the last lines of a file."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_SHOWN_LINES:])


def without_magics(cells: str) -> str:
    """Turn IPython's own lines (`%magic`, `!command`, `what?`) into comments: they are no Python; nor is what some `%%magic` takes."""
    turned, is_other = [], False
    for line in cells.splitlines(keepends=True):
        if _CELL.match(line):
            is_other = False
        elif line.startswith("%%"):
            is_other = line[2:].split(maxsplit=1)[:1] not in _OF_PYTHON
        if is_other:
            turned.append(f"# {line}")
        elif _is_magic(line):
            turned.append(f"{line[: len(line) - len(line.lstrip())]}pass  # {line.lstrip()}")
        else:
            turned.append(line)
    return "".join(turned)


def _is_magic(line: str) -> bool:
    text = line.strip()
    return text.startswith(("%", "!")) or (text.endswith("?") and not text.startswith("#"))


def _script(capture: Capture, restored: Restored) -> str:
    """Give the script as it was typed, where that still leads to it: programs name things by `sys.argv[0]`."""
    script = inside(restored.project, capture.entry.target)
    typed = capture.argv[0] if capture.argv else ""
    return typed if typed and not typed.startswith(("/", "-")) and (restored.working / typed).resolve() == script else str(script)


def _import_path(capture: Capture, restored: Restored, environ: Mapping[str, str], ourselves: Path | None) -> str:
    """The project's own folders at their new place, ourselves, and, unless the environment is another one, what was there besides."""
    old = Path(capture.project) if capture.project else None
    own = [str(inside(restored.project, name) if name != "." else restored.project) for name in capture.paths]
    if ourselves is not None:
        return os.pathsep.join(dict.fromkeys((str(ourselves), *own)))
    others = [Path(place) for place in environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    kept = [str(place) for place in others if old is None or not place.resolve().is_relative_to(old)]
    return os.pathsep.join(dict.fromkeys((*([] if _is_installed(SOURCE) else [str(SOURCE)]), *own, *kept)))


def _is_installed(source: Path) -> bool:
    return source.is_relative_to(Path(sys.prefix)) or "site-packages" in source.parts
