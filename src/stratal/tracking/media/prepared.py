"""What every kind of media becomes before anything is written: contents with their types, and a few details to draw from."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from stratal.core.errors import Misuse


class Content(NamedTuple):
    """One file to be. data: its bytes, or the file that holds them. shared: its own name if it is the same for many items."""

    data: bytes | Path
    mime: str
    suffix: str
    shared: str = ""


class Prepared(NamedTuple):
    """A media item, checked and encoded. contents: the thing first, then other forms of it."""

    kind: str
    contents: tuple[Content, ...]
    details: Mapping[str, object] = {}


def of_type(value: object) -> str:
    """Name the type of a value as people write it: 'numpy.ndarray of shape (3,) and dtype int64'."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return name if shape is None or dtype is None else f"{name} of shape {tuple(shape)} and dtype {dtype}"


def encoded(text: str) -> bytes:
    """Give a text as UTF-8. Raises Misuse for half a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Misuse(f"the text holds {text[error.start]!r}, half of a character", hint="decode it with errors='replace'") from error
