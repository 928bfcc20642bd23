"""Sketches that merge bit for bit in any order: numbers in a bit histogram, values by exact count up to a bound.

The bucket of a number is the top of its float64: sign, exponent and MANTISSA_BITS bits. Counts are exact, so a merge is
an addition of integers; the sum is kept as an exact integer, for float addition depends on the order.
After the idea of DDSketch (Masson, Rim and Lee, VLDB 2019), with buckets that need no logarithm.
"""

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from stratal.core.records import Record, number_from_json, number_to_json

# 2^-6 relative width, so a quantile at the middle of its bucket is within 2^-7.
MANTISSA_BITS = 6
# Above so many distinct values the exact counts are dropped. Monotone in the data, so it does not depend on the order of merges.
MOST_VALUES = 4096
# Whole numbers beyond are not told apart by float64, so their exact counts are dropped as well.
_MOST_WHOLE = 1 << 53
_SHIFT = 52 - MANTISSA_BITS
_SIGN = 1 << (11 + MANTISSA_BITS)
_UNIT_EXPONENT = -1074  # the smallest float64 is 2^-1074, so every finite one is a whole multiple of it
_HALF = 26  # a mantissa of 53 bits is summed as two halves, each exact in float64 for up to 2^26 values
_MOST_ROWS = 1 << 25

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Extreme = int | float | str | None
K = TypeVar("K", int, float, str)


class NumberSketch(Record, frozen=True, kw_only=True):
    """Numbers without their order: exact count, nan, infinite, low, high and sum; quantiles within 2^-7 relative.

    buckets (ascending) and counts: the histogram. values, value_counts: each distinct value, None above MOST_VALUES.
    total: the exact sum of the finite ones as a whole multiple of 2^-1074, in hexadecimal.
    Odd numbers are written as texts, as JSON has none.
    """

    count: int = 0
    nan: int = 0
    infinite: int = 0
    low: Extreme = None
    high: Extreme = None
    total: str = "0x0"
    buckets: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    values: tuple[int | float | str, ...] | None = ()
    value_counts: tuple[int, ...] | None = ()

    def __add__(self, other: "NumberSketch") -> "NumberSketch":
        """Merge: associative, commutative, with `NumberSketch()` as zero."""
        buckets = _added(dict(zip(self.buckets, self.counts, strict=True)), zip(other.buckets, other.counts, strict=True))
        values = _added_values(self, other)
        return NumberSketch(
            count=self.count + other.count,
            nan=self.nan + other.nan,
            infinite=self.infinite + other.infinite,
            low=_extreme(self.low, other.low, highest=False),
            high=_extreme(self.high, other.high, highest=True),
            total=hex(int(self.total, 16) + int(other.total, 16)),
            buckets=tuple(buckets),
            counts=tuple(buckets.values()),
            values=None if values is None else tuple(number_to_json(v) for v in values),
            value_counts=None if values is None else tuple(values.values()),
        )

    @property
    def mean(self) -> float | None:
        """Give the mean of the finite values, rounded once; None if there are none."""
        finite = self.count - self.infinite
        return float(Fraction(int(self.total, 16), finite) * Fraction(2) ** _UNIT_EXPONENT) if finite else None

    @property
    def distinct(self) -> int | None:
        """Give how many distinct values there are; None: more than MOST_VALUES."""
        return None if self.values is None else len(self.values)

    def quantile(self, q: float) -> float | None:
        """Give the smallest value that a share `q` of the values does not exceed; exact where values are, else within 2^-7."""
        if not self.count:
            return None
        points, counts = self.points()
        at = int(np.searchsorted(np.cumsum(counts), max(q * self.count, 1) - 1e-9))
        low, high = _float(self.low), _float(self.high)
        return float(min(max(points[min(at, len(points) - 1)], low), high))

    def points(self) -> tuple[Floats, Ints]:
        """Give ascending points and their counts: the values where they are exact, else the middles of buckets."""
        if self.values is not None and self.value_counts is not None:
            return np.array([_float(v) for v in self.values], dtype=np.float64), np.array(self.value_counts, dtype=np.int64)
        return bucket_middles(np.array(self.buckets, dtype=np.int64)), np.array(self.counts, dtype=np.int64)


class ValueCounts(Record, frozen=True, kw_only=True):
    """How often each text or boolean occurs; `counts` is None above MOST_VALUES distinct ones."""

    count: int = 0
    counts: dict[str, int] | None = msgspec.field(default_factory=dict)

    def __add__(self, other: "ValueCounts") -> "ValueCounts":
        """Merge: associative, commutative, with `ValueCounts()` as zero."""
        if self.counts is None or other.counts is None:
            return ValueCounts(count=self.count + other.count, counts=None)
        return ValueCounts(count=self.count + other.count, counts=bounded(_added(self.counts, other.counts.items())))

    @property
    def distinct(self) -> int | None:
        """Give how many distinct values there are; None: more than MOST_VALUES."""
        return None if self.counts is None else len(self.counts)

    def most_common(self, n: int = 1) -> list[tuple[str, int]]:
        """Give the `n` most frequent values with their counts; ties in order of the text."""
        return sorted((self.counts or {}).items(), key=lambda pair: (-pair[1], pair[0]))[:n]


