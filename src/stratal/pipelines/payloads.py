"""Payloads: values between steps as bytes, each with the digest of its content.

The digest speaks of content, not of bytes: a frame's does not depend on its chunks, a file's not on its name, and the fields of a
record or dataclass count one by one. Kinds, the first that fits:
plain (None, numbers, text, bytes, lists and dicts of these), list, tuple, dict (of anything), file, frame, series, array, number
(NumPy's), record (msgspec), pickle (cloudpickle, the last resort: its digest is only as stable as its bytes).
"""

import dataclasses
import hashlib
import importlib
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from stratal.compute.travelling import pack, unpack
from stratal.core.errors import Damaged
from stratal.core.records import Record
from stratal.tracking.values import Dataset, Evaluation, File, Model

# Up to this size bytes lie in the step's row, above it in a blob: a file costs more than a kilobyte in a row.
INLINE_BYTES = 4096
SHOWN = 60
_PLAIN = (type(None), bool, int, float, str, bytes)
# Deeper values are pickled whole: nobody nests data that deep, and Python's own recursion ends soon after.
_DEEPEST = 50


class Sink(Protocol):
    """Where large parts go."""

    def put(self, data: bytes) -> str: ...

    def put_file(self, path: Path) -> str: ...


class Blobs(Sink, Protocol):
    """What payloads need of the store's blobs."""

    def read(self, digest: str) -> bytes: ...

    def path(self, digest: str) -> Path: ...

    def has(self, digest: str) -> bool: ...


