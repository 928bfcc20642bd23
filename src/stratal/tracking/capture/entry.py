"""The entry: what was started, in the words that start it again."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stratal.core.records import Record
from stratal.tracking.capture.secrets import mask_argv


class Entry(Record, frozen=True, kw_only=True):
    """How to start it again. kind: script, module (`python -m`), function, command (`python -c`), notebook or interactive.

    target: a script's path relative to `folder`'s project, a module's name, or `module:function`.
    folder: the working folder relative to the project's root. argv: without the program's name, secrets masked."""

    kind: str
    target: str
    argv: tuple[str, ...] = ()
    folder: str = "."
    seed: int | None = None


def current_entry(root: Path, *, seed: int | None = None) -> Entry:
    """Say how this process was started."""
    kind, target = _started(root)
    return Entry(kind=kind, target=target, argv=mask_argv(sys.argv[1:]), folder=_relative(Path.cwd(), root), seed=seed)


def entry_of_function(function: Callable[..., object], root: Path, *, argv: Sequence[str] = (), seed: int | None = None) -> Entry:
    """Name a function as an entry: `module:qualified.name`; a module that was run as a script is named by its file."""
    module = getattr(function, "__module__", None) or "__main__"
    name = getattr(function, "__qualname__", type(function).__qualname__)
    place = _started(root)[1] if module == "__main__" else module
    return Entry(kind="function", target=f"{place}:{name}", argv=mask_argv(argv), folder=_relative(Path.cwd(), root), seed=seed)


def _started(root: Path) -> tuple[str, str]:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return "module", str(spec.name).removesuffix(".__main__")
    if "ipykernel" in sys.modules:
        return "notebook", ""
    file = getattr(main, "__file__", None)
    if isinstance(file, str):
        return "script", _relative(Path(file), root)
    return ("command", "") if sys.argv[:1] == ["-c"] else ("interactive", "")


def _relative(path: Path, root: Path) -> str:
    """Give a path as seen from the project's root; one that lies elsewhere keeps its dots, not its user's folder."""
    return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()
