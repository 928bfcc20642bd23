"""Telling errors over a wire: class, message, hint and fields there, the same error here. No code travels, only names."""

import typing
from collections.abc import Iterator

import msgspec

from stratal.core.errors import StratalError, rebuild
from stratal.store.shipments import Complaint


class Failure(Complaint, frozen=True, kw_only=True, omit_defaults=True):
    """A complaint that becomes the same error again. kinds: names of its classes, the finest first; fields: what it holds besides."""

    kinds: tuple[str, ...] = ()
    fields: dict[str, object] = {}


def tell(error: StratalError, word: str) -> Failure:
    """Put an error into words. word: what programs of other languages go by."""
    kinds = tuple(kind.__name__ for kind in type(error).__mro__ if issubclass(kind, StratalError))
    held = {name: value for name, value in vars(error).items() if name not in ("message", "hint")}
    offset = held.get("offset")
    return Failure(
        error=word, message=error.message, hint=error.hint, offset=offset if isinstance(offset, int) else None, kinds=kinds,
        fields=_plain(held),
    )  # fmt: skip


def told(failure: Failure) -> StratalError | None:
    """Give the error that was told: of the finest class that is known here; None if it names none of ours."""
    known = {kind.__name__: kind for kind in _kinds(StratalError)}
    kind = next((known[name] for name in failure.kinds if name in known), None)
    if kind is None:
        return None
    hints = typing.get_type_hints(kind.__init__)
    fields = {name: _typed(value, hints.get(name, object)) for name, value in failure.fields.items() if name.isidentifier()}
    return rebuild(kind, failure.message, failure.hint, fields)


def _plain(held: dict[str, object]) -> dict[str, object]:
    try:
        plain: dict[str, object] = msgspec.to_builtins(held, builtin_types=(bytes,))
    except (TypeError, OverflowError):  # what cannot travel is left out; message and hint say what happened
        return {}
    return plain


def _typed(value: object, hint: typing.Any) -> object:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:  # a server of another version: the plain value says it, too
        return value


def _kinds(base: type[StratalError]) -> Iterator[type[StratalError]]:
    """Give our own error classes: those of other programs may bear the same names."""
    if base.__module__.startswith("stratal."):
        yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)
