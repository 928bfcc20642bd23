"""An estimate: a number with its interval, the rows behind it, and a reason where something is missing."""

import math
from dataclasses import dataclass

import numpy as np

from stratal.core.records import Record
from stratal.evaluation.intervals import (
    Interval,
    auc_interval,
    average_precision_interval,
    drawn_counts,
    generator,
    mean_interval,
    percentile_interval,
    wilson,
)
from stratal.evaluation.metrics import Metric, compute, confusion, undefined_because
from stratal.evaluation.sample import Sample


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How to measure: rows with score >= threshold are called positive; confidence of intervals; seed of resamples."""

    threshold: float
    confidence: float = 0.95
    seed: int = 0


class Estimate(Record, frozen=True, kw_only=True):
    """A number and how sure it is. value is None where undefined, low and high where no interval can be given: reason says why.

    n counts rows, by their weights."""

    value: float | None
    low: float | None
    high: float | None
    confidence: float
    n: int
    reason: str | None = None


def made(value: float, interval: Interval | str, *, confidence: float, n: int) -> Estimate:
    """Make an estimate of a defined value. An interval always holds its value."""
    if isinstance(interval, str):
        return Estimate(value=value, low=None, high=None, confidence=confidence, n=n, reason=interval)
    low, high = interval
    if not (math.isfinite(low) and math.isfinite(high)):
        return Estimate(value=value, low=None, high=None, confidence=confidence, n=n, reason="no interval: its ends are not finite")
    return Estimate(value=value, low=min(low, value), high=max(high, value), confidence=confidence, n=n)


def missing(reason: str, *, confidence: float, n: int) -> Estimate:
    """Make an estimate of something undefined."""
    return Estimate(value=None, low=None, high=None, confidence=confidence, n=n, reason=reason)


def estimate(metric: Metric, rows: Sample, terms: Terms, *, about: str = "") -> Estimate:
    """Measure a metric on rows. `about` names the part of the data, so that each part has its own random stream."""
    reason = undefined_because(metric, rows.cells, terms.threshold)
    if reason is not None:
        return missing(reason, confidence=terms.confidence, n=rows.count)
    value = float(compute(metric, rows.cells, terms.threshold))
    interval = _interval(metric, rows, value, terms, generator(terms.seed, about, metric.name))
    return made(value, interval, confidence=terms.confidence, n=rows.count)


def _interval(metric: Metric, rows: Sample, value: float, terms: Terms, random: np.random.Generator) -> Interval | str:
    confidence = terms.confidence
    if metric.name == "auc":
        return auc_interval(rows.cells, confidence)
    if metric.name == "average_precision":
        return average_precision_interval(rows.cells, value, random, confidence)
    if metric.losses is not None:
        of_positive, of_negative = metric.losses(rows.cells.scores)
        losses = np.concatenate([of_positive, of_negative])
        return mean_interval(losses, np.concatenate([rows.cells.positives, rows.cells.negatives]), confidence)
    counts = confusion(rows.cells, terms.threshold)
    if metric.share is not None:
        part, whole = metric.share(counts)
        return wilson(float(part), float(whole), confidence)
    assert metric.of_counts is not None
    return percentile_interval(metric.of_counts(drawn_counts(counts, random)), confidence)
