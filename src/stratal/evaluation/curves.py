"""Curves, thinned to what a plot can show."""

import numpy as np

from stratal.core.records import Record
from stratal.evaluation.intervals import drawn_cells, generator
from stratal.evaluation.sample import Cells, Floats, Sample

POINTS = 240
GRID = 101
BAND_DRAWS = 300


class Line(Record, frozen=True, kw_only=True):
    """Points of a curve."""

    x: tuple[float, ...]
    y: tuple[float, ...]


class Band(Record, frozen=True, kw_only=True):
    """A pointwise interval around a curve."""

    x: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class Histogram(Record, frozen=True, kw_only=True):
    """How the scores of either class are spread: shares of each class in equal bins between low and high."""

    low: float
    high: float
    positives: tuple[float, ...]
    negatives: tuple[float, ...]


def roc(rows: Sample) -> Line | None:
    """Give recall over the false positive rate; None without both classes."""
    found = _roc(rows.cells)
    return None if found is None else _thin(*found)


def roc_band(rows: Sample, *, confidence: float, seed: int) -> Band | None:
    """Give the pointwise interval of recall at each false positive rate, from resampled cells."""
    if _roc(rows.cells) is None:
        return None
    drawn = drawn_cells(rows.cells, generator(seed, "roc"), BAND_DRAWS)
    grid = np.linspace(0, 1, GRID)
    lines = []
    for positives, negatives in zip(drawn.positives, drawn.negatives, strict=True):
        found = _roc(Cells(drawn.scores, positives, negatives))
        if found is not None:
            lines.append(np.interp(grid, *found))
    low, high = np.quantile(np.array(lines), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Band(x=_rounded(grid), low=_rounded(low), high=_rounded(high))


def precision_recall(rows: Sample) -> Line | None:
    """Give precision over recall; None without positives."""
    hits = np.cumsum(rows.cells.positives[::-1])
    if len(hits) == 0 or hits[-1] == 0:
        return None
    alarms = hits + np.cumsum(rows.cells.negatives[::-1])
    return _thin(np.concatenate([[0.0], hits / hits[-1]]), np.concatenate([[hits[0] / alarms[0]], hits / alarms]))


def histogram(rows: Sample, bins: int = 40) -> Histogram | None:
    """Give the spread of scores by class; None without rows."""
    if len(rows) == 0:
        return None
    low, high = (0.0, 1.0) if rows.scores.min() >= 0 and rows.scores.max() <= 1 else (float(rows.scores.min()), float(rows.scores.max()))
    found = []
    for mask in (rows.labels, ~rows.labels):
        counted, _ = np.histogram(rows.scores[mask], bins=bins, range=(low, high if high > low else low + 1), weights=rows.weights[mask])
        found.append(_rounded(counted / max(float(counted.sum()), 1e-300)))
    return Histogram(low=low, high=high, positives=found[0], negatives=found[1])


def _roc(cells: Cells) -> tuple[Floats, Floats] | None:
    hits, alarms = np.cumsum(cells.positives[::-1]), np.cumsum(cells.negatives[::-1])
    if len(hits) == 0 or hits[-1] == 0 or alarms[-1] == 0:
        return None
    return np.concatenate([[0.0], alarms / alarms[-1]]), np.concatenate([[0.0], hits / hits[-1]])


def _thin(x: Floats, y: Floats) -> Line:
    """Keep points at equal steps along the curve, its ends among them."""
    if len(x) > POINTS:
        along = np.cumsum(np.abs(np.diff(x, prepend=x[0])) + np.abs(np.diff(y, prepend=y[0])))
        keep = np.unique(np.searchsorted(along, np.linspace(0, along[-1], POINTS)))
        keep = np.unique(np.concatenate([[0], np.minimum(keep, len(x) - 1), [len(x) - 1]]))
        x, y = x[keep], y[keep]
    return Line(x=_rounded(x), y=_rounded(y))


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(np.round(values, 5).tolist())
