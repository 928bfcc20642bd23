"""The rows that are judged: labels, scores, weights; and their cells, from which every metric is computed.

A *cell* is one distinct score with the weight of the positive and of the negative rows that have it. All metrics of a
binary classifier are functions of the cells, so rows are sorted once, and a resample is a change of the cells' weights.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stratal.core.errors import Misuse

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cells:
    """Distinct scores, ascending, and the weights of positive and negative rows at each.

    scores: (K,) float64; positives, negatives: (..., K) float64: leading axes are resamples.
    """

    scores: Floats
    positives: Floats
    negatives: Floats

    @property
    def total(self) -> float:
        """Give the weight of all rows (of one sample)."""
        return float(self.positives.sum() + self.negatives.sum())

    def merged(self, at_most: int) -> "Cells":
        """Join neighbours until there are at most `at_most` cells of about equal weight; a score becomes the cell's mean.

        Exact when there are no more distinct scores than that. One sample only, not resamples.
        """
        if len(self.scores) <= at_most:
            return self
        weight = self.positives + self.negatives
        before = np.cumsum(weight) - weight
        bin_of = np.minimum((before * (at_most / weight.sum())).astype(np.int64), at_most - 1)
        starts = np.flatnonzero(np.diff(bin_of, prepend=-1))
        scores = np.add.reduceat(weight * self.scores, starts) / np.add.reduceat(weight, starts)
        return Cells(scores, np.add.reduceat(self.positives, starts), np.add.reduceat(self.negatives, starts))


@dataclass(frozen=True)
class Sample:
    """Judged rows. labels: (n,) bool; scores: (n,) finite float64, higher = more surely positive; weights: (n,) float64.

    A weight counts rows: a row of weight 2 is that row twice, in values and in intervals alike.
    """

    labels: Bools
    scores: Floats
    weights: Floats

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def count(self) -> int:
        """Give the number of rows, counted by weight and rounded."""
        return round(float(self.weights.sum()))

    @cached_property
    def distinct(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Give the distinct scores, ascending, and the place of each row's score among them. O(n log n), once."""
        scores, places = np.unique(self.scores, return_inverse=True)
        return scores, places.astype(np.int64, copy=False)

    @cached_property
    def cells(self) -> Cells:
        """Give the cells."""
        scores, places = self.distinct
        size = len(scores)
        return Cells(scores, sums(places, self.weights * self.labels, size), sums(places, self.weights * ~self.labels, size))

    def where(self, mask: Bools) -> "Sample":
        """Give the rows for which the mask holds."""
        return Sample(self.labels[mask], self.scores[mask], self.weights[mask])


def sums(codes: npt.NDArray[np.int64], weights: Floats, size: int) -> Floats:
    """Sum weights by code 0 .. size - 1."""
    return np.bincount(codes, weights=weights, minlength=size).astype(np.float64)


def sample(labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Sample:
    """Check and build a sample. Raises Misuse for other lengths, scores that are not finite, negative weights.

    Rows of weight zero are dropped: they say nothing, and would make "no such row" look like a row.
    """
    truth = np.asarray(labels)
    if truth.dtype != np.bool_ and not np.isin(truth, (0, 1)).all():
        raise Misuse("labels must be true/false or 0/1", hint="compare them with the positive class first: labels == 'Yes'")
    truth = truth.astype(np.bool_).ravel()
    points = np.asarray(scores, dtype=np.float64).ravel()
    weight = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64).ravel()
    if not len(truth) == len(points) == len(weight):
        raise Misuse(
            f"{len(truth)} labels, {len(points)} scores and {len(weight)} weights do not belong together", hint="give one each per row"
        )
    if odd := int((~np.isfinite(points)).sum()):
        raise Misuse(
            f"{odd} of {len(points)} scores are NaN or infinite", hint="a model must score every row; look at its inputs for nulls"
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise Misuse("weights must be finite and not negative", hint="a weight says how many times its row counts")
    built = Sample(truth, points, weight)
    return built if (weight > 0).all() else built.where(weight > 0)
