"""Sources: the project's own files that this process has imported, with digests; and configuration files of the caller."""

import hashlib
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from stratal.core.origin import OURS, ipython_shell, origin
from stratal.core.records import Record
from stratal.tracking.capture.secrets import CODE, is_secret_file, mask, mask_shapes

ROOT_MARKS = (".git", "stratal.toml", "pyproject.toml", "setup.py", "setup.cfg")
# Folders of other people's code, or of nobody's.
FOREIGN = frozenset((".git", ".stratal", ".tox", ".nox", ".venv", "__pycache__", "dist-packages", "node_modules", "site-packages", "venv"))
CELLS, COMMAND = "entry/cells.py", "entry/command.py"
FILE_BYTES = 1 << 20
TOTAL_BYTES = 32 << 20


class CapturedFile(Record, frozen=True, kw_only=True):
    """A file to keep. `digest` is of `data`; where something that looked like a secret was masked in it, `original` is
    the digest of the file as it is on disk."""

    name: str
    data: bytes
    digest: str
    original: str | None = None


class Files(Record, frozen=True, kw_only=True):
    """Files that were read, and those that were not, each with the reason."""

    files: tuple[CapturedFile, ...]
    left_out: tuple[str, ...]


def project_root(start: Path) -> Path:
    """Give the nearest folder upwards that looks like a project's top (.git, pyproject.toml ...), else `start`."""
    start = start.resolve()
    home = Path.home()
    for folder in (start, *start.parents):
        if folder in (home, Path(folder.anchor)):
            break
        if any((folder / mark).exists() for mark in ROOT_MARKS):
            return folder
    return start


def imported_sources(root: Path) -> list[Path]:
    """Give the files of `sys.modules` that lie in the project, sorted. The installation itself is no part of a project, nor are we."""
    root = root.resolve()
    prefix = Path(sys.prefix).resolve()
    # Not by getattr: a module may make its attributes, and so import things. A script loses its `__file__` when it ends.
    # What stands there need not be a module: None keeps a name from being imported, as hypertext.py does while httpx is.
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] != OURS]
    files = [vars(module).get("__file__") for module in modules if hasattr(module, "__dict__")]
    files += [began.target] if (began := origin()).kind == "script" else []
    found = set()
    for file in files:
        if not isinstance(file, str) or file.startswith("<"):
            continue
        path = Path(file).resolve()
        if _is_own(path, root, prefix) and path.is_file():  # modules made in memory name files that were never there
            found.add(path)
    return sorted(found)


def read_sources(root: Path, known: Container[str] = ()) -> Files:
    """Read the imported sources, named `sources/<path in the project>`, but for those whose names are known."""
    root = root.resolve()
    named = ((f"sources/{path.relative_to(root).as_posix()}", path) for path in imported_sources(root))
    return _read((name, path) for name, path in named if name not in known)


def read_configurations(paths: Sequence[Path], root: Path) -> Files:
    """Read configuration files, named `configuration/<path in the project>`, or by their name if they lie elsewhere."""
    root = root.resolve()
    named = []
    for given in paths:
        path = given.resolve()
        inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        named.append((f"configuration/{inside}", path))
    return _read(named)


def read_untracked(names: Sequence[str], top: Path) -> Files:
    """Read sources that git does not know yet, named `untracked/<path in the repository>`."""
    return _read((f"untracked/{name}", top / name) for name in names)


def notebook_cells() -> CapturedFile | None:
    """Give the cells of a notebook or an IPython session in the order in which they ran; None elsewhere."""
    shell = ipython_shell()
    if shell is None or shell.history_manager is None:
        return None
    cells = [str(cell) for cell in shell.history_manager.input_hist_raw][1:]  # as typed: `In` holds magics as IPython calls them
    text = "\n\n".join(f"# In [{number}]\n{cell}" for number, cell in enumerate(cells, 1))
    return captured(CELLS, text.encode())


def command_code() -> CapturedFile | None:
    """Give the code that followed `python -c`; None if the program was started otherwise."""
    began = origin()
    return captured(COMMAND, began.target.encode()) if began.kind == "command" and began.target else None


def captured(name: str, data: bytes, *, is_named: bool = True) -> CapturedFile:
    """Make a file to keep: masked, with its digests. is_named: False where names say nothing, as in lists: asttokens is a package."""
    digest = hashlib.sha256(data).hexdigest()
    try:
        text = data.decode()
        masked = (mask(text, is_code=name.endswith(CODE)) if is_named else mask_shapes(text)).encode()
    except UnicodeDecodeError:
        return CapturedFile(name=name, data=data, digest=digest)
    if masked == data:
        return CapturedFile(name=name, data=data, digest=digest)
    return CapturedFile(name=name, data=masked, digest=hashlib.sha256(masked).hexdigest(), original=digest)


def _is_own(path: Path, root: Path, prefix: Path) -> bool:
    if not path.is_relative_to(root) or FOREIGN.intersection(path.relative_to(root).parts):
        return False
    # A virtual environment inside the project is foreign, whatever its name.
    return not (prefix != root and prefix.is_relative_to(root) and path.is_relative_to(prefix))


def _read(named: Iterable[tuple[str, Path]]) -> Files:
    files: list[CapturedFile] = []
    left_out: list[str] = []
    total = 0
    for name, path in _distinct(named):
        reason, data = _content(path)
        if not reason and total + len(data) > TOTAL_BYTES:
            reason = f"more than {TOTAL_BYTES >> 20} MiB of files"
        if reason:
            left_out.append(f"{name}: {reason}")
            continue
        total += len(data)
        files.append(captured(name, data))
    return Files(files=tuple(files), left_out=tuple(left_out))


def _distinct(named: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """Two files of one name, from different folders outside the project, keep apart by a number."""
    seen: dict[str, Path] = {}
    for name, path in named:
        unique, number = name, 2
        while unique in seen and seen[unique] != path:
            unique, number = f"{name}-{number}", number + 1
        if unique not in seen:
            seen[unique] = path
            yield unique, path


def _content(path: Path) -> tuple[str, bytes]:
    if is_secret_file(str(path)):
        return "may hold secrets", b""
    try:
        if path.stat().st_size > FILE_BYTES:
            return f"larger than {FILE_BYTES >> 20} MiB", b""
        return "", path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})", b""
