"""What a study is about: digests of its objective and its data. When they change, old results say nothing about new ones.

The objective's digest is of the meaning of its source (comments, blank lines and docstrings do not count) and of what it reaches
in the user's own files: functions, classes and plain constants by name, whole modules by content, values that it closes over (so
an objective that collects into a list of its surroundings is another one each time: collect in `on_trial`, or from the trials).
What is installed is not followed; the runs' captured environment tells of it.
"""

import ast
import functools
import hashlib
import inspect
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType

import numpy as np

from stratal.compute.travelling import pack
from stratal.core.errors import Misuse

_INSTALLED = tuple({str(Path(path).resolve()) for name, path in sysconfig.get_paths().items() if name.endswith(("lib", "stdlib"))})
_OURS = "stratal"


def objective_digest(function: Callable[..., object]) -> str:
    """Give the digest of an objective. Comments and layout do not count; the code it reaches in the project does."""
    seen: dict[int, str] = {}
    return _hash(_object(function, seen))


def data_digest(data: object) -> str:
    """Give the digest of the data that trials are given: by content, also for frames and arrays."""
    return _hash(_data(data))


def ref_of(data: object) -> str | None:
    """Give the ref that lineage knows the data by: a dataset's own, a frame's digest; None for plain values."""
    ref = getattr(data, "ref", None)
    if isinstance(ref, str):
        return ref
    return f"sha256:{_frame(data)}" if _is_frame(data) else None


def _hash(parts: Iterator[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


def _object(value: object, seen: dict[int, str]) -> Iterator[str | bytes]:
    """The parts of a callable, a class, a module of the project, or a plain value."""
    if id(value) in seen:
        yield seen[id(value)]
        return
    if not _is_plain(value):
        seen[id(value)] = f"seen {len(seen)}"
    if isinstance(value, functools.partial):
        yield "partial"
        yield from _object(value.func, seen)
        yield from _data((value.args, value.keywords))
    elif isinstance(value, MethodType):
        yield f"method {value.__func__.__name__}"
        yield from _object(value.__func__, seen)
        yield from _object(value.__self__, seen)
    elif isinstance(value, FunctionType):
        yield from _function(inspect.unwrap(value), seen)
    elif isinstance(value, type):
        yield from _class(value, seen)
    elif isinstance(value, ModuleType):
        yield f"module {value.__name__}"
        yield _file(value)
    elif _is_of_project(type(value).__module__) and hasattr(value, "__dict__"):
        yield from _class(type(value), seen)
        for name, part in sorted(vars(value).items()):
            yield name
            yield from _object(part, seen)
    elif callable(value):
        yield getattr(value, "__qualname__", None) or type(value).__qualname__
    else:
        try:
            yield from _data(value)
        except Misuse:  # a lock, a connection: no content to speak of
            yield type(value).__qualname__


def _function(function: FunctionType, seen: dict[int, str]) -> Iterator[str | bytes]:
    yield f"function {function.__name__}"
    yield from _code(function, function.__code__)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    closed = {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
    for name, value in closed.items():
        yield f"closes over {name}"
        yield from _object(value, seen)
    yield from _data((function.__defaults__, function.__kwdefaults__))
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            value = function.__globals__[name]
            if _is_followed(value):
                yield f"reaches {name}"
                yield from _object(value, seen)


def _class(kind: type, seen: dict[int, str]) -> Iterator[str | bytes]:
    yield f"class {kind.__qualname__}"
    for base in kind.__bases__:
        if _is_of_project(base.__module__):
            yield from _object(base, seen)
    for name, value in sorted(vars(kind).items()):
        function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        if isinstance(function, FunctionType):
            yield from _object(function, seen)
        elif _is_plain(value) and not name.startswith("__"):
            yield f"{name} = {value!r}"


def _is_followed(value: object) -> bool:
    """Follow what is the user's own; of other globals only plain constants, since a cache or a model would change by itself."""
    if isinstance(value, ModuleType):
        return _is_of_project(value.__name__)
    if isinstance(value, FunctionType | type):
        return _is_of_project(value.__module__)
    return _is_plain(value)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(part) for part in value)
    if isinstance(value, dict):
        return all(_is_plain(part) for pair in value.items() for part in pair)
    return value is None or isinstance(value, bool | int | float | complex | str | bytes)


def _is_of_project(name: str | None) -> bool:
    module = sys.modules.get(name or "")
    if module is None or (name or "").partition(".")[0] == _OURS:
        return False
    file = getattr(module, "__file__", None)
    if name == "__main__":
        return True
    return file is not None and not str(Path(file).resolve()).startswith(_INSTALLED)


def _file(module: ModuleType) -> bytes:
    try:
        return Path(module.__file__ or "").read_bytes()
    except OSError:
        return module.__name__.encode()


def _code(function: FunctionType, code: CodeType) -> Iterator[str | bytes]:
    """The meaning of the source; where there is none (typed at a prompt), the compiled code."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # SyntaxError: a lambda inside a longer expression
        yield from _compiled(code)
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    yield ast.dump(tree)


def _compiled(code: CodeType) -> Iterator[str | bytes]:
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, [c for c in code.co_consts if not isinstance(c, CodeType)]))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _compiled(constant)


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _is_filled(cell: object) -> bool:
    try:
        return cell.cell_contents is not cell  # type: ignore[attr-defined]  # a cell; an empty one raises
    except ValueError:
        return False


def _data(value: object) -> Iterator[str | bytes]:
    """The parts of a value: containers piece by piece, frames and arrays by content, handles by what they name."""
    yield type(value).__qualname__
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield repr(value)
    elif isinstance(value, Mapping):
        for key, part in sorted(value.items(), key=lambda pair: repr(pair[0])):
            yield repr(key)
            yield from _data(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _data(part)
    elif isinstance(value, set | frozenset):
        yield from sorted(_hash(_data(part)) for part in value)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield repr((value.dtype.str, value.shape))
        yield np.ascontiguousarray(value).tobytes()
    elif (whole := getattr(value, "digest", None)) is not None and isinstance(whole, str):
        yield whole  # a dataset, a model: they say what they are
    elif _is_frame(value):
        yield _frame(value)
    else:
        yield _packed(value)


def _is_frame(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "polars" and type(value).__qualname__ == "DataFrame"


def _frame(value: object) -> str:
    from stratal.tracking.frames import frame_digest  # polars: loaded already, if there is a frame

    return frame_digest(value)  # type: ignore[arg-type]  # judged by its module


def _packed(value: object) -> bytes:
    try:
        return pack(value, what=f"the data (a {type(value).__qualname__})")
    except Misuse as error:
        raise Misuse(error.message, hint="give frames, arrays, datasets or plain values: a change must be noticed") from error
