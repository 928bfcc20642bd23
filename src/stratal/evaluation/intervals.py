"""Intervals: how far a number could be off, for the rows that were at hand.

AUC: DeLong's variance (DeLong 1988, in the fast form of Sun & Xu 2014), on the logit scale with Student's t; with few
rows of a class, or none ranked wrong, Newcombe's score interval (2006, method 5) takes over.
Average precision: the logit interval of Boyd, Eng & Page (2013), no narrower than the resamples say.
Proportions: Wilson. Means of losses: Student's t with Hall's (1992) cubic correction for skew.
All else: resampled cell counts, drawn from their Dirichlet posterior, so that a cell seen zero times is not taken for
impossible. Everything is seeded and single-threaded arithmetic: the same seed gives the same interval anywhere.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from stratal.core.errors import Misuse
from stratal.evaluation.metrics import Counts, average_precision
from stratal.evaluation.sample import Cells, Floats

Interval = tuple[float, float]

# Monte Carlo error of a 95 % end with 2,000 draws is about a fiftieth of the interval's width.
DRAWS = 2000
# Only a standard deviation is read from these: its error is about 4 %.
AREA_DRAWS = 400
# Jeffreys' prior weight of a confusion cell.
JEFFREYS = 0.5
# Bins of resampled score cells; values are always computed on all distinct scores.
BINS = 512
# Below this many rows in the smaller class DeLong covers 91 to 93 % where it says 95, Newcombe 95 to 97 (simulated).
FEW = 20


def check_confidence(confidence: float) -> float:
    """Refuse a confidence that is no share, such as 95."""
    if not 0.5 <= confidence < 1:
        raise Misuse(f"confidence {confidence!r} is not between 0.5 and 1", hint="write 0.95 for 95 %")
    return confidence


def normal_quantile(confidence: float) -> float:
    """Give z so that a normal value lies within ±z with this confidence."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def student_quantile(confidence: float, freedom: float) -> float:
    """Give Student's t for two sides. Cornish-Fisher to four terms (Abramowitz & Stegun 26.7.5); error < 0.3 % from 4 degrees up."""
    z = normal_quantile(confidence)
    if not freedom < 1e7:
        return z
    if freedom <= 2:
        tail = 1 - (1 + confidence) / 2
        if freedom < 1.5:
            return 1 / math.tan(math.pi * tail)
        alpha = 4 * tail * (1 - tail)
        return 2 * (0.5 - tail) * math.sqrt(2 / alpha)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def two_sided_p(statistic: float) -> float:
    """Give the chance of a normal value at least this far from zero."""
    return math.erfc(abs(statistic) / math.sqrt(2))


def wilson(part: float, whole: float, confidence: float) -> Interval:
    """Interval of a proportion (Wilson 1927). whole > 0."""
    z = normal_quantile(confidence)
    share = part / whole
    middle = share + z * z / (2 * whole)
    half = z * math.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole))
    scale = 1 + z * z / whole
    low, high = (middle - half) / scale, (middle + half) / scale
    return max(0.0, low) if part > 0 else 0.0, min(1.0, high) if part < whole else 1.0


# --- AUC ---


@dataclass(frozen=True)
class Placement:
    """An AUC with the two variances that make up DeLong's, and the weights of both classes."""

    auc: float
    variance: float
    freedom: float
    positives: float
    negatives: float


def delong(cells: Cells) -> Placement:
    """Place each class within the other. At least two positives and two negatives. O(K)."""
    positive, negative = cells.positives, cells.negatives
    many, few = float(negative.sum()), float(positive.sum())
    of_positive = (np.cumsum(negative) - negative / 2) / many
    of_negative = 1 - (np.cumsum(positive) - positive / 2) / few
    area = float((positive * of_positive).sum()) / few
    first = float((positive * (of_positive - area) ** 2).sum()) / (few - 1) / few
    second = float((negative * (of_negative - area) ** 2).sum()) / (many - 1) / many
    return Placement(area, first + second, _satterthwaite(first, few, second, many), few, many)


def auc_interval(cells: Cells, confidence: float) -> Interval | str:
    """Interval of the AUC, or the reason why there is none."""
    positives, negatives = float(cells.positives.sum()), float(cells.negatives.sum())
    if positives < 2 or negatives < 2:
        return f"no interval: only {positives:.6g} positive and {negatives:.6g} negative rows"
    placed = delong(cells)
    if min(positives, negatives) < FEW:
        return newcombe(placed.auc, positives, negatives, confidence)
    spread = placed.auc * (1 - placed.auc)
    # 1e-12 of the largest possible variance: nothing but rounding.
    if spread <= 1e-12 or placed.variance <= 1e-12 * spread:
        return newcombe(placed.auc, positives, negatives, confidence)
    half = student_quantile(confidence, placed.freedom) * math.sqrt(placed.variance) / spread
    middle = math.log(placed.auc / (1 - placed.auc))
    return _logistic(middle - half), _logistic(middle + half)


