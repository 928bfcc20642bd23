"""Metric kernels in NumPy, and the table that names them.

A kernel takes cells or confusion counts with any number of leading axes (resamples) and gives NaN where the metric is
undefined. NaN never leaves this room: `measure` turns it into None with the reason.
Definitions follow scikit-learn; a row is predicted positive when score >= threshold.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stratal.core.errors import Misuse
from stratal.evaluation.sample import Cells, Floats, Sample

TINY = float(np.finfo(np.float64).eps)  # scikit-learn's clip for log loss


@dataclass(frozen=True)
class Counts:
    """A confusion matrix, or many: four arrays of one shape."""

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats

    @property
    def total(self) -> Floats:
        return self.tp + self.fp + self.fn + self.tn


@dataclass(frozen=True)
class Metric:
    """What a metric is called, means, and how it is computed: from cells, or from counts at a threshold."""

    name: str
    title: str
    meaning: str
    higher_is_better: bool | None
    of_cells: Callable[[Cells], Floats] | None = None
    of_counts: Callable[[Counts], Floats] | None = None
    # A proportion k of n: (k, n) of the counts. Its interval is Wilson's.
    share: Callable[[Counts], tuple[Floats, Floats]] | None = None
    # A mean of one loss per row: (loss of a positive, loss of a negative) at each score.
    losses: Callable[[Floats], tuple[Floats, Floats]] | None = None
    needs_probability: bool = False


# --- of cells ---


def auc(cells: Cells) -> Floats:
    """Area under the ROC curve: the chance that a positive outranks a negative, ties counting half. O(K)."""
    positive, negative = cells.positives, cells.negatives
    below = np.cumsum(negative, axis=-1) - negative / 2
    return _ratio((positive * below).sum(-1), positive.sum(-1) * negative.sum(-1))


def average_precision(cells: Cells) -> Floats:
    """Sum of precision times the step in recall, over thresholds downwards; no interpolation. O(K)."""
    hits = np.cumsum(cells.positives[..., ::-1], axis=-1)
    alarms = hits + np.cumsum(cells.negatives[..., ::-1], axis=-1)
    precision = np.divide(hits, alarms, out=np.zeros_like(hits), where=alarms > 0)
    return _ratio((cells.positives[..., ::-1] * precision).sum(-1), hits[..., -1])


def log_losses(scores: Floats) -> tuple[Floats, Floats]:
    """Give -log p of each outcome, p clipped away from 0 and 1 by one float64 epsilon."""
    p = np.clip(scores, TINY, 1 - TINY)
    return -np.log(p), -np.log(1 - p)


def squared_losses(scores: Floats) -> tuple[Floats, Floats]:
    """Give (1 - p)² and p²."""
    return (1 - scores) ** 2, scores**2


def mean_loss(cells: Cells, losses: Callable[[Floats], tuple[Floats, Floats]]) -> Floats:
    """Mean of a loss per row."""
    of_positive, of_negative = losses(cells.scores)
    total = cells.positives.sum(-1) + cells.negatives.sum(-1)
    return _ratio((cells.positives * of_positive).sum(-1) + (cells.negatives * of_negative).sum(-1), total)


def log_loss(cells: Cells) -> Floats:
    """Mean of -log p of what happened."""
    return mean_loss(cells, log_losses)


def brier(cells: Cells) -> Floats:
    """Mean squared distance between p and what happened."""
    return mean_loss(cells, squared_losses)


# --- of counts ---


def confusion(cells: Cells, threshold: float) -> Counts:
    """Count hits and errors when rows with score >= threshold are called positive. Leading axes are kept."""
    first = int(np.searchsorted(cells.scores, threshold, side="left"))
    tp, fp = cells.positives[..., first:].sum(-1), cells.negatives[..., first:].sum(-1)
    fn, tn = cells.positives[..., :first].sum(-1), cells.negatives[..., :first].sum(-1)
    return Counts(*(np.asarray(part, dtype=np.float64) for part in (tp, fp, fn, tn)))


def f1(counts: Counts) -> Floats:
    """Harmonic mean of precision and recall."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def balanced_accuracy(counts: Counts) -> Floats:
    """Mean of recall and specificity."""
    return (_ratio(counts.tp, counts.tp + counts.fn) + _ratio(counts.tn, counts.tn + counts.fp)) / 2


def mcc(counts: Counts) -> Floats:
    """Matthews' correlation of prediction and truth."""
    tp, fp, fn, tn = counts.tp, counts.fp, counts.fn, counts.tn
    # Two roots of two factors each: exact for a perfect prediction.
    scale = np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn))
    return _ratio(tp * tn - fp * fn, scale)


