"""The entry: what was started, in the words that start it again."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stratal.core.origin import Origin, origin
from stratal.core.records import Record
from stratal.tracking.capture.secrets import mask_argv
from stratal.tracking.capture.sources import FOREIGN, project_root


class Entry(Record, frozen=True, kw_only=True):
    """How to start it again. kind: script, module (`python -m`), stratal (our own commands), function, command (`python -c`),
    notebook or interactive.

    target: a script's path relative to `folder`'s project, a module's name, or `module:function`.
    folder: the working folder relative to the project's root. argv: without the program's name, secrets masked."""

    kind: str
    target: str
    argv: tuple[str, ...] = ()
    folder: str = "."
    seed: int | None = None


def own_project() -> Path:
    """Give the project of the program that this process works for: around its script, else around its working folder.

    A script of an environment's bin folder is a tool: it works where it was called.
    """
    began = origin()
    script = Path(began.target)
    return project_root(script.parent if began.kind == "script" and not script.is_relative_to(sys.prefix) else Path.cwd())


def current_entry(root: Path, *, seed: int | None = None) -> Entry:
    """Say how the program was started that this process works for."""
    began = origin()
    folder = Path(began.folder) if began.kind == "script" else Path.cwd()  # people change folders in a session
    return Entry(kind=began.kind, target=_target(began, root), argv=mask_argv(began.argv), folder=_relative(folder, root), seed=seed)


def entry_of_function(function: Callable[..., object], root: Path, *, argv: Sequence[str] = (), seed: int | None = None) -> Entry:
    """Name a function as an entry: `module:qualified.name`; a module that was run as a script is named by its file."""
    module = getattr(function, "__module__", None) or "__main__"
    name = getattr(function, "__qualname__", type(function).__qualname__)
    place = _target(origin(), root) if module == "__main__" else module
    return Entry(kind="function", target=f"{place}:{name}", argv=mask_argv(argv), folder=_relative(Path.cwd(), root), seed=seed)


def import_paths(root: Path) -> tuple[str, ...]:
    """List the folders of the import path that lie in the project, in order, as seen from its root."""
    root = root.resolve()
    found: dict[str, None] = {}
    for place in sys.path:
        folder = Path(place or ".").resolve()
        if folder.is_dir() and folder.is_relative_to(root) and not FOREIGN.intersection(folder.relative_to(root).parts):
            found[_relative(folder, root)] = None
    return tuple(found)


def _target(began: Origin, root: Path) -> str:
    if began.kind == "script":
        return _relative(Path(began.target), root)
    return began.target if began.kind == "module" else ""


def _relative(path: Path, root: Path) -> str:
    """Give a path as seen from the project's root; one that lies elsewhere keeps its dots, not its user's folder."""
    return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()
