"""The program that a user started: what it was, from where, and an id of this one execution of it.

Worker processes are handed the origin of the program that they work for, so that whatever they do can be traced to one command.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import msgspec

from stratal.core.ids import new_id
from stratal.core.records import Record

OURS = "stratal"
_CODE_BYTES = 1 << 15  # it travels in a command line, which has room for 128 KiB


class Origin(Record, frozen=True, kw_only=True):
    """How a program was started. program: the id of this execution. pid: of its first process.

    kind: script, module (`python -m`), stratal (our own command line), command (`python -c`), notebook or interactive.
    target: a script's absolute path, a module's name, a command's code. folder: the working folder when we were first asked.
    """

    program: str
    pid: int
    kind: str
    target: str
    argv: tuple[str, ...]
    folder: str


_origin: list[Origin] = []


def origin() -> Origin:
    """Give the origin of this process: inherited, or else found now and kept."""
    if not _origin:
        kind, target = _started()
        argv = () if kind == "notebook" else tuple(sys.argv[1:])  # a kernel's words name a file with its key
        _origin.append(Origin(program=new_id(), pid=os.getpid(), kind=kind, target=target, argv=argv, folder=_folder()))
    return _origin[0]


def origin_text() -> str:
    """Give the origin as text, to be handed to a worker process."""
    return msgspec.json.encode(origin()).decode()


def inherit(text: str) -> None:
    """Take over the origin of the program that this process works for."""
    _origin[:] = [msgspec.json.decode(text, type=Origin)]


class Events(Protocol):
    """Where to say what is called before each cell: "pre_run_cell"."""

    def register(self, event: str, function: Callable[[object], None]) -> None: ...

    def unregister(self, event: str, function: Callable[[object], None]) -> None: ...


class History(Protocol):
    """What was typed, cell by cell; the first one is always empty."""

    input_hist_raw: list[str]


class Shell(Protocol):
    """What we know of IPython, which we never import: the shell of a notebook's kernel, or of a terminal."""

    events: Events
    history_manager: History | None
    last_execution_succeeded: bool


def ipython_shell() -> Shell | None:
    """Give the IPython that this process is a session of, None elsewhere."""
    found = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return cast("Shell | None", found()) if found is not None else None


def _started() -> tuple[str, str]:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    name = str(spec.name).removesuffix(".__main__") if spec is not None else ""
    file = getattr(main, "__file__", None)
    if name.split(".")[0] == OURS or (isinstance(file, str) and Path(file).name == OURS):
        return "stratal", ""
    if name:
        return "module", name
    if "ipykernel" in sys.modules:
        return "notebook", ""
    if isinstance(file, str):
        return "script", str(Path(file).absolute())
    if sys.argv[:1] == ["-c"]:
        return "command", _code()
    return ("notebook", "") if hasattr(sys.modules.get("builtins"), "__IPYTHON__") else ("interactive", "")


def _code() -> str:
    """Give the code of `python -c`, which stands behind the interpreter's own options."""
    words = list(sys.orig_argv)
    code = words[words.index("-c") + 1] if "-c" in words[:-1] else ""
    return code if len(code) <= _CODE_BYTES else ""


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # a text is all that is needed
    except FileNotFoundError:
        return ""
