"""The Parzen estimator of TPE: a mixture of one kernel per row and one wide prior, on columns.

After Optuna 5's multivariate estimator (Watanabe, arXiv:2304.11127, describes its parts): bandwidths from neighbours, clipped from
below by 1 / min(100, kernels + 1); normal kernels cut to the unit interval, integrated over a cell for whole numbers; categorical
kernels of a row's own code and a bit of all others. Where Optuna leaves open which of several equal numbers gets which bandwidth
(an unstable sort), the earlier row comes first here.
"""
# ruff: noqa: N803, N806  # names end in their shapes
# n rows, K = n + 1 kernels, M points, R ranges, C choices

import math

import numpy as np
from numpy.typing import NDArray

from stratal.tuning.space import Codes, Floats, Range, Space, from_unit, to_unit

_LOG_2PI = math.log(2 * math.pi)
_RECENT = 25  # Optuna's: rows that keep their full weight
_GRID = np.linspace(-9.0, 9.0, 1 << 14)
_WIDTH = float(_GRID[1] - _GRID[0])
_CDF = np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in _GRID])  # NumPy has no erf
_PDF = np.exp(-0.5 * _GRID * _GRID) / math.sqrt(2 * math.pi)


class Parzen:
    """The density of some rows. Rows come in the order of their numbers: older ones weigh less from the 25th on."""

    def __init__(self, space: Space, columns_nR: Floats, codes_nC: Codes) -> None:
        self._space = space
        n = len(columns_nR)
        weights = np.append(_weights(n), 1.0) if n else np.ones(1)
        self._weights_K = weights / weights.sum()
        self._means_KR = np.vstack([columns_nR, np.full((1, columns_nR.shape[1]), 0.5)])
        self._widths_KR = np.vstack([_bandwidths(columns_nR), np.ones((1, columns_nR.shape[1]))])
        self._codes_nC = codes_nC
        self._spread = 1.0 / (n + 1)  # what a categorical kernel gives to each option, before normalisation

    def sample(self, random: np.random.Generator, points: int) -> tuple[Floats, Codes]:
        """Draw points: (M, R) columns, whole numbers in the middle of their cells, and (M, C) codes."""
        kernel_M = random.choice(len(self._weights_K), size=points, p=self._weights_K)
        means, widths = self._means_KR[kernel_M], self._widths_KR[kernel_M]
        unit = random.standard_normal(means.shape) * widths + means
        while (outside := (unit < 0) | (unit > 1)).any():  # at least a third stays inside each time
            unit[outside] = random.standard_normal(int(outside.sum())) * widths[outside] + means[outside]
        for j, (_, dimension) in enumerate(self._space.ranges):
            if dimension.whole:
                unit[:, j] = to_unit(dimension, from_unit(dimension, unit[:, j]))
        codes = np.empty((points, len(self._space.choices)), dtype=np.int64)
        for j, (_, choice) in enumerate(self._space.choices):
            anywhere = random.integers(len(choice.options), size=points)
            is_own = random.random(points) < 1.0 / (1.0 + self._spread * len(choice.options))
            own = np.append(self._codes_nC[:, j], -1)[kernel_M]
            codes[:, j] = np.where(is_own & (own >= 0), own, anywhere)
        return unit, codes

    def log_density(self, columns_MR: Floats, codes_MC: Codes) -> Floats:
        """Give (M,) log densities on the unit cube; for whole numbers and choices log probabilities."""
        total_MK = np.tile(np.log(self._weights_K), (len(columns_MR), 1))
        continuous = np.array([not d.whole for _, d in self._space.ranges], dtype=bool)
        if continuous.any():
            total_MK += _normal_terms(columns_MR[:, continuous], self._means_KR[:, continuous], self._widths_KR[:, continuous])
        for j, (_, dimension) in enumerate(self._space.ranges):
            if dimension.whole:
                total_MK += _cell_terms(dimension, columns_MR[:, j], self._means_KR[:, j], self._widths_KR[:, j])
        for j, (_, choice) in enumerate(self._space.choices):
            total_MK += self._choice_terms(len(choice.options), codes_MC[:, j], self._codes_nC[:, j])
        highest_M1 = total_MK.max(axis=1, keepdims=True)
        density: Floats = np.log(np.exp(total_MK - highest_M1).sum(axis=1)) + highest_M1[:, 0]
        return density

    def _choice_terms(self, options: int, codes_M: Codes, own_n: Codes) -> Floats:
        whole = 1.0 + self._spread * options
        terms = np.full((len(codes_M), len(own_n) + 1), -math.log(options))  # the prior's column stays
        same = codes_M[:, None] == own_n[None, :]
        terms[:, :-1] = np.where(same, math.log((1.0 + self._spread) / whole), math.log(self._spread / whole))
        return terms


