"""Casting: how a column is read as its schema's kind, and which of its values cannot be.

One table of expressions per (kind, what the data holds). Nothing is lost in silence: a value that cannot be read is odd,
and a column whose type is no form of the kind at all is a mismatch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from stratal.data.columns import Column
from stratal.data.profile import ProfileKind, kind_of
from stratal.data.schema import Schema

# What each kind may be read from, besides itself.
_FORMS: dict[str, tuple[ProfileKind, ...]] = {
    "string": ("string", "integer"),
    "integer": ("integer", "number", "string"),
    "number": ("integer", "number", "string"),
    "boolean": ("boolean", "integer", "number", "string"),
    "category": ("string", "integer", "number", "boolean"),
    "timestamp": ("timestamp", "string"),
}
_TIME_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
# Floats beyond are whole, but not 64-bit integers.
_MOST_WHOLE = 2.0**63


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read one column: `typed` is null where the value is null or odd; `text` is its plain text, for domains."""

    raw: pl.Expr
    typed: pl.Expr
    text: pl.Expr

    @property
    def odd(self) -> pl.Expr:
        """Give whether a value is there but cannot be read as the kind."""
        return self.raw.is_not_null() & self.typed.is_null()


def read_column(raw: pl.Expr, dtype: pl.DataType, column: Column) -> Reading | None:
    """Say how to read a column of that type; None: the type is no form of the kind."""
    found = kind_of(dtype)
    if found == "null":
        return Reading(raw=raw, typed=raw.cast(_target(column)), text=raw.cast(pl.String))
    if found not in _FORMS[column.kind]:
        return None
    text = _text(raw, found)
    return Reading(raw=raw, typed=_typed(raw, text, found, dtype, column), text=text)


def typed_frame(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Read a frame as its schema says. A column with a value that cannot be read stays as it is."""
    readings = {
        name: reading
        for name, raw in by_position(frame.columns).items()
        if name in schema.columns and (reading := read_column(raw, frame.schema[name], schema.columns[name])) is not None
    }
    if not readings:
        return frame
    odd = frame.select([reading.odd.sum().alias(name) for name, reading in readings.items()]).row(0, named=True)
    return frame.with_columns([reading.typed.alias(name) for name, reading in readings.items() if not odd[name]])


def by_position(columns: Sequence[str]) -> dict[str, pl.Expr]:
    """Give an expression for each column. By position, for polars takes the names `*` and `^...$` as patterns."""
    return {name: pl.nth(position) for position, name in enumerate(columns)}


def _typed(raw: pl.Expr, text: pl.Expr, found: ProfileKind, dtype: pl.DataType, column: Column) -> pl.Expr:
    if column.kind == "string":
        return text
    if column.kind == "integer":
        return _whole(raw, found)
    if column.kind == "number":
        return raw.cast(pl.Float64, strict=False)
    if column.kind == "category":
        return _whole(raw, found) if _is_whole(column) else text
    if column.kind == "boolean":
        return _boolean(raw, text, found, column)
    return _time(raw, found, dtype)


def _whole(raw: pl.Expr, found: ProfileKind) -> pl.Expr:
    if found == "number":
        as_float = raw.cast(pl.Float64)
        is_whole = (as_float == as_float.floor()) & (as_float >= -_MOST_WHOLE) & (as_float < _MOST_WHOLE)
        return pl.when(is_whole).then(as_float).cast(pl.Int64, strict=False)
    return raw.cast(pl.Int64, strict=False)


def _text(raw: pl.Expr, found: ProfileKind) -> pl.Expr:
    if found != "number":
        return raw.cast(pl.String)
    # 1.0 in a column that nulls turned into floats is the category 1.
    return pl.coalesce(_whole(raw, found).cast(pl.String), raw.cast(pl.String))


def _boolean(raw: pl.Expr, text: pl.Expr, found: ProfileKind, column: Column) -> pl.Expr:
    if found == "boolean":
        return raw
    if column.true is None or column.false is None:
        lower = text.str.to_lowercase()
        return pl.when(lower.is_in(["true", "1"])).then(True).when(lower.is_in(["false", "0"])).then(False)
    return pl.when(text == str(column.true)).then(True).when(text == str(column.false)).then(False)


def _time(raw: pl.Expr, found: ProfileKind, dtype: pl.DataType) -> pl.Expr:
    if found == "timestamp":
        if isinstance(dtype, pl.Datetime) and dtype.time_zone:
            return raw.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
        return raw.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    plain = raw.str.strip_suffix("Z")
    tries = [plain.str.strptime(pl.Datetime("us"), form, strict=False) for form in _TIME_FORMATS]
    day = plain.str.strptime(pl.Date, "%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    return pl.coalesce([*tries, day]).dt.replace_time_zone("UTC")


def _target(column: Column) -> pl.DataType:
    if column.kind == "category":
        return pl.Int64() if _is_whole(column) else pl.String()
    targets: dict[str, pl.DataType] = {
        "string": pl.String(),
        "integer": pl.Int64(),
        "number": pl.Float64(),
        "boolean": pl.Boolean(),
        "timestamp": pl.Datetime("us", "UTC"),
    }
    return targets[column.kind]


def _is_whole(column: Column) -> bool:
    return bool(column.values) and isinstance(column.values[0], int)
