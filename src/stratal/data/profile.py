"""Profiles: what a table holds, column by column, in one pass. They merge bit for bit in any order.

profile(a ++ b) = profile(a) + profile(b), whatever the batches; `Profile()` is the zero.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal

import msgspec
import numpy as np
import polars as pl

from stratal.core.errors import Misuse
from stratal.core.records import Record, from_json, to_json
from stratal.data.sketch import NumberSketch, ValueCounts, bounded, sketch_numbers

ProfileKind = Literal["null", "integer", "number", "boolean", "string", "timestamp", "other"]

# Rows per batch: large enough for NumPy, small enough that a wide table's batch stays in the processor's cache.
BATCH_ROWS = 1 << 17
# Texts longer than this are counted under their beginning and a digest, so that a profile of essays stays small.
_MOST_CHARS = 200


class ColumnProfile(Record, frozen=True, kw_only=True):
    """What one column holds. kind is "null" while no value was seen; numbers or values by kind; earliest, latest: ISO texts."""

    kind: ProfileKind = "null"
    rows: int = 0
    nulls: int = 0
    numbers: NumberSketch | None = None
    values: ValueCounts | None = None
    earliest: str | None = None
    latest: str | None = None

    def __add__(self, other: "ColumnProfile") -> "ColumnProfile":
        """Merge. Raises Misuse for kinds that cannot be one column."""
        kind = _joined(self.kind, other.kind)
        earliest = [t for t in (self.earliest, other.earliest) if t is not None]
        latest = [t for t in (self.latest, other.latest) if t is not None]
        return ColumnProfile(
            kind=kind,
            rows=self.rows + other.rows,
            nulls=self.nulls + other.nulls,
            numbers=self.numbers + other.numbers if self.numbers and other.numbers else self.numbers or other.numbers,
            values=self.values + other.values if self.values and other.values else self.values or other.values,
            earliest=min(earliest, default=None),
            latest=max(latest, default=None),
        )

    @property
    def distinct(self) -> int | None:
        """Give how many distinct values there are, nulls apart; None: unknown or too many to count exactly."""
        if self.kind == "null":
            return 0
        counted = self.numbers or self.values
        return counted.distinct if counted else None


class Profile(Record, frozen=True, kw_only=True):
    """What a table holds: rows, and a profile per column in the table's order."""

    rows: int = 0
    columns: dict[str, ColumnProfile] = msgspec.field(default_factory=dict)

    def __add__(self, other: "Profile") -> "Profile":
        """Merge the profiles of two parts of one table. Raises Misuse if their columns differ."""
        if not self.columns and not self.rows:
            return other
        if not other.columns and not other.rows:
            return self
        if set(self.columns) != set(other.columns):
            different = ", ".join(repr(name) for name in sorted(set(self.columns) ^ set(other.columns)))
            raise Misuse(f"profiles of different columns do not merge: {different}", hint="merge profiles of parts of one table")
        merged: dict[str, ColumnProfile] = {}
        for name, column in self.columns.items():
            try:
                merged[name] = column + other.columns[name]
            except Misuse as error:
                raise Misuse(f"column {name!r}: {error.message}", hint=error.hint) from error
        return Profile(rows=self.rows + other.rows, columns=merged)

    def __getitem__(self, name: str) -> ColumnProfile:
        if name not in self.columns:
            raise Misuse(f"the profile has no column {name!r}", hint=f"it has: {', '.join(self.columns)}")
        return self.columns[name]

    def to_json(self) -> str:
        """Write as JSON; equal profiles give equal text."""
        # As pairs: keys of objects are sorted on writing, and columns have an order.
        return to_json({"rows": self.rows, "columns": list(self.columns.items())})

    @classmethod
    def from_json(cls, text: str | bytes) -> "Profile":
        """Read what `to_json` wrote. Raises Damaged if it is something else."""
        document = from_json(text, _Document)
        return cls(rows=document.rows, columns=dict(document.columns))


class _Document(Record, frozen=True, kw_only=True):
    rows: int
    columns: list[tuple[str, ColumnProfile]]


