"""The comparison with the champion: both models on the same rows, so that what the rows share cancels out.

AUC: paired DeLong. Losses and KPIs: the mean of the difference per row. All else: the Bayesian bootstrap of joint cells.
The interval is difference ± z · error and p belongs to the same error, so "p < 0.05" and "the 95 % interval is off zero" agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stratal.core.records import Record
from stratal.evaluation.costs import Kpi, worth
from stratal.evaluation.intervals import DRAWS, generator, normal_quantile, two_sided_p
from stratal.evaluation.metrics import Counts, Metric, average_precision, compute, metric_named, undefined_because
from stratal.evaluation.sample import Cells, Floats, Sample, sums

# Joint cells of two binned scores: at most 128 × 128 × 2.
JOINT_BINS = 128
JOINT_DRAWS = 400
JOINT_CHUNK = 50


class Difference(Record, frozen=True, kw_only=True):
    """Ours minus the champion's, on the same rows. p: the chance of a difference this large if there were none."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    ours: float | None
    theirs: float | None
    higher_is_better: bool | None
    confidence: float
    n: int
    reason: str | None = None


class Comparison(Record, frozen=True, kw_only=True):
    """The champion, by ref and digest, its threshold, and the differences by metric and KPI."""

    ref: str
    digest: str
    threshold: float
    is_same_model: bool
    difference: dict[str, Difference]


@dataclass(frozen=True)
class Pair:
    """Two models' scores of the same rows, each with its threshold."""

    ours: Sample
    theirs: Sample
    our_threshold: float
    their_threshold: float


@dataclass(frozen=True, kw_only=True)
class Both:
    """The two models' numbers, None where undefined."""

    ours: float | None
    theirs: float | None
    higher_is_better: bool | None
    n: int


def compare(pair: Pair, *, metrics: Sequence[str], kpis: Sequence[Kpi], confidence: float, seed: int) -> dict[str, Difference]:
    """Compare two models metric by metric."""
    found = {name: compare_metric(metric_named(name), pair, confidence=confidence, seed=seed) for name in metrics}
    return found | {kpi.name: compare_kpi(kpi, pair, confidence=confidence) for kpi in kpis}


def compare_metric(metric: Metric, pair: Pair, *, confidence: float, seed: int) -> Difference:
    """Compare by one metric."""
    reason = undefined_because(metric, pair.ours.cells, pair.our_threshold)
    other = undefined_because(metric, pair.theirs.cells, pair.their_threshold)
    both = Both(
        ours=float(compute(metric, pair.ours.cells, pair.our_threshold)) if reason is None else None,
        theirs=float(compute(metric, pair.theirs.cells, pair.their_threshold)) if other is None else None,
        higher_is_better=metric.higher_is_better,
        n=pair.ours.count,
    )
    if reason is not None or other is not None:
        return _difference(both, reason if reason is not None else f"champion: {other}", confidence)
    return _difference(both, _error(metric, pair, generator(seed, "champion", metric.name)), confidence)


def compare_kpi(kpi: Kpi, pair: Pair, *, confidence: float) -> Difference:
    """Compare by what the models earn, each at its own threshold."""
    counts = _joint_counts(pair)
    ours, theirs = float(worth(kpi, _margin(counts, 1))), float(worth(kpi, _margin(counts, 0)))
    both = Both(ours=ours, theirs=theirs, higher_is_better=True, n=pair.ours.count)
    total = float(counts.sum())
    if total < 2:
        return _difference(both, "fewer than two rows", confidence)
    positive = kpi.true_positive - kpi.false_negative
    negative = kpi.false_positive - kpi.true_negative
    # Only rows on which the two decide differently count: (label, ours, theirs).
    values = np.array([[[0.0, -negative], [negative, 0.0]], [[0.0, -positive], [positive, 0.0]]])
    mean = float((counts * values).sum()) / total
    variance = float((counts * (values - mean) ** 2).sum()) / (total - 1)
    return _difference(both, math.sqrt(variance * total), confidence)


def paired_delong_error(pair: Pair) -> float | str:
    """Give the standard error of a difference of AUCs (DeLong 1988), or the reason why there is none."""
    labels, weights = pair.ours.labels, pair.ours.weights
    positives, negatives = float(weights[labels].sum()), float(weights[~labels].sum())
    if positives < 2 or negatives < 2:
        return f"no test: only {positives:.6g} positive and {negatives:.6g} negative rows"
    apart = _placements(pair.ours) - _placements(pair.theirs)
    variance = 0.0
    for mask, size in ((labels, positives), (~labels, negatives)):
        weight, values = weights[mask], apart[mask]
        mean = float((weight * values).sum()) / size
        variance += float((weight * (values - mean) ** 2).sum()) / (size - 1) / size
    return math.sqrt(variance)


