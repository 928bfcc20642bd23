"""Records: frozen, keyword-only values, and their JSON.

JSON has no NaN and no infinities. In documents they travel as the texts "NaN", "Infinity", "-Infinity".
"""

import math
from typing import TypeVar

import msgspec

from stratal.core.errors import Damaged

T = TypeVar("T")

# What a JSON document holds. `object` inside: mypy has no cheap recursive alias on Python 3.11.
Json = None | bool | int | float | str | list[object] | dict[str, object]

_ODD = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records. Subclasses repeat `kw_only=True`: msgspec applies it per class."""


def to_json(value: object) -> str:
    """Encode as JSON text with sorted keys, so that equal values give equal bytes (digests rely on it)."""
    return msgspec.json.encode(value, order="sorted").decode()


def from_json(text: str | bytes, type: type[T]) -> T:
    """Decode JSON text as `type`. Raises Damaged if it does not fit."""
    try:
        return msgspec.json.decode(text, type=type)
    except msgspec.DecodeError as error:
        raise Damaged(f"stored text is not a {type.__name__}: {error}") from error


def number_to_json(value: float) -> float | str:
    """Give what JSON can hold: odd numbers as text."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def number_from_json(value: float | str) -> float:
    """Undo `number_to_json`."""
    return _ODD[value] if isinstance(value, str) else value