def profile_frame(frame: pl.DataFrame, *, batch_rows: int = BATCH_ROWS) -> Profile:
    """Profile a frame in one pass. The result does not depend on `batch_rows`."""
    return profile_batches(frame.iter_slices(batch_rows)) if frame.height else _profile_batch(frame, frozenset())


def profile_batches(batches: Iterable[pl.DataFrame]) -> Profile:
    """Profile a table that comes in batches, holding one at a time."""
    total = Profile()
    for batch in batches:
        # A column whose exact counts are gone already need not count them again.
        full = frozenset(name for name, column in total.columns.items() if column.kind != "null" and column.distinct is None)
        total = total + _profile_batch(batch, full)
    return total


def kind_of(dtype: pl.DataType) -> ProfileKind:
    """Give the kind of a polars type."""
    if dtype.is_integer():
        return "integer"
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, pl.Date | pl.Datetime):
        return "timestamp"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "string"
    if isinstance(dtype, pl.Boolean):
        return "boolean"
    return "null" if isinstance(dtype, pl.Null) else "other"


def _profile_batch(batch: pl.DataFrame, full: frozenset[str]) -> Profile:
    columns = {series.name: _profile_column(series, is_full=series.name in full) for series in batch.get_columns()}
    return Profile(rows=batch.height, columns=columns)


def _profile_column(series: pl.Series, *, is_full: bool) -> ColumnProfile:
    rows, nulls = len(series), series.null_count()
    kind = kind_of(series.dtype)
    if rows == nulls or kind == "null":
        return ColumnProfile(rows=rows, nulls=rows)
    kept = series.drop_nulls() if nulls else series
    if kind in ("integer", "number"):
        return ColumnProfile(kind=kind, rows=rows, nulls=nulls, numbers=_numbers(kept, kind == "integer", exact=not is_full))
    if kind in ("string", "boolean"):
        return ColumnProfile(kind=kind, rows=rows, nulls=nulls, values=_values(kept, is_full=is_full))
    if kind == "timestamp":
        # As texts by polars: Python has no years before 1 or after 9999.
        ends = kept.to_frame().select(low=pl.first().min().cast(pl.String), high=pl.first().max().cast(pl.String)).row(0)
        return ColumnProfile(kind=kind, rows=rows, nulls=nulls, earliest=ends[0], latest=ends[1])
    return ColumnProfile(kind=kind, rows=rows, nulls=nulls)


def _numbers(kept: pl.Series, is_whole: bool, *, exact: bool) -> NumberSketch:
    low, high = (kept.min(), kept.max()) if is_whole else (None, None)
    values = kept.cast(pl.Float64).to_numpy()
    return sketch_numbers(
        np.ascontiguousarray(values),
        low=low if isinstance(low, int) else None,
        high=high if isinstance(high, int) else None,
        exact=exact,
    )


def _values(kept: pl.Series, *, is_full: bool) -> ValueCounts:
    if is_full:
        return ValueCounts(count=len(kept), counts=None)
    counted = (
        kept.cast(pl.String).value_counts(name="n") if kept.name != "n" else kept.cast(pl.String).alias("value").value_counts(name="n")
    )
    if counted.height > (1 << 20):  # far above the bound: no need to carry so many into Python
        return ValueCounts(count=len(kept), counts=None)
    counts: dict[str, int] = {}
    for value, n in counted.iter_rows():
        key = _shortened(value)
        counts[key] = counts.get(key, 0) + n
    return ValueCounts(count=len(kept), counts=bounded(counts))


def _shortened(value: str) -> str:
    if len(value) <= _MOST_CHARS:
        return value
    return f"{value[:_MOST_CHARS]}… sha256:{hashlib.sha256(value.encode()).hexdigest()[:16]}"


def _joined(a: ProfileKind, b: ProfileKind) -> ProfileKind:
    if b in (a, "null"):
        return a
    if a == "null":
        return b
    if {a, b} == {"integer", "number"}:
        return "number"
    raise Misuse(f"{a} and {b} do not merge", hint="cast the column to one type in both parts")