def newcombe(area: float, positives: float, negatives: float, confidence: float) -> Interval:
    """Score interval of an AUC that needs no variance estimate (Newcombe 2006, method 5): it solves |area - t| = z sd(t)."""
    z = normal_quantile(confidence)
    half = (positives + negatives) / 2 - 1

    def beyond(t: float) -> bool:
        variance = t * (1 - t) * (1 + half * ((1 - t) / (2 - t) + t / (1 + t))) / (positives * negatives)
        return abs(area - t) > z * math.sqrt(variance)

    return _edge(beyond, 0.0, area), _edge(beyond, 1.0, area)


def _edge(beyond: Callable[[float], bool], outer: float, inner: float) -> float:
    for _ in range(60):
        middle = (outer + inner) / 2
        outer, inner = (middle, inner) if beyond(middle) else (outer, middle)
    return inner if abs(inner - outer) < 1e-9 else outer


def _satterthwaite(first: float, few: float, second: float, many: float) -> float:
    below = first**2 / (few - 1) + second**2 / (many - 1)
    return (first + second) ** 2 / below if below > 0 else math.inf


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def average_precision_interval(cells: Cells, area: float, random: np.random.Generator, confidence: float) -> Interval | str:
    """Interval of the average precision `area` of these cells, or the reason why there is none."""
    positives = float(cells.positives.sum())
    if positives < 2:
        return f"no interval: only {positives:.6g} positive rows"
    if not 0 < area < 1:
        return wilson(positives * area, positives, confidence)
    middle = math.log(area / (1 - area))
    drawn = average_precision(drawn_cells(cells, random, AREA_DRAWS))
    inside = drawn[(drawn > 0) & (drawn < 1)]
    by_draws = float(np.std(np.log(inside / (1 - inside)))) if len(inside) > 1 else 0.0
    half = normal_quantile(confidence) * max(by_draws, 1 / math.sqrt(positives * area * (1 - area)))
    return _logistic(middle - half), _logistic(middle + half)


# --- means ---


def mean_interval(values: Floats, weights: Floats, confidence: float) -> Interval | str:
    """Interval of a weighted mean whose weights count rows: Student's t after Hall's (1992) monotone cubic for skew."""
    total = float(weights.sum())
    if total < 2:
        return f"no interval: only {total:.6g} rows"
    mean = float((weights * values).sum()) / total
    away = values - mean
    spread = float((weights * away**2).sum()) / total
    # 1e-24: rounding of equal values.
    if spread <= 1e-24 * (1 + mean**2):
        return mean, mean
    skew = float((weights * away**3).sum()) / total / spread**1.5 / math.sqrt(total)
    error = math.sqrt(spread / (total - 1))
    t = student_quantile(confidence, total - 1)
    return mean - _hall(t, skew) * error, mean - _hall(-t, skew) * error


def _hall(t: float, skew: float) -> float:
    """Undo Hall's transformation; `skew` is the skewness over the root of n."""
    if abs(skew) < 1e-9:
        return t
    inner = 1 + skew * (t - skew / 6)
    return 3 / skew * (math.copysign(abs(inner) ** (1 / 3), inner) - 1)


# --- resampled cells ---


def generator(seed: int, *about: str) -> np.random.Generator:
    """Give the random stream of one number, so that asking for another number more changes nothing here."""
    return np.random.default_rng([seed, *(zlib.crc32(part.encode()) for part in about)])


def drawn_counts(counts: Counts, random: np.random.Generator, draws: int = DRAWS) -> Counts:
    """Draw confusion counts from the Dirichlet posterior under Jeffreys' prior, group by group.

    counts: four arrays of shape (...,). Returns arrays (draws, ...), each summing to its group's total.
    """
    observed = np.stack(np.broadcast_arrays(counts.tp, counts.fp, counts.fn, counts.tn))
    weights = random.standard_gamma(observed + JEFFREYS, (draws, *observed.shape))
    weights *= (observed.sum(0) / weights.sum(1))[:, None]
    return Counts(weights[:, 0], weights[:, 1], weights[:, 2], weights[:, 3])


def drawn_cells(cells: Cells, random: np.random.Generator, draws: int = DRAWS) -> Cells:
    """Draw the weights of score cells: the Bayesian bootstrap (Rubin 1981) of rows, summed by cell."""
    merged = cells.merged(BINS)
    shape = (draws, len(merged.scores))
    return Cells(merged.scores, random.standard_gamma(merged.positives, shape), random.standard_gamma(merged.negatives, shape))


def percentile_interval(values: Floats, confidence: float) -> Interval | str:
    """Give the middle of the draws. Draws in which the number is undefined are left out; too many of them, and there is no interval."""
    defined = values[np.isfinite(values)]
    if len(defined) < 0.9 * len(values):
        return "no interval: undefined in more than a tenth of the resamples"
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