def _error(metric: Metric, pair: Pair, random: np.random.Generator) -> float | str:
    if metric.name == "auc":
        return paired_delong_error(pair)
    if metric.losses is not None:
        return _mean_error(_losses(metric, pair.ours) - _losses(metric, pair.theirs), pair.ours.weights)
    if metric.name == "average_precision":
        return _joint_ranking_error(pair, random)
    assert metric.of_counts is not None
    drawn = random.standard_gamma(_joint_counts(pair), (DRAWS, 2, 2, 2))
    apart = metric.of_counts(_margin(drawn, 1)) - metric.of_counts(_margin(drawn, 0))
    return _spread(apart)


def _difference(both: Both, error: float | str, confidence: float) -> Difference:
    value = low = high = p = reason = None
    if both.ours is not None and both.theirs is not None:
        value = both.ours - both.theirs
    if isinstance(error, str):
        reason = error
    elif value is not None:
        half = normal_quantile(confidence) * error
        low, high = value - half, value + half
        p = two_sided_p(value / error) if error > 0 else float(value == 0)
    return Difference(
        value=value,
        low=low,
        high=high,
        p=p,
        ours=both.ours,
        theirs=both.theirs,
        higher_is_better=both.higher_is_better,
        confidence=confidence,
        n=both.n,
        reason=reason,
    )


def _placements(rows: Sample) -> Floats:
    """Give each row the weighted share of the other class that it is ranked right against, ties half."""
    cells = rows.cells
    _, at = rows.distinct
    below = (np.cumsum(cells.negatives) - cells.negatives / 2) / cells.negatives.sum()
    above = 1 - (np.cumsum(cells.positives) - cells.positives / 2) / cells.positives.sum()
    found: Floats = np.where(rows.labels, below[at], above[at])
    return found


def _losses(metric: Metric, rows: Sample) -> Floats:
    assert metric.losses is not None
    of_positive, of_negative = metric.losses(rows.scores)
    found: Floats = np.where(rows.labels, of_positive, of_negative)
    return found


def _mean_error(values: Floats, weights: Floats) -> float | str:
    total = float(weights.sum())
    if total < 2:
        return "fewer than two rows"
    mean = float((weights * values).sum()) / total
    return math.sqrt(float((weights * (values - mean) ** 2).sum()) / (total - 1) / total)


def _joint_counts(pair: Pair) -> Floats:
    """Count rows by (label, ours, theirs): shape (2, 2, 2)."""
    ours, theirs = pair.ours.scores >= pair.our_threshold, pair.theirs.scores >= pair.their_threshold
    cell = pair.ours.labels * 4 + ours * 2 + theirs
    return sums(cell, pair.ours.weights, 8).reshape(2, 2, 2)


def _margin(joint: Floats, whose: int) -> Counts:
    """Give one model's confusion counts; whose: 1 ours, 0 theirs. joint: (..., label, ours, theirs)."""
    one = joint.sum(axis=-1 if whose else -2)
    return Counts(tp=one[..., 1, 1], fp=one[..., 0, 1], fn=one[..., 1, 0], tn=one[..., 0, 0])


def _joint_ranking_error(pair: Pair, random: np.random.Generator) -> float | str:
    ours, theirs = _bin(pair.ours), _bin(pair.theirs)
    cells, inverse = np.unique((ours * JOINT_BINS + theirs) * 2 + pair.ours.labels, return_inverse=True)
    weights = np.bincount(inverse, weights=pair.ours.weights)
    is_positive = cells % 2 == 1
    apart = []
    for _ in range(JOINT_DRAWS // JOINT_CHUNK):
        drawn = random.standard_gamma(weights, (JOINT_CHUNK, len(weights)))
        apart.append(
            _drawn_precision(drawn, cells // 2 // JOINT_BINS, is_positive) - _drawn_precision(drawn, cells // 2 % JOINT_BINS, is_positive)
        )
    return _spread(np.concatenate(apart))


def _drawn_precision(drawn: Floats, bins: np.ndarray, is_positive: np.ndarray) -> Floats:
    order = np.argsort(bins, kind="stable")
    starts = np.flatnonzero(np.diff(bins[order], prepend=-1))
    sorted_weights = drawn[:, order]
    positives = np.add.reduceat(sorted_weights * is_positive[order], starts, axis=1)
    negatives = np.add.reduceat(sorted_weights * ~is_positive[order], starts, axis=1)
    return average_precision(Cells(bins[order][starts].astype(np.float64), positives, negatives))


def _bin(rows: Sample) -> np.ndarray:
    merged = rows.cells.merged(JOINT_BINS)
    middles = (merged.scores[:-1] + merged.scores[1:]) / 2
    return np.searchsorted(middles, rows.scores, side="right")


def _spread(apart: Floats) -> float | str:
    defined = apart[np.isfinite(apart)]
    if len(defined) < 0.9 * len(apart):
        return "no test: undefined in more than a tenth of the resamples"
    return float(defined.std())