def sketch_numbers(values: Floats, *, low: int | None = None, high: int | None = None, exact: bool = True) -> NumberSketch:
    """Sketch float64 values; NaN allowed, nulls left out before.

    low, high: the exact extremes if the values were integers beyond 2^53 before they became floats.
    exact: False leaves out the count of each value, for a sketch that is merged into one that has dropped them.
    """
    if len(values) > _MOST_ROWS:
        halves = (values[:_MOST_ROWS], values[_MOST_ROWS:])
        merged = sketch_numbers(halves[0], exact=exact) + sketch_numbers(halves[1], exact=exact)
        return msgspec.structs.replace(merged, low=merged.low if low is None else low, high=merged.high if high is None else high)
    kept = values[~np.isnan(values)] + 0.0  # + 0.0 makes -0.0 the same value as 0.0
    if not len(kept):
        return NumberSketch(nan=len(values), values=() if exact else None, value_counts=() if exact else None)
    finite = kept[np.isfinite(kept)]
    buckets, counts = count_buckets(kept)
    exact = exact and max(abs(low or 0), abs(high or 0)) <= _MOST_WHOLE
    distinct, distinct_counts = np.unique(kept, return_counts=True) if exact else (kept, kept)
    is_exact = exact and len(distinct) <= MOST_VALUES
    return NumberSketch(
        count=len(kept),
        nan=len(values) - len(kept),
        infinite=len(kept) - len(finite),
        low=number_to_json(float(kept.min())) if low is None else low,
        high=number_to_json(float(kept.max())) if high is None else high,
        total=hex(exact_total(finite)),
        buckets=tuple(buckets.tolist()),
        counts=tuple(counts.tolist()),
        values=tuple(number_to_json(v) for v in distinct.tolist()) if is_exact else None,
        value_counts=tuple(distinct_counts.astype(np.int64).tolist()) if is_exact else None,
    )


def count_buckets(values: Floats) -> tuple[Ints, Ints]:
    """Count float64 values (no NaN) by bucket; buckets ascend as the values do."""
    top = values.view(np.int64) >> _SHIFT
    keys = np.where(top < 0, -(top + _SIGN) - 1, top)
    first = int(keys.min())
    counts = np.bincount(keys - first)
    used = np.flatnonzero(counts)
    return used + first, counts[used].astype(np.int64)


def bucket_middles(buckets: Ints) -> Floats:
    """Give the middle of each bucket; 0 for the one that holds zero, infinity for its own."""
    magnitude = np.where(buckets < 0, -(buckets + 1), buckets)
    below = (magnitude << _SHIFT).view(np.float64)
    with np.errstate(over="ignore"):
        above = np.minimum(((magnitude + 1) << _SHIFT).view(np.float64), np.finfo(np.float64).max)
    middle = np.where(np.isinf(below), below, below + (above - below) / 2)
    return np.where(buckets == 0, 0.0, np.where(buckets < 0, -middle, middle))


def exact_total(values: Floats) -> int:
    """Give the exact sum of finite float64 values, as a multiple of 2^-1074."""
    mantissa, exponent = np.frexp(values)
    whole = (mantissa * 2.0**53).astype(np.int64)
    places = exponent - (53 + _UNIT_EXPONENT)
    # Below zero only for subnormals, whose low bits are zero: shift those in, so that every place is a whole one.
    short = np.minimum(places, 0)
    whole, places = whole >> -short, np.maximum(places, 0)
    high = np.bincount(places, weights=(whole >> _HALF).astype(np.float64))
    low = np.bincount(places, weights=(whole & ((1 << _HALF) - 1)).astype(np.float64))
    return sum(((int(high[p]) << _HALF) + int(low[p])) << int(p) for p in np.flatnonzero((high != 0) | (low != 0)))


def bounded(counts: Mapping[str, int]) -> dict[str, int] | None:
    """Give the counts in order of the text, or None if there are too many."""
    return None if len(counts) > MOST_VALUES else dict(sorted(counts.items()))


def _added_values(a: NumberSketch, b: NumberSketch) -> dict[float, int] | None:
    if a.values is None or b.values is None or a.value_counts is None or b.value_counts is None:
        return None
    ours = dict(zip(map(_float, a.values), a.value_counts, strict=True))
    values = _added(ours, zip(map(_float, b.values), b.value_counts, strict=True))
    return None if len(values) > MOST_VALUES else values


def _added(counts: Mapping[K, int], more: Iterable[tuple[K, int]]) -> dict[K, int]:
    total = dict(counts)
    for key, count in more:
        total[key] = total.get(key, 0) + count
    return dict(sorted(total.items()))


def _extreme(a: Extreme, b: Extreme, *, highest: bool) -> Extreme:
    if a is None or b is None:
        return b if a is None else a
    # Whole numbers are compared as such: beyond 2^53 floats cannot tell them apart. A tie takes the float, in any order.
    first, second = number_from_json(a), number_from_json(b)
    if first == second:
        return b if isinstance(a, int) else a
    return a if (first > second) == highest else b


def _float(value: Extreme) -> float:
    return math.nan if value is None else float(number_from_json(value))
