"""Slices: the parts of the data by the values of columns. Each row is in exactly one part."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from stratal.core.errors import Misuse, NotFound
from stratal.core.records import Record
from stratal.evaluation.estimates import Estimate, Terms, estimate
from stratal.evaluation.metrics import metric_named
from stratal.evaluation.sample import Sample

Codes = npt.NDArray[np.int64]

# A number column with more distinct values than this is cut at its quartiles.
DISTINCT = 12
QUARTERS = (0.25, 0.5, 0.75)
# Parts beyond this many, smallest first, are joined as "all others", so that facts and report stay small.
AT_MOST = 40
OTHERS = "all others"
# Average precision resamples score cells: too dear for each of many slices.
SLICE_METRICS = ("auc", "log_loss", "brier", "accuracy", "precision", "recall", "false_positive_rate", "f1", "selection_rate")


@dataclass(frozen=True)
class Partition:
    """Rows by group. names: one per group; codes: (n,) int64, the group of each row."""

    columns: tuple[str, ...]
    names: tuple[str, ...]
    codes: Codes

    @property
    def title(self) -> str:
        return " & ".join(self.columns)

    def keep(self, mask: npt.NDArray[np.bool_]) -> "Partition":
        """Give the partition of some of the rows; groups that lose all rows stay, empty."""
        return Partition(self.columns, self.names, self.codes[mask])


class Slice(Record, frozen=True, kw_only=True):
    """A part of the rows and what was measured on it."""

    name: str
    by: str
    n: int
    positives: int
    metrics: dict[str, Estimate]


def partition(frame: pl.DataFrame, by: str | Sequence[str], *, at_most: int | None = None) -> Partition:
    """Group rows by a column, or by several at once. Names read `contract=One year`, several joined by ` & `."""
    columns = (by,) if isinstance(by, str) else tuple(by)
    if not columns:
        raise Misuse("a slice needs a column", hint='slices=["contract", ["contract", "gender"]]')
    names, codes = [""], np.zeros(len(frame), dtype=np.int64)
    for column in columns:
        values, value_codes = _values(frame, column)
        pairs, codes = np.unique(codes * len(values) + value_codes, return_inverse=True)
        parts = [divmod(int(pair), len(values)) for pair in pairs]
        names = [f"{names[left]} & {values[right]}" if names[left] else values[right] for left, right in parts]
    return _join_small(Partition(columns, tuple(names), codes.astype(np.int64)), at_most)


def measure_slices(rows: Sample, parts: Partition, *, metrics: Sequence[str], terms: Terms) -> tuple[Slice, ...]:
    """Measure each part by itself."""
    found = []
    for code, name in enumerate(parts.names):
        part = rows.where(parts.codes == code)
        measured = {metric: estimate(metric_named(metric), part, terms, about=name) for metric in metrics}
        positives = round(float(part.weights[part.labels].sum()))
        found.append(Slice(name=name, by=parts.title, n=part.count, positives=positives, metrics=measured))
    return tuple(found)


def _values(frame: pl.DataFrame, column: str) -> tuple[list[str], Codes]:
    if column not in frame.columns:
        raise NotFound(f"the data has no column {column!r}", hint=f"it has: {', '.join(frame.columns[:30])}")
    series = frame[column]
    if series.dtype.is_nested() or series.dtype == pl.Object:
        raise Misuse(f"{column!r} holds {series.dtype}: rows cannot be grouped by it", hint="group by a column of plain values")
    if series.dtype.is_float():
        series = series.fill_nan(None)
    if series.dtype.is_numeric() and series.n_unique() > DISTINCT:
        return _quarters(series, column)
    # Sorting gives numbers in their order and texts in theirs; codes follow, null last.
    distinct = series.drop_nulls().unique().sort()
    texts = [f"{column}={value}" for value in distinct.cast(pl.String).to_list()]
    return _with_null(
        column, texts, series.replace_strict(distinct, pl.Series(range(len(distinct)), dtype=pl.Int64), default=None, return_dtype=pl.Int64)
    )


def _quarters(series: pl.Series, column: str) -> tuple[list[str], Codes]:
    numbers = series.cast(pl.Float64)
    known = numbers.drop_nulls().to_numpy()
    edges = np.unique(np.quantile(known, QUARTERS))
    # An edge at the minimum would open a part that nobody is in.
    edges = edges[edges > known.min()]
    bounds = [float(known.min()), *edges.tolist(), float(known.max())]
    texts = [f"{column}={low:.6g} to {high:.6g}" if last else f"{column}={low:.6g} to <{high:.6g}" for low, high, last in _spans(bounds)]
    placed = np.searchsorted(edges, numbers.fill_null(0.0).to_numpy(), side="right").astype(np.int64)
    return _with_null(column, texts, pl.Series(placed).set(numbers.is_null(), None))


def _spans(bounds: list[float]) -> list[tuple[float, float, bool]]:
    return [(low, high, index == len(bounds) - 2) for index, (low, high) in enumerate(pairwise(bounds))]


def _with_null(column: str, texts: list[str], codes: pl.Series) -> tuple[list[str], Codes]:
    names = [*texts, f"{column} is null"] if codes.null_count() or not texts else texts
    return names, codes.fill_null(len(texts)).cast(pl.Int64).to_numpy()


def _join_small(parts: Partition, at_most: int | None) -> Partition:
    if at_most is None or len(parts.names) <= at_most:
        return parts
    sizes = np.bincount(parts.codes, minlength=len(parts.names))
    largest = np.sort(np.argsort(-sizes, kind="stable")[: at_most - 1])
    renumbered = np.full(len(parts.names), len(largest), dtype=np.int64)
    renumbered[largest] = np.arange(len(largest))
    names = (*(parts.names[index] for index in largest), f"{parts.title}: {OTHERS} ({len(parts.names) - len(largest)})")
    return Partition(parts.columns, names, renumbered[parts.codes])
