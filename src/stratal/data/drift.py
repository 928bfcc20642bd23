"""Drift: how far a profile lies from a reference, as an effect and as what chance alone would give.

A measure is flagged only when its effect is above both the limit of what matters and the bound of what chance gives:
large samples make any difference "significant", small ones make harmless differences large.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from stratal.core.errors import Misuse
from stratal.core.records import Record
from stratal.data.chance import ks_bound, psi_bound
from stratal.data.profile import ColumnProfile, Profile
from stratal.data.sketch import NumberSketch, ValueCounts, bucket_middles

Floats = npt.NDArray[np.float64]
MeasureName = Literal["psi", "ks", "nulls"]

_MOST_BINS = 10
# Values needed per bin in the smaller sample, so that the chi-square of the bound holds.
_PER_BIN = 5
# A smaller share counts as this one, a tenth of a decile: else PSI would speak of whatever stands for "none", without end.
_LEAST_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class DriftLimits:
    """What counts as a move."""

    # Credit scoring's habit: below 0.1 nothing, above 0.25 a lot (Siddiqi); there is no theory behind it.
    psi: float = 0.1
    # The largest gap between the two distribution functions; 0.1 = a tenth of the rows lie elsewhere.
    ks: float = 0.1
    # Difference of the shares of nulls.
    nulls: float = 0.05
    # Probability that a comparison without any drift flags anything, over all columns and measures together.
    false_alarms: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms < 1 or min(self.psi, self.ks, self.nulls) < 0:
            raise Misuse("drift limits are at least 0, and false_alarms lies between 0 and 1", hint="as in DriftLimits(psi=0.2)")


class Measure(Record, frozen=True, kw_only=True):
    """One measure: `effect`, `bound` (what chance gives) and `limit` (what matters); moved if above both."""

    name: MeasureName
    effect: float
    bound: float
    limit: float

    @property
    def is_moved(self) -> bool:
        """Tell whether the effect is above both."""
        return self.effect > max(self.bound, self.limit)


class ColumnDrift(Record, frozen=True, kw_only=True):
    """How one column moved from `before` to `now` (medians, or most frequent values as texts).

    is_other_kind: it holds another kind of values now, as `reason` says.
    is_disjoint: the two share no value at all, so that PSI would say nothing but its own constants; it is left out.
    reason: why the values were not compared, if they were not.
    """

    column: str
    measures: tuple[Measure, ...] = ()
    is_disjoint: bool = False
    is_other_kind: bool = False
    before: float | str | None = None
    now: float | str | None = None
    nulls_before: float = 0.0
    nulls_now: float = 0.0
    reason: str | None = None

    @property
    def is_moved(self) -> bool:
        """Tell whether any measure moved, or nothing is shared, or the kind is another."""
        return self.is_disjoint or self.is_other_kind or any(measure.is_moved for measure in self.measures)

    def measure(self, name: MeasureName) -> Measure | None:
        """Give a measure by name; None if it was not taken."""
        return next((m for m in self.measures if m.name == name), None)


def compare(reference: Profile, current: Profile, *, limits: DriftLimits | None = None, skip: Collection[str] = ()) -> list[ColumnDrift]:
    """Compare the columns that both profiles have, but for those in `skip`. Costs milliseconds: no row is read."""
    limits = limits or DriftLimits()
    shared = [name for name in reference.columns if name in current.columns and name not in skip]
    # Bonferroni: at most three measures a column.
    alpha = limits.false_alarms / max(1, 3 * len(shared))
    return [compare_column(name, reference[name], current[name], alpha=alpha, limits=limits) for name in shared]


def compare_column(name: str, before: ColumnProfile, now: ColumnProfile, *, alpha: float, limits: DriftLimits) -> ColumnDrift:
    """Compare one column. alpha: probability of a false alarm per measure."""
    found = ColumnDrift(column=name)
    if before.rows and now.rows:
        found = _with_nulls(found, before, now, alpha, limits)
    kinds = {before.kind, now.kind}
    if not _count(before) or not _count(now):
        return replace(found, reason="no values to compare")
    if before.numbers and now.numbers:
        return _compare_numbers(found, before.numbers, now.numbers, alpha, limits)
    if before.values and now.values and len(kinds) == 1:
        return _compare_values(found, before.values, now.values, alpha, limits)
    if len(kinds) > 1:
        return replace(found, is_other_kind=True, reason=f"holds {now.kind}, and {before.kind} in the reference")
    return replace(found, reason=f"{before.kind} is not compared")


def psi(before: Floats, now: Floats) -> float:
    """Give the population stability index of two rows of counts over the same bins; shares below 0.01 count as 0.01."""
    p = np.maximum(before / before.sum(), _LEAST_SHARE)
    q = np.maximum(now / now.sum(), _LEAST_SHARE)
    return float(((p - q) * np.log(p / q)).sum())


def ks(before: Floats, now: Floats) -> float:
    """Give the largest gap between two distribution functions, from counts over the same ascending points."""
    return float(np.abs(np.cumsum(before) / before.sum() - np.cumsum(now) / now.sum()).max())


def align(before: NumberSketch, now: NumberSketch) -> tuple[Floats, Floats]:
    """Give the counts of two sketches over the same ascending points: values where both are exact, else buckets."""
    is_exact = before.values is not None and now.values is not None
    sides = [sketch.points() if is_exact else _bucket_points(sketch) for sketch in (before, now)]
    points = np.unique(np.concatenate([sides[0][0], sides[1][0]]))
    rows = np.zeros((2, len(points)))
    for row, (own, counts) in zip(rows, sides, strict=True):
        row[np.searchsorted(points, own)] = counts
    return rows[0], rows[1]


def group(before: Floats, now: Floats) -> tuple[Floats, Floats]:
    """Gather aligned counts into at most ten bins of about equal size of both together.

    Bins of the pooled values, and not of the reference, see values that the reference never had.
    """
    n, m = before.sum(), now.sum()
    bins = int(np.clip(min(n, m) // (2 * _PER_BIN), 2, _MOST_BINS))
    pooled = np.cumsum(before + now)
    ends = np.unique(np.searchsorted(pooled, pooled[-1] * np.arange(1, bins) / bins))
    starts = np.unique(np.concatenate([[0], ends + 1]))
    starts = starts[starts < len(pooled)]
    return np.add.reduceat(before, starts), np.add.reduceat(now, starts)


def _compare_numbers(found: ColumnDrift, before: NumberSketch, now: NumberSketch, alpha: float, limits: DriftLimits) -> ColumnDrift:
    a, b = align(before, now)
    n, m = before.count, now.count
    taken = [Measure(name="ks", effect=ks(a, b), bound=ks_bound(n, m, alpha), limit=limits.ks)]
    is_disjoint = _is_apart(a, b) and taken[0].is_moved
    if not is_disjoint:
        grouped_a, grouped_b = group(a, b)
        bound = psi_bound(n, m, len(grouped_a), alpha)
        taken.append(Measure(name="psi", effect=psi(grouped_a, grouped_b), bound=bound, limit=limits.psi))
    return replace(found, measures=(*found.measures, *taken), is_disjoint=is_disjoint, before=before.quantile(0.5), now=now.quantile(0.5))


def _compare_values(found: ColumnDrift, before: ValueCounts, now: ValueCounts, alpha: float, limits: DriftLimits) -> ColumnDrift:
    if before.counts is None or len(before.counts) * _PER_BIN > before.count:
        return replace(found, reason="nearly every value is its own, as in identifiers")
    top = [counts.most_common(1)[0][0] if counts.counts else None for counts in (before, now)]
    found = replace(found, before=top[0], now=top[1])
    if now.counts is None:
        return replace(found, is_disjoint=True, reason="too many different values now to count them")
    names = sorted(set(before.counts) | set(now.counts))
    a = np.array([before.counts.get(name, 0) for name in names], dtype=np.float64)
    b = np.array([now.counts.get(name, 0) for name in names], dtype=np.float64)
    if not np.minimum(a, b).any():
        # In small samples of many values nothing shared may be chance: the same bound as for a share tells.
        return replace(found, is_disjoint=ks_bound(before.count, now.count, alpha) < 1)
    a, b = _pooled(a, b)
    bound = psi_bound(before.count, now.count, len(a), alpha)
    return replace(found, measures=(*found.measures, Measure(name="psi", effect=psi(a, b), bound=bound, limit=limits.psi)))


def _pooled(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Put values too rare to judge into one bin: those with fewer than five expected in the smaller sample."""
    expected = (a + b) * min(a.sum(), b.sum()) / (a.sum() + b.sum())
    is_rare = expected < _PER_BIN
    if is_rare.sum() < 2:
        return a, b
    return np.append(a[~is_rare], a[is_rare].sum()), np.append(b[~is_rare], b[is_rare].sum())


def _with_nulls(found: ColumnDrift, before: ColumnProfile, now: ColumnProfile, alpha: float, limits: DriftLimits) -> ColumnDrift:
    p, q = before.nulls / before.rows, now.nulls / now.rows
    # A share is a distribution function over two values, so its gap has the bound of that.
    measure = Measure(name="nulls", effect=abs(p - q), bound=ks_bound(before.rows, now.rows, alpha), limit=limits.nulls)
    return replace(found, measures=(measure,), nulls_before=p, nulls_now=q)


def _is_apart(a: Floats, b: Floats) -> bool:
    """Tell whether all of one lies beside all of the other."""
    used_a, used_b = np.flatnonzero(a), np.flatnonzero(b)
    return bool(used_a[-1] < used_b[0] or used_b[-1] < used_a[0])


def _bucket_points(sketch: NumberSketch) -> tuple[Floats, npt.NDArray[np.int64]]:
    return bucket_middles(np.array(sketch.buckets, dtype=np.int64)), np.array(sketch.counts, dtype=np.int64)


def _count(column: ColumnProfile) -> int:
    return column.numbers.count if column.numbers else column.values.count if column.values else column.rows - column.nulls