def _weights(n: int) -> Floats:
    if n < _RECENT:
        return np.ones(n)
    return np.concatenate([np.linspace(1.0 / n, 1.0, n - _RECENT), np.ones(_RECENT)])


def _bandwidths(columns_nR: Floats) -> Floats:
    """Give each row, per column, the larger of the gaps to its neighbours; at the ends the inner gap, clipped."""
    n, ranges = columns_nR.shape
    if n == 0:
        return columns_nR.copy()
    order = np.argsort(columns_nR, axis=0, kind="stable")
    ordered = np.take_along_axis(columns_nR, order, axis=0)
    gaps = np.diff(np.vstack([np.zeros((1, ranges)), ordered, np.ones((1, ranges))]), axis=0)
    widths = np.maximum(gaps[:-1], gaps[1:])
    if n >= 2:
        widths[0], widths[-1] = gaps[1], gaps[-2]
    widths = np.clip(widths, 1.0 / min(100.0, n + 2.0), 1.0)
    result = np.empty_like(widths)
    np.put_along_axis(result, order, widths, axis=0)
    return result


def _normal_terms(points_MR: Floats, means_KR: Floats, widths_KR: Floats) -> Floats:
    """Sum log densities of cut normals over columns, as (M, K): the square is multiplied out into two matrix products."""
    precision_KR = 1.0 / (widths_KR * widths_KR)
    lean_KR = means_KR * precision_KR
    norms_KR = 2 * (_log_mass(-means_KR / widths_KR, (1 - means_KR) / widths_KR) + np.log(widths_KR)) + _LOG_2PI
    squares_MK = (points_MR * points_MR) @ precision_KR.T - 2 * (points_MR @ lean_KR.T) + (means_KR * lean_KR + norms_KR).sum(axis=1)
    terms: Floats = -0.5 * squares_MK
    return terms


def _cell_terms(dimension: Range, points_M: Floats, means_K: Floats, widths_K: Floats) -> Floats:
    """Log mass of the cells that hold the points, as (M, K)."""
    values, where = np.unique(from_unit(dimension, points_M), return_inverse=True)
    low, high = to_unit(dimension, values - 0.5)[:, None], to_unit(dimension, values + 0.5)[:, None]
    whole_K = _log_mass(-means_K / widths_K, (1 - means_K) / widths_K)
    terms: Floats = (_log_mass((low - means_K) / widths_K, (high - means_K) / widths_K) - whole_K)[where]
    return terms


def _log_mass(low: Floats, high: Floats) -> Floats:
    """log(Phi(high) - Phi(low)), mirrored into the lower tail, where differences lose nothing."""
    flip = low > 0
    below, above = np.where(flip, -high, low), np.where(flip, -low, high)
    # Nine widths away a kernel says nothing; the floor keeps the logarithm finite, and the prior kernel decides.
    mass: Floats = np.log(np.maximum(_phi(above) - _phi(below), 1e-300))
    return mass


def _phi(z: NDArray[np.float64]) -> Floats:
    """Standard normal distribution function by cubic Hermite interpolation of a table: |error| < 1e-12."""
    place = (np.clip(z, -8.999, 8.999) + 9.0) / _WIDTH
    left = place.astype(np.int64)
    t = place - left
    a, b, da, db = _CDF[left], _CDF[left + 1], _PDF[left] * _WIDTH, _PDF[left + 1] * _WIDTH
    value: Floats = a + t * da + t * t * (3 * (b - a) - 2 * da - db + t * (2 * (a - b) + da + db))
    return value