def _share(part: Callable[[Counts], Floats], whole: Callable[[Counts], Floats]) -> Callable[[Counts], tuple[Floats, Floats]]:
    return lambda counts: (part(counts), whole(counts))


def _ratio(part: Floats, whole: Floats) -> Floats:
    top, bottom = np.broadcast_arrays(np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64))
    out: Floats = np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0)
    return out


def _proportion(name: str, title: str, meaning: str, better: bool | None, share: Callable[[Counts], tuple[Floats, Floats]]) -> Metric:
    return Metric(name, title, meaning, better, of_counts=lambda counts: _ratio(*share(counts)), share=share)


_TABLE = (
    Metric("auc", "AUC", "how often a positive row is ranked above a negative one; 0.5 is chance", True, of_cells=auc),
    Metric("average_precision", "Average precision", "precision averaged over all depths of the ranking", True, of_cells=average_precision),
    Metric(
        "log_loss",
        "Log loss",
        "how surprised the model is by what happened",
        False,
        of_cells=log_loss,
        losses=log_losses,
        needs_probability=True,
    ),
    Metric(
        "brier",
        "Brier score",
        "mean squared error of the probabilities",
        False,
        of_cells=brier,
        losses=squared_losses,
        needs_probability=True,
    ),
    _proportion("accuracy", "Accuracy", "share of rows called right", True, _share(lambda c: c.tp + c.tn, lambda c: c.total)),
    Metric("balanced_accuracy", "Balanced accuracy", "mean of recall and specificity", True, of_counts=balanced_accuracy),
    _proportion(
        "precision", "Precision", "of the rows called positive, the share that is", True, _share(lambda c: c.tp, lambda c: c.tp + c.fp)
    ),
    _proportion("recall", "Recall", "of the positive rows, the share that is found", True, _share(lambda c: c.tp, lambda c: c.tp + c.fn)),
    _proportion(
        "specificity",
        "Specificity",
        "of the negative rows, the share that is left alone",
        True,
        _share(lambda c: c.tn, lambda c: c.tn + c.fp),
    ),
    _proportion(
        "false_positive_rate",
        "False positive rate",
        "of the negative rows, the share called positive",
        False,
        _share(lambda c: c.fp, lambda c: c.tn + c.fp),
    ),
    _proportion(
        "false_negative_rate",
        "False negative rate",
        "of the positive rows, the share that is missed",
        False,
        _share(lambda c: c.fn, lambda c: c.tp + c.fn),
    ),
    Metric("f1", "F1", "harmonic mean of precision and recall", True, of_counts=f1),
    Metric("mcc", "Matthews correlation", "correlation of prediction and truth; 0 is chance", True, of_counts=mcc),
    _proportion(
        "selection_rate", "Selection rate", "share of rows called positive", None, _share(lambda c: c.tp + c.fp, lambda c: c.total)
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}


def metric_named(name: str) -> Metric:
    """Give a metric by name. Raises Misuse that lists the known ones."""
    if name not in METRICS:
        raise Misuse(f"there is no metric {name!r}", hint=f"known are: {', '.join(sorted(METRICS))}")
    return METRICS[name]


def compute(metric: Metric, cells: Cells, threshold: float) -> Floats:
    """Apply a kernel; NaN where undefined. Leading axes are kept."""
    if metric.of_cells is not None:
        return metric.of_cells(cells)
    assert metric.of_counts is not None
    return metric.of_counts(confusion(cells, threshold))


def undefined_because(metric: Metric, cells: Cells, threshold: float) -> str | None:
    """Say in plain words why a metric has no value on these rows; None when it has one."""
    positives, negatives = float(cells.positives.sum()), float(cells.negatives.sum())
    if positives + negatives == 0:
        return "there are no rows"
    if metric.needs_probability and not (cells.scores[0] >= 0 and cells.scores[-1] <= 1):
        return "scores lie outside [0, 1], so they are not probabilities"
    if np.isfinite(compute(metric, cells, threshold)):
        return None
    if positives == 0:
        return "there are no positive rows"
    if negatives == 0:
        return "there are no negative rows"
    counts = confusion(cells, threshold)
    return f"every row is called {'negative' if counts.tp + counts.fp == 0 else 'positive'} at threshold {threshold:.6g}"


def value(name: str, rows: Sample, *, threshold: float = 0.5) -> float | None:
    """Compute one metric of a sample; None where it is undefined (`undefined_because` says why)."""
    metric = metric_named(name)
    if undefined_because(metric, rows.cells, threshold) is not None:
        return None
    return float(compute(metric, rows.cells, threshold))
