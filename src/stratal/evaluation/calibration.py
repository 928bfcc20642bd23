"""Calibration: does "30 %" happen in 30 % of the cases?"""

import math

import numpy as np

from stratal.core.records import Record
from stratal.evaluation.estimates import Estimate, missing
from stratal.evaluation.intervals import generator, two_sided_p, wilson
from stratal.evaluation.sample import Cells, Sample

# Ten bins of equal weight: enough to see a bend, and a tenth of the rows in each.
BINS = 10
DRAWS = 1000


class Bin(Record, frozen=True, kw_only=True):
    """Rows of neighbouring scores: what was said on average, what happened, and the interval of what happened."""

    said: float
    happened: float
    low: float
    high: float
    n: int


class Calibration(Record, frozen=True, kw_only=True):
    """Bins of equal weight and the expected calibration error: the mean distance of `said` and `happened`, by weight.

    by_chance is what the error stays below in 95 % of samples of a perfectly calibrated model: noise alone makes an error.
    p is Spiegelhalter's (1986): small means that the probabilities are off by more than chance."""

    bins: tuple[Bin, ...]
    error: Estimate
    by_chance: float | None
    p: float | None


def calibrate(rows: Sample, *, confidence: float, seed: int, bins: int = BINS) -> Calibration:
    """Compare what was said with what happened."""
    cells = rows.cells
    if len(rows) == 0 or cells.scores[0] < 0 or cells.scores[-1] > 1:
        reason = "there are no rows" if len(rows) == 0 else "scores lie outside [0, 1], so they are not probabilities"
        return Calibration(bins=(), error=missing(reason, confidence=confidence, n=rows.count), by_chance=None, p=None)
    merged = cells.merged(bins)
    weight = merged.positives + merged.negatives
    merged = Cells(merged.scores[weight > 0], merged.positives[weight > 0], merged.negatives[weight > 0])
    weight = weight[weight > 0]
    drawn = generator(seed, "calibration").binomial(np.maximum(np.rint(weight), 1).astype(np.int64), merged.scores, (DRAWS, len(weight)))
    chance = _error(merged.scores, drawn / np.maximum(np.rint(weight), 1), weight)
    error = Estimate(
        value=float(_error(merged.scores, merged.positives / weight, weight)),
        low=None,
        high=None,
        confidence=confidence,
        n=rows.count,
        reason="no interval: noise biases a calibration error upwards; compare it with what chance alone gives",
    )
    return Calibration(bins=_bins(merged, confidence), error=error, by_chance=float(np.quantile(chance, 0.95)), p=_spiegelhalter(cells))


def _bins(merged: Cells, confidence: float) -> tuple[Bin, ...]:
    found = []
    for said, positive, negative in zip(merged.scores.tolist(), merged.positives.tolist(), merged.negatives.tolist(), strict=True):
        low, high = wilson(positive, positive + negative, confidence)
        happened = positive / (positive + negative)
        found.append(Bin(said=said, happened=happened, low=low, high=high, n=round(positive + negative)))
    return tuple(found)


def _error(said: np.ndarray, happened: np.ndarray, weight: np.ndarray) -> np.ndarray:
    distance: np.ndarray = (np.abs(said - happened) * weight).sum(-1) / weight.sum()
    return distance


def _spiegelhalter(cells: Cells) -> float | None:
    p = cells.scores
    weight = cells.positives + cells.negatives
    variance = float((weight * (1 - 2 * p) ** 2 * p * (1 - p)).sum())
    if variance <= 0:
        return None
    return two_sided_p(float(((cells.positives - weight * p) * (1 - 2 * p)).sum()) / math.sqrt(variance))
