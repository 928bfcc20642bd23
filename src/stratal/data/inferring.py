"""Inferring: a first schema from data. The data it was inferred from always validates against it."""

import polars as pl

from stratal.core.records import number_from_json
from stratal.data.columns import Column, boolean, category, integer, number, string, timestamp
from stratal.data.profile import ColumnProfile, Profile, ProfileKind, kind_of, profile_frame
from stratal.data.schema import Schema

# A text with so few different values, each seen often enough, is a category.
_MOST_CATEGORIES = 20
_PER_CATEGORY = 5
# With fewer rows, all values being different means nothing.
_ROWS_FOR_UNIQUE = 20
_PAIRS = (("yes", "no"), ("y", "n"), ("true", "false"), ("t", "f"), ("ja", "nein"), ("oui", "non"))


def infer_schema(frame: pl.DataFrame, profile: Profile | None = None) -> Schema:
    """Infer kinds, nullability, signs, domains of few values and uniqueness. Bounds other than 0 are for people to set."""
    profile = profile or profile_frame(frame)
    columns = {series.name: _infer(series, profile[series.name]) for series in frame.get_columns()}
    return Schema.of({name: column for name, column in columns.items() if column is not None})


def _infer(series: pl.Series, seen: ColumnProfile) -> Column | None:
    kind: ProfileKind = kind_of(series.dtype)
    is_nullable = seen.nulls > 0
    if kind == "integer":
        return _integer(series, seen, is_nullable)
    if kind == "number":
        return number(0 if _is_from_zero(seen) else None, nullable=is_nullable, nan=bool(seen.numbers and seen.numbers.nan))
    if kind == "boolean":
        return boolean(nullable=is_nullable)
    if kind == "timestamp":
        return timestamp(nullable=is_nullable)
    return _text(series, seen, is_nullable) if kind == "string" else None


def _integer(series: pl.Series, seen: ColumnProfile, is_nullable: bool) -> Column:
    low = 0 if _is_from_zero(seen) else None
    is_flag = seen.numbers is not None and seen.numbers.values is not None and set(seen.numbers.values) == {0, 1}
    return integer(low, 1 if is_flag else None, nullable=is_nullable, unique=_is_unique(series, seen))


def _text(series: pl.Series, seen: ColumnProfile, is_nullable: bool) -> Column:
    counts = seen.values.counts if seen.values else None
    if not counts:
        return string(nullable=is_nullable, unique=_is_unique(series, seen))
    lower = {value.lower(): value for value in counts}
    for true, false in _PAIRS:
        if len(counts) == 2 and set(lower) == {true, false}:
            return boolean(true=lower[true], false=lower[false], nullable=is_nullable)
    values = [str(value) for value in series.drop_nulls().unique().sort()] if len(counts) <= _MOST_CATEGORIES else []
    if values and len(values) * _PER_CATEGORY <= seen.rows - seen.nulls:
        return category(*values, nullable=is_nullable)
    return string(nullable=is_nullable, unique=_is_unique(series, seen))


def _is_from_zero(seen: ColumnProfile) -> bool:
    return seen.numbers is not None and seen.numbers.low is not None and float(number_from_json(seen.numbers.low)) >= 0


def _is_unique(series: pl.Series, seen: ColumnProfile) -> bool:
    kept = seen.rows - seen.nulls
    return kept >= _ROWS_FOR_UNIQUE and series.drop_nulls().n_unique() == kept
