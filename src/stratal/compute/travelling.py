"""How functions, arguments, values and exceptions travel between processes: cloudpickle, and what it cannot do."""

import io
import os
import pickle
import sys
import traceback
from collections import ChainMap
from functools import lru_cache
from types import CodeType, FunctionType

import cloudpickle

from stratal.compute.port import WorkerTraceback, WorkFailed
from stratal.core.errors import Misuse


def pack(value: object, *, what: str) -> bytes:
    """Encode a value. Raises Misuse, naming `what`, if it cannot travel."""
    try:
        return _dumps(value)
    except Exception as error:  # a user's __reduce__ may raise anything
        raise Misuse(
            f"{what} cannot travel to another process: {type(error).__name__}: {_text(error)}",
            hint="open files, locks and connections inside the function, and pass what they are made from",
        ) from error


def unpack(data: bytes) -> object:
    """Decode what `pack` made."""
    value: object = pickle.loads(data)
    return value


def pack_error(error: BaseException) -> tuple[bytes, str]:
    """Encode an exception and its traceback text. One that cannot be rebuilt is replaced by WorkFailed."""
    text = "".join(traceback.format_exception(error))
    try:
        data = _dumps(error)
        if not isinstance(pickle.loads(data), BaseException):
            raise TypeError("it is rebuilt as something else")
    except Exception as reason:  # noqa: BLE001  # a user's __reduce__ or __init__ may raise anything
        replacement = WorkFailed(
            f"{type(error).__qualname__}: {_text(error)}",
            hint=f"the exception itself cannot travel between processes ({type(reason).__name__}: {_text(reason)})",
        )
        data = _dumps(replacement)
    return data, text


def unpack_error(data: bytes, text: str) -> BaseException:
    """Decode an exception, with the worker's traceback as its cause."""
    try:
        error = pickle.loads(data)
    except Exception as reason:  # noqa: BLE001  # its class may exist in the worker only
        error = WorkFailed(text.strip().rsplit("\n", 1)[-1], hint=f"the exception cannot be rebuilt here: {_text(reason)}")
    assert isinstance(error, BaseException)  # pack_error made sure
    error.__cause__ = WorkerTraceback(text)
    return error


def _reduce_code(code: CodeType) -> tuple[object, ...]:
    """As cloudpickle does, but with the file's name: without it tracebacks of workers have no lines and functions no source."""
    made, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return made, tuple(code.co_filename if argument == "<dynamic-code>" else argument for argument in arguments)


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Sends functions and classes of modules that a fresh process could not import (run by path, made on the fly) by value."""

    dispatch_table = ChainMap({CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)

    def reducer_override(self, obj: object) -> object:
        if isinstance(obj, FunctionType | type):
            module = sys.modules.get(getattr(obj, "__module__", None) or "")
            if module is not None and module.__name__ != "__main__" and not _is_importable(module.__name__, _places()):
                cloudpickle.register_pickle_by_value(module)
        return super().reducer_override(obj)


def _dumps(value: object) -> bytes:
    with io.BytesIO() as file:
        _Packer(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
        return file.getvalue()


def _places() -> tuple[str, ...]:
    return tuple(os.path.abspath(place) for place in sys.path)  # noqa: PTH100  # resolve() would follow links


@lru_cache(maxsize=10_000)
def _is_importable(name: str, _path: tuple[str, ...]) -> bool:
    """Tell whether a process with this sys.path finds the module, as the import system would. The path is what it depends on."""
    inside: list[str] | None = None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        locations = _locations(".".join(parts[:end]), inside)
        if locations is None:
            return False
        inside = locations
    return True


def _locations(name: str, inside: list[str] | None) -> list[str] | None:
    """Where a module's own submodules lie; None if nothing finds the module."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, inside, None)
        except (ImportError, AttributeError, ValueError, OSError):
            continue
        if spec is not None:
            return list(spec.submodule_search_locations or [])
    return None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # a broken __str__ must not hide the failure itself
        return "(its text cannot be made)"
