"""Verdicts: two series of one metric are bit-identical, equal within a tolerance, or diverge from a step on. Pure."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stratal.core.records import Record

IDENTICAL, WITHIN, DIVERGES, MISSING, CLOCK = "bit-identical", "within tolerance", "diverges", "missing", "by the clock"
# As numpy.allclose: equal for most purposes, and far above what another order of summation does to one step.
RTOL, ATOL = 1e-5, 1e-8
# What these words of a name measure is another thing each time.
_CLOCK = frozenset(
    ("clock", "duration", "elapsed", "eta", "fps", "goodput", "latency", "mfu", "ms", "ns", "seconds", "secs", "speed", "throughput",
     "time", "timestamp", "utilisation", "utilization", "walltime")
)  # fmt: skip
_WORD = re.compile(r"[A-Za-z]+")


class Tolerance(Record, frozen=True, kw_only=True):
    """Values are equal enough if |a - b| <= absolute + relative * |a|, a being the original's."""

    relative: float = RTOL
    absolute: float = ATOL

    def __str__(self) -> str:
        return f"relative {self.relative:g}, absolute {self.absolute:g}"


class Points(Record, frozen=True, kw_only=True):
    """A series: steps (n,) int64 and values (n,) float64, in order of step."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


class SeriesVerdict(Record, frozen=True, kw_only=True):
    """What became of one metric of one run. run: the original's label in what was reproduced, "" for the run itself.

    step, original, replayed: of the first point that differs at all. worst: largest relative difference; None without one.
    """

    run: str
    metric: str
    verdict: str
    points: int
    step: int | None = None
    original: float | None = None
    replayed: float | None = None
    worst: float | None = None

    @property
    def is_reproduced(self) -> bool:
        """Whether it counts as reproduced."""
        return self.verdict in (IDENTICAL, WITHIN)

    @property
    def is_compared(self) -> bool:
        """Whether it says anything about the run: what is measured by the clock does not."""
        return self.verdict != CLOCK


def is_of_the_clock(metric: str) -> bool:
    """Tell by its name whether a metric measures time or speed, or the machine (`system/...`), and never comes out the same."""
    return metric.startswith("system/") or any(word.lower() in _CLOCK for word in _WORD.findall(metric))


def judge(run: str, metric: str, original: Points, replayed: Points | None, tolerance: Tolerance) -> SeriesVerdict:
    """Hold a replayed series against the original. Points are paired in their order; NaN equals NaN. O(n)."""
    if is_of_the_clock(metric):
        return SeriesVerdict(run=run, metric=metric, verdict=CLOCK, points=len(original.steps))
    if replayed is None or not len(replayed.steps):
        return _differs(run, metric, MISSING, original, None, 0, None)
    count = min(len(original.steps), len(replayed.steps))
    a, b = original.values[:count], replayed.values[:count]
    is_aligned = original.steps[:count] == replayed.steps[:count]
    is_same = is_aligned & ((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b)))
    is_whole = len(original.steps) == len(replayed.steps)
    if is_whole and bool(is_same.all()):
        return SeriesVerdict(run=run, metric=metric, verdict=IDENTICAL, points=count)
    with np.errstate(invalid="ignore", over="ignore"):
        is_close = is_same | (is_aligned & (a == b)) | (is_aligned & (np.abs(a - b) <= tolerance.absolute + tolerance.relative * np.abs(a)))
    worst = _worst(a, b, is_aligned)
    if is_whole and bool(is_close.all()):
        return _differs(run, metric, WITHIN, original, replayed, int(np.argmin(is_same)), worst)
    return _differs(run, metric, DIVERGES, original, replayed, int(np.argmin(is_close)) if not is_close.all() else count, worst)


def overall(verdicts: Sequence[SeriesVerdict]) -> str:
    """Give the worst verdict of those that were compared; "nothing to compare" if there is none."""
    said = {each.verdict for each in verdicts if each.is_compared}
    for verdict in (MISSING, DIVERGES, WITHIN, IDENTICAL):
        if verdict in said:
            return DIVERGES if verdict == MISSING else verdict
    return "nothing to compare"


def first_divergence(verdicts: Sequence[SeriesVerdict], order: Mapping[str, int]) -> SeriesVerdict | None:
    """Give the series that diverges first: in the earliest run of `order` (label to place), there at the lowest step.

    One of a single point is what came out in the end, at whatever step it was logged: of several wrong ones it is not the first."""
    wrong = [each for each in verdicts if each.is_compared and not each.is_reproduced]

    def place(each: SeriesVerdict) -> tuple[int, bool, int]:
        return order.get(each.run, len(order)), each.points == 1, each.step if each.step is not None else 2**63

    return min(wrong, key=place, default=None)


def _differs(run: str, metric: str, verdict: str, original: Points, replayed: Points | None, at: int, worst: float | None) -> SeriesVerdict:
    longer = original if at < len(original.steps) else replayed
    return SeriesVerdict(
        run=run,
        metric=metric,
        verdict=verdict,
        points=len(original.steps),
        step=int(longer.steps[at]) if longer is not None and at < len(longer.steps) else None,
        original=float(original.values[at]) if at < len(original.values) else None,
        replayed=float(replayed.values[at]) if replayed is not None and at < len(replayed.values) else None,
        worst=worst,
    )


def _worst(a: NDArray[np.float64], b: NDArray[np.float64], is_aligned: NDArray[np.bool_]) -> float | None:
    is_known = is_aligned & np.isfinite(a) & np.isfinite(b)
    if not is_known.any():
        return None
    with np.errstate(over="ignore"):
        difference, scale = np.abs(a[is_known] - b[is_known]), np.maximum(np.abs(a[is_known]), np.abs(b[is_known]))
    return float(np.max(np.divide(difference, scale, out=np.zeros_like(difference), where=scale > 0)))