class Payload(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A value as bytes. `data` or, if large, `blob` holds them; `items` those of a container; `keys` are a dict's, as msgpack.

    type: "module:qualname" of a record, the name of a file. shown: short text for people. target: what lineage calls it.
    """

    kind: str
    digest: str
    data: bytes = b""
    blob: str = ""
    type: str = ""
    items: tuple["Payload", ...] = ()
    keys: bytes = b""
    shown: str = ""
    target: str = ""


def encode(value: object, blobs: Sink, *, what: str) -> Payload:
    """Encode a value and keep its large parts as blobs. Raises Misuse, naming `what`, for a value that cannot travel."""
    return _encode(value, blobs, what, 0)


def decode(payload: Payload, blobs: Blobs) -> object:
    """Give the value back. Raises Damaged if its bytes are not there or make no value."""
    match payload.kind:
        case "plain":
            return msgspec.msgpack.decode(_bytes(payload, blobs))
        case "list":
            return [decode(item, blobs) for item in payload.items]
        case "tuple":
            return tuple(decode(item, blobs) for item in payload.items)
        case "dict":
            return {key: decode(item, blobs) for key, item in zip(_keys(payload), payload.items, strict=True)}
        case "file":
            return File(path=str(blobs.path(payload.blob)), digest=payload.digest, size_bytes=int(payload.shown or -1), name=payload.type)
        case "frame":
            return _frames().frame_from_bytes(_bytes(payload, blobs))
        case "series":
            return _frames().frame_from_bytes(_bytes(payload, blobs)).to_series()
        case "array" | "number":
            array = np.load(io.BytesIO(_bytes(payload, blobs)), allow_pickle=False)
            return array[()] if payload.kind == "number" else array
        case "record":
            return msgspec.msgpack.decode(_bytes(payload, blobs), type=_type(payload.type))
        case "pickle":
            return unpack(_bytes(payload, blobs))
    raise Damaged(f"a stored value is of the unknown kind {payload.kind!r}", hint="a newer version of Stratal wrote it")


def item(payload: Payload, positions: tuple[int, ...]) -> Payload:
    """Give the payload of an item of a tuple, so that it has a digest of its own."""
    for position in positions:
        if payload.kind != "tuple" or position >= len(payload.items):
            raise Damaged(f"a step that is annotated to return a tuple gave a {payload.kind}", hint="return what its annotation says")
        payload = payload.items[position]
    return payload


def blobs_in(payload: Payload) -> Iterator[str]:
    """Give the digests of all blobs that the value needs."""
    if payload.blob:
        yield payload.blob
    for one in payload.items:
        yield from blobs_in(one)


class Target(NamedTuple):
    """What lineage can name in a value, and where: ("", "dataset:churn@3") or ("[0]", "sha256:..."). is_file: its digest is a file's."""

    place: str
    target: str
    is_file: bool


def targets_in(payload: Payload) -> Iterator[Target]:
    """Give what lineage can name in the value."""
    if payload.target:
        yield Target("", payload.target, is_file=True)
    elif payload.items:
        places = _keys(payload) if payload.kind == "dict" else list(range(len(payload.items)))
        for place, one in zip(places, payload.items, strict=True):
            yield from (inner._replace(place=f"[{place}]{inner.place}") for inner in targets_in(one))
    elif payload.kind in ("file", "frame", "series", "array", "pickle"):
        yield Target("", f"sha256:{payload.digest}", is_file=payload.kind == "file")


def content_digest(value: object) -> str:
    """Give the digest that the value would have as a payload, and keep nothing."""
    return encode(value, _Nowhere(), what="a value").digest


def container_of(items: Iterable[Payload], kind: str, keys: Iterable[object] = ()) -> Payload:
    """Make the payload of a container from those of its items."""
    held, named = tuple(items), msgspec.msgpack.encode(list(keys)) if kind == "dict" else b""
    digest = _digest(kind, named, *(one.digest for one in held))
    return Payload(kind=kind, digest=digest, items=held, keys=named, shown=f"{kind} of {len(held)}")


def _encode(value: object, blobs: Sink, what: str, depth: int) -> Payload:
    if _is_plain(value, 0):
        data = msgspec.msgpack.encode(value)
        return _held("plain", data, _digest("plain", data), blobs, shown=_short(value))
    if depth < _DEEPEST and type(value) in (list, tuple):
        return container_of((_encode(one, blobs, what, depth + 1) for one in value), type(value).__name__)  # type: ignore[attr-defined]
    if depth < _DEEPEST and type(value) is dict and all(_is_plain(key, 0) for key in value):
        return container_of((_encode(one, blobs, what, depth + 1) for one in value.values()), "dict", value)
    if isinstance(value, File):
        return _file(value, blobs)
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return _array(value, blobs)
    if type(value).__module__.split(".")[0] == "polars" and type(value).__name__ in ("DataFrame", "Series"):
        return _frame(value, blobs)
    return _record(value, blobs) or _pickle(value, blobs, what, depth)


def _is_plain(value: object, depth: int) -> bool:
    """Tell whether msgpack gives back exactly this value."""
    if type(value) is int:
        return -(2**63) <= value < 2**64
    if type(value) in _PLAIN:
        return True
    if depth >= _DEEPEST:
        return False
    if type(value) is list:
        return all(_is_plain(one, depth + 1) for one in value)
    if type(value) is dict:
        return all(type(key) is str and _is_plain(one, depth + 1) for key, one in value.items())
    return False


def _file(value: File, blobs: Sink) -> Payload:
    blob = blobs.put_file(Path(value.path))
    if blob != value.digest:
        value.verify()  # says that the file changed, and what to do
    return Payload(kind="file", digest=blob, blob=blob, type=value.name, shown=str(value.size_bytes))


def _array(value: "np.ndarray[Any, Any] | np.generic", blobs: Sink) -> Payload:
    buffer = io.BytesIO()
    array = np.asarray(value, order="C")
    np.save(buffer, array, allow_pickle=False)
    kind = "array" if isinstance(value, np.ndarray) else "number"
    shown = f"{array.dtype}{list(array.shape)}" if kind == "array" else _short(value)
    return _held(kind, buffer.getvalue(), _digest(kind, buffer.getvalue()), blobs, shown=shown)


def _frame(value: Any, blobs: Sink) -> Payload:
    frames = _frames()
    frame = value.to_frame() if type(value).__name__ == "Series" else value
    kind = "frame" if frame is value else "series"
    digest = frames.frame_digest(frame)
    shown = f"frame of {frame.height} rows, {frame.width} columns"
    return _held(kind, frames.frame_to_bytes(frame), digest if kind == "frame" else _digest(kind, digest), blobs, shown=shown)


def _record(value: object, blobs: Sink) -> Payload | None:
    """Encode a msgspec record whose class a worker can import, if that gives back an equal one."""
    if not isinstance(value, msgspec.Struct):
        return None
    kind = type(value)
    name = f"{kind.__module__}:{kind.__qualname__}"
    try:
        if kind.__module__ == "__main__" or _type(name) is not kind:
            return None
        data = msgspec.msgpack.encode(value)
        if msgspec.msgpack.decode(data, type=kind) != value:
            return None
    except (Damaged, TypeError, ValueError, OverflowError, RecursionError):
        return None
    return _held("record", data, _digest("record", name, data), blobs, type=name, shown=_short(value), target=_target(value))


def _target(value: object) -> str:
    if isinstance(value, Dataset):
        return value.ref
    if isinstance(value, Model):
        return f"sha256:{value.digest.removeprefix('sha256:')}"
    return f"run:{value.run}" if isinstance(value, Evaluation) else ""


def _pickle(value: object, blobs: Sink, what: str, depth: int) -> Payload:
    data = pack(value, what=what)
    digest = _structural_digest(value, depth) or _digest("pickle", data)
    return _held("pickle", data, digest, blobs, shown=_short(value))


def _structural_digest(value: object, depth: int) -> str | None:
    """Give a digest by parts where bytes would differ from process to process: sets, and classes that cloudpickle sends by value."""
    kind = type(value)
    name = f"{kind.__qualname__}"
    if isinstance(content := getattr(value, "digest", None), str) and content:
        return _digest("digest", name, content)
    if depth >= _DEEPEST:
        return None
    if isinstance(value, set | frozenset):
        return _digest(name, *sorted(_content(one, depth) for one in value))
    if isinstance(value, msgspec.Struct):
        return _digest("fields", name, *(_content(getattr(value, field), depth) for field in value.__struct_fields__))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _digest("fields", name, *(_content(getattr(value, field.name), depth) for field in dataclasses.fields(value)))
    return None


def _content(value: object, depth: int) -> str:
    return _encode(value, _Nowhere(), "a value", depth + 1).digest


def _held(kind: str, data: bytes, digest: str, blobs: Sink, *, type: str = "", shown: str = "", target: str = "") -> Payload:
    if len(data) <= INLINE_BYTES:
        return Payload(kind=kind, digest=digest, data=data, type=type, shown=shown, target=target)
    return Payload(kind=kind, digest=digest, blob=blobs.put(data), type=type, shown=shown, target=target)


def _keys(payload: Payload) -> list[object]:
    return msgspec.msgpack.decode(payload.keys, type=list[object])


def _bytes(payload: Payload, blobs: Blobs) -> bytes:
    return blobs.read(payload.blob) if payload.blob else payload.data


def _type(name: str) -> type:
    module, _, qualname = name.partition(":")
    try:
        found: object = sys.modules.get(module) or importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise Damaged(
            f"a stored value is a {name}, which is not there any more: {error}", hint="run the step that made it again"
        ) from error
    if not isinstance(found, type):
        raise Damaged(f"a stored value is a {name}, which is no class any more", hint="run the step that made it again")
    return found


def _frames() -> Any:
    return importlib.import_module("stratal.tracking.frames")  # it loads polars, which most steps do not need


def _digest(*parts: str | bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(f"{len(data)}:".encode() + data)
    return whole.hexdigest()


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  a broken __repr__ of the user's must not stop a step that works
        return f"a {type(value).__qualname__}"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


class _Nowhere:
    """Blobs that are digested and dropped."""

    def put(self, data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    def put_file(self, path: Path) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
