"""Inputs: the files that a program was given, by path and content. On its command line, or as st.File, run.use, st.dataset.

Their bytes are kept elsewhere, if at all: an input says what must lie where, so that the program finds it again.
"""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

from stratal.core.records import Record
from stratal.tracking.capture.secrets import is_secret_file, mask_shapes

CONFIGURATION = (".yaml", ".yml", ".json", ".toml", ".ini", ".cfg", ".conf")
LARGEST_BYTES = 4 << 30  # reading it twice would cost more than it says
_MOST = 1000  # a program that takes more is a loader of data, which names its data otherwise


class Input(Record, frozen=True, kw_only=True):
    """A file that was given: its digest and size."""

    digest: str
    size_bytes: int


_noted: dict[str, Input] = {}
_lock = threading.Lock()


def note_input(path: str | Path, digest: str, size_bytes: int) -> None:
    """Say that this program takes a file as an input, with the content that was read."""
    with _lock:
        if len(_noted) < _MOST and not is_secret_file(str(path)):
            _noted[str(Path(path).absolute())] = Input(digest=digest, size_bytes=size_bytes)


def count_inputs() -> int:
    """Give how many files this program has taken so far."""
    return len(_noted)


def files_in(argv: Sequence[str], folder: Path) -> list[Path]:
    """List the files that a command line names, as words of their own or behind an `=`."""
    found: dict[Path, None] = {}
    for word in argv:
        for text in (word, word.partition("=")[2]):
            if text and len(text) < 4096 and "\0" not in text and not is_secret_file(text):
                path = folder / text
                try:
                    if path.is_file():
                        found[path] = None
                except OSError:  # a name that no file system takes
                    continue
    return list(found)


def read_inputs(argv: Sequence[str], folder: Path, root: Path) -> tuple[dict[str, Input], tuple[str, ...]]:
    """Give all inputs, by their path in the project (absolute if they lie elsewhere), and what was left out, with reasons."""
    inputs: dict[str, Input] = {}
    left_out: list[str] = []
    for path in files_in(argv, folder):
        if (size := path.stat().st_size) > LARGEST_BYTES:
            left_out.append(f"input {path.name}: larger than {LARGEST_BYTES >> 30} GiB")
            continue
        with path.open("rb") as file:
            inputs[_name(path, root)] = Input(digest=hashlib.file_digest(file, "sha256").hexdigest(), size_bytes=size)
    with _lock:
        noted = dict(_noted)
    inputs.update({_name(Path(path), root): given for path, given in noted.items()})
    return dict(sorted(inputs.items())), tuple(left_out)


def _name(path: Path, root: Path) -> str:
    path, root = path.absolute(), root.absolute()
    whole = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    return mask_shapes(whole)
